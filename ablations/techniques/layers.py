"""Layers that techniques add to a network, and functions of the objective and the weights.

Authors of techniques import them from ``ablations.techniques.base``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ablations.core.deprecation import RenamedMembers
from ablations.core.random import AnyStreams, Draws


class RandomLayer(RenamedMembers, nn.Module):
    """A layer that uses random numbers in training mode, and is the identity in evaluation.

    Its computation has three steps, so that an engine can draw once for all runs of a seed and
    perturb many runs in one operation: ``sample`` draws, ``transform`` does what needs no inputs,
    ``perturb`` changes the inputs.

    Parameters
    ----------
    purpose
        The name of its random stream.  The trainer sets ``draws``, the run's streams and step.
    """

    deprecated_names: ClassVar[Mapping[str, str]] = {
        "draw": "sample",
        "prepare": "transform",
        "disturb": "perturb",
    }

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.purpose = purpose
        self.draws: Draws | None = None
        self.precomputed: tuple[Tensor, tuple[Tensor, ...]] | None = None
        """The transformed draws and the numbers of this run, where an engine has them already."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        if self.precomputed is not None:
            transformed, numbers = self.precomputed
            return self.perturb(inputs, transformed, *numbers)
        if self.draws is None:
            raise RuntimeError(f"the layer '{self.purpose}' has no random streams")
        numbers = tuple(
            number.to(inputs.device, inputs.dtype if number.is_floating_point() else number.dtype)
            for number in self.numbers()
        )
        sample = self.sample(self.draws.streams, inputs.shape, self.purpose, self.draws.step)
        return self.perturb(inputs, self.transform(sample.to(inputs.device), *numbers), *numbers)

    def plain(self) -> nn.Module:
        """Return the usual PyTorch layer with the same effect, whose cost is timed."""
        return self

    def numbers(self) -> tuple[Tensor, ...]:
        """Return the layer's parameters as scalars; an engine stacks those of many runs."""
        raise NotImplementedError

    @staticmethod
    def sample(streams: AnyStreams, shape: Sequence[int], purpose: str, step: int) -> Tensor:
        """Draw this step's numbers (…, batch, feature) as a function of seed and purpose alone."""
        raise NotImplementedError

    @staticmethod
    def transform(sample: Tensor, *numbers: Tensor) -> Tensor:  # noqa: ARG004
        """Return what can be computed without the inputs, in the shape of ``sample``."""
        return sample

    @staticmethod
    def perturb(inputs: Tensor, transformed: Tensor, *numbers: Tensor) -> Tensor:
        """Return the perturbed inputs; a pure function of tensors, entry by entry.

        An engine may pass (…, feature, batch) in place of (…, batch, feature).
        """
        raise NotImplementedError


def slowest_momentum(module: nn.Module) -> float | None:
    """Return the smallest momentum of the running statistics in a module; None without them."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    tracking = [layer for layer in layers if layer.track_running_stats]
    return min((n.momentum for n in tracking if n.momentum is not None), default=None)


class PerPosition(nn.Module):
    """Apply a layer for rows (batch, width) to each position of maps (batch, width, …)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: Tensor) -> Tensor:
        channels_last = maps.movedim(1, -1)
        rows: Tensor = self.layer(channels_last.flatten(0, -2))
        return rows.view(channels_last.shape).movedim(-1, 1)


def l1_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Return the sum of all absolute values, a scalar."""
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()


def uniform_loss(outputs: Tensor) -> Tensor:
    """Return the cross-entropy (…) of logits (…, class) with the uniform distribution."""
    return -F.log_softmax(outputs, dim=-1).mean(-1)


def shrinking(weight: Tensor, limit: float | Tensor, dim: int | tuple[int, ...] = -1) -> Tensor:
    """Return factors that bring vectors along ``dim`` to a length of at most ``limit``."""
    length: Tensor = torch.linalg.vector_norm(weight, dim=dim, keepdim=True)
    return limit / torch.maximum(length, torch.as_tensor(limit, dtype=length.dtype))
