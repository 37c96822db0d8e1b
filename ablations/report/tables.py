"""The report's tables of effects, and of all that is computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd

from ablations.analysis import Scale, strongest_pairs
from ablations.analysis.costs import NO_SLOWER
from ablations.analysis.interactions import UNKNOWN
from ablations.report.columns import (
    Cell,
    Column,
    Row,
    Table,
    build_table,
    change_column,
    change_interval_column,
    four_digits,
    interval_column,
    level_column,
    name_column,
    number_column,
    text_column,
    two_digits,
)
from ablations.report.data import ReportData
from ablations.report.formatting import (
    ARROW,
    NOTHING,
    TIMES,
    describe_noise_floor,
    format_count,
    format_difference,
    format_number,
    format_p,
    format_percent,
    format_ratio,
    format_share,
    format_signed,
    format_spread,
)

MOST_SIMPLE = 3
"""Pairs of axes whose simple effects are shown."""
MOST_DOUBLES = 60
"""Pairs of levels in the table of interactions."""


def ablation_table(data: ReportData) -> Table | None:
    """Each level against its control: what changed, how certain that is, and what the level is."""
    rows, scale = data.effects, data.design.scale
    columns = [
        Column("technique", partial(_level_cell, captions=data.metadata.captions)),
        Column("verdict", _verdict_cell),
        change_column(
            "change of loss", scale, lambda row: bool(row["conditional"] and row["seeds"] > 0)
        ),
        change_interval_column(scale),
        Column(
            "adjusted p", format_p,
            lambda row: row["p_adjusted"] if row["reachable"] else math.nan, "number",
        ),
        number_column("P(better)", "better", partial(format_share, form=".2f")),
        number_column("cells helped", "helped", partial(format_share, form=".0%")),
    ]  # fmt: skip
    levels = ["axis", "level"]
    if len(data.metric_effects):
        metric = data.metric_effects[[*levels, "effect"]]
        rows = rows.merge(metric, how="left", on=levels, suffixes=("", "_metric"))
        columns.append(
            number_column(f"change of {data.metadata.metric_name}", "effect_metric", format_signed)
        )
    if len(data.costs):
        costs = _most_timed(data.costs)[[*levels, "ratio", "low", "high", "verdict"]]
        rows = rows.merge(costs, how="left", on=levels, suffixes=("", "_time"))
        columns.append(Column("time of a step", _step_time_cell))
    columns += [
        Column(
            "diverged", _diverged_text, "diverged", "number",
            parts=(("", "diverged"), ("of", "pairs"), ("at the control", "control_diverged")),
        ),
        Column(f"cells {TIMES} seeds", _size_cell),
    ]  # fmt: skip
    caption = (
        "Each level against its control, paired on everything else and the seed: the change of "
        "the validation loss. Copied as CSV, a change is a fraction: 0.1 is +10 %."
    )
    return build_table(caption, columns, rows)


def _level_cell(row: Row, captions: Mapping[str, Mapping[str, str]]) -> Cell:
    note = captions.get(row["axis"], {}).get(row["level"], "")
    n_identical = int(row["identical"])
    if n_identical:
        subject = "All" if n_identical == row["pairs"] else f"{n_identical} of"
        note = f"{note} {subject} {row['pairs']} pairs are identical to the last bit.".strip()
    if row["depends_on"] not in ("", UNKNOWN):
        note = f"{note} An average: its effect depends on {row['depends_on']}.".strip()
    parts = (("axis", row["axis"]), ("level", row["level"]))
    text = f"{row['axis']} {ARROW} {row['level']}"
    return Cell(text, style_class="name technique", note=note, parts=parts)


def _verdict_cell(row: Row) -> Cell:
    style_class = "verdict " + row["verdict"].replace(" ", "-")
    if not row["pairs"]:
        return Cell("not compared", style_class=style_class, note=str(row["left_out"]))
    return Cell(row["verdict"], style_class=style_class)


def _most_timed(costs: pd.DataFrame) -> pd.DataFrame:
    """The costs on the machine with the most timed blocks, one row per level."""
    blocks = costs.groupby(["environment_id", "threads"])["blocks"].transform("max")
    return costs[blocks == blocks.max()].drop_duplicates(["axis", "level"])


def _step_time_cell(row: Row) -> Cell:
    ratio = row["ratio"]
    if math.isnan(ratio):
        return Cell(NOTHING, style_class="number")
    note = NO_SLOWER if row["verdict_time"] == NO_SLOWER else ""
    parts = (("", ratio), ("low", row["low_time"]), ("high", row["high_time"]))
    return Cell(format_ratio(ratio), ratio, "number", note, parts)


def _diverged_text(row: Row) -> str:
    text = f"{row['diverged']}/{row['pairs']}"
    if row["diverged"] or row["control_diverged"]:
        text += f" (control {row['control_diverged']})"
    return text


def _size_cell(row: Row) -> Cell:
    pairs, survivors = row["pairs"], row["survivors"]
    return Cell(
        f"{row['cells']} {TIMES} {row['seeds']}",
        float(pairs),
        "number interval",
        f"{survivors} of {pairs} pairs survived" if survivors < pairs else "",
        (("cells", row["cells"]), ("seeds", row["seeds"])),
    )


def shares_table(data: ReportData) -> Table | None:
    """Each source's share of the variance, and the test of it."""
    if not data.shares["eta2"].notna().any():
        return None
    names = {"blocks": "seed", "residual": "residual (chance)"}
    percent = partial(format_share, form=".2%")
    columns = (
        Column(
            "source", lambda row: str(names.get(row["source"], row["source"])), style_class="name"
        ),
        number_column("η²", "eta2", percent),
        number_column("ω²", "omega2", percent),
        number_column("df", "df", lambda df: str(int(df))),
        number_column("F", "f", format_number),
        number_column("p", "p", two_digits),
        number_column("epsilon (Greenhouse-Geisser)", "epsilon", two_digits),
        number_column("p with epsilon", "p_epsilon", two_digits),
    )
    first = data.shares.iloc[0]
    caption = f"Shares of the variance, over {first['n']} seeds: {first['procedure']}."
    return build_table(caption, columns, data.shares)


