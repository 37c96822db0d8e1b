"""Small grids that together use every technique, and a command that trains them all.

The module imports the public surface alone, so that any revision can train the same grids:
``python grids.py FOLDER`` trains them with whatever ``ablations`` Python finds first.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import ablations

NORMS = ["none", "layer", "batch", "group", "rms", "weight_norm"]
REGULARIZERS = [
    "none", "l1", "l2", "elastic", "dropout", "decoupled_weight_decay", "input_noise", "max_norm",
]  # fmt: skip
INITS = [
    "default", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal",
    "trunc_normal",
]  # fmt: skip
SCHEDULES = [
    "constant", "step", "exponential", "cosine", "one_cycle", "cyclic", "plateau", "warmup_cosine",
]  # fmt: skip
CPU = {"device": ["cpu"]}

NOTEBOOK: dict[str, Any] = {
    "name": "notebook",
    "task": "notebook",
    "seeds": 2,
    "epochs": 2,
    "batch_size": 32,
    "optimizer": "sgd",
    "lr": 0.01,
    "grid": [
        {"name": "norms", "axes": CPU | {"norm": NORMS}},
        {"name": "pairs", "axes": CPU | {"norm": ["layer", "batch"], "regularizer": ["dropout"]}},
        {"name": "regularizers", "optimizer": "adam", "axes": CPU | {"regularizer": REGULARIZERS}},
        {"name": "inits", "axes": CPU | {"init": INITS}},
        {"name": "schedules", "axes": CPU | {"schedule": SCHEDULES}},
        {"name": "optimizers", "axes": CPU | {"optimizer": ["adam", "sgd"]}},
        {"name": "full", "batch_size": "full", "axes": CPU | {"norm": ["none", "batch"]}},
    ],
}
"""Every norm, regularizer, init and schedule on the notebook's data.

Adam divides by the size of the gradient: where batch norm makes a gradient nothing but rounding
errors, it amplifies them.  So the grid trains norms by plain gradient descent.
"""

CLASSES: dict[str, Any] = {
    "name": "classes",
    "task": "digits",
    "seeds": 2,
    "epochs": 1,
    "batch_size": 128,
    "axes": CPU | {"regularizer": ["none", "label_smoothing"], "norm": ["none", "batch"]},
}
"""Classes, and the technique that needs them."""

PICTURES: dict[str, Any] = CLASSES | {"name": "pictures", "model": "cnn", "seeds": 1}
"""A convolutional network."""

DEEP: dict[str, Any] = CLASSES | {
    "name": "deep",
    "model": "deep_mlp",
    "axes": CPU | {"norm": ["none", "layer"], "init": ["default", "orthogonal"]},
}
"""A deep network."""

SERIES: dict[str, Any] = CLASSES | {
    "name": "series",
    "model": "gru",
    "seeds": 1,
    "axes": CPU | {"norm": ["none", "batch"]},
}
"""A recurrent network, over the lines of the pictures."""

TABLES: list[dict[str, Any]] = [
    {
        "name": task,
        "task": task,
        "seeds": 2,
        "epochs": 2,
        "batch_size": 64,
        "vary": ["split", "init"],
        "axes": CPU | {"norm": ["none", "batch"], "activation": ["relu", "tanh"]},
    }
    for task in ("breast_cancer", "diabetes", "friedman1")
]
"""The other tasks, a parameter of the model as an axis, and seeds that vary less than all."""

CURVES: dict[str, Any] = CLASSES | {"name": "mnist1d", "task": "mnist1d", "batch_size": 500}
"""The task whose data take longest to draw."""

ALL = [NOTEBOOK, CLASSES, PICTURES, DEEP, SERIES, *TABLES, CURVES]
DTYPES = ("float32", "float64")
ENGINES = ("loop", "fused")


class Silent:
    """A reporter that prints nothing."""

    def begin(self, total: int, done: int, what: str = "runs") -> None:
        pass

    def update(self, statuses: Counter[str]) -> None:
        pass

    def end(self) -> None:
        pass

    def say(self, line: str) -> None:
        pass


def train(grid: dict[str, Any], out: Path, **options: Any) -> ablations.Results:
    """Train a grid in this process, without report and timing."""
    defaults: dict[str, Any] = {
        "jobs": 1,
        "compile": "never",
        "time_budget": 0,
        "with_report": False,
        "reporter": Silent(),
    }
    return ablations.run(ablations.Study(**grid), out, **(defaults | options))


def train_all(folder: Path, compiled: bool) -> None:
    """Train every grid in every engine and precision, and write down their tables."""
    ways: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        (grid, engine, {"engine": engine}) for grid in ALL for engine in ENGINES
    ]
    if compiled:
        ways.append((NOTEBOOK, "compiled", {"engine": "fused", "compile": "always"}))
    for grid, way, options in ways:
        for dtype in DTYPES:
            name = f"{grid['name']}-{dtype}-{way}"
            results = train(grid | {"dtype": dtype}, folder / name, **options)
            for table in ("runs", "curves", "audit"):
                getattr(results, table).to_pickle(folder / f"{name}.{table}")


if __name__ == "__main__":
    print(ablations.__file__)
    train_all(Path(sys.argv[1]), compiled="--compiled" in sys.argv[2:])
