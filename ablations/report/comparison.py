"""Two results folders, run by run: before and after an upgrade, or two branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablations.analysis import Scale, adjust, main_effects
from ablations.analysis.ablation import Effects, ablation_effects
from ablations.analysis.design import OUTCOME, SETTINGS, Design
from ablations.analysis.interactions import simple_effects
from ablations.analysis.results import Results
from ablations.core.errors import RequestError
from ablations.report.drafts import Draft, draft
from ablations.report.forest_scale import choose_unit
from ablations.report.formatting import (
    FEWEST_SEEDS,
    format_count,
    join_words,
    name_outcome,
)
from ablations.report.headline import Sentence, write_screen
from ablations.report.phrases import Wording, describe_place
from ablations.report.run_tables import flatten
from ablations.report.strengths import name_level, row_id
from ablations.report.texts import Caveat, shorten, write_caveats, write_text
from ablations.results.metadata import StudyMetadata, in_order

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

FOLDER = "folder"
"""The axis on which runs of the two folders differ."""
ALPHA = 0.05
"""The level of a change from one folder to the other, which is looked at once."""
_MOST_NAMES = 2
"""Names in one sentence."""
_LOSSES = ["objective", "train_loss", OUTCOME]


@dataclass(frozen=True)
class Comparison:
    """Runs that both folders hold, paired by what defines them."""

    names: tuple[str, str]  # of the first folder, which is the control, and of the second
    first: Effects
    overall: pd.Series  # the row of ``main_effects`` over all pairs
    by_level: pd.DataFrame  # rows of ``simple_effects``: the same at each level of each axis
    flipped: pd.DataFrame  # levels whose verdict differs: ``axis, level, before, after``
    endings: pd.DataFrame  # pairs whose status differs: ``before, after, runs``
    pairs: int
    identical: int  # pairs whose numbers are the same to the last bit
    only: tuple[int, int]  # runs that only the first and only the second folder holds
    confined: tuple[tuple[str, str], ...]  # axes and levels common to all pairs not identical
    changed: Mapping[str, tuple[str, str]]  # facts in which the environments differ

    @property
    def regressions(self) -> tuple[str, ...]:
        """Where the second folder is worse beyond the margin, in words.

        Over all pairs: the mean is worse by more than the margin and its interval excludes zero
        (with a single seed, which has no interval, the mean alone decides); more runs diverge than
        chance explains; or runs fail that did not.  At a level: the same mean, and its adjusted p
        is at most 5 %.  Where all changes have a level in common, no other level of its axis, and
        no level of another axis, is named for them.
        """
        failed = int(self.endings.loc[self.endings["after"] == "failed", "runs"].sum())
        return (
            *([f"over all pairs {self.describe_size()}"] if self._is_beyond_margin(1) else []),
            *([self.describe_divergence()] if self.diverges_more else []),
            *([f"{format_count(failed, 'run')} failed that had not"] if failed else []),
            *self._changed_levels(1),
        )

    @property
    def diverges_more(self) -> bool:
        """Whether more runs of the second folder diverge than chance explains."""
        row = self.overall
        is_certain = row["p_divergence"] <= ALPHA or row["n"] < FEWEST_SEEDS
        return bool(row["diverged"] > row["control_diverged"] and is_certain)

    @property
    def verdict(self) -> str:
        """Compare the runs that survived in both folders, by the rule of ``regressions``."""
        few = self.overall["seeds"] < FEWEST_SEEDS
        alone = " (a single seed: by its number alone)" if few else ""
        for sign, word in ((1, "worse"), (-1, "better")):
            if self._is_beyond_margin(sign):
                return f"is {word}{alone}"
        if levels := [*self._changed_levels(1), *self._changed_levels(-1)]:
            return f"is equal on average, but not {join_words(shorten(levels, _MOST_NAMES))}"
        if self.overall["p_equivalent_adjusted"] <= ALPHA:
            return "is practically equal"
        return "is not surely better or worse"

    @property
    def _worse(self) -> int:
        """The sign of a change for the worse."""
        return -1 if self.first.design.higher_is_better else 1

    def _is_beyond_margin(self, sign: int) -> bool:
        """Whether the mean is beyond the margin, with its interval on one side of zero."""
        row, sign = self.overall, sign * self._worse
        near_end = row["low"] if sign > 0 else -row["high"]
        is_certain = near_end > 0 if row["seeds"] >= FEWEST_SEEDS else row["seeds"] == 1
        return bool(sign * row["effect"] > self.first.design.bound and is_certain)

    def _changed_levels(self, sign: int) -> list[str]:
        return [
            f"{describe_place(row['axis'], row['level'])} {self.describe_size(row)}"
            for _, row in self._rows_beyond_margin(sign).iterrows()
            if not self.confined or (row["axis"], row["level"]) in self.confined
        ]

    def _rows_beyond_margin(self, sign: int) -> pd.DataFrame:
        is_beyond = sign * self._worse * self.by_level["effect"] > self.first.design.bound
        return self.by_level[is_beyond & (self.by_level["p_adjusted"] <= ALPHA)]

    def find_extreme(self) -> pd.Series | None:
        """Return the level with the largest change, where all pairs together changed that way."""
        for sign in (1, -1):
            rows = self._rows_beyond_margin(sign)
            if self._is_beyond_margin(sign) and len(rows):
                return rows.loc[rows["effect"].abs().idxmax()]
        return None

    def describe_divergence(self) -> str:
        """Write how many runs diverged in both folders."""
        row = self.overall
        return f"{row['diverged']:,} runs diverged, {row['control_diverged']:,} before"

    def describe_size(self, row: pd.Series | None = None) -> str:
        """Write the change of a row, by default the one over all pairs, with its interval."""
        return self._wording.estimate(dict(self.overall if row is None else row))

    @cached_property
    def _wording(self) -> Wording:
        """How the changes are said: in the unit and with the digits of the forest plot."""
        design = self.first.design
        columns = ["pairs", "effect", "change"]
        rows = pd.concat([pd.DataFrame([self.overall])[columns], self.by_level[columns]])
        compared = rows[rows["effect"].notna()]
        effects = map(float, compared["effect"])
        unit = choose_unit(effects) if design.scale == "log" else "percent"
        return Wording.from_table(compared, design, unit)


def compare(
    first: StoredResults,
    second: StoredResults,
    metadata: tuple[StudyMetadata, StudyMetadata],
    names: tuple[str, str],
) -> Comparison:
    """Compare two folders of results on the runs that both hold; a RequestError if on none."""
    shared = set(first.runs["run_id"]) & set(second.runs["run_id"])
    if not shared:
        settings = _differing_settings(first.runs, second.runs)
        message = write_text("no_shared_run", folder=first.folder, settings=settings)
        raise RequestError(message, source=str(second.folder))
    folders = first.only(shared), second.only(shared)
    old_answers, new_answers = map(Results.from_stored, folders, metadata)
    design = old_answers.design()
    before, after = map(ablation_effects, (design, new_answers.design(design.outcome)))
    old_runs, new_runs = (folder.runs.set_index("run_id").sort_index() for folder in folders)
    columns = list(dict.fromkeys([*_LOSSES, design.outcome]))
    old, new = old_runs[columns], new_runs[columns]
    is_same = (old.eq(new) | (old.isna() & new.isna())).all(axis=1)
    is_same &= old_runs["status"] == new_runs["status"]
    overall, by_level = _contrasts(before.design, after.design, names)
    return Comparison(
        names=names,
        first=before,
        overall=overall,
        by_level=by_level,
        flipped=_flipped_verdicts(before.effects, after.effects),
        endings=_changed_endings(old_runs["status"], new_runs["status"]),
        pairs=len(shared),
        identical=int(is_same.sum()),
        confined=_common_levels(before.design, set(is_same.index[~is_same])),
        only=(len(first.runs) - len(shared), len(second.runs) - len(shared)),
        changed=_changed_facts(first, second),
    )


def _contrasts(
    before: Design, after: Design, names: tuple[str, str]
) -> tuple[pd.Series, pd.DataFrame]:
    """Return the second folder against the first, over all pairs and at each level."""
    old = before.untuned.runs.assign(**{FOLDER: names[0]})
    new = after.untuned.runs.assign(**{FOLDER: names[1]})
    runs = pd.concat([old, new], ignore_index=True)
    # A loss without a logarithm on one side must be reported, not compared on another scale.
    scale: Scale = "log" if before.scale == after.scale == "log" else "difference"
    control, factors = {FOLDER: names[0]}, [FOLDER, *before.untuned.factors]
    limits = {"margin": before.margin, "alpha": ALPHA}
    role = {"outcome": before.outcome, "higher_is_better": before.higher_is_better}
    overall = main_effects(runs, control, factors, scale=scale, **limits, **role)
    controls = {axis: before.controls[axis] for axis in before.axes if axis in before.controls}
    by_level = simple_effects(
        runs, control | controls, factors, scale=scale, outcome=before.outcome
    )
    by_level = by_level[by_level["axis"] == FOLDER].drop(columns=["axis", "level"])
    by_level = by_level.rename(columns={"given": "axis", "given_level": "level"})
    # Levels at which nothing changed are not tested, and the others' p is not adjusted for them.
    p = by_level["p"].where(by_level["identical"] < by_level["pairs"]).to_numpy(dtype=float)
    by_level = by_level.assign(p_adjusted=adjust(p, "fdr_bh"))
    return overall.iloc[0], in_order(by_level, before.levels)


def _flipped_verdicts(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    names = ["axis", "level", "verdict"]
    old, new = (table.loc[table["pairs"] > 0, names] for table in (before, after))
    both = old.merge(new, on=["axis", "level"]).set_axis([*names[:2], "before", "after"], axis=1)
    return both[both["before"] != both["after"]]


def _common_levels(design: Design, changed: set[str]) -> tuple[tuple[str, str], ...]:
    """The axes on which all changed runs have one level, and that level."""
    runs = design.untuned.runs
    runs = runs[runs["run_id"].isin(changed)]
    levels = [(axis, set(runs[axis])) for axis in design.axes]
    return tuple((axis, next(iter(names))) for axis, names in levels if len(names) == 1)


def _differing_settings(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """The settings of which the folders share no value, with their values."""
    texts = []
    for name in (*SETTINGS, "seed"):
        old, new = (set(map(str, runs[name])) for runs in (first, second))
        if not old & new:
            texts.append(f"{name}: {', '.join(sorted(old)[:3])} and {', '.join(sorted(new)[:3])}")
    return "; ".join(texts)


def _changed_endings(before: pd.Series, after: pd.Series) -> pd.DataFrame:
    both = pd.DataFrame({"before": before.astype(str), "after": after.astype(str)})
    both = both[both["before"] != both["after"]]
    return both.groupby(["before", "after"]).size().rename("runs").reset_index()


def _changed_facts(first: StoredResults, second: StoredResults) -> dict[str, tuple[str, str]]:
    old, new = _environment_facts(first), _environment_facts(second)
    facts = {key: (old.get(key, ""), new.get(key, "")) for key in old | new}
    return {key: values for key, values in facts.items() if values[0] != values[1]}


def _environment_facts(results: StoredResults) -> dict[str, str]:
    values: dict[str, dict[str, None]] = {}
    for _, description in sorted(results.environment.items()):
        for key, value in flatten(description).items():
            values.setdefault(key, {})[value] = None
    return {key: ", ".join(texts) for key, texts in values.items()}


def write_sentences(comparison: Comparison) -> list[Sentence]:
    """Say what changed: first the one thing to know, then where, each with its evidence."""
    first, *others = [*_draft_change(comparison), *_draft_details(comparison)]
    screen = write_screen(first, others)
    return [screen.headline, *screen.sentences]


def _draft_change(comparison: Comparison) -> list[Draft]:
    """What changed over all pairs."""
    row, (first, second) = comparison.overall, comparison.names
    pairs = f"{format_count(comparison.pairs, 'pair')} of runs"
    outcome = name_outcome(comparison.first.design.outcome)
    facts: dict[str, Any] = {"first": first, "second": second, "outcome": outcome}
    if comparison.identical == comparison.pairs:
        return [draft("same_runs", "", facts | {"pairs": pairs})]
    if not row["seeds"]:
        return [draft("no_outcome", "#endings", facts)]
    drafts = []
    is_worse = row["diverged"] > row["control_diverged"]
    if is_worse:
        divergence = {
            "is_certain": comparison.diverges_more,
            "divergence": comparison.describe_divergence(),
        }
        drafts.append(draft("diverges_more", "#forest", facts | divergence))
    if row["survivors"] != row["pairs"]:
        pairs = f"{row['survivors']:,} of {pairs}"
    facts |= {
        "subject": "where both survived it" if is_worse else second,
        "verdict": comparison.verdict,
        "size": comparison.describe_size(),
        "pairs": pairs,
        "seeds": format_count(int(row["seeds"]), "seed"),
    }
    shorter = {"verdict": comparison.verdict.split(", but")[0]}
    return [*drafts, draft("compared", "#forest", facts, {"seeds": ""}, {"pairs": ""}, shorter)]


def _draft_details(comparison: Comparison) -> list[Draft]:
    """Where something changed: levels, verdicts and endings."""
    drafts = []
    if comparison.confined and 0 < comparison.identical < comparison.pairs:
        levels = [name_level(axis, level) for axis, level in comparison.confined]
        drafts.append(draft("confined", "#forest", {"levels": levels}))
    elif (row := comparison.find_extreme()) is not None:
        facts: dict[str, Any] = {
            "place": describe_place(row["axis"], row["level"]),
            "outcome": name_outcome(comparison.first.design.outcome),
            "size": comparison.describe_size(row),
        }
        drafts.append(draft("most_changed", f"#{row_id(row['axis'], row['level'])}", facts))
    flips = [
        f"{name_level(row.axis, row.level)} from “{row.before}” to “{row.after}”"
        for row in comparison.flipped.itertuples()
    ]
    if flips:
        facts = {"n": len(flips), "flips": shorten(flips, _MOST_NAMES)}
        shorter = [{"flips": shorten(flips, most)} for most in range(_MOST_NAMES - 1, 0, -1)]
        drafts.append(draft("flipped", "#verdicts", facts, *shorter))
    endings = [
        f"{format_count(int(row.runs), 'run')} {row.before} before and {row.after} now"
        for row in comparison.endings.itertuples()
    ]
    if endings:
        drafts.append(draft("ended", "#endings", {"endings": shorten(endings, _MOST_NAMES)}))
    return drafts


def find_caveats(comparison: Comparison) -> list[Caveat]:
    """Say what limits the conclusion."""
    only = zip(comparison.only, comparison.names, strict=True)
    caveats = write_caveats(
        ("regression", "some identical", "unpaired runs"),
        regressions=comparison.regressions,
        identical=comparison.identical,
        total=comparison.pairs,
        unpaired=[f"{n:,} only in {name}" for n, name in only if n],
    )
    return caveats if comparison.changed else [*caveats, Caveat("", write_text("same_environment"))]
