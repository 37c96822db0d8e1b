"""Two results folders, run by run: before and after an upgrade, or two branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablations.analysis import (
    EQUAL,
    HELPS,
    HURTS,
    UNDECIDED,
    Scale,
    adjust,
    main_effects,
    seed_effects,
)
from ablations.analysis.ablation import Effects, ablation_effects, study_design
from ablations.analysis.design import OUTCOME, SETTINGS, Design
from ablations.analysis.interactions import simple_effects
from ablations.core.errors import RequestError
from ablations.report.figures.effects import main_effects as main_effects_figure
from ablations.report.figures.gallery import RenderedFigure, draw_figures
from ablations.report.figures.panels import FigureSpec
from ablations.report.formatting import (
    NOTHING,
    format_change,
    format_count,
    format_margin,
    format_number,
    join_words,
)
from ablations.report.page import load_templates
from ablations.report.style import theme_declarations
from ablations.report.summary import Caveat
from ablations.report.tables import Cell, Table, flat, interval, numeric
from ablations.results.metadata import StudyMetadata, in_order

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

FOLDER = "folder"
"""The axis on which runs of the two folders differ."""
_LOSSES = ["objective", "train_loss", OUTCOME]
_FEWEST = 2
"""Seeds from which on an interval tells something."""


@dataclass(frozen=True)
class Comparison:
    """Runs that both folders hold, paired by what defines them.

    Attributes
    ----------
    names
        What the folders are called: the first, which is the control, and the second.
    overall
        One row of ``main_effects``: the second folder against the first, over all pairs.
    by_level
        Rows of ``simple_effects``: the same where each axis is at each of its levels.
    flipped
        Levels whose verdict against their control is another one: ``axis, level, before, after``.
    endings
        Pairs that ended otherwise: ``before, after, runs``.
    pairs, identical
        Pairs, and those whose numbers are the same to the last bit.
    only
        Runs that only the first and only the second folder holds.
    confined
        Axis and level that all pairs have in common that are not identical.
    changed
        What the environments differ in: fact to the values in both.
    """

    names: tuple[str, str]
    first: Effects
    overall: pd.DataFrame
    by_level: pd.DataFrame
    by_seed: pd.DataFrame
    flipped: pd.DataFrame
    endings: pd.DataFrame
    pairs: int
    identical: int
    only: tuple[int, int]
    confined: tuple[tuple[str, str], ...]
    changed: Mapping[str, tuple[str, str]]

    @property
    def regressions(self) -> tuple[str, ...]:
        """Where the second folder is worse beyond the margin, in words.

        Over all pairs: the mean is worse by more than the margin and its interval leaves out zero
        (with a single seed, which has none, the mean alone decides); more runs diverge than chance
        explains; or runs fail that did not.  At a level: the same mean, and its p, adjusted, is at
        most 5 %.  Where all that changed has a level in common, no other level of its axis, and
        none of another axis, is named for it.
        """
        found = []
        for _, row in self.overall.iterrows():
            if self._beyond(row, 1):
                found.append(f"over all pairs {self.size(row)}")
            if self.diverges(row):
                found.append(_counts(row))
        failed = int(self.endings.loc[self.endings["after"] == "failed", "runs"].sum())
        found += [f"{format_count(failed, 'run')} failed that had not"] if failed else []
        found += [f"at {level}" for level in self._levels(1)]
        return tuple(found)

    def diverges(self, row: pd.Series) -> bool:
        """Whether more runs of the second folder diverge than chance explains."""
        more = row["diverged"] > row["control_diverged"]
        return bool(more and (row["p_divergence"] <= self.first.design.alpha or row["n"] < _FEWEST))

    def verdict(self, row: pd.Series) -> str:
        """What the second folder is where both survived, by the rule that regressions go by."""
        alone = " (a single seed: by its number alone)" if row["seeds"] < _FEWEST else ""
        if self._beyond(row, 1):
            return f"is worse{alone}"
        if self._beyond(row, -1):
            return f"is better{alone}"
        moved = [*self._levels(1), *self._levels(-1)]
        if moved:
            return f"is equal on average, but not at {join_words(moved)}"
        if row["p_equivalent"] <= self.first.design.alpha:
            return "is practically equal"
        return "may be better or worse, for which there is not enough evidence"

    def _beyond(self, row: pd.Series, sign: int) -> bool:
        """Whether the mean of a row is beyond the margin, and its interval on one side of zero."""
        near = row["low"] if sign > 0 else -row["high"]
        certain = near > 0 if row["seeds"] >= _FEWEST else row["seeds"] == 1
        return bool(sign * row["effect"] > self.first.design.bound and certain)

    def _levels(self, sign: int) -> list[str]:
        beyond = sign * self.by_level["effect"] > self.first.design.bound
        rows = self.by_level[beyond & (self.by_level["p_adjusted"] <= 0.05)]
        if self.confined:
            named = [
                (row["given"], row["given_level"]) in self.confined for _, row in rows.iterrows()
            ]
            rows = rows[named]
        return [
            f"{row['given']} {row['given_level']} {self.size(row)}" for _, row in rows.iterrows()
        ]

    def size(self, row: pd.Series) -> str:
        """The change of a row with its interval."""
        scale = self.first.design.scale
        low, high = (format_change(row, scale, part) for part in ("low", "high"))
        interval = f" [{low}, {high}]" if row["seeds"] >= _FEWEST else ""
        return f"{format_change(row, scale)}{interval}"


def compare(
    first: StoredResults,
    second: StoredResults,
    stories: tuple[StudyMetadata, StudyMetadata],
    names: tuple[str, str],
) -> Comparison:
    """Compare two folders of results on the runs that both hold.

    Raises
    ------
    RequestError
        If they have no run in common.
    """
    shared = set(first.runs["run_id"]) & set(second.runs["run_id"])
    if not shared:
        message = f"has no run in common with {first.folder}"
        differing = _settings_apart(first.runs, second.runs)
        why = (
            f"they differ in {differing}"
            if differing
            else ("runs are paired by task, model, levels, settings and seed")
        )
        raise RequestError(f"{message}: {why}", source=str(second.folder))
    parts = [found.only(shared) for found in (first, second)]
    before, after = (
        ablation_effects(study_design(part, metadata))
        for part, metadata in zip(parts, stories, strict=True)
    )
    design = before.design
    runs = pd.concat(
        [
            table.design.untuned.runs.assign(**{FOLDER: name})
            for table, name in zip((before, after), names, strict=True)
        ],
        ignore_index=True,
    )
    # A pair that has no number on one side is told of, and must not be taken for another loss.
    scale: Scale = "log" if design.scale == after.design.scale == "log" else "difference"
    control, factors = {FOLDER: names[0]}, [FOLDER, *design.untuned.factors]
    how = {"scale": scale, "margin": design.margin, "alpha": design.alpha}
    overall = main_effects(runs, control, factors, **how)  # type: ignore[arg-type]
    others = {axis: design.controls[axis] for axis in design.axes if axis in design.controls}
    inside = simple_effects(runs, control | others, factors, scale=scale)
    inside = inside[inside["axis"] == FOLDER].drop(columns="axis")
    renamed = {"given": "axis", "given_level": "level"}
    # What is the same to the bit is no question, and costs the others nothing.
    asked = (inside["identical"] < inside["pairs"]).to_numpy()
    p = inside["p"].to_numpy(dtype=float)
    inside = inside.assign(p_adjusted=adjust(np.where(asked, p, np.nan), "fdr_bh"))
    inside = in_order(inside.drop(columns="level").rename(columns=renamed), design.levels)
    own, theirs = (part.runs.set_index("run_id").sort_index() for part in parts)
    same = (own[_LOSSES].eq(theirs[_LOSSES]) | (own[_LOSSES].isna() & theirs[_LOSSES].isna())).all(
        axis=1
    )
    same &= own["status"] == theirs["status"]
    return Comparison(
        names=names,
        first=before,
        overall=overall,
        by_level=inside.rename(columns={new: old for old, new in renamed.items()}),
        by_seed=seed_effects(runs, control, factors, scale=scale),
        flipped=_flipped(before.effects, after.effects),
        endings=_endings(own["status"], theirs["status"]),
        pairs=len(shared),
        identical=int(same.sum()),
        confined=_confined(design, set(same.index[~same])),
        only=(len(first.runs) - len(shared), len(second.runs) - len(shared)),
        changed=_changed(first, second),
    )


def _flipped(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    keys = ["axis", "level"]
    before, after = (table[table["pairs"] > 0] for table in (before, after))
    both = before[[*keys, "verdict"]].merge(
        after[[*keys, "verdict"]], on=keys, suffixes=("_before", "_after")
    )
    both = both[both["verdict_before"] != both["verdict_after"]]
    return both.rename(columns={"verdict_before": "before", "verdict_after": "after"})


def _confined(design: Design, changed: set[str]) -> tuple[tuple[str, str], ...]:
    """The axes of which all that changed is at one level, and that level."""
    runs = design.untuned.runs
    runs = runs[runs["run_id"].isin(changed)]
    found = [(axis, set(runs[axis])) for axis in design.axes]
    return tuple((axis, next(iter(levels))) for axis, levels in found if len(levels) == 1)


def _settings_apart(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """The settings of which no run of one has one of the other's, with their values."""
    names = [*SETTINGS, "seed"]
    said = []
    for name in names:
        ours, theirs = (set(map(str, runs[name])) for runs in (first, second))
        if not ours & theirs:
            said.append(
                f"{name}: {', '.join(sorted(ours)[:3])} and {', '.join(sorted(theirs)[:3])}"
            )
    return "; ".join(said)


