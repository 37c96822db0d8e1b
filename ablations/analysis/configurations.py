"""Which configuration does best, and what does it cost? Summaries and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.analysis.design import Floats, Scale, cell_codes, measured, spelled
from ablations.analysis.inference import summarise
from ablations.analysis.naming import any_names

STATUSES = ("ok", "diverged", "failed", "skipped")
MEASURES = [
    "mean", "low", "high", "metric", "metric_low", "metric_high", "seconds", "runs", "ok",
    "diverged", "failed", "skipped", "complete", "pareto",
]  # fmt: skip


@any_names
def configurations(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    metric: str = "metric",
    seconds: str = "train_seconds",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    status: str = "status",
) -> pd.DataFrame:
    """Summarise every configuration over its seeds, best first.

    Returns
    -------
    DataFrame
        ``factors``; ``mean, low, high`` of the outcome (geometric on the log scale; 95 % t
        interval over seeds); ``metric, metric_low, metric_high`` (arithmetic); ``seconds``
        (median); ``runs, ok, diverged, failed, skipped``; ``complete``: every run ended well;
        ``pareto``: complete, and no complete configuration is at least as good and as fast, and
        better in one. Complete configurations come first, by their mean: a configuration that is
        good only where it survived does not lead the table.
    """
    runs = runs.assign(configuration=cell_codes(runs[list(factors)]))
    table = _described(runs, factors).join(_status_counts(runs, status))
    how = {"outcome": outcome, "block": block, "scale": scale, "status": status}
    values = measured(runs, ["configuration"], **how)  # type: ignore[arg-type]
    losses = summarise(values, ["configuration"], "value")[["mean", "low", "high"]]
    table = table.join(np.exp(losses) if scale == "log" else losses)
    ok = runs[runs[status] == "ok"] if status in runs else runs
    spent = ok.groupby("configuration")[seconds].median().rename("seconds")
    table = table.join(_metric(ok, metric)).join(spent)
    table["complete"] = (table["ok"] == table["runs"]) & table["mean"].notna()
    merit = table["mean"].to_numpy(dtype=float) * (-1 if higher_is_better else 1)
    front = pareto_front(np.where(table["complete"], merit, np.nan), table["seconds"].to_numpy())
    table = table.assign(pareto=front, merit=merit, incomplete=~table["complete"])
    table = table.sort_values(["incomplete", "merit", "name"], kind="stable")
    return table[[*factors, *MEASURES]].reset_index(drop=True)


def _described(runs: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """The levels of every configuration, and all of them as one ``name`` that orders ties."""
    table = runs.drop_duplicates("configuration").set_index("configuration")[list(factors)]
    # Ties come out in the same order whatever order the rows came in.
    table["name"] = spelled(table) if factors else ""
    return table


def _status_counts(runs: pd.DataFrame, status: str) -> pd.DataFrame:
    state = runs[status] if status in runs else pd.Series("ok", index=runs.index)
    counts = pd.crosstab(runs["configuration"], state).reindex(columns=list(STATUSES), fill_value=0)
    counts.columns.name = None
    return counts.assign(runs=runs.groupby("configuration").size())


def _metric(ok: pd.DataFrame, metric: str) -> pd.DataFrame:
    columns = {"mean": "metric", "low": "metric_low", "high": "metric_high"}
    numbers = ok[["configuration"]].assign(
        metric=pd.to_numeric(ok[metric]) if metric in ok else np.nan
    )
    return summarise(numbers, ["configuration"], "metric").rename(columns=columns)[
        [*columns.values()]
    ]


def pareto_front(loss: Floats, cost: Floats) -> npt.NDArray[np.bool_]:
    """Mark the points that no other point beats; smaller is better in both, and missing points are
    never on it.
    """
    front = np.zeros(len(loss), dtype=bool)
    best = np.inf
    for i in np.lexsort((loss, cost)):
        if np.isfinite(cost[i]) and loss[i] < best:
            front[i], best = True, loss[i]
    return front
