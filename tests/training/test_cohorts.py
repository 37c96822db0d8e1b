"""Cohorts: every run in exactly one, and together only what one program can train."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis
from hypothesis import strategies as st

from ablations import Study
from ablations.study.configuration import Configuration, Run
from ablations.study.expand import expand
from ablations.training.cohorts import (
    MAX_LOOP_RUNS,
    MAX_LOOP_STEPS,
    Cohort,
    assign_slots,
    batch_cohorts,
    cohort_key,
    count_steps,
    group_runs,
    slot_group,
    split_runs,
)

REGULARIZERS: list[Any] = [
    *("none", "l1", "l2", "elastic", "decoupled_weight_decay", "dropout", "input_noise"),
    *("max_norm", {"name": "dropout", "p": [0.3]}, {"name": "max_norm", "c": 3.0}),
]


def runs_of(**study: Any) -> tuple[Run, ...]:
    return expand(Study(**({"task": "notebook", "seeds": 2} | study))).runs


def identities(cohorts: list[Cohort]) -> list[str]:
    return sorted(run.run_id for cohort in cohorts for run in cohort.runs)


@hypothesis.given(
    seeds=st.integers(1, 40),
    regularizers=st.lists(st.sampled_from(REGULARIZERS), min_size=1, max_size=3, unique_by=str),
    batches=st.lists(st.sampled_from(["full", 50, 10, 3]), min_size=1, max_size=2, unique=True),
    epochs=st.lists(st.integers(1, 3000), min_size=1, max_size=2, unique=True),
    size=st.sampled_from([None, 4, 32]),
    n_groups=st.sampled_from([1, 2, 4]),
    jobs=st.integers(1, 5),
    chance=st.randoms(use_true_random=False),
)
def test_cohorts_are_a_partition_of_the_runs_in_any_order(
    seeds: int,
    regularizers: list[Any],
    batches: list[object],
    epochs: list[int],
    size: int | None,
    n_groups: int,
    jobs: int,
    chance: Any,
) -> None:
    axes = {"regularizer": regularizers, "batch_size": batches, "epochs": epochs}
    runs = list(runs_of(seeds=seeds, axes=axes))
    chance.shuffle(runs)
    cohorts = [
        cohort for members in group_runs(runs) for cohort in split_runs(members, size, n_groups)
    ]
    assert identities(cohorts) == sorted(run.run_id for run in runs)
    for cohort in cohorts:
        assert len({cohort_key(run.configuration) for run in cohort.runs}) == 1
        assert cohort.size == size
        if size is None:
            assert len(cohort) <= MAX_LOOP_RUNS
            assert len(cohort) == 1 or cohort.steps <= MAX_LOOP_STEPS
        else:
            assert len(cohort) <= size
            slots = assign_slots(cohort.runs, size, n_groups)
            assert len(set(slots)) == len(cohort)
            assert [slot % n_groups for slot in slots] == [
                slot_group(run, n_groups) for run in cohort.runs
            ]
        assert [run.seed for run in cohort.runs] == sorted(run.seed for run in cohort.runs)
    shared = batch_cohorts(cohorts, jobs, most=5_000)
    assert list(itertools.chain(*shared)) == cohorts
    for parcel in shared:
        assert len(parcel) == 1 or sum(cohort.steps for cohort in parcel) <= 5_000


def the(**study: Any) -> Configuration:
    (run,) = runs_of(seeds=1, **study)
    return run.configuration


def test_numbers_do_not_tell_kinds_apart() -> None:
    plain = cohort_key(the())
    for numbers in (
        {"regularizer": ["l1"]},
        {"regularizer": ["elastic"]},
        {"regularizer": ["decoupled_weight_decay"]},
        {"init": ["kaiming_uniform"]},
        {"schedule": ["plateau"]},
        {"lr": [0.1]},
    ):
        assert cohort_key(the(axes=numbers)) == plain
    half = cohort_key(the(axes={"regularizer": ["dropout"]}))
    assert cohort_key(the(axes={"regularizer": [{"name": "dropout", "p": [0.1, 0.9]}]})) == half


def test_what_is_another_program_is_another_kind() -> None:
    apart = [
        *({}, {"norm": ["batch"]}, {"batch_size": [10]}, {"optimizer": ["sgd"]}, {"epochs": [3]}),
        *({"regularizer": [name]} for name in ("dropout", "input_noise", "max_norm")),
        *({"hidden": [[8]]}, {"activation": ["tanh"]}),
    ]
    keys = [cohort_key(the(axes=axes)) for axes in apart]
    assert len(set(keys)) == len(apart)
    assert cohort_key(the(dtype="float64")) not in keys


def test_a_small_study_is_shared_by_all_jobs() -> None:
    runs = runs_of(seeds=320)
    cohorts = list(split_runs(runs, 32, 1))
    assert len(cohorts) == 10
    assert [len(parcel) for parcel in batch_cohorts(cohorts, jobs=1)] == [1] * 10
    assert [
        len(p) for p in batch_cohorts(list(split_runs(runs_of(seeds=3200), 32, 1)), jobs=2)
    ] == [6] * 16 + [4]
    assert count_steps(runs[0].configuration) == 20