def _counts(row: pd.Series) -> str:
    return f"{row['diverged']:,} runs diverged, {row['control_diverged']:,} before"


def _endings(before: pd.Series, after: pd.Series) -> pd.DataFrame:
    both = pd.DataFrame({"before": before.astype(str), "after": after.astype(str)})
    both = both[both["before"] != both["after"]]
    return both.groupby(["before", "after"]).size().rename("runs").reset_index()


def _changed(first: StoredResults, second: StoredResults) -> dict[str, tuple[str, str]]:
    facts = []
    for found in (first, second):
        seen: dict[str, dict[str, None]] = {}
        for _, description in sorted(found.environment.items()):
            for key, value in flat(description).items():
                seen.setdefault(key, {})[value] = None
        facts.append({key: ", ".join(values) for key, values in seen.items()})
    keys = dict.fromkeys([*facts[0], *facts[1]])
    both = {key: (facts[0].get(key, ""), facts[1].get(key, "")) for key in keys}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def sentences(found: Comparison) -> list[str]:
    """Say what changed, in a sentence or two."""
    pairs = f"{found.pairs:,} {'pair' if found.pairs == 1 else 'pairs'} of runs"
    first, second = found.names
    if found.identical == found.pairs:
        return [f"Nothing changed: all {pairs} of {second} and {first} are the same to the bit."]
    rows = found.overall[found.overall["seeds"] > 0]
    said = [] if len(rows) else [f"No pair of runs has a loss in both {first} and {second}."]
    for _, row in rows.iterrows():
        seeds, whole = (
            format_count(int(row["seeds"]), "seed"),
            row["survivors"] == row["pairs"],
        )
        over = (
            f"over {pairs}"
            if whole
            else (f"over the {row['survivors']:,} of {pairs} of which both survived")
        )
        size = f"{found.size(row)} validation loss against {first}, {over} and {seeds}"
        if row["diverged"] > row["control_diverged"]:
            sure = "is worse" if found.diverges(row) else "diverges more often, maybe by chance"
            said.append(f"{second} {sure}: {_counts(row)}.")
            said.append(f"Where both survived it {found.verdict(row)}: {size}.")
        else:
            said.append(f"{second} {found.verdict(row)}: {size}.")
    if found.confined and found.identical:
        levels = join_words([f"{axis} {level}" for axis, level in found.confined])
        said.append(f"All that changed is in runs with {levels}.")
    flips = [f"{r.axis} {r.level} from {r.before} to {r.after}" for r in found.flipped.itertuples()]
    if flips:
        said.append(f"{format_count(len(flips), 'verdict')} flipped: {join_words(flips)}.")
    return said + _ended_otherwise(found)


