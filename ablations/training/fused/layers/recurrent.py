"""The stacked form of a gated recurrence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ablations.models.gru import Recurrence
from ablations.training.fused.layers.base import (
    Shape,
    StackedLayer,
    Tensors,
    add_prefix,
    select_prefix,
    stack_layer,
    stacked_form,
)
from ablations.training.fused.layers.dense import StackedWeights, affine_map


@stacked_form(Recurrence)
def _(module: Recurrence, shape: Shape, feature_major: bool) -> StackedLayer:
    """One product with the inputs of all steps, then the steps one after the other."""
    weights = {"input": StackedWeights(module.input), "hidden": StackedWeights(module.hidden)}
    width = (module.hidden.out_features,)
    norms = {
        name: stack_layer(getattr(module, name), width, feature_major)
        for name in ("input_norm", "hidden_norm")
    }
    parts: dict[str, StackedWeights | StackedLayer] = {**weights, **norms}
    feature_dim, row_dim, step_dim = (1, 2, 2) if feature_major else (2, 1, 1)

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        params = {name: select_prefix(name, parts[name].to_stacked, p) for name in parts}
        states = {name: select_prefix(name, norms[name].to_stacked, state) for name in norms}
        statistics: dict[str, list[Tensors]] = {name: [] for name in norms}

        def normalise(name: str, y: Tensor) -> Tensor:
            y, changed = norms[name].apply(y, params[name], states[name], training, feature_major)
            if state:
                states[name] = states[name] | changed
            else:
                statistics[name].append(changed)
            return y

        weight, bias = weights["input"](params["input"]), params["input"]["bias"]
        a = affine_map(_by_step(x, module.shape, feature_major), weight, bias, feature_major)
        a = normalise("input_norm", a)
        a = a.reshape(*a.shape[:step_dim], -1, x.shape[row_dim], *a.shape[step_dim + 1 :])
        weight, bias = weights["hidden"](params["hidden"]), params["hidden"]["bias"]
        h = torch.zeros_like(a.select(step_dim, 0).narrow(feature_dim, 0, module.width))
        for a_of_step in a.unbind(step_dim):
            b = normalise("hidden_norm", affine_map(h, weight, bias, feature_major))
            h = module.next(h, a_of_step, b, feature_dim)
        if not state:
            states = {name: _average(calls) for name, calls in statistics.items()}
        changed = [add_prefix(name, tensors) for name, tensors in states.items()]
        return h, changed[0] | changed[1]

    to_stacked = {
        f"{name}.{key}": function
        for name, layer in parts.items()
        for key, function in layer.to_stacked.items()
    }
    unit_weights = tuple(f"{name}.{key}" for name in weights for key in weights[name].unit_weights)
    depth = 2 + 3 * module.shape[1]
    return StackedLayer(forward, to_stacked, unit_weights, feature_major, depth)


def _average(calls: Sequence[Tensors]) -> Tensors:
    """Average the statistics of several calls of a layer."""
    return {key: torch.stack([call[key] for call in calls]).mean(0) for key in calls[0]}


def _by_step(x: Tensor, series: Shape, feature_major: bool) -> Tensor:
    """Rows (M, B, I) as (M, T · B, F), or feature-major rows (M, I, B) as (M, F, T · B)."""
    members, features = x.shape[0], math.prod(series) // series[1]
    if feature_major:
        return x.reshape(members, *series, -1).movedim(2, -2).reshape(members, features, -1)
    return x.reshape(members, -1, *series).movedim(3, 1).reshape(members, -1, features)
