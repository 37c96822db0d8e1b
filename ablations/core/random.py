"""Counter-based random numbers: every draw of a run is a function of (seed, purpose, counter).

There is no state: a draw gives the same numbers when it is repeated, in any order, in another
process or on another device.  A key does not depend on the techniques, so two techniques on one
seed have the same data, batch order and base draws: every contrast is paired.

The words are the finaliser of SplitMix64 (Steele, Lea & Flood, 2014) of
``key + counter * golden ratio`` in 64-bit wrap-around arithmetic, which is exact on every machine.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD, _SEED_WORD = 1 << 64, 1 << 32
LANES = 4  # 16-bit lanes in a word
LEVELS = 1 << 16


def _signed(word: int) -> int:
    """Return the int64 with the same 64 bits."""
    return (word + (_WORD >> 1)) % _WORD - (_WORD >> 1)


def _mix(word: int) -> int:
    word %= _WORD
    word = (word ^ (word >> 30)) * int(_FIRST) % _WORD
    word = (word ^ (word >> 27)) * int(_SECOND) % _WORD
    return word ^ (word >> 31)


def mix(words: Tensor) -> Tensor:
    """Apply SplitMix64's finaliser in place to int64 ``words`` of any shape."""
    if words.device.type != "cpu":
        return _mix_on_device(words)
    # NumPy has unsigned words, and its calls are much faster than torch's.
    array = words.numpy().view(np.uint64)
    array ^= array >> 30
    array *= _FIRST
    array ^= array >> 27
    array *= _SECOND
    array ^= array >> 31
    return words


def _mix_on_device(words: Tensor) -> Tensor:
    # A shift of int64 copies the sign bit; the mask removes the copies.
    words ^= (words >> 30) & (2**34 - 1)
    words *= _signed(int(_FIRST))
    words ^= (words >> 27) & (2**37 - 1)
    words *= _signed(int(_SECOND))
    words ^= (words >> 31) & (2**33 - 1)
    return words


@lru_cache(maxsize=64)
def _multiples(count: int, device: torch.device) -> Tensor:
    """Return ``golden * 1 … golden * count``, wrapped to int64."""
    return torch.arange(1, count + 1, dtype=torch.int64, device=device) * _signed(_GOLDEN)


