"""Sentences that the results of the other tests do not call for."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import EQUAL, HELPS, UNDECIDED, Design
from ablations.analysis.interactions import UNKNOWN
from ablations.report.caveats import advise_seeds, audit_caveats, find_caveats
from ablations.results.looks import Look

DESIGN = Design(pd.DataFrame({"seed": range(8), "val_loss": 1.0}))
ROW = {
    "axis": "norm", "level": "layer", "verdict": HELPS, "depends_on": "", "left_out": "",
    "caution": "", "p_skewed": 0.5, "p_shared_skew": 0.5,
    "confounded_with": "",
    "p_adjusted": 0.01, "low": -0.3, "high": -0.1, "more": math.nan, "pairs": 8, "seeds": 8,
    "cells": 1, "identical": 0, "filled": 0, "diverged": 0, "control_diverged": 0,
    "seeds_dropped": 0, "cells_dropped": 0, "reachable": True, "conditional": False,
}  # fmt: skip


def caveats(design: Design = DESIGN, unrecorded: str = "", **values: Any) -> list[tuple[str, str]]:
    effects = SimpleNamespace(
        design=design,
        effects=pd.DataFrame([ROW | values]),
        baseline=pd.DataFrame(),
        unrecorded=unrecorded,
    )
    return [(caveat.badge, caveat.text) for caveat in find_caveats(effects)]  # type: ignore[arg-type]


def test_nothing_limits_a_certain_effect() -> None:
    assert caveats() == []


@pytest.mark.parametrize(
    ("values", "badge", "words"),
    [
        (
            {"p_adjusted": 0.2},
            "p and interval",
            "The interval of layer norm excludes 0, but the verdict is by p of sign flips",
        ),
        ({"depends_on": UNKNOWN}, "interactions", "cannot be known with so few seeds."),
        ({"verdict": UNDECIDED}, "undecided", "No number of seeds is known that would settle"),
        (
            {"verdict": UNDECIDED, "diverged": 1},
            "survivors differ",
            "Layer norm is undecided although runs that survived differ clearly. Divergence",
        ),
        (
            {"verdict": UNDECIDED, "caution": "Its seeds are skewed.", "more": np.nan},
            "skewed seeds",
            "Layer norm is undecided although its mean looks certain. Its seeds are skewed.",
        ),
        (
            {"p_skewed": 0.01},
            "skewed seeds",
            "With layer norm a few seeds differ far more than chance explains",
        ),
        (
            {"verdict": EQUAL},
            "rare failures",
            "none of 8 seeds failed, up to 31 % of all seeds may fail",
        ),
    ],
)
def test_what_limits_an_effect(values: dict[str, Any], badge: str, words: str) -> None:
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
    assert caveat.text.startswith("1 audited run did not repeat bit for bit. On this machine")
    (caveat,) = audit_caveats(audit.assign(repeated=False, reason=["losses deviate", None]))
    assert caveat.badge == "audit failed"
    assert caveat.text.startswith("Do not trust these numbers: ")


def test_a_later_look_says_its_level_and_what_is_left() -> None:
    looks = (Look(6, 0.032, 0.032), Look(8, 0.0128, 0.0373))
    design = replace(DESIGN, alpha=0.0128, confidence=0.9872, ledger=looks, look=looks[1])
    texts = dict(caveats(design))
    assert "verdicts were shown at 6 and 8 seeds, so this is look 2." in texts["several looks"]
    assert "need p of at most 1.3\N{NARROW NO-BREAK SPACE}%" in texts["several looks"]
    assert (
        "share the 0.97\N{NARROW NO-BREAK SPACE}% of these 5 % that are left"
        in texts["several looks"]
    )
    advice: dict[str, Any] = {
        "verdict": UNDECIDED,
        "more": 12.0,
        "p_adjusted": 0.2,
        "low": -0.3,
        "high": 0.1,
    }
    first = replace(DESIGN, alpha=0.032, ledger=looks[:1], look=looks[0])
    undecided = dict(caveats(first, **advice))["undecided"]
    assert "about 12 more seeds would settle layer norm" in undecided
    assert (
        "Verdicts are stricter after 12 more seeds: p must be at most 0.016, not 0.032."
        in undecided
    )
    assert "stricter" not in dict(caveats(**advice))["undecided"]
    spent = replace(DESIGN, alpha=0.025, looks=(4, 8))
    assert "All planned looks are over" in dict(caveats(spent, **advice))["undecided"]


def test_a_look_that_could_not_be_recorded_is_named() -> None:
    ((_, text),) = caveats(unrecorded="Read-only file system")
    assert text.startswith("This look could not be recorded (Read-only file system)")


def test_seeds_that_settle_several_effects_are_said_once() -> None:
    rows = pd.DataFrame(
        {
            "axis": "norm", "level": ["layer", "batch", "group", "rms"], "verdict": UNDECIDED,
            "seeds": 8, "more": [10.0, 22.0, 10.0, math.nan],
        }
    )  # fmt: skip
    assert advise_seeds(rows) == (
        "If effects stay as they seem, about 10 more seeds would settle layer norm and group norm; "
        "22 batch norm. 1 other would need more."
    )
