"""The notebook's printed losses against 500 runs of each of its cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ablations
from ablations import Study
from ablations.execution.progress import Silent
from ablations.study.study import published

pytestmark = pytest.mark.slow


def test_the_cells_of_the_notebook_are_reproduced(tmp_path: Path) -> None:
    # One test, so that no second worker trains the 4,000 runs again.
    cells = ablations.run(Study.find("cells"), tmp_path, reporter=Silent())
    assert_every_printed_loss_is_one_that_we_could_have_printed(cells)
    assert_the_step_cell_follows_the_printed_learning_rates(cells)
    assert "90 of 90" in (cells.folder / "report.html").read_text(encoding="utf-8")


def assert_every_printed_loss_is_one_that_we_could_have_printed(cells: ablations.Results) -> None:
    study = Study.find("cells")
    assert len(cells.runs) == 8 * 500
    assert (cells.runs["status"] == "ok").all()
    curves = cells.curves.merge(
        cells.runs[["run_id", *study.levels]], on="run_id", suffixes=("", "_run")
    )
    outside = []
    numbers = 0
    for name, configuration, printed in published(study):
        ours = curves
        for axis in study.levels:
            column = "lr_run" if axis == "lr" else axis
            ours = ours[ours[column] == configuration.columns[axis]]
        for epoch, loss in enumerate(printed, start=1):
            losses = ours.loc[ours["epoch"] == epoch, "objective"]
            assert len(losses) == 500
            low, high = np.percentile(losses, [0.5, 99.5])
            numbers += 1
            if not low <= loss <= high:
                outside.append((name, epoch, loss, low, high))
    assert numbers == 90
    assert outside == []


def assert_the_step_cell_follows_the_printed_learning_rates(cells: ablations.Results) -> None:
    run_id = cells.runs.loc[cells.runs["schedule"] == "step", "run_id"].iloc[0]
    rates = cells.curves.loc[cells.curves["run_id"] == run_id, "lr"].to_numpy()
    # The notebook prints the rate after each epoch, which is that of the next one.
    printed = [0.01] * 4 + [0.001] * 5 + [0.0001] * 5 + [0.00001] * 5
    assert rates[0] == pytest.approx(0.01)
    assert rates[1:] == pytest.approx(printed, rel=1e-6)