def _ended_otherwise(found: Comparison) -> list[str]:
    if not len(found.endings):
        return []
    parts = [
        f"{format_count(int(row.runs), 'run')} {row.before} before and {row.after} now"
        for row in found.endings.itertuples()
    ]
    return [f"Ended otherwise: {join_words(parts)}."]


def find_caveats(found: Comparison) -> list[Caveat]:
    """Say what caveats it."""
    told = []
    if found.regressions:
        text = f"Worse, by estimates beyond the margin: {'; '.join(found.regressions)}."
        told.append(Caveat("regression", text))
    if 0 < found.identical < found.pairs:
        text = f"{found.identical:,} of {found.pairs:,} pairs are the same to the last bit."
        told.append(Caveat("some identical", text))
    if any(found.only):
        only = zip(found.only, found.names, strict=True)
        counts = join_words([f"{n:,} only in {name}" for n, name in only if n])
        told.append(Caveat("unpaired runs", f"Runs that are not compared: {counts}."))
    if not found.changed:
        text = "Both folders name the same machine, versions and commit."
        told.append(Caveat("", text))
    return told


def render_comparison(found: Comparison, metadata: StudyMetadata) -> str:
    """The page of a comparison."""
    bound = format_margin(found.first.design.margin, found.first.design.scale)
    return (
        load_templates()
        .get_template("comparison.html.j2")
        .render(
            metadata=metadata,
            names=found.names,
            theme=theme_declarations(),
            answers=sentences(found),
            caveats=find_caveats(found),
            band=bound,
            figures=_draw_levels(found),
            by_level=_level_table(found) if len(found.by_level) else None,
            flipped=_flip_table(found) if len(found.flipped) else None,
            endings=_ending_table(found) if len(found.endings) else None,
            environment=_environment_table(found) if found.changed else None,
        )
    )


