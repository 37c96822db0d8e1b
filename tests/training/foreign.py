"""A network that is no sequence of layers, as a user would write it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablations.models.base import Model, linear
from ablations.study.configuration import Run
from ablations.tasks.base import Task
from ablations.techniques.base import Norm, Regularizer

from .fused_runs import runs_of


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: Norm, regularizer: Regularizer) -> None:
        super().__init__()
        self.first, self.second = linear(inputs, 9), linear(9, 9)
        self.norm = norm.layer(9) or nn.Identity()
        self.drop = regularizer.layer(1) or nn.Identity()
        self.last = linear(9, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = x + self.drop(self.norm(torch.relu(self.second(x))))
        return self.last(x)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Foreign(Model):
    """A network that is no sequence of layers."""

    network: type[Residual] = Residual

    name = "foreign"

    def parameters(self) -> dict[str, Any]:
        return {"network": self.network.__name__}

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        return self.network(task.inputs, task.outputs, norm, regularizer)

    def widths(self, task: Task) -> tuple[int, ...]:
        return (9,)

    def weights(self, network: nn.Module) -> Iterator[tuple[str, nn.Linear, str]]:
        for name in ("first", "second"):
            yield name, getattr(network, name), "relu"
        yield "last", network.last, "linear"  # type: ignore[misc]


def foreign_runs(network: type[Residual], **study: Any) -> list[Run]:
    return [
        Run(run.configuration.with_(model=Foreign(network)), run.seed) for run in runs_of(**study)
    ]
