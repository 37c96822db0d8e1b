"""What limits the answer, in short sentences with badges: as far as the tables show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.analysis import EQUAL, UNDECIDED, Design, audit_failure
from ablations.analysis.ablation import Effects
from ablations.analysis.equality import unseen_rate
from ablations.analysis.interactions import UNKNOWN
from ablations.analysis.power import fewest_seeds
from ablations.analysis.robustness import LEVEL
from ablations.analysis.spending import TOTAL
from ablations.core.schema import LOSS_COLUMNS
from ablations.report.formatting import (
    format_count,
    format_level,
    format_number,
    join_words,
    name_outcome,
)
from ablations.report.soundness import has_learned
from ablations.report.strengths import name_axes, name_rows
from ablations.report.texts import (
    Caveat,
    capitalise,
    describe_seeds,
    describe_unpaired,
    shorten,
    write_caveats,
    write_text,
)

_MOST_NAMES = 3
"""Undecided contrasts that are named."""
_BADGES = (
    "too few seeds", "several looks", "diverged runs", "incomplete grid", "not comparable",
    "confounded", "skewed seeds", "rare failures", "without effect", "tuned", "interactions",
    "other combinations", "p and interval", "undecided", "survivors differ", "differences",
)  # fmt: skip


def audit_caveats(audit: pd.DataFrame) -> list[Caveat]:
    """Say where the fusion audit failed, and where rounding depends on the cohort."""
    n_changed = int((~audit["repeated"].astype(bool)).sum())
    badges = ("audit failed", "rounding varies")
    return write_caveats(badges, failure=audit_failure(audit), changed=n_changed)


def find_caveats(ablation: Effects) -> list[Caveat]:
    """Say what limits the answer, as far as the tables show it."""
    effects, design = ablation.effects, ablation.design
    compared, unpaired = effects[effects["pairs"] > 0], effects[effects["pairs"] == 0]
    nouns = {"seed": "seeds_dropped", "combination": "cells_dropped"}
    dropped = {noun: effects[column].max() for noun, column in nouns.items()}
    moderated = compared[~compared["depends_on"].isin(["", UNKNOWN])]
    n_sizes = compared.groupby("axis", sort=False)["cells"].nunique()
    contradicted = effects[
        (effects["verdict"] == UNDECIDED)
        & (effects["p_adjusted"] <= design.alpha)
        & (effects["diverged"] != effects["control_diverged"])
    ]
    is_equal = (effects["verdict"] == EQUAL) & (effects["identical"] < effects["pairs"])
    equal_seeds = int(effects.loc[is_equal, "seeds"].min()) if is_equal.any() else 0
    return write_caveats(
        _BADGES,
        n=len(effects),
        seeds=describe_seeds(effects),
        is_reachable=effects["reachable"].any(),
        min_seeds=fewest_seeds(design),
        looks=[f"{n:,}" for n in design.looks],
        alpha=design.alpha,
        look=describe_look(design),
        unrecorded=ablation.unrecorded,
        is_withheld=not design.verdict_level,
        has_diverged=effects["conditional"].any(),
        has_star=(effects["conditional"] & (effects["seeds"] > 0)).any(),
        dropped=[format_count(int(n), noun) for noun, n in dropped.items() if n > 0],
        filled=int(effects["filled"].max()) if len(effects) else 0,
        unpaired=[
            f"{capitalise(name_rows(unpaired)[i])} is not compared: {describe_unpaired(row)}"
            for i, row in enumerate(unpaired.to_dict("records"))
        ],
        confounded=_describe_confounding(compared),
        doubtful=describe_doubts(compared, design.alpha),
        skewed=_name_skewed(compared),
        equal_seeds=equal_seeds,
        unseen=unseen_rate(equal_seeds) if equal_seeds else 0.0,
        identical=name_rows(compared[compared["identical"] == compared["pairs"]]),
        tune_over=design.tune_over,
        tuned_by_seed=design.tuned_by_seed,
        is_dependence_unknown=len(compared) and (compared["depends_on"] == UNKNOWN).all(),
        moderated=describe_moderators(moderated),
        uneven_axes=n_sizes[n_sizes > 1].index.tolist(),
        disagreeing=explain_intervals(effects, design.alpha),
        is_one_moderated=len(moderated) == 1,
        advice=advise_seeds(effects, design) if has_learned(ablation) else "",
        contradicted=name_rows(contradicted),
        scale=design.scale,
        metric="" if design.outcome in LOSS_COLUMNS else name_outcome(design.outcome),
    )


def describe_look(design: Design) -> str:
    """Say which look this is, and what is left for later ones; nothing at the first."""
    if design.look is None or design.position < 2:
        return ""
    return write_text(
        "look",
        numbers=[f"{look.seeds:,}" for look in design.ledger[: design.position]],
        level=format_level(design.alpha),
        confidence=format_level(design.confidence),
        remaining=format_level(TOTAL - design.ledger[-1].spent),
    )


def describe_moderators(rows: pd.DataFrame) -> list[str]:
    """Say on which axes the effects of some rows depend: a sentence for each set of axes."""
    texts = []
    for axes, group in rows.groupby("depends_on", sort=False):
        names = join_words(shorten(name_rows(group), _MOST_NAMES))
        verb = "does" if len(group) == 1 else "do"
        texts.append(f"What {names} {verb} depends on {name_axes(str(axes))}")
    return texts


def explain_intervals(
    effects: pd.DataFrame, alpha: float, row: Mapping[str, Any] | None = None
) -> list[str]:
    """Say why effects, or that of ``row``, are open although their interval excludes no change."""
    shown = effects if row is None else pd.DataFrame([row])
    excludes_zero = (shown["low"] > 0) | (shown["high"] < 0)
    rows = shown[excludes_zero & (shown["p_adjusted"] > alpha) & shown["reachable"]]
    if rows.empty:
        return []
    names, is_one = join_words(shorten(name_rows(rows), _MOST_NAMES)), len(rows) == 1
    subject = f"The interval{'' if is_one else 's'} of {names} exclude{'s' if is_one else ''} 0"
    if (n := len(effects)) == 1:
        return [f"{subject}, but the verdict is by p of sign flips, which is more careful"]
    each = "it is" if is_one else "each is"
    return [f"{subject}, but {each} of one comparison alone; the verdict is over all {n:,}"]


def _describe_confounding(compared: pd.DataFrame) -> list[str]:
    """Name the levels that no pairs show, with what each cannot be told from."""
    rows = compared[compared["confounded_with"] != ""]
    pairs = zip(name_rows(rows), rows["confounded_with"], strict=True)
    return shorten([f"{name} from {other}" for name, other in pairs], _MOST_NAMES)


def _find_doubtful(effects: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return what is undecided only since another look at its seeds does not confirm its mean."""
    is_certain = (effects["p_adjusted"] <= alpha) & (effects["caution"] != "")
    is_alike = effects["diverged"] == effects["control_diverged"]
    return effects[(effects["verdict"] == UNDECIDED) & is_certain & is_alike]


