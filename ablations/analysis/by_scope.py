"""What the verdicts are about: new data like the table that seeds split, and this table alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ablations.analysis.design import Design, accept_table
from ablations.analysis.incomplete import seed_effects
from ablations.analysis.main_effects import main_effects
from ablations.analysis.posterior import infer_effects
from ablations.analysis.scope import describe_interval
from ablations.analysis.statements import STATED, join_statements
from ablations.results.metadata import Scope

SCOPES: dict[Scope, str] = {
    "generator": "new data from the same generator",
    "table": "new data like this table",
    "rows": "the rows that judge here",
    "": "what the seeds vary",
}
"""What a verdict is about, by what the seeds of a study vary (``results.metadata.Scope``)."""
_TABLE = [
    "verdict", "effect", "low", "high", "change", "change_low", "change_high", "p_adjusted",
]  # fmt: skip
SCOPE_COLUMNS = [
    "axis", "level", "control", "scope", *_TABLE, *(f"table_{name}" for name in _TABLE),
    "split_share", "split_low", "split_high", *STATED,
]  # fmt: skip


@accept_table(
    *("controls", "factors", "scale", "higher_is_better", "margin", "alpha", "overlap", "split")
)
def effects_by_scope(design: Design) -> pd.DataFrame:
    """Compare every level with its control, for new data and for this table over its splits.

    Returns
    -------
    DataFrame
        One row a level:

        - ``scope``: what ``verdict``, ``effect, low, high``, ``change…`` and ``p_adjusted`` of
          ``main_effects`` are about; where seeds split one table, that is new data like it.
        - ``table_verdict``, ``table_effect``, …: the same about this table alone, over its splits,
          which is less; missing where seeds do not split a table.
        - ``split_share``: the part of the variance over seeds that is of their splits, the median
          of its distribution, and the bounds ``split_low, split_high`` of its 95 % interval; no
          number of seeds on this table reduces what this part says of new data.  Missing where no
          two seeds have the same split: then all of the variance counts as the split's.
    """
    effects = main_effects(design)
    table = effects.assign(scope=SCOPES[design.scope])
    narrow = main_effects(replace(design, overlap=0.0)) if design.overlap else effects
    for name in _TABLE:
        table[f"table_{name}"] = narrow[name] if design.overlap else None
    names = ["split_share", "split_low", "split_high"]
    table[names] = _split_shares(design, effects) if design.overlap else np.nan
    if design.overlap:
        about = describe_interval(replace(design, overlap=0.0))
        table["procedure"] = [
            join_statements(text, f"this table alone: {about}") for text in table["procedure"]
        ]
    return table[SCOPE_COLUMNS]


def _split_shares(design: Design, effects: pd.DataFrame) -> np.ndarray:
    """The split's part of the variance of each row of the effects, and its bounds."""
    points = seed_effects(design)
    points = points.rename(columns={points.columns[2]: "block"})
    keys = pd.MultiIndex.from_frame(effects[["axis", "level"]])
    wide = points.set_index(["block", "axis", "level"])["difference"].unstack(["axis", "level"])  # noqa: PD010
    wide = wide.reindex(columns=keys)
    blocks = design.blocks[1].get_indexer(wide.index)
    d = wide.to_numpy(dtype=float)
    return np.column_stack(infer_effects(d, design.splits[blocks], design.overlap).split_share())
