"""The losses that training ends with, in every engine and precision.

The tolerances hold between processors.  ``python -m bench.golden`` compares two revisions on one
machine bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ablations import Results
from tests.golden import grids
from tests.golden.harness import EXPECTED, Golden

LOSSES = ["objective", "train_loss", "val_loss"]
RELATIVE = {"float32": 1e-4, "float64": 1e-9}
OTHERS = [grid for grid in grids.ALL if grid not in (grids.NOTEBOOK, grids.CURVES)]


@pytest.mark.parametrize(("engine", "dtype"), [("loop", "float64"), ("fused", "float32")])
def test_both_engines_end_with_the_committed_losses(
    engine: str, dtype: str, golden: Golden, tmp_path: Path
) -> None:
    results = grids.train(grids.NOTEBOOK | {"dtype": dtype}, tmp_path / "out", engine=engine)
    assert set(results.runs["engine"]) == {engine}
    compare(f"losses-notebook-{dtype}.json", results, dtype, golden)


@pytest.mark.parametrize("grid", OTHERS, ids=lambda grid: str(grid["name"]))
def test_other_tasks_and_models_end_with_the_committed_losses(
    grid: dict[str, Any], golden: Golden, tmp_path: Path
) -> None:
    results = grids.train(grid | {"dtype": "float64"}, tmp_path / "out", engine="loop")
    compare(f"losses-{grid['name']}.json", results, "float64", golden)


def compare(name: str, results: Results, dtype: str, golden: Golden) -> None:
    """Compare every loss with the file ``name``, which ``golden`` may write anew."""
    assert set(results.runs["status"]) == {"ok"}
    rows = results.runs.set_index("run_id")[LOSSES].sort_index()
    losses = {str(run_id): list(row) for run_id, *row in rows.itertuples(name=None)}
    path = EXPECTED / name
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    close = losses.keys() == before.keys() and all(
        row == pytest.approx(before[run_id], rel=RELATIVE[dtype], abs=0)
        for run_id, row in losses.items()
    )
    if not close:
        lines = (f' "{run_id}": {json.dumps(row)}' for run_id, row in losses.items())
        golden(name, "{\n" + ",\n".join(lines) + "\n}\n")
