"""The tables of ``bench/README.md`` from what pytest-benchmark saved.

``python bench/tables.py results/benchmarks/*/*.json`` prints them as Markdown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


def benchmarks(paths: Iterable[Path]) -> list[Entry]:
    """What the files hold; of two measurements of one thing the later."""
    entries: dict[str, Entry] = {}
    for path in sorted(paths):
        for entry in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
            entries[entry["fullname"]] = entry
    return list(entries.values())


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    heads = list(headings)
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def ratio(info: Entry) -> str:
    """Median, and the range of the rounds."""
    return f"**{info['ratio']:.1f}** ({info['ratio_low']:.1f}–{info['ratio_high']:.1f})"


def levels(entries: list[Entry], test: str, keys: tuple[str, str] = ("axis", "level")) -> str:
    """µs a run and step, level by level."""
    rows: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        if entry["name"].startswith(f"{test}["):
            info, params = entry["extra_info"], entry["params"]
            numbers = [f"{info[name]:.0f}" for name in ("loop_us_per_step", "us_per_step")]
            name = " ".join(params[key] for key in keys)
            row = rows.setdefault(name, {})
            row[params["compiled"]] = [*numbers, ratio(info)]
    engines = ("eager", "compiled")
    heads = [name for engine in engines for name in ("loop", engine, "times faster")]
    missing = ["–"] * 3
    cells = (
        [level, *(cell for engine in engines for cell in row.get(engine, missing))]
        for level, row in rows.items()
    )
    return table(["level", *heads], cells)


def grid(entries: list[Entry]) -> str:
    """Runs a second of the whole grid."""
    rows = []
    for entry in entries:
        if entry["name"].startswith("test_throughput["):
            info = entry["extra_info"]
            way = {"never": "eager", "always": "compiled, warm cache"}[entry["params"]["compile_"]]
            rates = [f"{info[name]:.0f}" for name in ("peer_runs_per_second", "runs_per_second")]
            rows.append([way, *rates, ratio(info)])
    return table(["programs", "plain loops through joblib", "ours", "times faster"], rows)


def main() -> None:
    """Print all tables."""
    entries = benchmarks(map(Path, sys.argv[1:]))
    sys.stdout.write(grid(entries) + "\n" + levels(entries, "test_level") + "\n")
    sys.stdout.write(levels(entries, "test_digits") + "\n")
    sys.stdout.write(levels(entries, "test_model", ("model", "norm")))
    for entry in entries:
        if entry["name"] == "test_floor":
            sys.stdout.write(f"\nfloor: {entry['extra_info']['us_per_step']:.0f} µs\n")


if __name__ == "__main__":
    main()
