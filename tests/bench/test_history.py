"""The plot of times over commits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import history


def saved(folder: Path, number: int, commit: str, machine: str, **medians: float) -> None:
    report = {
        "machine_info": {"machine": "x", "cpu": {"brand_raw": machine, "count": 2}},
        "commit_info": {"id": commit * 10, "time": f"2026-11-{number:02}", "dirty": False},
        "benchmarks": [{"name": k, "stats": {"median": v}} for k, v in medians.items()],
    }
    path = folder / machine / f"{number:04}_{commit}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report))


def test_times_are_told_over_the_first_commit_machine_by_machine(tmp_path: Path) -> None:
    saved(tmp_path, 2, "bbbb", "old", plan=3.0, load=1.0)
    saved(tmp_path, 1, "aaaa", "old", plan=2.0)
    saved(tmp_path, 3, "bbbb", "new", plan=0.5)
    (tmp_path / "regress").mkdir()
    (tmp_path / "regress" / "verdict.json").write_text('{"benchmarks": []}')
    table = history.load_times(tmp_path)
    ratios = history.relative(table)
    assert ratios.loc[("old, 2 cores", "aaaaaaa"), "plan"] == 1.0
    assert ratios.loc[("old, 2 cores", "bbbbbbb"), "plan"] == 1.5
    assert ratios.loc[("new, 2 cores", "bbbbbbb"), "plan"] == 1.0
    text = history.markdown(table, ratios)
    assert "| `plan` | 1.00 | 1.50 | 3,000 |" in text
    assert "| `load` | – | 1.00 | 1,000 |" in text
    assert len(history.draw(ratios).axes) == 2


def test_the_picture_and_the_table_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "stored", 1, "aaaa", "old", plan=2.0)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- history -->\nold\n<!-- end of history -->\nafter\n")
    for name, value in (("STORED", tmp_path / "stored"), ("README", readme)):
        monkeypatch.setattr(history, name, value)
    monkeypatch.setattr(history, "PICTURE", tmp_path / "history.png")
    assert history.main() == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- history -->\n")
    assert "| `plan` | 1.00 |" in text
    assert text.endswith("<!-- end of history -->\nafter\n")
    assert (tmp_path / "history.png").stat().st_size > 1000
