"""Sentences that the results of the other tests do not call for."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from ablations.analysis import HELPS, UNDECIDED
from ablations.analysis.interactions import UNKNOWN
from ablations.report.summary import audit_caveats, find_caveats

DESIGN = SimpleNamespace(
    scale="log", tune_over=(), tuned_by_seed=False, looks=(), alpha=0.05, outcome="val_loss"
)
ROW = {
    "axis": "norm", "level": "layer", "verdict": HELPS, "depends_on": "", "left_out": "",
    "confounded_with": "",
    "p_adjusted": 0.01, "low": -0.3, "high": -0.1, "more": math.nan, "pairs": 8, "seeds": 8,
    "cells": 1, "identical": 0, "diverged": 0, "control_diverged": 0, "seeds_dropped": 0,
    "cells_dropped": 0, "reachable": True, "conditional": False,
}  # fmt: skip


def caveats(**values: object) -> list[tuple[str, str]]:
    effects = SimpleNamespace(
        design=DESIGN, effects=pd.DataFrame([ROW | values]), baseline=pd.DataFrame()
    )
    return [(caveat.badge, caveat.text) for caveat in find_caveats(effects)]  # type: ignore[arg-type]


def test_nothing_limits_a_certain_effect() -> None:
    assert caveats() == []


@pytest.mark.parametrize(
    ("values", "badge", "words"),
    [
        ({"p_adjusted": 0.2}, "p and interval", "adjusted for all 1 comparisons, and decides."),
        ({"depends_on": UNKNOWN}, "interactions", "cannot be known with so few seeds."),
        ({"verdict": UNDECIDED}, "undecided", "No number of seeds is known that would decide"),
        (
            {"verdict": UNDECIDED, "diverged": 1},
            "survivors differ",
            "where both runs survived: norm layer. Divergence speaks against it",
        ),
    ],
)
def test_what_limits_an_effect(values: dict[str, object], badge: str, words: str) -> None:
    ((only_badge, text),) = caveats(**values)
    assert only_badge == badge
    assert words in text


def test_an_audit_that_failed_or_did_not_repeat() -> None:
    audit = pd.DataFrame(
        {"run_id": ["a", "b"], "reason": [None, None], "drift": [0.0, 0.0], "repeated": [True] * 2}
    )
    assert audit_caveats(audit) == []
    (caveat,) = audit_caveats(audit.assign(repeated=[True, False]))
    assert caveat.badge == "rounding varies"
    assert caveat.text.startswith("1 audited run did not repeat bit for bit: on this machine")
    (caveat,) = audit_caveats(audit.assign(repeated=False, reason=["losses deviate", None]))
    assert caveat.badge == "audit failed"
    assert caveat.text.startswith("Do not trust these numbers: ")