@lru_cache(maxsize=4096)
def _purpose_key(seed: int, purpose: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


Source = Literal["split", "init", "order", "noise"]
SOURCES: tuple[Source, ...] = get_args(Source)
"""Sources of chance: data and validation rows, initial weights, order of the rows, and random
numbers during training."""

_SOURCE_OF = {"split": "split", "data": "split", "init": "init", "global": "init", "order": "order"}
"""First word of a purpose to its source of chance; the source of all other purposes is noise."""


def _seed(seed: int, fixed: tuple[str, ...], purpose: str) -> int:
    """Return the seed of a purpose's stream: 0 if its source is fixed."""
    is_fixed = fixed and _SOURCE_OF.get(purpose.partition("/")[0], "noise") in fixed
    return 0 if is_fixed else seed


CPU = torch.device("cpu")
_GLOBAL = threading.RLock()


@contextmanager
def _restored() -> Iterator[None]:
    """Restore the state of Python's and NumPy's global generators on exit."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


class GlobalDraws:
    """Whether code between two points has drawn from a global generator of torch, NumPy or Python,
    on the CPU.
    """

    def __init__(self) -> None:
        self._before = self._state()

    def __bool__(self) -> bool:
        return self._state() != self._before

    @staticmethod
    def _state() -> tuple[object, ...]:
        _, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
        numpy = (np.asarray(words).tobytes(), *rest)
        return random.getstate(), numpy, torch.get_rng_state().numpy().tobytes()


def _fraction(words: Tensor) -> Tensor:
    """Return uniform numbers in (0, 1), float64, from the upper 53 bits of each word."""
    return torch.from_numpy(((words.numpy().view(np.uint64) >> 11) + 0.5) * 2.0**-53)


@dataclass(frozen=True)
class Streams:
    """The random streams of one seed.

    Each method has the arguments ``purpose``, the name of the stream (``"data"``, ``"order"``,
    ``"init/output.weight"``), and ``counter``, the position in it (an epoch, a step).
    """

    seed: int
    fixed: tuple[str, ...] = ()
    """Sources (``SOURCES``) that use seed 0 in place of the seed."""

    def key(self, purpose: str, counter: int = 0) -> int:
        """Return the 64-bit key of one draw, as a signed integer."""
        key = _purpose_key(_seed(self.seed, self.fixed, purpose), purpose)
        return _signed(_mix(key + counter * _GOLDEN))

    def words(self, count: int, purpose: str, counter: int = 0) -> Tensor:
        """Return ``count`` independent 64-bit words, int64 of shape (count,), on the CPU."""
        return mix(_multiples(count, CPU) + self.key(purpose, counter))

    def uniform(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Return uniform numbers in the open interval (0, 1), float64, on the CPU."""
        return _fraction(self.words(math.prod(shape), purpose, counter)).reshape(*shape)

    def normal(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Return standard normal numbers, float64, on the CPU (inverse transform sampling)."""
        normal: Tensor = torch.special.ndtri(self.uniform(shape, purpose, counter))
        return normal

    def permutation(self, count: int, purpose: str, counter: int = 0) -> Tensor:
        """Return the numbers 0 … count-1 in random order, int64, on the CPU."""
        return torch.argsort(self.words(count, purpose, counter), stable=True)

    def lanes(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Return uniform int16 numbers, on the CPU; each uses 16 bits of a word."""
        entries = math.prod(shape)
        words = self.words(-(-entries // LANES), purpose, counter)
        return words.view(torch.int16)[:entries].reshape(*shape)

    @contextmanager
    def isolated(self, device: torch.device = CPU, purpose: str = "global") -> Iterator[None]:
        """Seed the global generators of torch, NumPy and Python, and restore them on exit.

        User code may draw from these generators; this package's code does not.  The generators
        belong to the process, so one thread at a time is inside.
        """
        devices = [] if device.type == "cpu" else [device]
        # fork_rng requires the name of an accelerator, even for an empty list of devices.
        accelerator, key = device.type if devices else "cuda", self.key(purpose)
        with _GLOBAL, torch.random.fork_rng(devices, device_type=accelerator), _restored():
            if devices:
                torch.manual_seed(key)
            else:  # torch.manual_seed of all devices takes a hundred times as long
                torch.default_generator.manual_seed(key)
            random.seed(key)
            np.random.seed([key % _SEED_WORD, (key % _WORD) // _SEED_WORD])  # noqa: NPY002
            yield

    def generator(self, purpose: str) -> torch.Generator:
        """Return a PyTorch generator on the CPU; it uses the lower 32 bits of the key."""
        return torch.Generator().manual_seed(self.key(purpose))


@dataclass(frozen=True)
class StackedStreams:
    """The streams of several seeds: the numbers of ``Streams(seed)``, one row per seed."""

    seeds: tuple[int, ...]
    device: torch.device = CPU
    fixed: tuple[str, ...] = ()

    def _words(self, count: int, purpose: str, counter: int, device: torch.device) -> Tensor:
        seeds = [_seed(seed, self.fixed, purpose) for seed in self.seeds]
        keys = torch.tensor([_signed(_purpose_key(seed, purpose)) for seed in seeds])
        keys = mix(keys + _signed(counter * _GOLDEN)).to(device)
        return mix(_multiples(count, device) + keys[:, None])

    def lanes(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Return ``Streams.lanes`` on this object's device, int16 of shape (seed, *shape)."""
        entries = math.prod(shape)
        words = self._words(-(-entries // LANES), purpose, counter, self.device)
        return words.view(torch.int16)[:, :entries].reshape(-1, *shape)

    def normal(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Return ``Streams.normal``, float64 of shape (seed, *shape), on the CPU."""
        words = self._words(math.prod(shape), purpose, counter, CPU)
        normal: Tensor = torch.special.ndtri(_fraction(words))
        return normal.reshape(-1, *shape)

    def permutation(self, count: int, purpose: str, counter: int = 0) -> Tensor:
        """Return ``Streams.permutation``, int64 of shape (seed, count), on the CPU."""
        return torch.argsort(self._words(count, purpose, counter, CPU), dim=1, stable=True)


AnyStreams = Streams | StackedStreams


@dataclass
class Draws:
    """The streams of a run at its current step; every random layer holds one."""

    streams: Streams
    step: int = 0
