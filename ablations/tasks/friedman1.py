"""Friedman's first regression problem."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from ablations.core.random import Streams
from ablations.tasks.base import Data, Regression, split, task

_VALIDATION = 1_000


@task
class Friedman1(Regression):
    """A smooth function of five of ten uniform inputs, 10 sin(π x₁x₂) + 20 (x₃ - ½)² + 10 x₄ +
    5 x₅, with noise; 200 rows to train on and 1,000 to validate, drawn anew by each seed (Friedman,
    1991).
    """

    name = "friedman1"
    inputs, outputs, rows = 10, 1, 200
    noise: Annotated[float, Field(ge=0, le=1e6)] = 1.0

    def data(self, streams: Streams) -> Data:
        count = self.rows + _VALIDATION
        x = streams.uniform((count, self.inputs), "data/inputs")
        noise = self.noise * streams.normal((count,), "data/noise")
        first, second, third, fourth, fifth = x[:, :5].unbind(1)
        y = 10 * torch.sin(math.pi * first * second) + 20 * (third - 0.5).square()
        y = y + 10 * fourth + 5 * fifth + noise
        return split(x, y[:, None], self.rows, streams)
