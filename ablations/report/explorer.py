"""What the page's explorer shows: every configuration and run, as small as a page can hold them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ablations.analysis import cell_codes
from ablations.analysis.coding import Floats, Ints
from ablations.analysis.design import OUTCOME, Design
from ablations.analysis.posterior import mixing_nodes
from ablations.report.data import ReportData
from ablations.report.strengths import name_axis, name_level, name_within

MOST_CURVES = 100_000
"""Points of curves by seed that a page holds; beyond, a configuration has one curve, the mean."""
MOST_MEANS = 300_000
"""Points of such means that a page holds, which are thinned to them."""
MOST_POINTS, FEWEST_POINTS = 20, 4
"""Points of a mean curve; where fewer are left, the page has no curves."""
MISSING_STEP = np.iinfo(np.uint16).max
"""Step of a scale that stands for a missing point of a curve."""
MOST_EXACT = 40_000
"""Configurations up to which their numbers have 8 bytes each; beyond, 4."""
WHOLE_IDS = 200_000
"""Runs up to which a page has their ids in full; beyond, as much of them as tells them apart."""
SHADES = {
    "light": (
        "#013980", "#36359a", "#5b359d", "#7b3797", "#99398a", "#b23f78", "#c64961", "#d45946",
        "#db6e21",
    ),
    "dark": (
        "#a1d9ff", "#a5c8ff", "#aeb5fe", "#c19bff", "#d583e3", "#df71b9", "#e1638a", "#da5b58",
        "#cb5a1a",
    ),
}  # fmt: skip
"""Colours from the best outcome to the worst, for light and dark paper: even steps of lightness
and hue in OKLCH (Ottosson, 2020), each at least 3:1 against the paper."""
_STATUS = {"ok": "o", "diverged": "d", "failed": "f", "skipped": "s"}
_SUMMARY = ("mean", "low", "high", "metric", "metric_low", "metric_high", "seconds")


@dataclass(frozen=True)
class Explorer:
    """The names of the explorer's axes and of its two numbers (the second one empty where no run
    has it), whether any run has the first one, whether it has run times and whether these were
    timed alone, how its curves are given, and its data as JSON.
    """

    axes: tuple[str, ...]
    outcome: str
    second: str
    has_outcome: bool
    has_seconds: bool
    timed: bool
    curves: str
    json: str


def build_explorer(data: ReportData) -> Explorer:
    """Put configurations, runs and curves into one JSON text that is safe inside a page.

    Columns of numbers are base64 of their bytes, little-endian: 8 bytes each up to ``MOST_EXACT``
    configurations, so that the page shows and saves the numbers of the tables, and 2 bytes for
    points of curves, which are only drawn.  With more than ``MOST_CURVES`` of these, curves are
    means over seeds, thinned to ``MOST_MEANS`` points in all; a page that has no room for these has
    no curves.
    """
    design = data.untuned
    runs = design.runs.assign(configuration=_number_configurations(data))
    runs = runs.sort_values(["configuration", "seed"], kind="stable")
    axes = _list_axes(data)
    kind, curves = _summarise_curves(runs, data.results.curves, len(data.configurations))
    content: dict[str, Any] = {
        "axes": [_describe_axis(data, name, levels) for name, levels in axes.items()],
        "outcome": {"name": data.outcome, "column": design.outcome},
        "second": _describe_second(data),
        "higher": design.higher_is_better,
        "scale": design.scale,
        "shades": SHADES,
        **_summarise_configurations(data, axes),
        **_list_runs(runs, design.outcome, data.second),
        **_describe_intervals(design),
        **curves,
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    second = data.name(data.second) if content["second"] else ""
    has_seconds = bool(data.configurations["seconds"].notna().any())
    has_outcome = bool(data.configurations["mean"].notna().any())
    numbers = data.outcome, second, has_outcome, has_seconds, data.timed
    return Explorer(tuple(axes), *numbers, kind, text)


def _describe_second(data: ReportData) -> dict[str, object] | None:
    """The names of the second number and how it is compared; None where no run has it."""
    if not data.configurations["metric"].notna().any():
        return None
    design = data.results.design(data.second)
    direction = {"higher": design.higher_is_better, "scale": design.scale}
    return {"name": data.name(data.second), "column": data.second, **direction}


def _list_axes(data: ReportData) -> dict[str, tuple[str, ...]]:
    """The levels of each factor that tells configurations apart, or that is an axis."""
    runs = data.untuned.runs
    levels = {name: tuple(dict.fromkeys(runs[name].astype(str))) for name in data.untuned.factors}
    return {
        name: data.design.levels.get(name) or present
        for name, present in levels.items()
        if name in data.design.axes or len(present) > 1
    }


def _describe_axis(data: ReportData, name: str, levels: tuple[str, ...]) -> dict[str, Any]:
    """The name of an axis, its levels, labels on the axis and apart from it, and its control."""
    control = str(data.design.controls.get(name))
    return {
        "name": name_axis(name),
        "levels": list(levels),
        "labels": [name_within(name, level, data.metadata) for level in levels],
        "names": [name_level(name, level, data.metadata) for level in levels],
        "control": levels.index(control) if control in levels else None,
    }


def _number_configurations(data: ReportData) -> Ints:
    """The place of each run's configuration in the table of configurations, best first."""
    table, factors = data.configurations, list(data.untuned.factors)
    both = pd.concat([table[factors], data.untuned.runs[factors]], ignore_index=True)
    codes = cell_codes(both) if factors else np.zeros(len(both), dtype=np.int64)
    # Each configuration stands once in the table, which comes first: its code is its place.
    return codes[len(table) :]


