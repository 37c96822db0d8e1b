"""When the audit's findings are a fault, and when chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import audit_failure


def audit(drift: list[float | None], reasons: list[str | None] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run_id": [f"{n:04x}" for n in range(len(drift))],
            "drift": drift,
            "reason": reasons or [None] * len(drift),
        }
    )


def test_a_single_wrong_run_is_a_fault_and_named() -> None:
    failure = audit_failure(audit([0.0, 0.0], [None, "its losses deviate"]))
    assert failure == "the fusion audit failed for 1 of 2 runs; run 0001: its losses deviate"


@pytest.mark.parametrize("drift", [[], [None] * 9, [0.5, 0.5, 0.5], [0.04] * 9])
def test_nothing_to_say(drift: list[float | None]) -> None:
    assert audit_failure(audit(drift)) is None


def test_single_runs_may_part_but_not_the_mean() -> None:
    chance = np.random.default_rng(0).normal(0, 0.4, 16)
    centred = list(chance - chance.mean())
    assert audit_failure(audit(centred)) is None
    shifted = audit_failure(audit([0.2 + 0.1 * value for value in centred]))
    assert shifted is not None
    assert "16 runs are +22% from the plain loop's in the mean" in shifted