def simple_tables(data: ReportData) -> list[Table]:
    """Each level's effect at each level of another axis, for the strongest interactions."""
    if data.interactions.empty:
        return []
    ranked = strongest_pairs(data.interactions).dropna()
    certain = data.interactions[data.interactions["p_adjusted"] <= 0.05]
    certain_pairs = set(zip(certain["axis_a"], certain["axis_b"], strict=True))
    pairs = [
        pair
        for pair in zip(ranked["axis_a"], ranked["axis_b"], strict=True)
        if pair in certain_pairs
    ]
    tables = (_simple_table(data, *pair) for pair in pairs[:MOST_SIMPLE])
    return [table for table in tables if table]


def _simple_table(data: ReportData, condition: str, axis: str) -> Table | None:
    """Rows: levels of one axis; columns: the effect of each level of the axis that has fewer."""
    design = data.design
    if len(design.levels[axis]) > len(design.levels[condition]):
        axis, condition = condition, axis
    effects = data.simple[(data.simple["axis"] == axis) & (data.simple["given"] == condition)]
    records = {(row["given_level"], row["level"]): row for row in effects.to_dict("records")}
    columns = [level_column("at", "{condition} {at}")] + [
        Column(level, partial(_simple_cell, level=level, scale=design.scale))
        for level in design.levels[axis]
        if level in set(effects["level"])
    ]
    rows = [
        {"condition": condition, "at": at, "effects": records}
        for at in design.levels[condition]
        if at in set(effects["given_level"])
    ]
    caption = (
        f"{axis} {TIMES} {condition}: the change that each level of {axis} makes against "
        f"{design.controls[axis]}, at each level of {condition}, with its 95 % interval."
    )
    return build_table(caption, columns, rows)


def _simple_cell(row: Row, level: str, scale: Scale) -> Cell:
    effect = row["effects"].get((row["at"], level))
    if effect is None:
        return Cell(NOTHING, style_class="number")
    change = change_column(level, scale).cell(effect)
    ends = change_interval_column(scale).cell(effect)
    note = ends.text if effect["seeds"] > 1 else ""
    parts = (("", effect["change" if scale == "log" else "effect"]), *ends.parts)
    return Cell(change.text, change.value, "number", note, parts)


def doubles_table(data: ReportData) -> Table | None:
    """Every pair of levels: what the two do together beyond the sum of both."""
    doubles = data.interactions.dropna(subset="double")
    furthest = doubles["double"].abs().sort_values(ascending=False, kind="stable").index
    shown = doubles.loc[doubles.index.isin(furthest[:MOST_DOUBLES])]
    write = partial(format_difference, scale=data.design.scale)
    columns = (
        level_column("levels", "{axis_a} {level_a} " + TIMES + " {axis_b} {level_b}"),
        number_column("beyond the sum", "double", write),
        interval_column("95 % interval", "double_low", "double_high", write),
        number_column("p", "p", two_digits),
        number_column("adjusted p", "p_adjusted", two_digits),
        number_column("seeds", "double_seeds", lambda seeds: str(int(seeds))),
    )
    caption = (
        "What two levels do together beyond what each does alone, paired by seed; p adjusted by "
        "Benjamini-Hochberg, for exploring."
    )
    if len(shown) < len(doubles):
        caption += f" Shown: the {len(shown)} of {len(doubles)} that are farthest from the sum."
    return build_table(caption, columns, shown)


