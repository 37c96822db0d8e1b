"""What a level does, in four words, and why these are not what the numbers suggest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis.design import Design
from ablations.analysis.equality import unseen_rate
from ablations.analysis.inference import min_seeds

HELPS, HURTS, EQUAL = "helps", "hurts", "practically equal"
UNDECIDED = "not enough evidence"
VERDICTS = (HELPS, HURTS, EQUAL, UNDECIDED)


def verdicts(
    effects: pd.DataFrame, *, alpha: float = 0.05, higher_is_better: bool = False
) -> pd.Series:
    """Give every row of a table its verdict: a Series of words on its index.

    The table needs ``effect, p_adjusted, p_equivalent_adjusted, diverged, control_diverged,
    p_divergence``; and may have ``doubt`` (``find_doubts``).  The first rule that fits decides:

    1. It diverges more often than its control, beyond chance: hurts.
    2. It diverges less often, beyond chance, and where both survived its mean is not worse, or is
       within the margin: helps.
    3. It is within the margin (two one-sided tests), and diverges as often: practically equal,
       even when the tiny difference is certain.
    4. The adjusted p is at most ``alpha``: helps or hurts. Yet a level that diverges more than its
       control never helps and one that diverges less never hurts, since the pairs that are missing
       are its control's bad ones; and none does of which there is a ``doubt``.
    5. Not enough evidence.
    """
    more = effects["diverged"] > effects["control_diverged"]
    fewer = effects["diverged"] < effects["control_diverged"]
    unstable = effects["p_divergence"] <= alpha
    certain = effects["p_adjusted"] <= alpha
    better = effects["effect"] > 0 if higher_is_better else effects["effect"] < 0
    worse = effects["effect"] < 0 if higher_is_better else effects["effect"] > 0
    within = effects["p_equivalent_adjusted"] <= alpha
    if "doubt" in effects:
        certain &= effects["doubt"] == ""
    rules = [
        more & unstable,
        fewer & unstable & (~worse | within),
        within & ~more & ~fewer,
        certain & better & ~more,
        certain & worse & ~fewer,
    ]
    conditions = [rule.to_numpy(dtype=bool) for rule in rules]
    words = np.select(conditions, [HURTS, HELPS, EQUAL, HELPS, HURTS], UNDECIDED)
    return pd.Series(words, index=effects.index, name="verdict", dtype=object)


def find_doubts(effects: pd.DataFrame, design: Design) -> list[str]:
    """Say of every row where another look at its seeds does not confirm its mean; else nothing.

    The robust estimate has the other sign, or its interval contains 0; or one seed alone carries
    the mean; or p corrected for the visible skewness is above ``alpha``.
    """
    return [_find_doubt(row, design) for row in effects.to_dict("records")]


def _find_doubt(row: Mapping[str, Any], design: Design) -> str:
    unit = design.unit
    if row["effect"] * row["robust"] < 0:
        return f"The mean of its {unit}s and their robust estimate (Hodges-Lehmann) differ in sign."
    if row["robust_low"] <= 0 <= row["robust_high"]:
        return f"The robust interval of its {unit}s (Hodges-Lehmann) contains 0."
    if row["carrier"]:
        return f"The {unit} {row['carrier']} alone carries it: without it the interval contains 0."
    if row["p_corrected"] <= design.alpha or np.isnan(row["p_corrected"]):
        return ""
    subject = (
        f"Its {unit}s" if row["p_skewed"] <= design.alpha else f"The {unit}s of most comparisons"
    )
    return (
        f"{subject} are skewed, and corrected for that p is {row['p_corrected']:.2g}: up to "
        f"{100 * unseen_rate(row['seeds']):.0f} % of all {unit}s may be unlike its {row['seeds']}."
    )


def describe_cautions(effects: pd.DataFrame, design: Design) -> list[str]:
    """Say of every row with a verdict why it is not what interval and p suggest; else nothing."""
    return [_describe_caution(row, design) for row in effects.to_dict("records")]


def _describe_contradiction(row: Mapping[str, Any]) -> str:
    """Say that divergence speaks against what runs that survived show; else nothing."""
    counts = row["diverged"], row["control_diverged"]
    if counts[0] == counts[1]:
        return ""
    return (
        f"Undecided: it has no finite outcome in {counts[0]:,} of {row['pairs']:,} runs, its "
        f"control in {counts[1]:,}, which speaks against what the other runs show."
    )


def _describe_caution(row: Mapping[str, Any], design: Design) -> str:
    fewest, alpha = min_seeds(design.alpha), design.alpha
    if row["verdict"] == UNDECIDED and row["p_adjusted"] <= alpha and row["doubt"]:
        return str(row["doubt"])
    if (
        row["verdict"] == UNDECIDED
        and min(row["p_adjusted"], row["p_equivalent_adjusted"]) <= alpha
    ):
        return _describe_contradiction(row)
    if row["verdict"] == UNDECIDED and row["seeds"] < fewest and row["p_equivalent"] <= alpha:
        return f"It seems equal, but fewer than {fewest} {design.unit}s cannot show that."
    if row["verdict"] not in (HELPS, HURTS) or not row["low"] <= 0 <= row["high"]:
        return ""
    if row["p_divergence"] <= alpha and row["diverged"] != row["control_diverged"]:
        more = "more" if row["diverged"] > row["control_diverged"] else "less"
        return (
            f"It diverges {more} often than its control, which decides; where both survived its "
            "interval contains 0."
        )
    return (
        f"Its interval contains 0: {design.unit}s agree in sign, which decides "
        f"(p {row['p_adjusted']:.2g}), more than in size."
    )
