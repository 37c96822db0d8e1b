"""The fusion audit: whether runs of the fused engine agree with the reference loop."""

from __future__ import annotations

import math

import pandas as pd

DRIFT = 0.05
"""Largest mean difference of final losses, on the log scale, that may be more than chance."""
FEWEST = 4
"""Runs from which on a mean difference says something."""


def audit_failure(audit: pd.DataFrame) -> str | None:
    """Return what is wrong with the audited runs, in a sentence; None where all agree.

    Parameters
    ----------
    audit
        One row a run, with the columns of ``Results.audit``.
    """
    wrong = audit[audit["reason"].notna()]
    if len(wrong):
        first = wrong.iloc[0]
        return (
            f"the fusion audit failed for {len(wrong)} of {len(audit)} runs; "
            f"run {first['run_id']}: {first['reason']}"
        )
    drift = audit["drift"].dropna()
    if len(drift) < FEWEST:
        return None
    mean, error = float(drift.mean()), float(drift.std(ddof=1)) / math.sqrt(len(drift))
    if abs(mean) <= max(DRIFT, 5 * error):
        return None
    return (
        f"the fusion audit failed: the final validation losses of {len(drift)} runs are "
        f"{math.expm1(mean):+.0%} from the plain loop's in the mean, give or take {error:.0%}"
    )