def _summarise_configurations(
    data: ReportData, axes: dict[str, tuple[str, ...]]
) -> dict[str, object]:
    """Levels of all configurations by their places, axis after axis, and their numbers."""
    table = data.configurations
    places = [table[name].astype(str).map(levels.index) for name, levels in axes.items()]
    wide = max(map(len, axes.values()), default=0) > np.iinfo(np.uint8).max
    exact = len(table) <= MOST_EXACT
    return {
        "size": len(table),
        "wide": wide,
        "levels": _pack(np.concatenate([*places, np.zeros(0)]), "<u2" if wide else "<u1"),
        "exact": exact,
        **{name: _pack(table[name], "<f8" if exact else "<f4") for name in _SUMMARY},
    }


def _list_runs(runs: pd.DataFrame, outcome: str, second: str) -> dict[str, object]:
    """Seeds, statuses, outcomes and ids of all runs, in the order of configurations.

    ``seed`` is null where every configuration has all seeds, ``status`` empty where all are ok.
    """
    ids = runs["run_id"].astype(str)
    longest = int(ids.str.len().max())
    # As many characters as tell all ids apart.
    enough = (n for n in range(6, longest + 1) if n == longest or ids.str[:n].is_unique)
    width = longest if len(runs) <= WHOLE_IDS else next(enough)
    sizes = np.bincount(runs["configuration"].to_numpy())
    seeds, places = np.unique(runs["seed"].to_numpy(), return_inverse=True)
    regular = bool((np.arange(len(places)) % len(seeds) == places).all())
    status = "".join(runs["status"].map(_STATUS))
    ok = runs["status"] == "ok"
    scores = runs[second].where(ok) if second in runs else pd.Series(np.nan, runs.index)
    return {
        "sizes": sizes.tolist(),
        "seeds": seeds.tolist(),
        "seed": None if regular else _pack(places, "<u2"),
        "status": status.strip("o") and status,
        "values": _pack(runs[outcome].where(ok), "<f8"),
        "scores": _pack(scores, "<f8"),
        "width": width,
        "ids": "".join(ids.str[:width].str.ljust(width)),
    }


def _describe_intervals(design: Design) -> dict[str, object]:
    """What the interval of a difference paired by seed needs (``analysis.scope.MeanEffects``).

    ``t``: quantiles of Student's distribution for 2, 3, ... seeds; ``splits``: the split of each
    seed and the ``nodes`` of its share of the variance, null where no two seeds have the same.
    """
    tail = (1 - design.confidence) / 2
    n = design.n_blocks
    repeats = design.has_repeated_splits
    return {
        "confidence": design.confidence,
        "t": (-special.stdtrit(np.arange(1.0, max(n, 2)), tail)).tolist(),
        "overlap": design.overlap,
        "splits": np.unique(design.splits, return_inverse=True)[1].tolist() if repeats else None,
        "nodes": [values.tolist() for values in mixing_nodes(n)] if repeats else None,
    }


def _summarise_curves(
    runs: pd.DataFrame, curves: pd.DataFrame, size: int
) -> tuple[str, dict[str, object]]:
    """How the curves are given, and their epochs and points."""
    place = pd.Index(runs["run_id"]).get_indexer(pd.Index(curves["run_id"]))
    mine = curves[place >= 0]
    epochs = np.unique(mine["epoch"].to_numpy())
    if len(epochs) < 2:
        return "none", {"epochs": [], "curves": ""}
    points = np.full((len(runs), len(epochs)), np.nan)
    points[place[place >= 0], np.searchsorted(epochs, mine["epoch"])] = mine[OUTCOME].astype(float)
    if points.size <= MOST_CURVES:
        return "by seed", {"epochs": epochs.tolist(), **_pack_curves(points)}
    count = min(MOST_POINTS, MOST_MEANS // size)
    if count < FEWEST_POINTS:
        return "none", {"epochs": [], "curves": ""}
    columns = np.unique(np.linspace(0, len(epochs) - 1, count).round().astype(int))
    means = _average_curves(points[:, columns], runs["configuration"].to_numpy(), size)
    return "means over seeds", {"epochs": epochs[columns].tolist(), **_pack_curves(means)}


def _average_curves(points: Floats, codes: Ints, size: int) -> Floats:
    """Means over the runs of each configuration: geometric where no loss is zero or less."""
    is_log = not bool((points <= 0).any())
    present = np.isfinite(points)
    values = np.where(present, np.log(points) if is_log else points, 0.0)
    sums, counts = np.zeros((size, points.shape[1])), np.zeros((size, points.shape[1]))
    np.add.at(sums, codes, values)
    np.add.at(counts, codes, present)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return np.asarray(np.exp(means) if is_log else means)


def _pack_curves(points: Floats) -> dict[str, object]:
    """Points as steps of a scale, a log scale where all are positive: 65,534 steps between the ends
    of ``curve_range``, one more is a missing point.
    """
    points = np.where(np.isfinite(points), points, np.nan)
    if np.isnan(points).all():
        return {"curves": "", "curve_range": [0.0, 1.0], "curve_log": False}
    is_log = bool(np.nanmin(points) > 0)
    values = np.log(points) if is_log else points
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    steps = np.round((values - low) / ((high - low) or 1.0) * (MISSING_STEP - 1))
    curves = _pack(np.where(np.isnan(steps), MISSING_STEP, steps), "<u2")
    return {"curves": curves, "curve_range": [low, high], "curve_log": is_log}


def _pack(values: pd.Series | Floats | Ints, dtype: str) -> str:
    """The bytes of numbers as base64, a missing one as NaN; empty where all are missing."""
    numbers = pd.to_numeric(pd.Series(np.ravel(values))).to_numpy(dtype=float, na_value=np.nan)
    if np.isnan(numbers).all():
        return ""
    return base64.b64encode(numbers.astype(dtype).tobytes()).decode("ascii")
