"""Programs through ``torch.compile``, and what is known of their cost.

PyTorch keeps what it compiled in a cache on disk.  Beside it lies a note for each of our programs:
that it is there, and how long it took, cold and from the cache.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ablations.core import files
from ablations.training import timeout

IMPORT_SECONDS = 3.0
"""What it costs a process to start compiling at all."""
FIRST_SECONDS, LAYER_SECONDS = 3.0, 1.3
"""What a program takes to compile where nothing is known of it: so much, and so much a layer.
Measured on digits: 10 s for the 5 layers of an MLP, 25 and 48 s for 25 and 37 of a deep one, 41 s
for the 26 of a recurrence over 8 steps."""


@dataclass(frozen=True)
class CompileCost:
    """What is known of a program in its compiled form; the default where nothing is."""

    seconds: float
    """What a new process would wait for it."""
    gain: float = 2.0
    """How many times faster than eager it is."""


_READY: dict[str, _Compiled] = {}
_REFUSED: set[str] = set()


class CannotCompileError(Exception):
    """A program could not be compiled here; eagerly it can still run."""


def refused(kind: str) -> bool:
    """Whether a program of this kind could not be compiled before, in this process."""
    return kind in _REFUSED


def call(function: Callable[..., Any], kind: str, size: int, arguments: tuple[Any, ...]) -> Any:
    """``function(*arguments)``, compiled for the shapes that are given.

    Parameters
    ----------
    function
        A pure function of nested tuples and dictionaries of tensors, to such.
    kind
        All that its arithmetic depends on but the shapes, as text.
    size
        Members of the program.

    Raises
    ------
    CannotCompileError
        If the compiler fails, whatever the reason.
    """
    tensors = list(_leaves(arguments))
    key = f"{kind}/{function.__name__}/{[tensor.shape for tensor in tensors]}"
    if key not in _READY:
        try:
            with timeout.suspend_limit():
                _READY[key] = _Compiled(function, kind, size, arguments)
        except Exception as error:
            _REFUSED.add(kind)
            raise CannotCompileError(f"{type(error).__name__}: {error}") from error
    return _READY[key](tensors)


class _Compiled:
    """A function compiled for the shapes of some arguments."""

    def __init__(
        self, function: Callable[..., Any], kind: str, size: int, arguments: tuple[Any, ...]
    ) -> None:
        def flat(*tensors: Tensor) -> list[Tensor]:
            self._given = function(*_filled(arguments, iter(tensors)))
            return list(_leaves(self._given))

        tensors = list(_leaves(arguments))
        with warnings.catch_warnings():
            # PyTorch's compiler imports deprecated parts of PyTorch.
            warnings.simplefilter("ignore", DeprecationWarning)
            importlib.import_module("torch._inductor.compile_fx")
            start = time.perf_counter()
            # Traced to a graph of plain tensor operations first: of our objects, nothing is left
            # that a compiler had to guard against changes.
            self._ready = torch.compile(make_fx(flat)(*tensors), fullgraph=True, dynamic=False)
            self._ready(*tensors)
            took = time.perf_counter() - start
        gain = _seconds(lambda: function(*arguments)) / _seconds(lambda: self(tensors))
        _note(_note_path(kind, size), function.__name__, took, gain)

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        return _filled(self._given, iter(self._ready(*tensors)))


def _leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors of nested tuples and dictionaries, in order."""
    if isinstance(tree, Tensor):
        yield tree
    else:
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(part)


def _filled(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """A tree of the same form with other tensors."""
    if isinstance(tree, Tensor):
        return next(tensors)
    if isinstance(tree, dict):
        return {name: _filled(part, tensors) for name, part in tree.items()}
    parts = [_filled(part, tensors) for part in tree]
    return tree._make(parts) if hasattr(tree, "_make") else tuple(parts)


@lru_cache(maxsize=1)
def why_unavailable() -> str | None:
    """Why nothing can be compiled here; None where it can."""
    if sys.platform == "win32":
        return "compiling is not supported on Windows"
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None or shutil.which(compiler) is None:
        return "no C++ compiler is installed"
    return None


def _seconds(call: Callable[[], Any]) -> float:
    """The shorter of two calls."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _note_path(kind: str, size: int) -> Path:
    """Where the note of a program lies, in the folder of PyTorch's own cache."""
    folder = importlib.import_module("torch._inductor.runtime.cache_dir_utils").cache_dir()
    text = f"{_sources()}/{torch.__version__}/{size}/{kind}"
    name = hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    return Path(folder) / "ablations" / f"{name}.json"


@lru_cache(maxsize=1)
def _sources() -> str:
    """A hash of the code that programs are made from."""
    package = Path(__file__).parents[2]
    folders = (package / "training", package / "techniques", package / "models")
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return hashlib.blake2b(b"".join(path.read_bytes() for path in files), digest_size=8).hexdigest()


def _note(path: Path, part: str, seconds: float, gain: float) -> None:
    notes = _read(path)
    # The first time it was compiled, and PyTorch keeps that; every other process only loads it.
    if part in notes:
        notes[part]["load"] = seconds
    else:
        notes[part] = {"compile": seconds}
    notes[part]["gain"] = gain
    try:
        files.write_bytes(path, json.dumps(notes).encode())
    except OSError:
        return  # without the note the next plan only knows less


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {part: {key: float(found[part][key]) for key in found[part]} for part in found}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def compile_cost(kind: str, size: int, depth: int) -> CompileCost:
    """What earlier processes on this machine noted of a program of so many layers."""
    notes = _read(_note_path(kind, size)).values()
    if not notes:
        return CompileCost(FIRST_SECONDS + depth * LAYER_SECONDS)
    load = sum(note.get("load", min(note["compile"], 1.0)) for note in notes)
    return CompileCost(load, min(note["gain"] for note in notes))