def ends_table(data: ReportData) -> Table | None:
    """The last epoch of every curve."""
    losses = {axis: tables["val_loss"] for axis, tables in data.curves.items()}
    ends = [
        {"axis": axis, **row}
        for axis, table in losses.items()
        if len(table)
        for row in table[table["epoch"] == table["epoch"].max()].to_dict("records")
    ]
    columns = (
        level_column(),
        number_column("epoch", "epoch"),
        number_column("validation loss", "mean", four_digits),
        interval_column("95 % interval", "low", "high", four_digits),
        Column(
            "runs in the curve", lambda row: f"{row['survivors']:g} of {row['runs']:g}",
            "survivors", "number", parts=(("", "survivors"), ("of", "runs")),
        ),
    )  # fmt: skip
    caption = (
        "Validation loss where the curves end, over the cells that all levels of an axis have."
    )
    return build_table(caption, columns, ends)


def spread_table(data: ReportData) -> Table | None:
    """The spread over seeds, level by level."""
    rows = data.spread[data.spread["cells"] > 0]
    write = partial(format_spread, scale=data.design.scale)
    columns = (
        level_column(),
        number_column("median", "spread", write),
        interval_column("middle half", "low", "high", write),
        number_column("configurations", "cells", lambda cells: str(int(cells))),
        number_column("seeds", "seeds", lambda seeds: str(int(seeds))),
    )
    caption = "Standard deviation of the validation loss over seeds within a configuration."
    return build_table(caption, columns, rows)


def costs_table(data: ReportData) -> Table | None:
    """What a training step costs at each level, timed alone."""
    if data.costs.empty:
        return None
    seconds = {
        "ms a step": "seconds", "ms at the control": "control_seconds",
        "of it forward": "forward_seconds", "backward": "backward_seconds",
        "update": "update_seconds",
    }  # fmt: skip
    rows = data.costs.assign(**{name: 1e3 * data.costs[name] for name in seconds.values()})
    columns = (
        level_column(),
        text_column("verdict", "verdict"),
        number_column("time", "ratio", format_ratio),
        interval_column("95 % interval", "low", "high", format_ratio),
        *(number_column(heading, name, "{:.3g}".format) for heading, name in seconds.items()),
        number_column("memory", "memory_ratio", format_ratio),
        number_column("cells", "cells"),
        number_column("blocks", "blocks"),
        Column(
            "machine",
            lambda row: f"{row['environment_id']}, {format_count(row['threads'], 'thread')}",
        ),
    )
    floors = " ".join(map(describe_noise_floor, data.floors.itertuples()))
    caption = (
        "The plain PyTorch step that a person would write, against that of the control, all else "
        f"equal, timed alone and in random order, paired within blocks. {floors}"
    )
    return build_table(caption, columns, rows)


def ranking_table(data: ReportData) -> Table | None:
    """The best configurations, ranked in each seed."""
    ranked = data.ranked
    if len(ranked) < 2 or ranked["seeds"].iloc[0] < 2:
        return None
    mean = "geometric mean" if data.design.scale == "log" else "mean"
    columns = (
        number_column("rank", "place"),
        *(name_column(name) for name in data.design.factors if len(set(ranked[name])) > 1),
        number_column(mean, "mean", four_digits),
        number_column("interquartile mean", "iqm", four_digits),
        interval_column("95 % (bootstrap)", "iqm_low", "iqm_high", four_digits),
        number_column("mean rank", "mean_rank", "{:.2f}".format),
        number_column("P(first better)", "first_better", partial(format_share, form=".2f")),
        number_column("p", "p_first", two_digits),
        Column(
            "apart",
            lambda row: ("yes" if row["apart"] else "no") if data.ranks_tell else "too few seeds",
        ),
    )
    caption = (
        f"The best {len(ranked)} by {mean} validation loss, over {ranked['n'].iloc[0]} seeds. "
        "P(first better): share of seeds in which the first one is better; p: of the difference "
        "from the first one, by sign flips, adjusted (max-T). Apart: mean ranks farther from the "
        "first one's than Nemenyi's critical difference, "
        f"{format_number(ranked['critical_difference'].iloc[0])}, among as many as these."
    )
    if len(data.winner):
        caption += _describe_optimism(data.winner.iloc[0], data.design.scale)
    return build_table(caption, columns, ranked)


def _describe_optimism(winner: pd.Series, scale: Scale) -> str:
    optimism = winner["optimism"]
    if math.isnan(optimism):
        return ""
    size = optimism if scale == "log" else optimism / (abs(winner["naive"]) or 1)
    gap = format_percent(optimism) if scale == "log" else format_signed(optimism)
    gap = "no" if abs(size) < 0.0005 else gap.lstrip("+")
    return (
        f" Chosen from {format_count(int(winner['candidates']), 'configuration')}, the first one "
        f"looks {gap} better than what half of the seeds choose gives on the other half; "
        f"{winner['chosen']:.0%} of the halves choose the same one."
    )


EFFECT_TABLES: dict[str, Callable[[ReportData], Table | None]] = {
    "ablation": ablation_table,
    "shares": shares_table,
    "doubles": doubles_table,
    "ends": ends_table,
    "spread": spread_table,
    "timings": costs_table,
    "ranking": ranking_table,
}
"""By the names that the templates use."""