def _draw_levels(found: Comparison) -> tuple[RenderedFigure, ...]:
    rows = found.by_level[found.by_level["seeds"] > 0]
    if rows.empty:
        return ()
    levels = rows.drop(columns=["level"], errors="ignore").rename(
        columns={"given": "axis", "given_level": "level"}
    )
    is_certain = levels["p_adjusted"] <= 0.05
    bound = found.first.design.bound
    is_within = (levels["low"] >= -bound) & (levels["high"] <= bound)
    is_same = levels["identical"] == levels["pairs"]
    verdict = np.select(
        [is_within | is_same, is_certain & (levels["effect"] < 0), is_certain],
        [EQUAL, HELPS, HURTS],
        UNDECIDED,
    )
    draw = partial(
        main_effects_figure,
        levels.assign(verdict=verdict, control=found.names[0]),
        pd.DataFrame({"axis": [], "level": [], "seed": [], "difference": []}),
        scale=found.first.design.scale,
        margin=found.first.design.margin,
    )
    alt = f"Change of the validation loss from {found.names[0]} to {found.names[1]} at each level."
    caption = (
        f"Each level's runs in {found.names[1]} against the same runs in {found.names[0]}: the "
        "mean over seeds and its 95 % t interval. Coloured: p at most 0.05, adjusted "
        "(Benjamini-Hochberg) over what is not the same to the bit. Practically equal: the "
        "interval lies within the margin."
    )
    return draw_figures([FigureSpec("levels", "comparison", draw, alt, caption)])


def _level_table(found: Comparison) -> Table:
    scale = found.first.design.scale
    prefix = "change_" if scale == "log" else ""
    rows = []
    for _, row in found.by_level.iterrows():
        ends = [format_change(row, scale, part) for part in ("low", "high")]
        rows.append(
            (
                Cell(f"{row['given']} {row['given_level']}", style_class="name"),
                numeric(
                    format_change(row, scale),
                    row["change" if scale == "log" else "effect"],
                ),
                interval(
                    " to ".join(ends) if row["seeds"] >= _FEWEST else NOTHING,
                    row[f"{prefix}low"],
                    row[f"{prefix}high"],
                ),
                numeric(format_number(row["p_adjusted"], 2), row["p_adjusted"]),
                replace(
                    numeric(
                        f"{row['diverged']} ({row['control_diverged']} before)", row["diverged"]
                    ),
                    parts=(("", row["diverged"]), ("before", row["control_diverged"])),
                ),
                numeric(f"{row['pairs']:,}", row["pairs"]),
            )
        )
    caption = "Runs at each level in the second folder against the same runs in the first."
    headings = ("level", "change of loss", "95 % interval", "adjusted p", "diverged", "pairs")
    return Table(caption, headings, tuple(rows))


def _flip_table(found: Comparison) -> Table:
    rows = tuple(
        (Cell(f"{r.axis} {r.level}", style_class="name"), Cell(r.before), Cell(r.after))
        for r in found.flipped.itertuples()
    )
    caption = "Levels whose verdict against their control is another one."
    return Table(caption, ("level", *found.names), rows)


def _ending_table(found: Comparison) -> Table:
    rows = tuple(
        (Cell(r.before), Cell(r.after), numeric(f"{r.runs:,}", r.runs))
        for r in found.endings.itertuples()
    )
    return Table("Runs that ended otherwise.", (*found.names, "runs"), rows)


def _environment_table(found: Comparison) -> Table:
    rows = tuple(
        (Cell(key, style_class="name"), *(Cell(value, style_class="caption") for value in values))
        for key, values in found.changed.items()
    )
    return Table("What the environments differ in.", ("", *found.names), rows)
