"""Cohorts: every run in exactly one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ablations import Study
from ablations.cohorts import CAP, STEPS, pack, steps
from ablations.grid import plan


@given(
    seeds=st.integers(1, 60),
    batches=st.lists(st.sampled_from(["full", 50, 10, 3]), min_size=1, unique=True),
    epochs=st.lists(st.integers(1, 3000), min_size=1, max_size=3, unique=True),
)
def test_cohorts_are_a_partition_of_the_runs(
    seeds: int, batches: list[object], epochs: list[int]
) -> None:
    axes = {"batch_size": batches, "epochs": epochs}
    runs = plan(Study(task="notebook", seeds=seeds, axes=axes)).runs
    cohorts = pack(runs)
    assert tuple(run for cohort in cohorts for run in cohort.runs) == runs
    for cohort in cohorts:
        lengths = {steps(run.configuration) for run in cohort.runs}
        assert len(lengths) == 1
        assert len(cohort) == 1 or len(cohort) * lengths.pop() <= STEPS
        assert len(cohort) <= CAP
