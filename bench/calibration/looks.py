"""Growing studies: false verdicts over all looks, coverage where somebody stops, and power.

Levels share one control, and all noise is normal.  A margin of nearly nothing keeps "practically
equal" out of the count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.analysis import HELPS, HURTS, UNDECIDED, max_t, seeds_needed, t_interval
from ablations.analysis.coding import Floats
from ablations.analysis.inference import mean_and_sd
from ablations.analysis.spending import next_look
from ablations.results.looks import Look, is_counted
from bench.calibration.rates import rate_row, rate_table

STUDIES = 500
MOST_SEEDS = 200
MARGIN = 1e-9
FALSE, COVERAGE, POWER = "false verdicts, family-wise", "coverage at the stop", "decided"
BY_HAND = {
    "by hand, 6, 10 and 20 seeds": (6, 10, 20),
    "by hand, 3, 6 and 12 seeds": (3, 6, 12),
    "by hand, after every seed from 6 to 20": tuple(range(6, 21)),
}
Grow = Callable[[pd.DataFrame], int]
"""From the effects at a look, with ``more``, to the seeds of the next one; 0 to stop."""


@dataclass(frozen=True)
class History:
    """A study that was looked at until somebody stopped: its looks, whether any of them had a
    verdict (``is_called``) and the last one had no undecided level, and the levels that its last
    intervals cover.
    """

    seeds: int
    looks: int
    is_called: bool
    is_decided: bool
    covers: float


def judge(d: Floats, ledger: Sequence[Look]) -> tuple[Look, pd.DataFrame]:
    """Judge differences, seeds x levels, as ``main_effects`` and its advice do after some looks."""
    n, contrasts = d.shape
    look = next_look(ledger, n, contrasts)
    mean, sd = mean_and_sd(d)
    low, high = t_interval(mean, sd, np.full(contrasts, n), 1 - look.level)
    is_sure = max_t(d) <= look.level
    verdict = np.where(is_sure, np.where(mean < 0, HELPS, HURTS), UNDECIDED)
    columns = {"effect": mean, "low": low, "high": high, "seeds": n, "verdict": verdict}
    return look, pd.DataFrame(columns)


def add_advice(effects: pd.DataFrame, look: Look, ledger: Sequence[Look]) -> pd.DataFrame:
    """Add ``more``, the seeds that the report would advise."""
    needed = seeds_needed(
        effects,
        margin=MARGIN,
        alpha=look.level,
        level_at=lambda seeds: next_look(ledger, seeds, len(effects)).level,
        confidence=1 - look.level,
    )
    return effects.assign(more=needed["more"])


def follow(draws: Floats, first: int, effect: float, later: Sequence[int] | None = None) -> History:
    """Look at a study at ``first`` seeds, and then as the advice says, or at ``later`` numbers.

    Parameters
    ----------
    draws
        Normal numbers, seeds x (the control and all levels).
    effect
        Of each level, in standard deviations of the differences over seeds.
    """
    d = (draws[:, 1:] - draws[:, :1]) / np.sqrt(2) - effect
    ledger: list[Look] = []
    plan, n, count, is_called = list(later or ()), first, 0, False
    while True:
        look, effects = judge(d[:n], ledger)
        count += 1
        is_called |= bool((effects["verdict"] != UNDECIDED).any())
        if is_counted(look):
            ledger.append(look)
        is_decided = not (effects["verdict"] == UNDECIDED).any()
        if later is not None:
            next_n = plan.pop(0) if plan and not is_decided else 0
        else:
            more = add_advice(effects, look, ledger)["more"]
            more = more[effects["verdict"] == UNDECIDED].dropna()
            next_n = n + int(more.min()) if len(more) else 0
        if not n < next_n <= len(d):
            covers = ((effects["low"] <= -effect) & (-effect <= effects["high"])).mean()
            return History(n, count, is_called, is_decided, float(covers))
        n = next_n


def simulate(
    studies: int,
    levels: int,
    first: int,
    effect: float = 0.0,
    later: Sequence[int] | None = None,
    seed: int = 0,
) -> list[History]:
    """Generate studies, and look at each until somebody stops."""
    random, size = np.random.default_rng(seed), max(later) if later else MOST_SEEDS
    draws = (random.normal(size=(size, levels + 1)) for _ in range(studies))
    return [follow(each, first, effect, later) for each in draws]


def measure(studies: int = STUDIES) -> pd.DataFrame:
    """Measure what all looks together err, cover and find."""
    rows = []
    for levels in (1, 6):
        for first in (6, 10):
            setting = f"{levels} levels, advice from {first} seeds"
            rows += _null_rows(setting, first, simulate(studies, levels, first))
        for name, (first, *later) in BY_HAND.items():
            rows += _null_rows(
                f"{levels} levels, {name}", first, simulate(studies, levels, first, later=later)
            )
    for effect in (0.4, 0.8, 1.2):
        rows += _power_rows(effect, simulate(studies, 1, 6, effect), studies)
    return rate_table(rows)


def _null_rows(setting: str, first: int, histories: Sequence[History]) -> list[dict[str, object]]:
    n = len(histories)
    called = sum(history.is_called for history in histories)
    covered = round(sum(history.covers for history in histories))
    return [
        rate_row(setting, FALSE, seeds=first, hits=called, studies=n, promised="at most 0.055"),
        rate_row(
            setting, COVERAGE, seeds=first, hits=covered, studies=n, promised="at least 0.945"
        ),
    ]


def _power_rows(
    effect: float, histories: Sequence[History], studies: int
) -> list[dict[str, object]]:
    """Power of one look at six seeds, after the first advice, and at the end of all advice."""
    setting = f"1 level, {effect} deviations better"
    first = sum(history.looks == 1 and history.is_decided for history in histories)
    advised = [history for history in histories if history.looks > 1]
    once = sum(history.looks == 2 and history.is_decided for history in advised)
    end = sum(history.is_decided for history in histories)
    rows = [("first look", first, studies), ("first advice followed", once, len(advised))]
    rows.append(("all advice followed", end, studies))
    promises = {"first advice followed": "about 0.8"}
    return [
        rate_row(
            f"{setting}, {name}",
            POWER,
            seeds=6,
            hits=hits,
            studies=max(n, 1),
            promised=promises.get(name, "reported"),
        )
        for name, hits, n in rows
    ]
