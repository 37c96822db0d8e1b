"""How runs ended, and levels that are missing, in tables that people made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablations.analysis.coding import NONE, Bools, Column

STATUSES = ("ok", "diverged", "failed", "skipped")


def complete_runs(
    runs: pd.DataFrame, factors: Sequence[str], outcome: str, status: str = "status"
) -> pd.DataFrame:
    """Return a table of which each run has a status and a level of each factor.

    A missing level is a level of its own, ``"None"``.  A run without a status diverged if its
    outcome is infinite or missing, and is ``ok`` otherwise.  Where all outcomes of a level are
    missing, or those of all runs, nobody recorded them: these are ``ok``, without a result.

    Raises
    ------
    ValueError
        If a status is unknown.
    """
    levels = {
        name: runs[name].astype(object).where(runs[name].notna(), NONE)
        for name in factors
        if name in runs and runs[name].isna().any()
    }
    runs = runs.assign(**levels) if levels else runs
    without = runs[status].isna().to_numpy() if status in runs else np.ones(len(runs), dtype=bool)
    if status in runs:
        check_statuses(runs[status].dropna(), status)
    if status in runs and not without.any():
        return runs
    words = runs[status].astype(object) if status in runs else pd.Series("ok", index=runs.index)
    words = words.to_numpy(dtype=object, copy=True)
    words[without] = "ok"
    words[without & _has_diverged(runs, factors, outcome, without)] = "diverged"
    return runs.assign(**{status: words})


def check_statuses(statuses: pd.Series, column: str = "status") -> None:
    """Raise ``ValueError`` if a status is none of the four, with its name and number of rows."""
    counts = Counter(statuses[~statuses.isin(STATUSES)])
    if counts:
        unknown = ", ".join(f"{name!r} in {n:,} row{'s' * (n > 1)}" for name, n in counts.items())
        valid = ", ".join(STATUSES)
        raise ValueError(f"unknown {column}: {unknown}; a run is one of {valid}")


def _has_diverged(
    runs: pd.DataFrame, factors: Sequence[str], outcome: str, without: Bools
) -> Bools:
    """Mark the runs whose outcome is infinite, or missing while others of each of their levels
    have a number.
    """
    if outcome not in runs:
        return np.zeros(len(runs), dtype=bool)
    values = runs[outcome]
    if not pd.api.types.is_numeric_dtype(values) and values.notna().any():
        return np.zeros(len(runs), dtype=bool)  # no column of numbers, which the design refuses
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    missing = np.isnan(numbers)
    recorded = np.full(len(runs), bool((~missing & without).any()))
    for name in factors:
        codes = Column.from_values(runs[name]).codes
        recorded &= np.isin(codes, codes[~missing & without])
    return np.asarray(np.isinf(numbers) | (missing & recorded))
