"""What a design cannot tell, and from what."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import UNDECIDED, main_effects
from ablations.analysis.confounding import confounding
from ablations.analysis.statements import STATED

from .generators import AXES, CONTROLS, FACTORS, planted

LETTERS: dict[str, str | float] = {"A": -1, "B": -1, "C": -1}


def fraction() -> pd.DataFrame:
    """The half of a 2 x 2 x 2 design with C = AB, in four seeds."""
    rows = [(a, b, a * b, seed) for a, b, seed in product([-1, 1], [-1, 1], range(4))]
    return pd.DataFrame(rows, columns=["A", "B", "C", "seed"]).assign(val_loss=1.0)


def confounded_with(
    runs: pd.DataFrame, controls: dict[str, str | float]
) -> dict[tuple[object, ...], str]:
    table = confounding(runs, controls, [*controls])
    keys = ["axis", "level", "axis_b", "level_b"]
    rows = table[keys].astype(object).where(table[keys].notna(), None).itertuples(index=False)
    return dict(zip(map(tuple, rows), table["confounded_with"], strict=True))


def test_a_full_cross_tells_all() -> None:
    assert confounding(planted({}), CONTROLS, FACTORS).empty


def test_a_half_fraction_confounds_each_factor_with_the_interaction_of_the_others() -> None:
    reasons = confounded_with(fraction(), LETTERS)
    assert reasons["A", 1, None, None] == "B × C"
    assert reasons["C", 1, None, None] == "A × B"
    assert {key[0::2] for key in reasons if key[2]} == {("A", "B"), ("A", "C"), ("B", "C")}
    assert reasons["A", 1, "B", 1] == "C"


def test_nobody_is_accused_falsely() -> None:
    """A quarter of a 2^5 design with D = AB and E = AC; and a half with E = ABCD."""
    rows = [(a, b, c, a * b, a * c, s) for a, b, c, s in product(*[[-1, 1]] * 3, range(3))]
    runs = pd.DataFrame(rows, columns=[*"ABCDE", "seed"]).assign(val_loss=1.0)
    reasons = confounded_with(runs, dict.fromkeys("ABCDE", -1))
    assert reasons["B", 1, "C", 1] == "D × E"
    assert reasons["B", 1, "E", 1] == "C × D"
    assert reasons["A", 1, "B", 1] == "D"
    assert reasons["A", 1, None, None] == "B × D, C × E"
    rows = [(a, b, c, d, a * b * c * d, s) for a, b, c, d, s in product(*[[-1, 1]] * 4, range(2))]
    half = pd.DataFrame(rows, columns=[*"ABCDE", "seed"]).assign(val_loss=1.0)
    assert confounded_with(half, dict.fromkeys("ABCDE", -1))["A", 1, None, None] == "B × C × D × E"


def test_levels_that_always_come_together_are_named() -> None:
    runs = planted({})
    rate = np.where(runs["norm"] == "layer", 0.1, 0.01)
    table = confounding(runs.assign(lr=rate), {"norm": "none"}, [*FACTORS, "lr"])
    assert table["confounded_with"].tolist() == ["lr"]
    assert "norm layer and its control none were never run at the same lr" in table["reason"][0]
    by_seed = runs[(runs["norm"] == "layer") == (runs["seed"] < 3)]
    assert confounding(by_seed, {"norm": "none"}, FACTORS)["confounded_with"].tolist() == ["seed"]


def test_one_axis_at_a_time_tells_no_interaction() -> None:
    runs = planted({})
    changed = sum((runs[axis] != CONTROLS[axis]).astype(int) for axis in AXES)
    table = confounding(runs[changed <= 1], CONTROLS, FACTORS)
    assert table["axis_b"].notna().all()
    assert len(table) == 2 + 2 + 1
    assert table["reason"].str.contains("never run together").all()
    assert confounding(runs[changed <= 1], CONTROLS, FACTORS, order=1).empty


def test_runs_that_did_not_end_tell_nothing() -> None:
    runs = planted({})
    failed = runs.assign(status=np.where(runs["norm"] == "layer", "failed", "ok"))
    table = confounding(failed, CONTROLS, FACTORS)
    assert table.loc[0, "reason"] == "no run of norm layer ended with a val_loss"
    gone = runs[runs["norm"] != "none"]
    table = confounding(gone, CONTROLS, FACTORS)
    assert table.loc[0, "reason"] == "no run of its control none ended with a val_loss"


def test_a_level_without_a_pair_has_its_row_and_its_reason() -> None:
    runs = planted({("norm", "layer"): 0.3})
    rate = np.where(runs["norm"] == "layer", 0.1, 0.01)
    table = main_effects(runs.assign(lr=rate), CONTROLS, [*FACTORS, "lr"]).set_index("level")
    row = table.loc["layer"]
    assert (row["verdict"], row["pairs"], row["seeds"], row["n"]) == (UNDECIDED, 0, 0, 0)
    assert "cannot be told from lr" in row["left_out"]
    assert np.isnan(row["effect"])
    assert not row["reachable"]
    assert table["pairs"].dtype.kind == "i"
    assert table["conditional"].dtype == bool
    assert table.loc["l1", STATED].tolist()[0] == 6
    alone = main_effects(fraction(), LETTERS, [*LETTERS])
    assert alone["verdict"].tolist() == [UNDECIDED] * 3
    assert alone["left_out"].str.contains("cannot be told from").all()


def test_what_is_left_out_is_counted() -> None:
    runs = planted({("regularizer", "l1"): 0.1}, noise=0.1)
    l1, layer = runs["regularizer"] == "l1", runs["norm"] == "layer"
    without = runs[~((runs["regularizer"] == "none") & layer)]
    row = main_effects(without, CONTROLS, FACTORS).set_index("level").loc["l1"]
    assert row["left_out"] == "12 runs without a partner at the control"
    lost = runs[~(l1 & layer & (runs["seed"] == 2) & (runs["init"] == "default"))]
    row = main_effects(lost, CONTROLS, FACTORS).set_index("level").loc["l1"]
    assert row["left_out"].startswith("1 pair that is missing, filled in by least squares")
    lost = runs[~(l1 & (runs["seed"] == 2) & (layer | (runs["init"] == "default")))]
    row = main_effects(lost, CONTROLS, FACTORS).set_index("level").loc["l1"]
    assert row["left_out"].startswith("1 seed with a run missing")
    diverged = runs.assign(status=np.where(l1 & layer & (runs["seed"] == 2), "diverged", "ok"))
    row = main_effects(diverged, CONTROLS, FACTORS).set_index("level").loc["l1"]
    assert row["left_out"] == "2 pairs of which a run diverged"


@pytest.mark.parametrize("size", [(6, 5, 4)])
def test_many_levels_take_no_time_to_speak_of(size: tuple[int, ...]) -> None:
    axes = {name: tuple(range(n)) for name, n in zip("abc", size, strict=True)}
    runs = planted({}, axes, seeds=20)
    once = sum((runs[axis] != 0).astype(int) for axis in axes)
    table = confounding(runs[once <= 1], dict.fromkeys(axes, 0), [*axes])
    assert len(table) == 5 * 4 + 5 * 3 + 4 * 3
