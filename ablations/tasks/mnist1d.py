"""Ten drawn curves, stretched, moved and covered by noise."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ablations.core.random import Streams
from ablations.tasks.base import Classification, Data, split, task

Array = npt.NDArray[np.float64]

_PEN = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
"""Where a pen is, from left to right, while it draws each digit from top to bottom."""
_PADDING = (36, 60)
_LONG, _SHORT = 72, 40
"""Points of a series before and after the last step."""
_SCALE, _SHEAR, _SHIFT = 0.4, 0.75, 48
_SMOOTH_NOISE, _NOISE = 0.25, 0.02
_SMOOTH = 2.0
_EACH = 500


@lru_cache(maxsize=1)
def _templates() -> Array:
    """Shape (10, 12): each of deviation 1/6, and 0 at its start."""
    pen: Array = np.array(_PEN, dtype=np.float64)
    pen = (pen - pen.mean(1, keepdims=True)) / pen.std(1, keepdims=True)
    return np.asarray((pen - pen[:, :1]) / 6)


def _read(series: Array, at: Array) -> Array:
    """Series (row, point) where they lie between points: ``at`` (row, place), linearly."""
    left = np.clip(np.floor(at).astype(np.int64), 0, series.shape[1] - 2)
    share = at - left
    first, second = (np.take_along_axis(series, left + step, 1) for step in (0, 1))
    read: Array = first + share * (second - first)
    return read


def _smooth(noise: Array) -> Array:
    """Noise (row, point) under a Gaussian window, mirrored at its ends."""
    reach = math.ceil(4 * _SMOOTH)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTH) ** 2)
    around = np.pad(noise, ((0, 0), (reach, reach)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * reach + 1, axis=1)
    smooth: Array = windows @ (window / window.sum())
    return smooth


def series(streams: Streams, each: int = _EACH) -> tuple[Tensor, Tensor]:
    """So many series of each digit, in order.

    Returns
    -------
    tuple
        Float64 of shape (10 · each, 40), and the digits, int64 of shape (10 · each,).
    """
    digits = np.repeat(np.arange(10), each)
    rows = len(digits)

    def uniform(purpose: str) -> Array:
        found: Array = streams.uniform((rows, 1), f"data/{purpose}").numpy()
        return found

    def normal(purpose: str) -> Array:
        found: Array = streams.normal((rows, _LONG), f"data/{purpose}").numpy()
        return found

    drawn = _templates()[digits]
    low, high = _PADDING
    length = drawn.shape[1] + low + np.floor(uniform("padding") * (high - low + 1))
    at = np.linspace(0, 1, _LONG) * (length - 1)
    padded = np.pad(drawn, ((0, 0), (0, high)))
    curve = _read(padded, at) * (1 + _SCALE * (uniform("scale") - 0.5))
    blank = at >= drawn.shape[1]  # beyond the curve and its way down to zero
    shift = np.floor(uniform("shift") * _SHIFT).astype(np.int64)
    turned = (np.arange(_LONG) - shift) % _LONG
    curve, blank = (np.take_along_axis(part, turned, 1) for part in (curve, blank))
    curve = np.where(blank, _SMOOTH_NOISE * _smooth(normal("smooth")), curve)
    curve += _NOISE * normal("noise")
    curve -= _SHEAR * (uniform("shear") - 0.5) * np.linspace(-0.5, 0.5, _LONG)
    short = _read(curve, np.broadcast_to(np.linspace(0, _LONG - 1, _SHORT), (rows, _SHORT)))
    return torch.from_numpy(short), torch.from_numpy(digits)


@task
class MNIST1D(Classification):
    """Series of 40 points: ten drawn curves, stretched, moved, sheared and covered by noise; 4,000
    to train on and 1,000 to validate, drawn anew by each seed (Greydanus & Kobak, 2024).
    """

    name = "mnist1d"
    inputs, outputs, rows = _SHORT, 10, 4_000
    shape = (1, _SHORT)

    def data(self, streams: Streams) -> Data:
        return split(*series(streams), self.rows, streams, together=True)
