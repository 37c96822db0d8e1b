"""Views of divergence that drop no run."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from ablations.analysis.divergence import divergence_effects

from .generators import CONTROLS, FACTORS, planted, self_censoring


def test_pairs_are_counted_and_tested_as_mcnemar_does() -> None:
    runs = planted({}, noise=0.1, seeds=8)
    hit = (runs["norm"] == "layer") & (runs["seed"] < 2) & (runs["init"] == "default")
    other = (runs["norm"] == "none") & (runs["seed"] == 7) & (runs["regularizer"] == "l1")
    runs = runs.assign(status=np.where(hit | other, "diverged", "ok"))
    row = divergence_effects(runs, CONTROLS, FACTORS).set_index(["axis", "level"])
    answer = row.loc[("norm", "layer")]
    assert (answer["pairs"], answer["only_level"], answer["only_control"]) == (48, 6, 2)
    assert answer["p_mcnemar"] == pytest.approx(mcnemar([[0, 6], [2, 40]], exact=True).pvalue)
    assert answer["seeds"] == 8


def test_nothing_that_diverges_is_no_test() -> None:
    answer = divergence_effects(planted({("norm", "layer"): -0.1}), CONTROLS, FACTORS)
    assert (answer["p_mcnemar"] == 1).all()
    layer = answer[answer["level"] == "layer"].iloc[0]
    assert (layer["advantage"], layer["only_level"]) == (1, 0)


def test_trap_6_a_technique_that_hides_its_worst_runs_never_wins() -> None:
    random = np.random.default_rng(0)
    answer = [
        divergence_effects(
            self_censoring(random), {"technique": "none"}, ["technique", "configuration"]
        ).iloc[0]
        for _ in range(40)
    ]
    assert np.mean([row["advantage"] for row in answer]) < -0.05
    assert not any(row["advantage"] > 0 and row["p_advantage"] <= 0.05 for row in answer)
