"""Find out which neural-network training techniques really help.

>>> import ablations
>>> study = ablations.Study(task="notebook", axes={"norm": ["none", "layer"]}, seeds=5)
>>> results = ablations.run(study, out="results/norms")     # doctest: +SKIP
>>> results.runs.groupby("norm")["val_loss"].median()       # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.answers import Results, load
    from ablations.errors import RequestError
    from ablations.grid import Configuration, Run
    from ablations.pipeline import run
    from ablations.study import Study
    from ablations.tasks.base import Task

__all__ = ["Configuration", "RequestError", "Results", "Run", "Study", "Task", "load", "run"]

_HOMES = {
    "Configuration": "ablations.grid",
    "RequestError": "ablations.errors",
    "Results": "ablations.answers",
    "Run": "ablations.grid",
    "Study": "ablations.study",
    "Task": "ablations.tasks.base",
    "load": "ablations.answers",
    "run": "ablations.pipeline",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; reading a table or a help text should not wait for it.
    if name not in _HOMES:
        raise AttributeError(f"module 'ablations' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
