"""Looks at a growing study share one 5 %: known boundaries, and what is left after each look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.analysis import HURTS, UNDECIDED, Design
from ablations.analysis.ablation import ablation_table
from ablations.analysis.inference import max_t
from ablations.analysis.spending import FIRST, TOTAL, next_look, nominal_level, unite_looks
from ablations.results.looks import Look, is_counted


def spend(numbers: Sequence[int], contrasts: int = 1) -> list[Look]:
    """The looks at these numbers of seeds, in this order, that count."""
    looks: list[Look] = []
    for seeds in numbers:
        look = next_look(looks, seeds, contrasts)
        if is_counted(look) and look not in looks:
            looks.append(look)
    return looks


@pytest.mark.parametrize(
    ("looks", "constants"),
    [
        (2, [2.178, 2.178]),  # Pocock, 1977
        (5, [2.413] * 5),
        (2, [2.797, 1.977]),  # O'Brien & Fleming, 1979
        (5, [4.562, 3.226, 2.634, 2.281, 2.040]),
    ],
)
def test_the_recursion_gives_the_boundaries_of_the_tables(
    looks: int, constants: list[float]
) -> None:
    """The last level, after the others, is that with which all looks err in 5 %."""
    levels = [float(2 * stats.norm.sf(c)) for c in constants]
    chain = tuple(zip(range(10, 10 * looks, 10), levels, strict=False))
    spent = 0.0
    for k in range(1, looks):  # the error of each earlier look, from its own level
        low, high = 0.0, 0.05
        for _ in range(40):
            middle = (low + high) / 2
            is_less = nominal_level(chain[: k - 1], 10 * k, middle) < levels[k - 1]
            low, high = (middle, high) if is_less else (low, middle)
        spent += low
    critical = stats.norm.isf(nominal_level(chain, 10 * looks, 0.05 - spent) / 2)
    assert critical == pytest.approx(constants[-1], abs=0.004)


def test_the_largest_of_independent_statistics_errs_as_often_as_is_allowed() -> None:
    random = np.random.default_rng(0)
    level = nominal_level(((6, 0.032),), 12, 0.01, 6)
    sums = random.normal(size=(200_000, 6, 2)).cumsum(axis=2) / np.sqrt([1, 2])
    p = 1 - (1 - 2 * stats.norm.sf(np.abs(sums).max(axis=1))) ** 6
    errs = (p[:, 0] > 0.032) & (p[:, 1] <= level)
    assert errs.mean() == pytest.approx(0.01, abs=0.0008)
    assert 0.01 < level < nominal_level(((6, 0.032),), 12, 0.01, 1)


def test_the_first_look_can_decide_with_six_seeds_and_keeps_something_for_later() -> None:
    first, second = spend([6, 12])
    assert (first.level, first.spent) == (FIRST, FIRST)
    assert is_counted(first)
    assert second.spent == pytest.approx(FIRST + (TOTAL - FIRST) * (1 - 0.5**1.5))
    assert second.spent - FIRST < second.level < FIRST
    assert next_look([first, second], 6) is first


def test_other_seeds_are_another_look_and_spend_what_is_left() -> None:
    """Six new seeds after six others, each judged as the first, would err twice 3.2 %."""
    first = next_look([], 6, 1, tuple(range(6)))
    assert next_look([first], 6, 1, tuple(range(6))) is first
    other = next_look([first], 6, 1, tuple(range(6, 12)))
    assert other.level == pytest.approx((TOTAL - FIRST) * (1 - 0.5**1.5))
    assert other.spent == pytest.approx(FIRST + other.level)
    # Twelve seeds include both: their look shares seeds with the first, and adds to what is spent.
    both = next_look([first, other], 12, 1, tuple(range(12)))
    assert other.spent < both.spent < TOTAL
    assert both.level == nominal_level(((6, FIRST),), 12, both.spent - other.spent)
    # More seeds that do not include those before share nothing.
    apart = next_look([first], 9, 1, tuple(range(6, 15)))
    assert apart.level == pytest.approx(apart.spent - FIRST)
    assert unite_looks([[first], [replace(other, level=FIRST)]])[1].spent == other.spent


def test_looks_that_can_decide_nothing_spend_nothing() -> None:
    assert spend([1, 3, 5]) == []
    assert spend([3, 6]) == spend([6])
    assert spend([6, 7, 12], contrasts=6) == spend([6, 12], contrasts=6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=6), st.sampled_from([1, 6, 30]))
def test_no_sequence_of_looks_spends_more_than_there_is(numbers: list[int], contrasts: int) -> None:
    looks = spend(numbers, contrasts)
    spent = [look.spent for look in looks]
    assert spent == sorted(spent)
    assert all(0 < look.spent < TOTAL and 0 < look.level <= FIRST for look in looks)
    ways = [spend(sorted(numbers), contrasts), spend(sorted(set(numbers)), contrasts)]
    assert ways[0] == ways[1]


def test_fewer_seeds_after_more_are_judged_by_what_is_left() -> None:
    more, fewer = spend([10, 8])
    assert (more.level, fewer.seeds) == (FIRST, 8)
    assert fewer.level == pytest.approx(fewer.spent - more.spent)
    assert next_look([more, fewer], 20).level < next_look([more], 20).level


def test_the_ledgers_of_several_folders_become_one() -> None:
    first, second = spend([6, 12]), spend([6, 20], contrasts=26)
    looks = unite_looks([second, first])
    assert [look.seeds for look in looks] == [6, 12, 20]
    assert [look.spent for look in looks] == [look.spent for look in spend([6, 12, 20])]
    assert looks == unite_looks([first, second])
    assert unite_looks([first, first]) == tuple(first)


@pytest.mark.parametrize("contrasts", [1, 6])
def test_looks_by_hand_err_in_five_percent_of_studies(contrasts: int) -> None:
    """At 6, 10 and 20 seeds, by the tests that verdicts rest on: 10.6 % at 5 % each."""
    random, errors, studies = np.random.default_rng(3), 0, 120
    looks = spend([6, 10, 20], contrasts)
    for _ in range(studies):
        draws = random.normal(size=(20, contrasts + 1))
        d = draws[:, 1:] - draws[:, :1]
        errors += any((max_t(d[: look.seeds]) <= look.level).any() for look in looks)
    assert errors <= stats.binom.ppf(0.999, studies, 0.05)


@pytest.mark.slow
def test_following_the_advice_errs_as_seldom_as_one_look() -> None:
    """At 5 % each, 14 to 16 % of such studies err; coverage is that of the last intervals."""
    from bench.calibration.looks import simulate

    histories = [*simulate(150, 1, 6), *simulate(150, 6, 6)]
    errors = sum(history.is_called for history in histories)
    assert errors <= stats.binom.ppf(0.999, len(histories), 0.055)
    covered = sum(history.covers for history in histories)
    assert covered >= stats.binom.ppf(0.001, len(histories), 0.945)
    assert max(history.looks for history in histories) > 2


def test_the_simulation_judges_as_a_study_is_judged() -> None:
    """Verdicts, intervals and advice at a second look, from a table of runs."""
    from bench.calibration.looks import MARGIN, add_advice, judge

    draws = np.random.default_rng(8).normal([0, 0.4, 4, 0], size=(12, 4))
    ledger = [next_look([], 6, 3)]
    look, effects = judge(draws[:, 1:] - draws[:, :1], ledger)
    effects = add_advice(effects, look, [*ledger, look])
    runs = pd.DataFrame(
        {
            "norm": ["none", "a", "b", "c"] * 12,
            "seed": np.repeat(np.arange(12), 4),
            "val_loss": draws.ravel(),
        }
    )
    design = Design(runs, ["norm"], {"norm": "none"}, scale="difference", margin=MARGIN)
    table = ablation_table(design.at_look(ledger))
    assert effects["verdict"].tolist() == table["verdict"].tolist()
    assert set(effects["verdict"]) == {HURTS, UNDECIDED}
    for name in ("effect", "low", "high", "more"):
        assert effects[name].tolist() == pytest.approx(table[name].tolist(), nan_ok=True)
