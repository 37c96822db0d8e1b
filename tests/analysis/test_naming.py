"""Columns may be called anything, and what is not there is one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from ablations import analysis
from ablations.analysis.coding import Column

from .generators import CONTROLS, FACTORS, planted
from .test_invariance import FULL, QUESTIONS, assert_alike

OWN = sorted(
    {
        *("cell", "level", "value", "raw", "difference", "axis", "diverged", "contrast", "half"),
        *("control", "identical", "replicate", "cells", "pairs", "joint", "gain", "excess", "name"),
        *("configuration", "mean", "low", "high", "p", "n", "seeds", "place", "effect", "given"),
        *("level_a", "alone_a", "value_control", "source", "ss", "survivors", "merit", "left_out"),
    }
)


def ask_under_names(
    question: str, names: dict[str, str], block: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The answer with our names, and the one with others, its names put back."""
    runs = planted({("norm", "layer"): 0.2}, noise=0.1, seeds=7)
    renamed = runs.rename(columns={**names, "seed": block})
    controls = {names.get(axis, axis): level for axis, level in CONTROLS.items()}
    full = {names.get(axis, axis): level for axis, level in FULL.items()}
    factors = [names.get(name, name) for name in FACTORS]
    ask: Callable[..., pd.DataFrame] = getattr(analysis, question)
    arguments: dict[str, Any] = {
        "factors": factors,
        "block": block,
        "controls": controls,
        "full": full,
    }
    if question in ("best_configuration", "best_set"):
        arguments["control"] = controls
        arguments["all_candidates"] = True
    parameters = inspect.signature(ask).parameters
    other = ask(renamed, **{name: value for name, value in arguments.items() if name in parameters})
    answer = other.columns.tolist()
    back = {
        f"factor {new}" if f"factor {new}" in answer else new: old for old, new in names.items()
    }
    return QUESTIONS[QUESTION_OF[question]](runs), other.rename(
        columns=lambda name: back.get(name, name)
    )


QUESTION_OF = {
    "main_effects": "effects",
    "interactions": "interactions",
    "simple_effects": "simple_effects",
    "variance_shares": "importance",
    "one_factor": "one_factor",
    "ranking": "ranking",
    "best_set": "best_set",
    "best_configuration": "winner",
    "divergence_effects": "divergence",
}


@pytest.mark.parametrize("question", QUESTION_OF)
def test_no_name_of_a_factor_or_block_changes_an_answer(question: str) -> None:
    words = {"source", "procedure", "assumes", "left_out", "against", "shared", "caution"}
    words |= {"confounded_with"}
    for first, second, block in zip(OWN[::3], OWN[1::3], OWN[2::3], strict=False):
        ours, theirs = ask_under_names(question, {"norm": first, "init": second}, block)
        keep = [c for c in ours.columns if c in theirs.columns and c not in words]
        assert len(keep) > 6
        for column in ("axis", "axis_a", "axis_b", "given"):
            if column in keep:
                theirs[column] = theirs[column].replace({first: "norm", second: "init"})
        assert_alike(ours[keep], theirs[keep])
        assert not theirs.astype(str).map(lambda text: "\ue000" in str(text)).to_numpy().any()


@pytest.mark.parametrize("question", QUESTION_OF)
def test_what_is_not_there_is_one_sentence(question: str) -> None:
    ask: Callable[..., pd.DataFrame] = getattr(analysis, question)
    runs = planted({})
    arguments: dict[str, Any] = {"factors": FACTORS, "controls": CONTROLS}
    parameters = inspect.signature(ask).parameters
    arguments = {name: value for name, value in arguments.items() if name in parameters}
    for wrong, message in (
        ({"outcome": "loss"}, "there is no column 'loss'; there are regularizer"),
        ({"block": "Seed"}, "there is no column 'Seed'"),
        ({"factors": "norm"}, "factors must be a list of columns"),
        ({"factors": [*FACTORS, "norm"]}, "names a column twice"),
        ({"factors": [*FACTORS, "depth"]}, "there is no column 'depth'"),
        ({"factors": [*FACTORS, "seed"]}, "'seed' is the block"),
        ({"scale": "linear"}, "scale must be 'log' or 'difference'"),
        ({"outcome": "norm"}, "'norm' is no column of numbers"),
        ({"controls": ["norm"]}, "controls must map columns to levels"),
    ):
        if set(wrong) <= set(parameters):
            with pytest.raises(ValueError, match=message):
                ask(runs, **(arguments | wrong))
    without = runs.assign(seed=runs["seed"].astype(float).where(runs["seed"] > 0))
    with pytest.raises(ValueError, match="the block 'seed' is missing in 12 rows"):
        ask(without, **arguments)


def test_a_control_of_another_type_is_a_mistake() -> None:
    runs = planted({}, {"group": (1, 2)})
    with pytest.raises(ValueError, match="the control '1' of 'group' is a str, not a int"):
        analysis.main_effects(runs, {"group": "1"}, ["group"])
    row = analysis.main_effects(runs, {"group": "placebo"}, ["group"]).iloc[0]
    assert row["left_out"] == "no run of its control placebo ended with a val_loss"


def test_levels_may_be_of_any_type() -> None:
    column = Column.from_values(pd.Series([1, 1.0, True, "1", None, (32,), (32, 16)], dtype=object))
    assert column.at("1").tolist() == [False] * 3 + [True] + [False] * 3
    assert column.at((32,)).tolist() == [False] * 5 + [True, False]
    runs = planted({}, noise=0.1).assign(
        hidden=lambda t: [(32,) if level == "none" else (32, 16) for level in t["norm"]]
    )
    table = analysis.main_effects(
        runs,
        {"hidden": (32,)},
        ["regularizer", "init", "hidden"],
    )
    assert table["level"].tolist() == [(32, 16)]
    assert table["seeds"].tolist() == [6]


@pytest.mark.parametrize(("old", "new"), analysis.RENAMED.items())
def test_a_former_name_still_works_and_warns(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
        assert getattr(analysis, old) is getattr(analysis, new)
    assert old not in analysis.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = analysis.nonsense
