"""Studies of a table in which no run ends well."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ablations import Study
from ablations.execution.options import RunOptions
from ablations.execution.run import run_study


def test_a_table_whose_runs_all_diverge_ends_with_an_answer(tmp_path: Path) -> None:
    """Its default outcome, the test loss, is then recorded by no run."""
    random = np.random.default_rng(0)
    rows = [",".join(f"{x:.4f}" for x in row) for row in random.normal(size=(60, 3))]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["a,b,y", *rows]), encoding="utf-8")
    task = {"name": "csv", "path": str(path), "target": "y"}
    axes = {"regularizer": ["none", "l2"]}
    study = Study(task=task, optimizer="sgd", lr=1e6, epochs=20, seeds=2, axes=axes)
    outcome = run_study(study, tmp_path / "out", RunOptions(jobs=1, engine="loop"))
    assert set(outcome.results.runs["status"]) == {"diverged"}
    assert outcome.results.effects()["effect"].isna().all()
    assert (tmp_path / "out" / "report.html").exists()
