"""Programs compiled by ``torch.compile``, and estimates of their cost.

PyTorch caches compiled programs on disk.  Beside its cache lies a note for each of our programs,
with the seconds that compiling and loading it took and how much faster it is than eager.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import time
import timeit
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from ablations.core.files import digest, write_bytes
from ablations.training import timeout

IMPORT_SECONDS = 3.0
"""Seconds that a process needs to import the compiler."""
BASE_SECONDS, LAYER_SECONDS = 3.0, 1.3
"""Estimate for a program that was never compiled: ``BASE_SECONDS + depth * LAYER_SECONDS``
(measurements in bench/README.md)."""


@dataclass(frozen=True)
class CompileCost:
    """Cost and benefit of a compiled program; the defaults are estimates."""

    seconds: float
    """Seconds that a new process waits for it."""
    gain: float = 2.0
    """Its speed, relative to eager."""


_COMPILED: dict[str, _CompiledFunction] = {}
REFUSED: set[str] = set()
"""Identities of the programs that could not be compiled in this process."""


class CannotCompileError(Exception):
    """A program cannot be compiled on this machine; it can still run eagerly."""


def call(function: Callable[..., Any], identity: str, size: int, arguments: tuple[Any, ...]) -> Any:
    """Return ``function(*arguments)``, compiled for the shapes of the arguments.

    ``identity`` is everything but the shapes that the arithmetic of the pure function depends on
    (``CohortProgram.identity``).  Raise CannotCompileError if the compiler fails for any reason.
    """
    tensors = tree_leaves(arguments)
    key = f"{identity}/{function.__name__}/{[tensor.shape for tensor in tensors]}"
    if key not in _COMPILED:
        try:
            with timeout.suspend_limit():
                _COMPILED[key] = _CompiledFunction(function, identity, size, arguments)
        except Exception as error:
            REFUSED.add(identity)
            raise CannotCompileError(f"{type(error).__name__}: {error}") from error
    return _COMPILED[key](tensors)


class _CompiledFunction:
    """A function compiled for the shapes of some arguments."""

    def __init__(
        self, function: Callable[..., Any], identity: str, size: int, arguments: tuple[Any, ...]
    ) -> None:
        tensors, argument_spec = tree_flatten(arguments)

        def flat_function(*tensors: Tensor) -> list[Tensor]:
            outputs = function(*tree_unflatten(tensors, argument_spec))
            leaves, self._output_spec = tree_flatten(outputs)
            return leaves

        with warnings.catch_warnings():
            # PyTorch's compiler imports deprecated parts of PyTorch.
            warnings.simplefilter("ignore", DeprecationWarning)
            importlib.import_module("torch._inductor.compile_fx")
            start = time.perf_counter()
            # A graph of tensor operations contains none of our objects, which the compiler would
            # have to guard against changes.
            graph = make_fx(flat_function)(*tensors)
            self._compiled = torch.compile(graph, fullgraph=True, dynamic=False)
            self._compiled(*tensors)
            seconds = time.perf_counter() - start
        gain = _time(lambda: function(*arguments)) / _time(lambda: self(tensors))
        record_cost(identity, size, function.__name__, seconds, gain)

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        return tree_unflatten(self._compiled(*tensors), self._output_spec)


def _time(function: Callable[[], Any]) -> float:
    """Seconds of the shorter of two calls."""
    return min(timeit.repeat(function, number=1, repeat=2))


@lru_cache(maxsize=1)
def why_unavailable() -> str | None:
    """Say why nothing can be compiled on this machine; None if programs can be compiled."""
    if sys.platform == "win32":
        return "compiling is not supported on Windows"
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None or shutil.which(compiler) is None:
        return "no C++ compiler is installed"
    return None


def compile_cost(identity: str, size: int, depth: int) -> CompileCost:
    """Estimate the cost of a program of ``depth`` layers from what earlier processes noted."""
    notes = _read_note(_note_path(identity, size)).values()
    if not notes:
        return CompileCost(BASE_SECONDS + depth * LAYER_SECONDS)
    seconds = sum(note.get("load", min(note["compile"], 1.0)) for note in notes)
    return CompileCost(seconds, min(note["gain"] for note in notes))


def record_cost(identity: str, size: int, function: str, seconds: float, gain: float) -> None:
    """Note the seconds to compile a function of a program, or to load it from PyTorch's cache."""
    path = _note_path(identity, size)
    notes = _read_note(path)
    # PyTorch caches what it compiles, so every later process only loads it.
    kind = "load" if function in notes else "compile"
    notes.setdefault(function, {}).update({kind: seconds, "gain": gain})
    with suppress(OSError):  # without the note, only the next estimate is worse
        write_bytes(path, json.dumps(notes).encode())


def _note_path(identity: str, size: int) -> Path:
    """Path of a program's note, in the folder of PyTorch's own cache."""
    folder = importlib.import_module("torch._inductor.runtime.cache_dir_utils").cache_dir()
    text = f"{_hash_sources()}/{torch.__version__}/{size}/{identity}"
    return Path(folder) / "ablations" / f"{digest(text.encode(), size=10)}.json"


@lru_cache(maxsize=1)
def _hash_sources() -> str:
    """Hash the source files that the arithmetic of a program depends on."""
    package = Path(__file__).parents[2]
    folders = (package / "training", package / "techniques", package / "models")
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return digest(b"".join(path.read_bytes() for path in paths), size=8)


def _read_note(path: Path) -> dict[str, dict[str, float]]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        return {name: {key: float(notes[name][key]) for key in notes[name]} for name in notes}
    except (OSError, ValueError, TypeError, LookupError):
        return {}
