"""What the page's explorer knows: every configuration and run, as small as a page can hold them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis import cell_codes
from ablations.analysis.coding import Floats, Ints
from ablations.analysis.design import OUTCOME
from ablations.report.data import ReportData

MOST_CURVES = 180_000
"""Points of curves by seed that a page holds; beyond, a configuration has one curve, the mean."""
POINTS = 10
"""Points that a curve is thinned to where a page would grow too large."""
WHOLE_IDS = 20_000
"""Runs up to which a page has their ids in full; beyond, as much of them as tells them apart."""
_STATUS = {"ok": "o", "diverged": "d", "failed": "f", "skipped": "s"}


@dataclass(frozen=True)
class Explorer:
    """The explorer's axes with their levels, its two numbers' names, how its curves are given, and
    its data as JSON.
    """

    axes: tuple[tuple[str, tuple[str, ...]], ...]
    outcome: str
    second: str
    curves: str
    json: str


def build_explorer(data: ReportData) -> Explorer:
    """Put configurations, runs and curves into one JSON text that is safe inside a page.

    Numbers have five significant digits.  Where there are more than ``MOST_CURVES`` points, curves
    are means over seeds, thinned.
    """
    runs = data.untuned.runs
    axes = tuple(
        (name, data.design.levels.get(name) or tuple(dict.fromkeys(runs[name].astype(str))))
        for name in data.untuned.factors
        if name in data.design.axes or len(set(runs[name].astype(str))) > 1
    )
    runs = runs.assign(configuration=_order(data))
    runs = runs.sort_values(["configuration", "seed"], kind="stable")
    content: dict[str, Any] = {
        "axes": [[name, list(levels)] for name, levels in axes],
        "configurations": _configurations(data, axes),
        "outcome": data.outcome,
        "column": data.design.outcome,
        "descending": data.design.higher_is_better,
        **_runs(runs, data.design.outcome),
    }
    curves_kind, points = _curves(runs, data.results.curves)
    content["epochs"], content["curves"] = points
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Explorer(
        axes, data.outcome, data.name(data.second), curves_kind, text.replace("<", "\\u003c")
    )


def _order(data: ReportData) -> Ints:
    """The place of each run's configuration in the table of configurations, best first."""
    table, factors = data.configurations, list(data.untuned.factors)
    both = pd.concat([table[factors], data.untuned.runs[factors]], ignore_index=True)
    codes = cell_codes(both) if factors else np.zeros(len(both), dtype=np.int64)
    # Each configuration stands once in the table, which comes first: its code is its place.
    return codes[len(table) :]


def _configurations(
    data: ReportData, axes: tuple[tuple[str, tuple[str, ...]], ...]
) -> list[list[Any]]:
    """Levels by their places, then mean, bounds, metric, seconds, and counts by status."""
    table = data.configurations
    places = [[levels.index(str(level)) for level in table[name]] for name, levels in axes]
    numbers = [_numbers(table[name]) for name in ("mean", "low", "high", "metric", "seconds")]
    counts = [table[status].astype(int).tolist() for status in _STATUS]
    return [list(row) for row in zip(*places, *numbers, *counts, strict=True)]


def _runs(runs: pd.DataFrame, outcome: str) -> dict[str, Any]:
    """Seeds, statuses, outcomes and ids of all runs, in the order of configurations.

    ``seed`` is null where every configuration has all seeds, ``status`` empty where all are ok.
    """
    ids = runs["run_id"].astype(str)
    # As many characters as tell all ids apart.
    enough = (n for n in range(6, 17) if n == 16 or ids.str[:n].is_unique)
    width = 16 if len(runs) <= WHOLE_IDS else next(enough)
    sizes = np.bincount(runs["configuration"].to_numpy())
    seeds, places = np.unique(runs["seed"].to_numpy(), return_inverse=True)
    regular = bool((np.arange(len(places)) % len(seeds) == places).all())
    status = "".join(runs["status"].map(_STATUS))
    return {
        "sizes": sizes.tolist(),
        "seeds": seeds.tolist(),
        "seed": None if regular else places.tolist(),
        "status": status.strip("o") and status,
        "loss": _numbers(runs[outcome], 5 if len(runs) <= WHOLE_IDS else 4),
        "width": width,
        "ids": "".join(ids.str[:width]),
    }


def _curves(runs: pd.DataFrame, curves: pd.DataFrame) -> tuple[str, tuple[list[Any], Any]]:
    """How the curves are given, and their epochs and numbers."""
    place = pd.Index(runs["run_id"]).get_indexer(pd.Index(curves["run_id"]))
    mine = curves[place >= 0]
    epochs = np.unique(mine["epoch"].to_numpy())
    if len(epochs) < 2:
        return "none", ([], None)
    wide = np.full((len(runs), len(epochs)), np.nan)
    wide[place[place >= 0], np.searchsorted(epochs, mine["epoch"])] = mine[OUTCOME].astype(float)
    if wide.size <= MOST_CURVES:
        return "by seed", (epochs.tolist(), [_numbers(row) for row in wide])
    columns = np.unique(np.linspace(0, len(epochs) - 1, POINTS).round().astype(int))
    ok = np.isfinite(wide[:, columns])
    codes = runs["configuration"].to_numpy()
    sums = np.zeros((int(codes.max()) + 1, len(columns)))
    counts = np.zeros_like(sums)
    np.add.at(sums, codes, np.where(ok, wide[:, columns], 0.0))
    np.add.at(counts, codes, ok)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return "means over seeds", (epochs[columns].tolist(), [_numbers(row, 4) for row in means])


def _numbers(values: pd.Series | Floats, digits: int = 5) -> list[float | None]:
    """Numbers for JSON, which knows none that are missing or infinite."""
    numbers = pd.to_numeric(pd.Series(values)).to_numpy(dtype=float, na_value=np.nan)
    return [float(f"{x:.{digits}g}") if math.isfinite(x) else None for x in numbers.tolist()]
