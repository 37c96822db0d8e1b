"""Tables that people made: runs without a status, unknown statuses, missing levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import (
    HELPS,
    HURTS,
    UNDECIDED,
    analysis_of_variance,
    configurations,
    divergence_rates,
    endings,
    main_effects,
    seed_spread,
    variance_shares,
)
from ablations.analysis.coding import Column, varying
from ablations.analysis.selection import tune

from .generators import CONTROLS, FACTORS, planted
from .test_invariance import QUESTIONS, sorted_by_key
from .test_main_effects import where

TABLES: dict[str, Callable[..., pd.DataFrame]] = {
    **QUESTIONS,
    "rates": lambda runs, **_: divergence_rates(runs, FACTORS),
    "endings": lambda runs, **_: endings(runs, FACTORS),
    "configurations": lambda runs, **_: configurations(runs.assign(train_seconds=1.0), FACTORS),
    "spread": lambda runs, **_: seed_spread(runs, factors=FACTORS, axes=FACTORS),
    "tune": lambda runs, **_: tune(runs, ["init"], FACTORS).drop(columns=["status", "val_loss"]),
}


def assert_same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    first, second = (sorted_by_key(table.astype(object)) for table in (first, second))
    pd.testing.assert_frame_equal(first, second, check_dtype=False)


@pytest.mark.parametrize("question", TABLES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_and_no_status_is_a_run_that_diverged(question: str, value: float) -> None:
    runs = planted({("norm", "layer"): 0.2}, noise=0.1)
    hit = where(runs, norm="layer", seed=1) | where(runs, norm="none", init="kaiming", seed=4)
    stated = runs.assign(status=np.where(hit, "diverged", "ok"))
    unstated = runs.assign(val_loss=runs["val_loss"].mask(hit, value)).drop(columns="status")
    partly = unstated.assign(status=stated["status"].where(runs["seed"] % 2 == 0))
    expected = TABLES[question](stated)
    assert_same(TABLES[question](unstated), expected)
    assert_same(TABLES[question](partly), expected)


def test_with_a_status_no_number_is_no_result() -> None:
    runs = planted({}, noise=0.1)
    runs.loc[where(runs, norm="layer", seed=1), "val_loss"] = np.nan
    row = main_effects(runs, CONTROLS, FACTORS).set_index("level").loc["layer"]
    assert (row["diverged"], row["seeds_dropped"]) == (0, 1)


def test_what_nobody_recorded_has_not_diverged() -> None:
    runs = planted({("norm", "layer"): -0.2}, noise=0.1).drop(columns="status")
    runs.loc[runs["regularizer"] == "l1", "val_loss"] = np.nan
    table = main_effects(runs, CONTROLS, FACTORS).set_index("level")
    assert table.loc["l1", ["pairs", "diverged", "verdict"]].tolist() == [0, 0, UNDECIDED]
    assert table.loc["l1", "left_out"] == "no run of regularizer l1 ended with a val_loss"
    assert table.loc["layer", ["diverged", "verdict"]].tolist() == [0, HELPS]
    table = main_effects(runs.assign(val_loss=np.nan), CONTROLS, FACTORS)
    assert (table["diverged"] == 0).all()
    assert (table["verdict"] == UNDECIDED).all()
    # Infinite losses tell that they diverged, also those of a level.
    runs["val_loss"] = runs["val_loss"].fillna(np.inf)
    row = main_effects(runs, CONTROLS, FACTORS).set_index("level").loc["l1"]
    assert (row["diverged"], row["verdict"]) == (24, HURTS)


@pytest.mark.parametrize("question", TABLES)
def test_an_unknown_status_is_refused_with_its_name(question: str) -> None:
    runs = planted({}, noise=0.1)
    runs.loc[runs["seed"] == 0, "status"] = "OK"
    runs.loc[0, "status"] = "done"
    expected = (
        "unknown status: 'done' in 1 row, 'OK' in 11 rows; a run is one of ok, diverged, failed, "
        "skipped"
    )
    with pytest.raises(ValueError, match=expected):
        TABLES[question](runs)


@pytest.mark.parametrize("question", TABLES)
@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_missing_level_is_a_level(question: str, missing: object) -> None:
    runs = planted({("norm", "layer"): 0.2}, noise=0.1)
    hit = (runs["norm"] == "layer") & (runs["seed"] == 2) & (runs["init"] == "default")
    runs["status"] = np.where(hit, "diverged", "ok")
    names = {"none": "none", "l1": "None", "dropout": "dropout"}
    stated = runs.assign(regularizer=runs["regularizer"].map(names))
    unstated = runs.assign(
        regularizer=runs["regularizer"].astype(object).where(runs["regularizer"] != "l1", missing)
    )
    assert_same(TABLES[question](unstated), TABLES[question](stated))


@pytest.mark.parametrize("levels", [(None, 64), (np.nan, 0.5), (None, "a", True)])
def test_a_missing_level_can_be_the_control(levels: tuple[object, ...]) -> None:
    runs = planted({}, {"width": levels, "norm": ("none", "layer")})
    runs["val_loss"] = runs["val_loss"].where(runs["width"].isna(), runs["val_loss"] * 1.5)
    table = main_effects(runs, {"width": levels[0]}, ["width", "norm"])
    assert table["level"].tolist() == list(levels[1:])
    assert table["control"].tolist() == ["None"] * (len(levels) - 1)
    assert table["effect"].tolist() == pytest.approx([np.log(1.5)] * (len(levels) - 1))
    table = main_effects(runs, {"width": levels[-1]}, ["width", "norm"])
    assert table["level"].iloc[0] == "None"
    assert table["effect"].iloc[0] == pytest.approx(-np.log(1.5))


def test_true_is_not_the_level_1() -> None:
    levels = (False, True, 1, 0, "1", 0.5)
    runs = planted({}, {"bias": levels})
    effects = dict(zip(levels, range(6), strict=False))
    assert len(effects) == 4  # Python takes True and 1 for one key
    size = [0.1 * levels.index(level) if isinstance(level, str) else 0.0 for level in runs["bias"]]
    runs["val_loss"] *= np.exp(size)
    table = main_effects(runs, {"bias": False}, ["bias"])
    assert list(map(repr, table["level"])) == ["True", "1", "0", "'1'", "0.5"]
    assert table["effect"].tolist() == pytest.approx([0, 0, 0, 0.4, 0])
    rates = divergence_rates(runs, ["bias"])
    assert (rates["runs"] == 6).all()
    assert len(rates) == 6
    assert varying(pd.DataFrame({"bias": [True, 1]}, dtype=object), ["bias"]) == ["bias"]
    assert Column.from_values(pd.Series([1, True, None], dtype=object)).codes.tolist() == [0, 1, -1]
    for split in (analysis_of_variance, variance_shares):
        assert split(runs, ["bias"]).set_index("source").loc["bias", "df"] == 5


@pytest.mark.parametrize("question", sorted(set(QUESTIONS) - {"one_factor"}))
def test_a_table_without_rows_has_no_answer(question: str) -> None:
    runs = planted({}, seeds=2).drop(columns="status")
    assert len(QUESTIONS[question](runs.iloc[:0])) == 0


def test_a_verdict_whose_interval_contains_0_says_why() -> None:
    runs = planted({}, {"norm": ("none", "layer"), "init": ("default", "kaiming")}, seeds=8)
    hit = (runs["norm"] == "layer") & (runs["init"] == "kaiming")
    row = main_effects(
        runs.assign(status=np.where(hit, "diverged", "ok")), {"norm": "none"}, ["norm", "init"]
    ).iloc[0]
    assert row["verdict"] == HURTS
    assert row["caution"] == (
        "It diverges more often than its control, which decides; where both survived its interval "
        "contains 0."
    )
