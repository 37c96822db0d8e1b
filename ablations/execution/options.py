"""How to train: every option of a run, from the command line to the workers."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import joblib

from ablations.core.errors import RequestError, nearest
from ablations.training.engine import Compile, Engine


@dataclass(frozen=True)
class RunOptions:
    """Every option of ``ablations.run``, which documents them."""

    jobs: int | None = None
    backend: str | None = None
    engine: Engine = "auto"
    compile: Compile = "auto"
    timeout: float | None = None
    fail_fast: bool = False
    force: bool = False
    accept_environment: bool = False
    time_budget: float | None = None
    with_report: bool = True

    def check(self) -> None:
        """Refuse values that are wrong, or a backend that is not available here."""
        if self.jobs is not None and (self.jobs == 0 or self.jobs < -1):
            message = f"expected a number from 1 up, or -1 for all cores, found {self.jobs}"
            raise RequestError(message, "--jobs")
        if self.backend is not None:
            _check_backend(self.backend)
        if self.time_budget is not None and not 0 <= self.time_budget < 1e7:
            message = f"expected a number of seconds from 0 up, found {self.time_budget:g}"
            raise RequestError(message, "--time-budget")
        if self.timeout is not None and not 0 < self.timeout < 1e7:
            message = f"expected a number of seconds above 0, found {self.timeout:g}"
            raise RequestError(message, "--timeout")
        if self.timeout is not None and self.backend not in (None, "loky"):
            message = f"{self.backend} cannot stop what takes too long; leave --backend out"
            raise RequestError(message, "--timeout")


def _check_backend(backend: str) -> None:
    if backend == "multiprocessing":
        message = "'multiprocessing' waits for ever when a worker dies; 'loky' does not"
        raise RequestError(message, "--backend")
    names = sorted({*joblib.parallel.BACKENDS, *joblib.parallel.EXTERNAL_BACKENDS, "dask", "ray"})
    if backend not in names:
        raise RequestError(f"unknown backend '{backend}'; {nearest(backend, names)}", "--backend")
    try:
        if backend == "ray":
            importlib.import_module("ray.util.joblib").register_ray()
        with joblib.parallel_config(backend=backend):
            joblib.Parallel(n_jobs=2)
    except (ValueError, ImportError, RuntimeError) as error:
        is_missing = backend == "ray" and isinstance(error, ImportError)
        reason = "it is not installed" if is_missing else error
        raise RequestError(f"'{backend}' cannot be used here: {reason}", "--backend") from None
