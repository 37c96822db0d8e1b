"""Four words: helps, hurts, practically equal, not enough evidence."""

from __future__ import annotations

import numpy as np
import pandas as pd

HELPS = "helps"
HURTS = "hurts"
EQUAL = "practically equal"
UNDECIDED = "not enough evidence"
VERDICTS = (HELPS, HURTS, EQUAL, UNDECIDED)


def verdicts(
    effects: pd.DataFrame, *, alpha: float = 0.05, higher_is_better: bool = False
) -> pd.Series:
    """Give every row of a table of effects its verdict.

    The first rule that fits decides:

    1. It diverges more often than its control, beyond chance: hurts.
    2. It diverges less often, beyond chance, and where both survived its mean is not worse, or is
       within the margin: helps.
    3. It is within the margin (two one-sided tests), and diverges as often: practically equal,
       even when the tiny difference is certain.
    4. The adjusted p is at most ``alpha``: helps or hurts. Yet a level that diverges more than its
       control never helps and one that diverges less never hurts, since the pairs that are missing
       are its control's bad ones.
    5. Not enough evidence.

    Parameters
    ----------
    effects : needs ``effect, p_adjusted, p_equivalent, diverged, control_diverged, p_divergence``.

    Returns
    -------
    Series of str, on the index of ``effects``.
    """
    more = effects["diverged"] > effects["control_diverged"]
    fewer = effects["diverged"] < effects["control_diverged"]
    unstable = effects["p_divergence"] <= alpha
    certain = effects["p_adjusted"] <= alpha
    better = effects["effect"] > 0 if higher_is_better else effects["effect"] < 0
    worse = effects["effect"] < 0 if higher_is_better else effects["effect"] > 0
    within = effects["p_equivalent"] <= alpha
    rules = [
        more & unstable,
        fewer & unstable & (~worse | within),
        within & ~more & ~fewer,
        certain & better & ~more,
        certain & worse & ~fewer,
    ]
    words = np.select(
        [rule.to_numpy(dtype=bool) for rule in rules],
        [HURTS, HELPS, EQUAL, HELPS, HURTS],
        UNDECIDED,
    )
    return pd.Series(words, index=effects.index, name="verdict", dtype=object)
