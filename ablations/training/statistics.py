"""Running statistics of batch norm layers: how far they lag, and how to take them anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ablations.core.random import Streams
from ablations.study.configuration import Configuration
from ablations.techniques.base import Norm, Regularizer, slowest_momentum
from ablations.training.cohorts import count_steps
from ablations.training.timeout import RunTimeoutError, time_limit


@contextmanager
def averaged_statistics(network: nn.Module) -> Iterator[None]:
    """Let the running statistics of batch norm layers become the mean over their next calls.

    Only these layers are in training mode; afterwards the whole network is in evaluation mode.  It
    is what ``torch.optim.swa_utils.update_bn`` does, without the noise of layers such as dropout.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    calls = Counter[nn.Module]()

    def set_momentum(layer: _BatchNorm, _: object) -> None:
        if not calls[layer]:
            layer.reset_running_stats()
        calls[layer] += 1
        layer.momentum = 1 / calls[layer]

    momenta = [layer.momentum for layer in layers]
    hooks = [layer.register_forward_pre_hook(set_momentum) for layer in layers]
    network.eval()
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        network.eval()
        for layer, momentum, hook in zip(layers, momenta, hooks, strict=True):
            layer.momentum = momentum
            hook.remove()


@torch.no_grad()
def recompute_statistics(network: nn.Module, x: Tensor) -> None:
    """Replace the running statistics of batch norm layers by those of the rows ``x``."""
    with averaged_statistics(network):
        network(x)


def norm_start_share(configuration: Configuration, seconds: float | None = None) -> float:
    """Return the share of the start values in a norm's running statistics after training.

    It is 0 if the norm raises an exception, or takes more than ``seconds``.
    """
    c = configuration
    with suppress(Exception, RunTimeoutError), time_limit(seconds):
        widths, steps = set(c.model.widths(c.task)), count_steps(c)
        return max((c.norm.start_share(width, steps) for width in widths), default=0.0)
    return 0.0


def model_start_share(configuration: Configuration, seconds: float | None = None) -> float:
    """Return the share of the start values in the running statistics of a model's own layers.

    It is 0 if the model raises an exception, or takes more than ``seconds``.
    """
    c, momentum = configuration, None
    cpu = torch.device("cpu")
    with suppress(Exception, RunTimeoutError), time_limit(seconds), Streams(0).isolated(cpu):
        momentum = slowest_momentum(c.model.build(c.task, Norm(), Regularizer()))
    return 0.0 if momentum is None else (1 - momentum) ** count_steps(c)
