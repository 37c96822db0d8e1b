"""Rows, the labels of seeds and the order of levels are chance, and units are a convention: no
answer may depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.analysis import best_set, interactions, main_effects
from ablations.analysis.confounding import confounding
from ablations.analysis.divergence import divergence_effects
from ablations.analysis.interactions import simple_effects
from ablations.analysis.one_factor import one_factor
from ablations.analysis.ranking import ranking
from ablations.analysis.selection import best_configuration
from ablations.analysis.statements import STATED
from ablations.analysis.variance import variance_shares

from .generators import CONTROLS, FACTORS, planted, rename_seeds

FULL = {"regularizer": "dropout", "norm": "layer", "init": "kaiming"}

QUESTIONS: dict[str, Callable[..., pd.DataFrame]] = {
    "effects": lambda runs, **options: main_effects(runs, CONTROLS, FACTORS, **options),
    "holm": lambda runs, **options: main_effects(
        runs, CONTROLS, FACTORS, correction="holm", **options
    ),
    "interactions": lambda runs, **options: interactions(runs, CONTROLS, FACTORS, **options),
    "simple_effects": lambda runs, **options: simple_effects(runs, CONTROLS, FACTORS, **options),
    "aliases": lambda runs, **options: confounding(runs, CONTROLS, FACTORS, **options),
    "importance": lambda runs, **options: variance_shares(runs, FACTORS, **options),
    "one_factor": lambda runs, **options: one_factor(runs, CONTROLS, FACTORS, full=FULL, **options),
    "ranking": lambda runs, **options: ranking(runs, FACTORS, **options),
    "best_set": lambda runs, **options: best_set(
        runs, FACTORS, control=CONTROLS, all_candidates=True, **options
    ),
    "winner": lambda runs, **options: best_configuration(
        runs, FACTORS, control=CONTROLS, **options
    ),
    "divergence": lambda runs, **options: divergence_effects(runs, CONTROLS, FACTORS, **options),
}
KEYS = [
    *("view", "axis", "level", "against", "axis_a", "level_a", "axis_b", "level_b", "given"),
    *("given_level", "source", *FACTORS),
]
UNITS = {"mean", "iqm", "iqm_low", "iqm_high", "naive", "held_out"}
"""Columns of ranking, best set and winner that are in the outcome's unit, and grow with it."""


def table_of(seed: int, *, lost: int, diverged: int) -> pd.DataFrame:
    """A grid with effects, from which some runs are missing and in which some diverged."""
    random = np.random.default_rng(seed)
    effects = {("norm", "layer"): 0.2, ("regularizer", "dropout"): -0.1}
    runs = planted(effects, noise=0.15, seeds=7, rng=seed)
    hit = random.choice(len(runs), size=diverged, replace=False)
    status = np.where(np.isin(np.arange(len(runs)), hit), "diverged", "ok")
    gone = random.choice(len(runs), size=lost, replace=False)
    return runs.assign(status=status).drop(index=runs.index[gone])


def sorted_by_key(table: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in KEYS if name in table]
    return table.sort_values(keys, key=lambda c: c.astype(str)).reset_index(drop=True)


def assert_alike(
    first: pd.DataFrame, second: pd.DataFrame, *, ignore: frozenset[str] = frozenset()
) -> None:
    first, second = sorted_by_key(first), sorted_by_key(second)
    assert len(first) == len(second)
    for name in first:
        if name in ignore:
            continue
        if pd.api.types.is_float_dtype(first[name]):
            numbers = second[name].to_numpy(dtype=float)
            assert numbers == pytest.approx(
                first[name].to_numpy(dtype=float), rel=1e-7, abs=1e-9, nan_ok=True
            ), name
        else:
            assert second[name].astype(str).tolist() == first[name].astype(str).tolist(), name


@pytest.mark.parametrize(
    "question",
    [pytest.param(name, marks=pytest.mark.slow) if name == "holm" else name for name in QUESTIONS],
)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lost=st.sampled_from([0, 0, 1, 9]),
    diverged=st.sampled_from([0, 0, 1, 6]),
    unit=st.sampled_from([1.0, 1e-3, 37.0]),
)
def test_order_labels_and_units_do_not_matter(
    question: str, seed: int, lost: int, diverged: int, unit: float
) -> None:
    runs = table_of(seed, lost=lost, diverged=diverged)
    random = np.random.default_rng(seed)
    labels = random.permutation(1000)[:7]
    changed = runs.sample(frac=1, random_state=seed).assign(seed=lambda t: labels[t["seed"]])
    ask = QUESTIONS[question]
    expected = rename_seeds(ask(runs), labels)
    assert_alike(expected, ask(changed))
    rescaled = changed.assign(val_loss=changed["val_loss"] * unit)
    ignore = frozenset(UNITS) if question in ("ranking", "best_set", "winner") else frozenset()
    assert_alike(expected, ask(rescaled), ignore=ignore)


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "aliases"])
def test_each_answer_says_what_it_rests_on(question: str) -> None:
    runs = planted({("norm", "layer"): 0.2}, noise=0.15, seeds=7)
    table = QUESTIONS[question](runs)
    assert table.columns[-4:].tolist() == STATED
    assert (table["n"] == 7).all()
    for name in ("procedure", "assumes"):
        assert table[name].str.len().min() > 15
    texts = set() if question != "ranking" else {"2 configurations beyond the best"}
    assert set(table["left_out"]) - {""} == texts
    wrong: Any = planted({}).assign(val_loss=-1.0)
    with pytest.raises(ValueError, match="not positive"):
        QUESTIONS[question](wrong)
