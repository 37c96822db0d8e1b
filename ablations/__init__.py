"""Find out which neural-network training techniques really help.

>>> import ablations
>>> study = ablations.Study(task="notebook", axes={"norm": ["none", "layer"]}, seeds=5)
>>> results = ablations.run(study, out="results/norms")     # doctest: +SKIP
>>> results.runs.groupby("norm")["val_loss"].median()       # doctest: +SKIP
"""

from __future__ import annotations

import sys

# ``python -m`` puts the current folder first on the path.  Whoever filled it would choose what the
# next lines import; only a folder that this package itself comes from stays there.
if (
    sys.argv[:1] == ["-m"]
    and not sys.flags.safe_path
    and __file__.replace("\\", "/")
    != (sys.path[0].replace("\\", "/").rstrip("/") + "/ablations/__init__.py")
):
    del sys.path[0]

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.analysis.results import Results
    from ablations.core.errors import RequestError
    from ablations.execution.run import run
    from ablations.execution.trust import load
    from ablations.study.catalogue import available
    from ablations.study.configuration import Configuration, Run
    from ablations.study.study import Study
    from ablations.tasks.arrays import from_arrays, from_dataset
    from ablations.tasks.base import Task

__all__ = ["Configuration", "RequestError", "Results", "Run", "Study", "Task"]
__all__ += ["available", "from_arrays", "from_dataset", "load", "run"]

_HOMES = {
    "Configuration": "ablations.study.configuration",
    "RequestError": "ablations.core.errors",
    "Results": "ablations.analysis.results",
    "Run": "ablations.study.configuration",
    "Study": "ablations.study.study",
    "Task": "ablations.tasks.base",
    "available": "ablations.study.catalogue",
    "from_arrays": "ablations.tasks.arrays",
    "from_dataset": "ablations.tasks.arrays",
    "load": "ablations.execution.trust",
    "run": "ablations.execution.run",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; reading a table or a help text should not wait for it.
    if name not in _HOMES:
        raise AttributeError(f"module 'ablations' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
