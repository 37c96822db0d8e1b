"""What limits the answer, in short sentences with badges: as far as the tables show it."""

from __future__ import annotations

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
from ablations.report.formatting import format_count, format_level, join_words, name_outcome
from ablations.report.soundness import has_learned
from ablations.report.texts import Caveat, describe_seeds, shorten, write_caveats, write_text

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
    names = [
        f"That of {row.axis} {row.level} depends on {join_words(row.depends_on.split(', '))}"
        for row in moderated.itertuples()
    ]
    n_sizes = compared.groupby("axis", sort=False)["cells"].nunique()
    excludes_zero = (effects["low"] > 0) | (effects["high"] < 0)
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
        unpaired=list(unpaired["left_out"]) if len(unpaired) else [],
        confounded=_describe_confounding(compared),
        doubtful=_describe_doubts(compared, design.alpha),
        skewed=_name_skewed(compared),
        equal_seeds=equal_seeds,
        unseen=unseen_rate(equal_seeds) if equal_seeds else 0.0,
        identical=_level_names(compared[compared["identical"] == compared["pairs"]]),
        tune_over=design.tune_over,
        tuned_by_seed=design.tuned_by_seed,
        is_dependence_unknown=len(compared) and (compared["depends_on"] == UNKNOWN).all(),
        moderated=[
            *names[:_MOST_NAMES],
            *_count_more(len(names) - _MOST_NAMES),
        ],
        uneven_axes=n_sizes[n_sizes > 1].index.tolist(),
        intervals_disagree=(excludes_zero & (effects["p_adjusted"] > design.alpha)).any(),
        advice=advise_seeds(effects, design) if has_learned(ablation) else "",
        contradicted=_level_names(contradicted),
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


def _count_more(n: int) -> list[str]:
    return [f"So {'does' if n == 1 else 'do'} that of {n:,} more"] if n > 0 else []


def _describe_confounding(compared: pd.DataFrame) -> list[str]:
    """Name the levels that no pairs show, with what each cannot be told from."""
    rows = compared[compared["confounded_with"] != ""]
    texts = [f"{row.axis} {row.level} from {row.confounded_with}" for row in rows.itertuples()]
    return shorten(texts, _MOST_NAMES)


def _find_doubtful(effects: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return what is undecided only since another look at its seeds does not confirm its mean."""
    is_certain = (effects["p_adjusted"] <= alpha) & (effects["caution"] != "")
    is_alike = effects["diverged"] == effects["control_diverged"]
    return effects[(effects["verdict"] == UNDECIDED) & is_certain & is_alike]


def _describe_doubts(effects: pd.DataFrame, alpha: float) -> list[str]:
    texts = [
        f"{row.axis} {row.level}: {row.caution[0].lower()}{row.caution[1:].rstrip('.')}"
        for row in _find_doubtful(effects, alpha).itertuples()
    ]
    return shorten(texts, _MOST_NAMES)


def _name_skewed(effects: pd.DataFrame) -> list[str]:
    """Name the levels whose seeds are skewed beyond normal luck."""
    names = _level_names(effects[effects["p_skewed"] <= LEVEL])
    if len(effects) > 1 and (effects["p_shared_skew"] <= LEVEL).any():
        return ["most levels"]
    return shorten(names, _MOST_NAMES)


def _level_names(effects: pd.DataFrame) -> list[str]:
    return [f"{row.axis} {row.level}" for row in effects.itertuples()]


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
    parts = [f"{row.more:,.0f} {row.axis} {row.level}" for row in rows.itertuples()]
    if parts:
        first = rows.iloc[0]
        more = format_count(int(first["more"]), "more seed")
        parts[0] = f"about {more} would decide {first['axis']} {first['level']}"
    needs_rows = undecided[undecided.get("needs_rows", pd.Series(False, undecided.index))]
    others = len(undecided) - len(parts) - len(needs_rows)
    facts: dict[str, Any] = {"parts": parts, "others": others}
    facts["needs_rows"] = shorten(_level_names(needs_rows), _MOST_NAMES)
    if not parts or design is None:
        return write_text("advice", **facts, level="", now="", is_spent=False, stated=0)
    next_level = design.level_at(design.n_seeds + int(rows["more"].iloc[0]))
    return write_text(
        "advice",
        **facts,
        level=format_level(next_level) if design.look else "",
        now=format_level(design.alpha),
        is_spent=len(design.looks) > 0 and design.n_seeds >= max(design.looks),
        stated=min((n for n in design.looks if n > design.n_seeds), default=0),
    )
