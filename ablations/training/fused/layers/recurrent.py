"""The stacked form of a gated recurrence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ablations.models.gru import Recurrence
from ablations.training.fused.layers.base import (
    Layer,
    Shape,
    Tensors,
    select_prefix,
    stacked,
    stacks,
)
from ablations.training.fused.layers.dense import Weights, product


@stacks(Recurrence)
def _(module: Recurrence, shape: Shape, turned: bool) -> Layer:
    """Steps one after the other; the products with the inputs of all steps are one."""
    inputs, hidden = Weights(module.input), Weights(module.hidden)
    width = (module.hidden.out_features,)
    norms = {
        part: stacked(getattr(module, part), width, turned)
        for part in ("input_norm", "hidden_norm")
    }
    held = {"input": inputs.names, "hidden": hidden.names} | {p: norms[p].lay for p in norms}
    features, of_rows, of_steps = (1, 2, 2) if turned else (2, 1, 1)

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        own = {part: select_prefix(part, p) for part in held}
        kept = {part: select_prefix(part, state) for part in norms}

        def normal(part: str, y: Tensor) -> Tensor:
            across = norms[part].turned not in (None, turned)
            y = y.transpose(1, 2) if across else y
            y, changed = norms[part].forward(y, own[part], kept[part], training)
            kept[part] = kept[part] | changed
            return y.transpose(1, 2) if across else y

        bias = own["input"]["bias"]
        a = product(_by_step(x, module.shape, turned), inputs(own["input"]), bias, turned)
        a = normal("input_norm", a)
        a = a.reshape(*a.shape[:of_steps], -1, x.shape[of_rows], *a.shape[of_steps + 1 :])
        weight, bias = hidden(own["hidden"]), own["hidden"]["bias"]
        h = torch.zeros_like(a.select(of_steps, 0).narrow(features, 0, module.width))
        for of_step in a.unbind(of_steps):
            b = normal("hidden_norm", product(h, weight, bias, turned))
            h = module.next(h, of_step, b, features)
        return h, {f"{part}.{name}": value for part in kept for name, value in kept[part].items()}

    lay = {f"{part}.{name}": how for part, names in held.items() for name, how in names.items()}
    of_units = tuple(
        f"{part}.{name}"
        for part, own in (("input", inputs), ("hidden", hidden))
        for name in own.rows
    )
    return Layer(forward, lay, of_units, turned, depth=2 + 3 * module.shape[1])


def _by_step(x: Tensor, series: Shape, turned: bool) -> Tensor:
    """Rows (M, B, I) as (M, T · B, F), or turned ones (M, I, B) as (M, F, T · B)."""
    members, features = x.shape[0], math.prod(series) // series[1]
    if turned:
        lying = x.reshape(members, *series, -1).movedim(2, -2)
        return lying.reshape(members, features, -1)
    return x.reshape(members, -1, *series).movedim(3, 1).reshape(members, -1, features)
