"""Rows of a table of rates: how often simulated studies err, with exact intervals."""

from __future__ import annotations

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

COLUMNS = ["setting", "quantity", "seeds", "studies", "rate", "low", "high", "promised"]


def rate_row(
    setting: str, quantity: str, *, seeds: int, hits: int, studies: int, promised: str
) -> dict[str, object]:
    """Return a row of a table of rates: ``hits`` of ``studies``, with its Clopper-Pearson interval
    (95 %) and the rate that is promised, as text.
    """
    low, high = proportion_confint(hits, studies, method="beta")
    numbers = (seeds, studies, hits / studies, float(low), float(high))
    return dict(zip(COLUMNS, (setting, quantity, *numbers, promised), strict=True))


def rate_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return rows of ``rate_row`` as a table."""
    return pd.DataFrame(rows, columns=COLUMNS)


def mean_row(
    setting: str, quantity: str, values: pd.Series, *, seeds: int, promised: str = ""
) -> dict[str, object]:
    """Return a row whose ``rate`` is the mean of a number over studies, with its 95 % interval."""
    mean, studies = float(values.mean()), len(values)
    half = 1.96 * float(values.std()) / studies**0.5
    numbers = (seeds, studies, mean, mean - half, mean + half)
    return dict(zip(COLUMNS, (setting, quantity, *numbers, promised), strict=True))