def describe_doubts(effects: pd.DataFrame, alpha: float) -> list[str]:
    """Say of what is undecided in spite of its mean why it is."""
    rows = _find_doubtful(effects, alpha)
    pairs = zip(name_rows(rows), rows["caution"], strict=True)
    texts = [
        f"{capitalise(name)} is undecided although its mean looks certain. {caution}"
        for name, caution in pairs
    ]
    return shorten(texts, _MOST_NAMES)


def _name_skewed(effects: pd.DataFrame) -> list[str]:
    """Name the levels whose seeds are skewed beyond normal luck."""
    names = name_rows(effects[effects["p_skewed"] <= LEVEL])
    if len(effects) > 1 and (effects["p_shared_skew"] <= LEVEL).any():
        return ["most techniques and settings"]
    return shorten(names, _MOST_NAMES)


def advise_seeds(effects: pd.DataFrame, design: Design | None = None) -> str:
    """Say how many more seeds would decide the undecided effects, fewest first, and at which level
    the look at the fewest would be judged.
    """
    undecided = effects[(effects["verdict"] == UNDECIDED) & (effects["seeds"] >= 2)]
    if "diverged" in undecided:
        # More seeds do not decide an effect that divergence or a second opinion keeps undecided.
        is_blocked = undecided["diverged"] != undecided["control_diverged"]
        is_blocked |= undecided.get("caution", "") != ""
        undecided = undecided[~(is_blocked & undecided["more"].isna())]
    if undecided.empty:
        return ""
    decidable = undecided.dropna(subset="more").sort_values("more", kind="stable")
    rows = decidable.head(_MOST_NAMES)
    parts = [f"{more:,.0f} {join_words(name_rows(group))}" for more, group in rows.groupby("more")]
    if parts:
        more = format_count(int(rows["more"].iloc[0]), "more seed")
        parts[0] = f"about {more} would settle {parts[0].partition(' ')[2]}"
    needs_rows = undecided[undecided.get("needs_rows", pd.Series(False, undecided.index))]
    others = len(undecided) - len(rows) - len(needs_rows)
    is_grouped = len(parts) < len(rows)  # with commas of its own
    facts: dict[str, Any] = {"parts": parts, "others": others, "is_grouped": is_grouped}
    facts["needs_rows"] = shorten(name_rows(needs_rows), _MOST_NAMES)
    if not parts or design is None:
        return write_text("advice", **facts, level="", now="", is_spent=False, stated=0)
    next_level = design.level_at(design.n_seeds + int(rows["more"].iloc[0]))
    level, now = (format_number(each, 2) for each in (next_level, design.alpha))
    return write_text(
        "advice",
        **facts,
        level=level if design.look and level != now else "",
        now=now,
        more=format_count(int(rows["more"].iloc[0]), "more seed"),
        is_spent=len(design.looks) > 0 and design.n_seeds >= max(design.looks),
        stated=min((n for n in design.looks if n > design.n_seeds), default=0),
    )
