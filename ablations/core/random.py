"""Every random number of a run, as a function of (seed, purpose, counter).

Nothing here has a state: a draw can be made twice, out of order, in another
process or on another device, and is the same number.  Techniques never enter
a key, so two techniques on one seed see the same data, batch order and base
draws, which is what makes every contrast a paired one.

The words come from the finaliser of SplitMix64 (Steele, Lea & Flood, 2014),
applied to ``key + counter * golden ratio`` in 64-bit wrap-around arithmetic,
which is exact and therefore the same everywhere.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = 1 << 64
LANES = 4  # 16-bit lanes in a word
LEVELS = 1 << 16


def _signed(word: int) -> int:
    """The int64 that holds the same 64 bits."""
    word %= _WORD
    return word - _WORD if word >= _WORD >> 1 else word


def _mix(word: int) -> int:
    word %= _WORD
    word = (word ^ (word >> 30)) * int(_FIRST) % _WORD
    word = (word ^ (word >> 27)) * int(_SECOND) % _WORD
    return word ^ (word >> 31)


def mix(words: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place on int64 ``words`` of any shape."""
    if words.device.type != "cpu":
        return _mix_on_device(words)
    # NumPy has unsigned words, and its calls cost a fraction of torch's.
    array = words.numpy().view(np.uint64)
    array ^= array >> 30
    array *= _FIRST
    array ^= array >> 27
    array *= _SECOND
    array ^= array >> 31
    return words


def _mix_on_device(words: Tensor) -> Tensor:
    # int64 shifts copy the sign, so the copied bits are masked away.
    words ^= (words >> 30) & (2**34 - 1)
    words *= _signed(int(_FIRST))
    words ^= (words >> 27) & (2**37 - 1)
    words *= _signed(int(_SECOND))
    words ^= (words >> 31) & (2**33 - 1)
    return words


@lru_cache(maxsize=64)
def _multiples(count: int, device: torch.device) -> Tensor:
    """``golden * 1 … golden * count``, wrapped into int64."""
    return torch.arange(1, count + 1, dtype=torch.int64, device=device) * _signed(_GOLDEN)


