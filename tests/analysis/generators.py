"""Long tables with a known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

AXES: dict[str, tuple[str, ...]] = {
    "regularizer": ("none", "l1", "dropout"),
    "norm": ("none", "layer"),
    "init": ("default", "kaiming"),
}
CONTROLS: dict[str, str | float] = {"regularizer": "none", "norm": "none", "init": "default"}
FACTORS = list(AXES)


def grid(axes: Mapping[str, Sequence[object]] = AXES, seeds: int = 6) -> pd.DataFrame:
    """Every combination, one row a run, all ``ok`` and equal."""
    rows = list(product(*axes.values(), range(seeds)))
    table = pd.DataFrame(rows, columns=[*axes, "seed"])
    return table.assign(val_loss=1.0, status="ok", reason=None)


def planted(
    effects: Mapping[tuple[str, str], float] | Mapping[tuple[str, float], float],
    axes: Mapping[str, Sequence[object]] = AXES,
    *,
    seeds: int = 6,
    noise: float = 0.0,
    rng: int = 0,
) -> pd.DataFrame:
    """A grid whose log loss is a seed's level, the planted effects of its levels, and noise."""
    random = np.random.default_rng(rng)
    table = grid(axes, seeds)
    log_loss = random.normal(-2.0, 0.3, seeds)[table["seed"]]
    for (axis, level), effect in effects.items():
        log_loss = log_loss + effect * (table[axis] == level).to_numpy(dtype=float)
    log_loss = log_loss + noise * random.standard_normal(len(table))
    return table.assign(val_loss=np.exp(log_loss))


def null_grid(random: np.random.Generator, seeds: int = 8) -> pd.DataFrame:
    """Sixteen configurations and a technique without effect, whose luck differs by seed."""
    table = grid({"technique": ("none", "new"), "configuration": tuple(range(16))}, seeds)
    luck = random.normal(0, 0.5, seeds)[table["seed"]] * (table["technique"] == "new")
    return table.assign(val_loss=np.exp(luck + random.normal(0, 0.2, len(table))))


def self_censoring(random: np.random.Generator, seeds: int = 10) -> pd.DataFrame:
    """A technique that is 0.2 worse, and whose worst runs diverge instead of telling so."""
    table = grid({"technique": ("none", "new"), "configuration": tuple(range(8))}, seeds)
    new = (table["technique"] == "new").to_numpy()
    log_loss = random.normal(0, 1.0, len(table)) + 0.2 * new
    diverged = new & (log_loss > 0.97)
    status = np.where(diverged, "diverged", "ok")
    return table.assign(val_loss=np.where(diverged, np.nan, np.exp(log_loss)), status=status)


def rename_seeds(table: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """Give a table of effects the labels of seeds that were 0, 1, ..."""
    if "carrier" not in table:
        return table
    names = [str(labels[int(seed)]) if seed else "" for seed in table["carrier"]]
    cautions = [
        text.replace(f"The seed {seed} alone", f"The seed {name} alone")
        for text, seed, name in zip(table["caution"], table["carrier"], names, strict=True)
    ]
    return table.assign(carrier=names, caution=cautions)
