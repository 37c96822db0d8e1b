"""MNIST-1D: ten curves, stretched, shifted and covered by noise (Greydanus & Kobak, 2024)."""

from __future__ import annotations

import math

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
"""Horizontal position of a pen that draws each digit from top to bottom."""
_PADDING = (36, 60)
_LONG, _SHORT = 72, 40
"""Points of a sequence before and after the last step, which shortens it."""
_SCALE, _SHEAR, _SHIFT = 0.4, 0.75, 48
_SMOOTH_NOISE, _NOISE = 0.25, 0.02
_SMOOTH = 2.0
_EACH = 500


def _interpolate(curves: Array, at: Array) -> Array:
    """Return curves (row, point) at the positions ``at`` (row, position), linearly."""
    before = np.clip(np.floor(at).astype(np.int64), 0, curves.shape[1] - 2)
    first, second = (np.take_along_axis(curves, before + step, 1) for step in (0, 1))
    return np.asarray(first + (at - before) * (second - first))


def _smooth(noise: Array) -> Array:
    """Smooth noise (row, point) by a Gaussian window, mirrored at the ends."""
    radius = math.ceil(4 * _SMOOTH)
    window = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SMOOTH) ** 2)
    padded = np.pad(noise, ((0, 0), (radius, radius)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=1)
    return np.asarray(windows @ (window / window.sum()))


def draw_sequences(streams: Streams, n_each: int = _EACH) -> tuple[Tensor, Tensor]:
    """Draw ``n_each`` sequences of each digit, float64 (10 · n_each, 40), and the digits, int64."""
    digits = np.repeat(np.arange(10), n_each)
    rows = len(digits)

    def uniform(purpose: str) -> Array:
        return np.asarray(streams.uniform((rows, 1), f"data/{purpose}"))

    def normal(purpose: str) -> Array:
        return np.asarray(streams.normal((rows, _LONG), f"data/{purpose}"))

    pen: Array = np.array(_PEN, dtype=np.float64)
    pen = (pen - pen.mean(1, keepdims=True)) / pen.std(1, keepdims=True)
    templates = ((pen - pen[:, :1]) / 6)[digits]  # each with deviation 1/6 and start 0
    low, high = _PADDING
    length = templates.shape[1] + low + np.floor(uniform("padding") * (high - low + 1))
    at = np.linspace(0, 1, _LONG) * (length - 1)
    padded = np.pad(templates, ((0, 0), (0, high)))
    curve = _interpolate(padded, at) * (1 + _SCALE * (uniform("scale") - 0.5))
    blank = at >= templates.shape[1]  # beyond the curve and its descent to zero
    shift = np.floor(uniform("shift") * _SHIFT).astype(np.int64)
    shifted = (np.arange(_LONG) - shift) % _LONG
    curve, blank = (np.take_along_axis(values, shifted, 1) for values in (curve, blank))
    curve = np.where(blank, _SMOOTH_NOISE * _smooth(normal("smooth")), curve)
    curve += _NOISE * normal("noise")
    curve -= _SHEAR * (uniform("shear") - 0.5) * np.linspace(-0.5, 0.5, _LONG)
    short = _interpolate(curve, np.broadcast_to(np.linspace(0, _LONG - 1, _SHORT), (rows, _SHORT)))
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
        return split(*draw_sequences(streams), self.rows, streams, together=True)
