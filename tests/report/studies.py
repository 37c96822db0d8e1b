"""Results as a study would leave them, generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ablations.results.metadata import StudyMetadata
from ablations.results.store import StoredResults

NOTEBOOK: dict[str, tuple[object, ...]] = {
    "regularizer": ("none", "l1", "l2", "elastic", "dropout(p=[0.5, 0.2])"),
    "norm": ("none", "layer", "batch", "group"),
    "init": ("default", "xavier_uniform", "kaiming_uniform"),
    "schedule": ("constant", "step", "plateau", "cyclic"),
    "device": ("cpu",),
}
SMALL: dict[str, tuple[object, ...]] = {
    "regularizer": ("none", "l1", "dropout(p=[0.5, 0.2])"),
    "norm": ("none", "layer"),
}
EFFECTS = {"l1": -0.05, "elastic": -0.05, "layer": 0.12, "batch": 0.3, "kaiming_uniform": 0.06}


def make_results(
    folder: Path,
    axes: Mapping[str, Sequence[object]] = SMALL,
    *,
    seeds: int = 8,
    epochs: int = 5,
    rng: int = 0,
) -> StoredResults:
    """A full cross whose validation loss is a seed's level, the levels' effects and noise."""
    random = np.random.default_rng(rng)
    runs = pd.DataFrame(list(product(*axes.values(), range(seeds))), columns=[*axes, "seed"])
    n = len(runs)
    log_loss = np.log(0.1) + random.normal(0, 0.1, seeds)[runs["seed"]] + random.normal(0, 0.03, n)
    for axis in axes:
        log_loss = log_loss + runs[axis].map(EFFECTS).astype(float).fillna(0).to_numpy()
    columns = {
        "run_id": [f"{(i + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}" for i in range(n)],
        "study": "notebook", "task": "notebook",
        "model": "mlp", "optimizer": "adam", "lr": 1e-3, "batch_size": "full", "dtype": "float32",
        "status": "ok", "reason": None, "engine": "loop", "cohort_size": 1, "epochs": epochs,
        "parameters": 2817, "val_loss": np.exp(log_loss), "metric_name": "r2",
        "train_seconds": 0.02 * np.exp(random.normal(0, 0.2, n)), "environment_id": "e1",
        "traceback": None,
    }  # fmt: skip
    runs = runs.assign(**{name: value for name, value in columns.items() if name not in axes})
    runs["train_loss"] = runs["val_loss"] * 0.8
    runs["objective"] = runs["val_loss"] * 0.85
    runs["metric"] = 1 - runs["val_loss"]
    environment: dict[str, dict[str, object]] = {"e1": {"python": "3.11", "cpu": {"cores": 2}}}
    timings = pd.DataFrame({"run_id": []})
    audit = pd.DataFrame({name: [] for name in ("run_id", "engine", "repeated", "drift", "reason")})
    curves = curves_of(runs, epochs)
    return StoredResults(folder, runs, curves, timings, audit, environment, 'task = "x"\n')


def curves_of(runs: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """Curves that come down to each run's last loss."""
    fall = 1 + 2 * (np.exp(-np.arange(epochs) / 4) - np.exp(-(epochs - 1) / 4))
    table = pd.DataFrame(
        {
            "run_id": np.repeat(runs["run_id"].to_numpy(), epochs),
            "epoch": np.tile(np.arange(1, epochs + 1), len(runs)),
        }
    )
    for name in ("objective", "train_loss", "val_loss"):
        table[name] = (runs[name].to_numpy(dtype=float)[:, None] * fall).ravel()
    return table.assign(lr=1e-3)


def end_runs(
    results: StoredResults, selection: pd.Series, status: str, reason: str
) -> StoredResults:
    """Give the selected runs another status, and no numbers."""
    runs = results.runs.copy()
    numbers = ["objective", "train_loss", "val_loss", "metric"]
    runs.loc[selection, "status"], runs.loc[selection, "reason"] = status, reason
    runs.loc[selection, numbers] = np.nan
    ended = results.curves["run_id"].isin(runs.loc[selection, "run_id"])
    return replace(results, runs=runs, curves=results.curves[~ended])


def make_metadata(axes: Mapping[str, Sequence[object]] = SMALL, **changes: object) -> StudyMetadata:
    """Metadata of a study whose controls are the first levels."""
    fields: dict[str, object] = {
        "study": "notebook",
        "description": "The notebook's techniques, crossed.",
        "axes": tuple(axes),
        "controls": {axis: levels[0] for axis, levels in axes.items()},
        "levels": {axis: tuple(levels) for axis, levels in axes.items()},
        "captions": {
            axis: {str(level): f"What {level} is (Author, 2014)." for level in levels}
            for axis, levels in axes.items()
        },
        "cautions": ("The targets are noise: a low training loss is memory, not skill.",),
        "metric_name": "r2",
        "higher_is_better": True,
        "published": (),
        "margin": 0.02,
        "command": "ablations run notebook",
    }
    return StudyMetadata(**{**fields, **changes})  # type: ignore[arg-type]


METRICS = {"f1_macro": True, "mae": False}


def with_metrics(folder: Path, *, epochs: int = 5) -> StoredResults:
    """Runs with a metric that falls where the loss does, an error that follows the loss, a constant
    and test losses: the opposite verdicts by loss and by f1_macro.
    """
    results = make_results(folder, epochs=epochs)
    runs = results.runs
    columns = {
        "f1_macro": 0.4 + runs["val_loss"], "mae": 30 * runs["val_loss"],
        "test_loss": 1.1 * runs["val_loss"], "baseline": 0.2 + 0.001 * runs["seed"],
        "best_epoch": epochs, "best_val_loss": runs["val_loss"], "metric_name": "f1_macro",
    }  # fmt: skip
    return replace(results, runs=runs.assign(**columns, metric=columns["f1_macro"]))


def metadata_by(outcome: str, **changes: object) -> StudyMetadata:
    """Metadata of these runs with an outcome."""
    fields: dict[str, object] = {"metric_name": "f1_macro", "metrics": METRICS, "outcome": outcome}
    return make_metadata(SMALL, **{**fields, **changes})


def several_tasks(
    folder: Path, names: Sequence[str] = ("a", "b", "c", "d", "e", "f"), *, seeds: int = 7
) -> tuple[StoredResults, StudyMetadata]:
    """Results of a study of several tasks, each with losses of its own size."""
    results, metadata = make_results(folder), make_metadata()
    runs, curves = [], []
    for i, name in enumerate(names):
        results_of_task = make_results(folder, seeds=seeds, epochs=3, rng=i)
        ids = {run_id: f"{i:02d}{run_id}" for run_id in results_of_task.runs["run_id"]}
        losses = {
            key: results_of_task.runs[key] * 10**i
            for key in ("val_loss", "train_loss", "objective")
        }
        runs.append(
            results_of_task.runs.assign(
                task=name, run_id=results_of_task.runs["run_id"].map(ids), **losses
            )
        )
        curves.append(
            results_of_task.curves.assign(run_id=results_of_task.curves["run_id"].map(ids))
        )
    tasks = {name: replace(metadata, study=f"notebook on {name}", title=name) for name in names}
    return (
        replace(results, runs=pd.concat(runs), curves=pd.concat(curves), metadata=metadata),
        replace(metadata, tasks=tasks),
    )
