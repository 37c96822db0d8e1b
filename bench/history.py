"""How long the harness took, commit by commit: ``nox -s bench -- --history``.

Reads what ``nox -s bench`` saved under ``results/benchmarks``, draws ``bench/history.png`` and
prints a table as Markdown, which also replaces the one in ``bench/README.md``.  Times of two
machines are never drawn as one line.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "results" / "benchmarks"
README, PICTURE = ROOT / "bench" / "README.md", ROOT / "bench" / "history.png"
PLACE = re.compile(r"(<!-- history -->\n).*?(<!-- end of history -->)", re.DOTALL)
NOTABLE = 1.1
"""A benchmark whose time changed by this factor since the first commit is named in the plot."""
COLUMNS = ["machine", "commit", "time", "benchmark", "median"]


def load_times(folder: Path) -> pd.DataFrame:
    """Every saved time: ``machine, commit, time, benchmark``; ``median``: seconds.

    Of two measurements of one commit on one machine the later counts.
    """
    rows = []
    for path in sorted(folder.glob("*/*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if "benchmarks" not in report or "machine_info" not in report:
            continue
        machine, commit = report["machine_info"], report["commit_info"]
        cpu = machine.get("cpu", {})
        name = f"{cpu.get('brand_raw', machine['machine'])}, {cpu.get('count', '?')} cores"
        changed = " with changes" if commit.get("dirty") else ""
        rows += [
            (name, f"{commit['id'][:7]}{changed}", commit["time"], entry["name"],
             entry["stats"]["median"])
            for entry in report["benchmarks"]
        ]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.drop_duplicates(["machine", "commit", "benchmark"], keep="last")


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Each benchmark's time over that of its first commit, one row a machine and commit.

    Parameters
    ----------
    table
        As ``measured`` gives it.
    """
    ordered = table.sort_values(["machine", "time"], kind="stable")
    first = ordered.groupby(["machine", "benchmark"])["median"].transform("first")
    ordered = ordered.assign(ratio=ordered["median"] / first)
    commits = ordered.drop_duplicates(["machine", "commit"])[["machine", "commit"]]
    index = pd.MultiIndex.from_frame(commits)
    keys = ["machine", "commit", "benchmark"]
    wide = ordered.set_index(keys)["ratio"].unstack("benchmark")  # noqa: PD010 - one number each
    return wide.reindex(index)


def draw(ratios: pd.DataFrame) -> Figure:
    """One panel a machine; every benchmark a thin line, their geometric mean a thick one."""
    machines = list(dict.fromkeys(ratios.index.get_level_values("machine")))
    figure = Figure(figsize=(9, 0.6 + 2.8 * len(machines)), layout="constrained")
    panels = figure.subplots(len(machines), 1, squeeze=False)[:, 0]
    for machine, panel in zip(machines, panels, strict=True):
        columns = ratios.loc[machine].dropna(axis=1, how="all")
        x = range(len(columns))
        for name in columns:
            panel.plot(x, columns[name], color="#8DA5BE", linewidth=1, marker=".")
            last = columns[name].iloc[-1]
            if abs(np.log(last)) > np.log(NOTABLE):
                panel.annotate(
                    name, (x[-1], last), (6, 0), textcoords="offset points",
                    va="center", fontsize=8,
                )  # fmt: skip
        mean = np.exp(np.log(columns).mean(axis=1))
        panel.plot(x, mean, color="#0072B2", linewidth=2.4, marker="o", label="geometric mean")
        panel.axhline(1, color="#5F6368", linewidth=1)
        panel.set_xticks(list(x), columns.index, rotation=30, ha="right")
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.4, 8)))
        panel.yaxis.set_major_formatter(FormatStrFormatter("%.3g"))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_title(machine, loc="left", fontsize=10)
        panel.set_ylabel("time over the first")
        panel.legend(frameon=False)
    return figure


def markdown(table: pd.DataFrame, ratios: pd.DataFrame) -> str:
    """Benchmarks as rows, commits as columns, and how long each takes at the last commit.

    Parameters
    ----------
    table, ratios
        As ``measured`` and ``relative`` give them.
    """
    lines = []
    seconds = table.sort_values("time", kind="stable").groupby(["machine", "benchmark"])["median"]
    latest = seconds.last()
    for machine, rows in ratios.groupby(level="machine", sort=False):
        shown = rows.loc[machine].dropna(axis=1, how="all").T
        lines += [f"{machine}, times over those of the first commit:", ""]
        lines.append(f"| benchmark | {' | '.join(shown.columns)} | now, ms |")
        lines.append("| --- |" + " ---: |" * (len(shown.columns) + 1))
        for name, row in shown.iterrows():
            cells = ["–" if np.isnan(value) else f"{value:.2f}" for value in row]
            milliseconds = 1000 * latest.loc[machine, name]
            now = f"{milliseconds:,.{2 if milliseconds < 10 else 0}f}"
            lines.append(f"| `{name}` | {' | '.join(cells)} | {now} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Draw, print and write."""
    table = load_times(STORED)
    ratios = relative(table)
    if ratios.empty:
        sys.stderr.write(f"nothing is saved in {STORED}; run nox -s bench\n")
        return 1
    with mpl.rc_context({"svg.hashsalt": "ablations"}):
        draw(ratios).savefig(PICTURE, dpi=110, metadata={"Software": None})
    text = markdown(table, ratios)
    sys.stdout.write(text)
    readme = README.read_text(encoding="utf-8")
    section = f"\\1\n{text}\n![Times by commit, over those of the first](history.png)\n\n\\2"
    README.write_text(PLACE.sub(section, readme), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
