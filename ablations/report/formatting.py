"""Numbers and verdicts as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, Scale

MINUS = "\N{MINUS SIGN}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
NOTHING = "\N{EN DASH}"
NAMED = 4


def format_number(value: float, digits: int = 3) -> str:
    """Write ``value`` with ``digits`` significant digits; a missing one is a dash."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "\N{INFINITY}"
    text = (
        f"{value:#.{digits}g}"
        if 1e-4 <= abs(value) < 1e5 or value == 0
        else f"{value:.{digits - 1}e}"
    )
    return text.rstrip(".").replace("-", MINUS)


def format_percent(fraction: float) -> str:
    """Write a relative change: ``+12.3 %``; from ten-fold on ``x12``, from a tenth down ``÷12``."""
    if math.isnan(fraction):
        return NOTHING
    if fraction >= 9:
        return f"\N{MULTIPLICATION SIGN}{format_number(1 + fraction, 3)}"
    if -1 < fraction <= -0.9:
        return f"\N{DIVISION SIGN}{format_number(1 / (1 + fraction), 3)}"
    size = abs(100 * fraction)
    decimals = 0 if size >= 100 else 1 if size >= 0.95 else 2
    text = f"{100 * fraction:+.{decimals}f}".replace("-", MINUS)
    return f"{'0' if float(f'{size:.{decimals}f}') == 0 else text}{NARROW}%"


def round_changes(fractions: Sequence[float]) -> list[str]:
    """Write the relative changes of one scale in one way: in percent, or as ratios where any is
    ten-fold.
    """
    if any(fraction >= 9 for fraction in fractions):
        return [f"\N{MULTIPLICATION SIGN}{1 + fraction:.3g}" for fraction in fractions]
    return [round_percent(fraction) for fraction in fractions]


def round_percent(fraction: float) -> str:
    """Write a round relative change for a scale: ``+10 %``, and ``0`` without a sign."""
    if fraction >= 9:
        return f"\N{MULTIPLICATION SIGN}{1 + fraction:.3g}"
    if abs(fraction) < 1e-9:
        return "0"
    return f"{100 * fraction:+.3g}".replace("-", MINUS) + f"{NARROW}%"


def change(row: pd.Series, scale: Scale, part: str = "") -> str:
    """Write one row's effect, or its ``low`` or ``high``, in percent, or in the outcome's unit
    where it has no ratio.
    """
    if scale == "log":
        return format_percent(row[f"change_{part}" if part else "change"])
    return format_signed(row[part or "effect"])


def margin(bound: float, scale: Scale) -> str:
    """Write the equivalence margin: ``±2 %``, or in the loss's own unit."""
    return f"±{100 * bound:g}{NARROW}%" if scale == "log" else f"±{format_number(bound)}"


def format_signed(value: float) -> str:
    """Write a difference with its sign and at most three decimals: ``+0.012``."""
    if math.isnan(value):
        return NOTHING
    size = abs(value)
    if size and not 0.0005 <= size < 1e4:
        text = f"{value:+.2g}"
    else:
        text = f"{value:+.{3 if size < 10 else 1}f}"
    return "0" if value == 0 else text.replace("-", MINUS)


def p_value(row: pd.Series) -> str:
    """Write the adjusted p, or why there is none worth printing."""
    if row["seeds"] < 2:
        return "one seed" if row["seeds"] == 1 else "nothing to test"
    if not row["reachable"]:
        return "out of reach"
    return "< 0.001" if row["p_adjusted"] < 0.001 else f"{row['p_adjusted']:.3f}"


def share(value: float, form: str) -> str:
    """Write a share in the given format; a missing one is a dash."""
    return NOTHING if math.isnan(value) else format(value, form)


def count(n: int, noun: str) -> str:
    """Write ``1 run``, ``2,400 runs``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listing(words: Sequence[str]) -> str:
    """Join with commas and a last `and`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _named(rows: pd.DataFrame, scale: Scale) -> str:
    rows = rows.reindex(rows["effect"].abs().sort_values(ascending=False, kind="stable").index)
    names = [f"{row['axis']} {row['level']}{_size(row, scale)}" for _, row in rows.iterrows()]
    more = len(names) - NAMED
    return ", ".join([*names[:NAMED], f"{more} more"] if more > 0 else names)


