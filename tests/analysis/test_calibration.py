"""Error rates, coverage and power on generated grids, over and over.

``nox -s calibration`` does it with eight times as many grids, and prints what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis import EQUAL, HELPS, HURTS, interactions, main_effects
from ablations.analysis.interactions import simple_effects
from ablations.analysis.power import for_difference, for_equivalence
from ablations.analysis.selection import best_configuration, tune
from ablations.analysis.variance import variance_shares

from .generators import grid

pytestmark = pytest.mark.slow

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

LUCK: dict[str, Draw] = {
    "normal": lambda random, shape: random.normal(size=shape),
    "skewed": lambda random, shape: random.exponential(size=shape) - 1,
}
AXES: dict[str, tuple[str, ...]] = {
    "norm": ("none", *"abcdefgh"),
    "init": ("default", "kaiming"),
}


@pytest.fixture(scope="module")
def grids(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--grids"))


def generated(count: int, seeds: int, luck: str) -> Iterator[pd.DataFrame]:
    """Null grids in which each level has its own luck in each seed, and each run its own."""
    random = np.random.default_rng(seeds)
    table = grid(AXES, seeds)
    norm, init = (pd.factorize(table[axis])[0] for axis in AXES)
    seed = table["seed"].to_numpy()
    for _ in range(count):
        log_loss = random.normal(0, 1, seeds)[seed]
        log_loss = log_loss + 0.3 * LUCK[luck](random, (9, seeds))[norm, seed]
        log_loss = log_loss + 0.3 * LUCK[luck](random, (9, 2, seeds))[norm, init, seed]
        yield table.assign(val_loss=np.exp(log_loss + 0.1 * LUCK[luck](random, (len(table),))))


def within(share: float, low: float, high: float, trials: int) -> bool:
    """Whether the share of so many independent trials can be one within bounds, but for chance.

    Of trials that are right in 95 %, a share strays 2.6 standard errors once in a hundred times.
    """
    chance = 2.6 * np.sqrt(0.05 * 0.95 / trials)
    inside = (high - low) / 2  # what the bounds have room for, where the truth is in the middle
    slack = max(0.0, chance - inside) if low > 0 else chance
    return bool(low - slack <= share <= high + slack)


def print_rates(what: str, **answers: float) -> None:
    """Print what was measured, which ``pytest -rP`` shows."""
    print(
        f"| {what} | " + " | ".join(f"{name} {value:.3f}" for name, value in answers.items()) + " |"
    )


@pytest.mark.parametrize("seeds", [5, 10, 20])
@pytest.mark.parametrize("luck", LUCK)
def test_effects_err_and_intervals_cover_as_often_as_they_say(
    luck: str, seeds: int, grids: int
) -> None:
    answers = [
        main_effects(runs, {"norm": "none"}, [*AXES]) for runs in generated(grids, seeds, luck)
    ]
    # The eight contrasts of a grid share their control: they count for three.
    table, trials = pd.concat(answers), 3 * grids
    covered = float(((table["low"] <= 0) & (table["high"] >= 0)).mean())
    wrong = float(np.mean([table["verdict"].isin([HELPS, HURTS]).any() for table in answers]))
    called = float((table["p"] <= 0.05).mean())
    print_rates(f"main effects, {luck}, {seeds} seeds", covered=covered, p=called, family=wrong)
    assert within(covered, 0.93, 0.97, trials)
    assert within(wrong, 0.0, 0.05, grids)
    if seeds == 5:  # trap 3
        assert called == 0
        assert not table["reachable"].any()
    else:
        assert within(called, 0.03, 0.07, trials)


@pytest.mark.parametrize(("seeds", "least"), [(5, 0.87), (10, 0.89), (20, 0.90)])
def test_where_one_side_alone_is_skewed_intervals_cover_less(
    seeds: int, least: float, grids: int
) -> None:
    """A technique whose effect itself is exponential over seeds, and its control's is not.

    Student's interval is known to be short there; it says so in what it assumes.
    """
    random = np.random.default_rng(seeds)
    runs = grid({"norm": ("none", "new"), "init": ("default", "kaiming")}, seeds)
    new = (runs["norm"] == "new").to_numpy()
    hits = []
    for _ in range(2 * grids):
        luck = 0.3 * (random.exponential(size=seeds) - 1)[runs["seed"]] * new
        log_loss = random.normal(0, 1, seeds)[runs["seed"]] + luck
        answers = main_effects(
            runs.assign(val_loss=np.exp(log_loss)), {"norm": "none"}, ["norm", "init"]
        )
        hits.append(answers["low"].iloc[0] <= 0 <= answers["high"].iloc[0])
    print_rates(f"main effects, one side exponential, {seeds} seeds", covered=float(np.mean(hits)))
    assert least - 0.05 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("seeds", [10, 20])
@pytest.mark.parametrize("luck", LUCK)
def test_interactions_err_as_often_as_they_say(luck: str, seeds: int, grids: int) -> None:
    controls: dict[str, str | float] = {"norm": "none", "init": "default"}
    answers = [
        interactions(table, controls, [*AXES]).dropna(subset="p")
        for table in generated(grids, seeds, luck)
    ]
    table = pd.concat(answers)
    assert len(table) == 8 * grids
    called = float((table["p"] <= 0.05).mean())
    covered = float(((table["double_low"] <= 0) & (table["double_high"] >= 0)).mean())
    family = float(np.mean([(table["p_adjusted"] <= 0.05).any() for table in answers]))
    print_rates(f"interactions, {luck}, {seeds} seeds", covered=covered, p=called, family=family)
    assert within(called, 0.03, 0.07, 3 * grids)
    assert within(covered, 0.93, 0.97, 3 * grids)
    assert within(family, 0.0, 0.05, grids)


def test_simple_effects_err_and_cover_as_often_as_they_say(grids: int) -> None:
    controls: dict[str, str | float] = {"norm": "none", "init": "default"}
    answers = [
        simple_effects(runs, controls, [*AXES]) for runs in generated(grids // 2, 10, "normal")
    ]
    table = pd.concat(answers)
    called = float((table["p"] <= 0.05).mean())
    covered = float(((table["low"] <= 0) & (table["high"] >= 0)).mean())
    print_rates("simple effects, normal, 10 seeds", covered=covered, p=called)
    assert within(called, 0.03, 0.07, 3 * grids)
    assert within(covered, 0.93, 0.97, 3 * grids)


def test_f_tests_err_as_often_as_they_say_where_spreads_differ(grids: int) -> None:
    """Four levels, one of them six times as uncertain: F alone errs, with epsilon it does not."""
    random, answers = np.random.default_rng(0), []
    runs = grid({"norm": tuple("abcd")}, 10)
    spread = runs["norm"].map(dict(zip("abcd", (0.1, 0.1, 0.1, 0.6), strict=True))).to_numpy()
    for _ in range(grids):
        log_loss = random.normal(0, 1, 10)[runs["seed"]] + spread * random.normal(size=len(runs))
        table = variance_shares(runs.assign(val_loss=np.exp(log_loss)), ["norm"])
        answers.append(table.loc[0, ["p", "p_epsilon"]].astype(float) <= 0.05)
    plain, corrected = np.mean(answers, axis=0)
    print_rates("F test, one level more uncertain, 10 seeds", p=plain, p_epsilon=corrected)
    assert within(corrected, 0.03, 0.07, grids)
    assert plain > corrected


@pytest.mark.parametrize("seeds", [10, 20])
def test_tuned_effects_are_those_at_the_levels_that_were_chosen(seeds: int, grids: int) -> None:
    """Of these the interval covers what it says.  The seeds of a half share a choice, though: that
    the choice itself was lucky is not in it, and where rates hardly differ that is felt.
    """
    random, answers = np.random.default_rng(seeds), []
    axes = {"norm": ("none", "new"), "init": tuple(range(4)), "lr": (0.1, 0.2, 0.3)}
    runs = grid(axes, seeds)
    new = (runs["norm"] == "new").to_numpy(dtype=int)
    for _ in range(grids):
        luck = 0.3 * random.normal(size=(2, seeds))[new, runs["seed"]]
        log_loss = runs["lr"] + luck + 0.3 * random.normal(size=len(runs))
        tuned_runs = tune(runs.assign(val_loss=np.exp(log_loss)), ["lr"], [*axes])
        row = main_effects(tuned_runs, {"norm": "none"}, ["norm", "init"]).iloc[0]
        rates = tuned_runs.groupby("norm")["lr"].mean()
        truth = rates["new"] - rates["none"]
        called, covered = row["p"] <= 0.05, row["low"] <= truth <= row["high"]
        answers.append((called, covered, row["low"] <= 0 <= row["high"]))
    called, covered, covered_best = np.mean(answers, axis=0)
    what = f"main effects, tuned over rates that hardly differ, {seeds} seeds"
    print_rates(what, covered_at_the_chosen=covered, covered_at_the_best=covered_best, p=called)
    assert within(covered, 0.93, 0.97, grids)
    assert within(called, 0.03, 0.11, grids)


@pytest.mark.parametrize("seeds", [5, 20])
def test_what_the_winner_gains_is_nothing_where_all_are_equal(seeds: int, grids: int) -> None:
    random, answers = np.random.default_rng(seeds), []
    cells = list(product(range(216), range(seeds)))
    runs = pd.DataFrame(cells, columns=["cell", "seed"])
    for _ in range(grids):
        runs["y"] = random.normal(size=len(runs))
        row = best_configuration(
            runs, ["cell"], outcome="y", scale="difference", control={"cell": 0}
        ).iloc[0]
        answers.append((row["held_out"], row["naive"], row["low"] <= 0 <= row["high"]))
    held_out, naive, covered = np.mean(answers, axis=0)
    print_rates(f"winner of 216, {seeds} seeds", naive=naive, held_out=held_out, covered=covered)
    assert abs(held_out) < 0.05
    assert within(covered, 0.93, 1.0, grids)


@pytest.mark.parametrize("size", [0.8, 1.0])
def test_power_is_what_seeds_needed_promises(size: float, grids: int) -> None:
    """One contrast whose effect is ``size`` standard deviations of its seeds' differences."""
    seeds = int(for_difference(size))
    d = np.random.default_rng(0).normal(size, 1.0, (seeds, 4 * grids))
    by_t = float(np.mean(stats.ttest_1samp(d, 0).pvalue <= 0.05))
    runs = grid({"norm": ("none", "new")}, seeds)
    new = (runs["norm"] == "new").to_numpy()
    hits = 0
    for column in d.T[: grids // 2]:
        log_loss = 0.1 * column[runs["seed"]] * new
        answers = main_effects(runs.assign(val_loss=np.exp(log_loss)), {"norm": "none"}, ["norm"])
        hits += answers["p"].iloc[0] <= 0.05
    ours = hits / (grids // 2)
    print_rates(f"power at {size} SD, {seeds} seeds, promised 0.8", t_test=by_t, sign_flips=ours)
    assert by_t == pytest.approx(0.8, abs=0.06)
    assert ours == pytest.approx(0.8, abs=0.08)


def test_power_of_equivalence_is_what_seeds_needed_promises(grids: int) -> None:
    margin = float(np.log1p(0.02))
    seeds = int(for_equivalence(0.0, margin, margin))
    runs = grid({"norm": ("none", "new")}, seeds)
    new = (runs["norm"] == "new").to_numpy()
    random, answers = np.random.default_rng(1), []
    for _ in range(grids):
        log_loss = margin * random.normal(size=seeds)[runs["seed"]] * new
        table = main_effects(runs.assign(val_loss=np.exp(log_loss)), {"norm": "none"}, ["norm"])
        answers.append(table["verdict"].iloc[0] == EQUAL)
    share = float(np.mean(answers))
    print_rates(f"power of equivalence, {seeds} seeds, promised 0.8", equal=share)
    assert share == pytest.approx(0.8, abs=0.1)
