"""Statistics of batch norm layers, taken anew with a network's present weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