def _size(row: pd.Series, scale: Scale) -> str:
    """Write what decided a row: its change, or its divergence where the change says otherwise."""
    if row["verdict"] == UNDECIDED and row["diverged"] == row["pairs"]:
        return f", of which all {row['pairs']:,} runs diverged"
    if row["verdict"] in (EQUAL, UNDECIDED):
        return ""
    if (row["effect"] < 0) == (row["verdict"] == HELPS) and row["effect"] != 0 and row["seeds"]:
        return f" {change(row, scale)}"
    counts = f"{row['diverged']:,} of {row['pairs']:,} runs"
    return f", which diverged in {counts}, its control in {row['control_diverged']:,}"


def seeds(effects: pd.DataFrame) -> str:
    """Write how many seeds the contrasts rest on, those without any survivor apart."""
    n = effects.loc[effects["seeds"] > 0, "seeds"]
    low, high = int(n.min()), int(n.max())
    return count(high, "seed") if low == high else f"{low} to {high} seeds"


def answer(effects: pd.DataFrame, scale: Scale, noun: str) -> str:
    """Say in one sentence, with numbers and names, what the effects show."""
    effects = effects[effects["pairs"] > 0]
    parts = []
    for verdict, one, many in (
        (HELPS, "helps", "help"),
        (HURTS, "hurts", "hurt"),
        (EQUAL, "is practically equal", "are practically equal"),
        (UNDECIDED, "is undecided", "are undecided"),
    ):
        rows = effects[effects["verdict"] == verdict]
        if len(rows):
            does = one if len(rows) == 1 else many
            parts.append(f"{len(rows)} {does} ({_named(rows, scale)})")
        elif verdict == HELPS:
            parts.append(f"no {noun} helps")
    whose = "its control" if len(effects) == 1 else "their controls"
    subject = f"Of {count(len(effects), noun)} compared with {whose}"
    if not effects["seeds"].sum():
        return f"{subject}, {listing(parts)}: no pair of runs survived, so only divergence is told."
    return f"{subject}, {listing(parts)}, over {seeds(effects)} on validation loss."


def agreement(published: pd.DataFrame) -> str:
    """Say in one sentence how the printed losses lie to the bands of our runs."""
    inside, total = int(published["inside"].sum()), len(published)
    low, high = int(published["runs"].min()), int(published["runs"].max())
    ours = count(high, "run") if low == high else f"{low:,} to {high:,} runs"
    curves = count(published["label"].nunique(), "published curve")
    return (
        f"{inside} of {total} printed losses ({curves}) lie inside the band that holds "
        f"99{NARROW}% of our {ours} of that configuration at that epoch."
    )


def times(ratio: float) -> str:
    """Write a ratio of times: ``1.30×``."""
    return NOTHING if math.isnan(ratio) else f"{ratio:.2f}\N{MULTIPLICATION SIGN}"


def floor(row: Any) -> str:
    """Say what the control's time differs by from itself (a row of ``noise_floor``)."""
    interval = f" [{times(row.low)}, {times(row.high)}]" if not math.isnan(row.low) else ""
    return (
        f"The control timed twice, under two names: {times(row.ratio)}{interval} over "
        f"{count(int(row.blocks), 'block')}; noise alone gives up to {times(row.floor)}, and what "
        "is closer to 1 is no measurable difference."
    )


def audit(table: pd.DataFrame) -> str:
    """Say what the fusion audit found, where it found nothing wrong."""
    # What nobody could judge stands for itself, below.
    judged = table[table["epochs_compared"] > 0] if "epochs_compared" in table else table
    table, whole = (judged, table) if len(judged) else (table, table)
    used = (table["deviation"] / table["tolerance"]).max()
    said = (
        f"audit: the plain loop trained {count(len(whole), 'run')} again; over the first epochs "
        f"losses of the fused engine deviate by at most {table['deviation'].max():.0e}, "
        f"{used:.0%} of its tolerance at most"
    )
    exact = table["deviation_float64"].max()
    if not pd.isna(exact):
        said += f", and by {exact:.0e} in float64"
    unjudged = int((whole["epochs_compared"] == 0).sum())
    if unjudged:
        said += (
            f"; {count(unjudged, 'run')} could not be judged, since a last digit of the rate "
            "changes the first epoch as much"
        )
    alike = whole["repeated"].astype(bool)
    if not alike.all():
        said += f"; {count(int((~alike).sum()), 'run')} did not repeat bit for bit"
    return said
