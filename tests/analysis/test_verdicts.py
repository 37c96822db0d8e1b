from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, main_effects, verdicts

USUAL = {
    "effect": -0.1, "p_adjusted": 0.01, "p_equivalent_adjusted": 0.9,
    "diverged": 0, "control_diverged": 0, "p_divergence": np.nan,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, HELPS),
        ({"effect": 0.1}, HURTS),
        ({"p_adjusted": 0.06}, UNDECIDED),
        ({"p_adjusted": np.nan, "p_equivalent_adjusted": np.nan}, UNDECIDED),
        # Certain and tiny: it does not matter.
        ({"p_equivalent_adjusted": 0.01}, EQUAL),
        # The runs that are missing would have been the bad ones.
        ({"diverged": 1, "p_divergence": 1.0}, UNDECIDED),
        ({"diverged": 1, "p_divergence": 1.0, "effect": 0.1}, HURTS),
        ({"diverged": 1, "p_divergence": 1.0, "p_equivalent_adjusted": 0.01}, UNDECIDED),
        ({"diverged": 9, "p_divergence": 0.01}, HURTS),
        ({"control_diverged": 1, "p_divergence": 1.0, "effect": 0.1}, UNDECIDED),
        ({"control_diverged": 1, "p_divergence": 1.0}, HELPS),
        ({"control_diverged": 9, "p_divergence": 0.01, "p_adjusted": 0.5}, HELPS),
        ({"control_diverged": 9, "p_divergence": 0.01, "effect": 0.1}, UNDECIDED),
    ],
)
def test_the_first_rule_that_fits_decides(changes: dict[str, float], verdict: str) -> None:
    assert verdicts(pd.DataFrame([{**USUAL, **changes}])).tolist() == [verdict]


def test_higher_may_be_better() -> None:
    assert verdicts(pd.DataFrame([USUAL]), higher_is_better=True).tolist() == [HURTS]


def test_divergence_that_overrules_a_certain_mean_is_a_caution() -> None:
    """Outcomes that are missing without a status count as diverged, and say so."""
    random = np.random.default_rng(0)
    runs = pd.DataFrame(
        [(norm, seed) for norm in "ab" for seed in range(10)], columns=["n", "seed"]
    )
    runs["loss"] = np.exp(random.normal(0, 0.05, 20) - 0.5 * (runs["n"] == "b"))
    runs.loc[(runs["n"] == "b") & (runs["seed"] < 2), "loss"] = np.nan
    row = main_effects(runs, {"n": "a"}, ["n"], outcome="loss").iloc[0]
    assert (row["verdict"], row["diverged"]) == (UNDECIDED, 2)
    assert row["p_adjusted"] <= 0.05
    assert "no finite outcome in 2 of 10 runs, its control in 0" in row["caution"]