@lru_cache(maxsize=4096)
def _purpose_key(seed: int, purpose: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


Source = Literal["split", "init", "order", "noise"]
SOURCES: tuple[Source, ...] = ("split", "init", "order", "noise")
"""What a seed varies: the data and which rows are held out, the initial weights, the order of the
rows, and what is drawn while training."""

_SOURCE_OF = {"split": "split", "data": "split", "init": "init", "global": "init", "order": "order"}
"""The source of a stream, by how its purpose begins; ``noise`` is that of all others."""


def _seed(seed: int, fixed: tuple[str, ...], purpose: str) -> int:
    """The seed that a purpose's stream follows."""
    if not fixed:
        return seed
    return 0 if _SOURCE_OF.get(purpose.partition("/")[0], "noise") in fixed else seed


CPU = torch.device("cpu")
_GLOBAL = threading.RLock()


def _fraction(words: Tensor) -> Tensor:
    """Uniform on the open interval (0, 1), float64, from the upper 53 bits of each word."""
    return torch.from_numpy(((words.numpy().view(np.uint64) >> 11) + 0.5) * 2.0**-53)


def _fork_type(device: torch.device) -> str:
    # fork_rng wants an accelerator's name even where it is given no device of it.
    return "cuda" if device.type == "cpu" else device.type


@dataclass(frozen=True)
class Streams:
    """The random streams of one seed.

    Each method takes a ``purpose``, which names the stream (``"data"``,
    ``"order"``, ``"init/output.weight"``), and a ``counter``, which is the
    place in it (an epoch, a step).
    """

    seed: int
    fixed: tuple[str, ...] = ()
    """Sources (``SOURCES``) that do not follow the seed: they are those of seed 0."""

    def key(self, purpose: str, counter: int = 0) -> int:
        """The 64-bit key from which the words of one draw are made, as a signed integer."""
        of_purpose = _purpose_key(_seed(self.seed, self.fixed, purpose), purpose)
        return _signed(_mix(of_purpose + counter * _GOLDEN))

    def words(
        self, count: int, purpose: str, counter: int = 0, device: torch.device = CPU
    ) -> Tensor:
        """``count`` independent 64-bit words, int64 of shape (count,)."""
        return mix(_multiples(count, device) + self.key(purpose, counter))

    def uniform(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Uniform on the open interval (0, 1), float64, on the CPU."""
        return _fraction(self.words(math.prod(shape), purpose, counter)).reshape(*shape)

    def normal(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Standard normal, float64, on the CPU: the inverse distribution function of a uniform."""
        normal: Tensor = torch.special.ndtri(self.uniform(shape, purpose, counter))
        return normal

    def permutation(self, count: int, purpose: str, counter: int = 0) -> Tensor:
        """The numbers 0 … count-1 in random order, int64, on the CPU."""
        return torch.argsort(self.words(count, purpose, counter), stable=True)

    def lanes(
        self, shape: Sequence[int], purpose: str, counter: int = 0, device: torch.device = CPU
    ) -> Tensor:
        """Uniform on the int16 numbers; each takes 16 bits of a word."""
        entries = math.prod(shape)
        words = self.words(-(-entries // LANES), purpose, counter, device)
        return words.view(torch.int16)[:entries].reshape(*shape)

    @contextmanager
    def isolated(self, device: torch.device) -> Iterator[None]:
        """Torch's global generators seeded for this run inside, and as they were after it.

        For layers of other people, which draw from there; ours never do.  The generators are the
        process's, so one thread at a time is inside.
        """
        devices = [] if device.type == "cpu" else [device]
        with _GLOBAL, torch.random.fork_rng(devices, device_type=_fork_type(device)):
            if devices:
                torch.manual_seed(self.key("global"))
            else:  # the same for the CPU alone, and in a hundredth of the time
                torch.default_generator.manual_seed(self.key("global"))
            yield

    def generator(self, purpose: str) -> torch.Generator:
        """A PyTorch generator on the CPU, for functions that take nothing else.

        PyTorch keeps the lower 32 bits of its key.
        """
        return torch.Generator().manual_seed(self.key(purpose))


@dataclass(frozen=True)
class StackedStreams:
    """The streams of several seeds at once: the numbers of ``Streams(seed)``, one row a seed."""

    seeds: tuple[int, ...]
    device: torch.device = CPU
    fixed: tuple[str, ...] = ()

    def _words(self, count: int, purpose: str, counter: int, device: torch.device) -> Tensor:
        seeds = [_seed(seed, self.fixed, purpose) for seed in self.seeds]
        keys = torch.tensor([_signed(_purpose_key(seed, purpose)) for seed in seeds])
        keys = mix(keys + _signed(counter * _GOLDEN)).to(device)
        return mix(_multiples(count, device) + keys[:, None])

    def lanes(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Like ``Streams.lanes``, on this object's device, int16 of shape (seed, *shape)."""
        entries = math.prod(shape)
        words = self._words(-(-entries // LANES), purpose, counter, self.device)
        return words.view(torch.int16)[:, :entries].reshape(-1, *shape)

    def normal(self, shape: Sequence[int], purpose: str, counter: int = 0) -> Tensor:
        """Like ``Streams.normal``, float64 of shape (seed, *shape), on the CPU."""
        words = self._words(math.prod(shape), purpose, counter, CPU)
        normal: Tensor = torch.special.ndtri(_fraction(words))
        return normal.reshape(-1, *shape)

    def permutation(self, count: int, purpose: str, counter: int = 0) -> Tensor:
        """Like ``Streams.permutation``, int64 of shape (seed, count), on the CPU."""
        return torch.argsort(self._words(count, purpose, counter, CPU), dim=1, stable=True)


@dataclass
class Draws:
    """The streams of a run at its present step; layers that draw hold one."""

    streams: Streams
    step: int = 0
