"""A subclass that changes what the plain loop does is not trained as its parent by a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ablations import Study
from ablations.core.registry import temporary
from ablations.models.base import model
from ablations.models.mlp import MLP
from ablations.study.configuration import Configuration, Run
from ablations.tasks.base import task
from ablations.tasks.notebook import Notebook
from ablations.techniques.base import Decay, technique
from ablations.techniques.inits import XavierNormal
from ablations.techniques.norms import LayerNorm
from ablations.techniques.optimizers import SGD, Adam
from ablations.techniques.regularizers import Dropout, DropoutLayer, MaxNorm
from ablations.techniques.schedules import Step
from ablations.training import loop
from ablations.training.fused import trainer
from ablations.training.fused.build import build_program
from ablations.training.fused.layers.base import NotStackableError


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with temporary():
        yield


def own_build() -> dict[str, Any]:
    @technique
    class Slow(Adam):
        """Adam at a tenth of the rate."""

        name = "slow"

        def build(self, parameters: Iterable[Tensor], lr: float, decay: Decay) -> Any:
            return super().build(parameters, lr / 10, decay)

    return {"optimizer": Slow()}


def own_decay() -> dict[str, Any]:
    @technique
    class Decaying(SGD):
        """A weight decay that ``build`` does not ask for."""

        name = "decaying"

        def decay(self, requested: Decay) -> Decay:
            return Decay(0.5)

    return {"optimizer": Decaying()}


def own_update() -> dict[str, Any]:
    @technique
    class Fast(SGD):
        """Twice the step, in one of two forms."""

        name = "fast"

        def update(self, *arguments: Any) -> Any:
            change, moments = super().update(*arguments)
            return 2 * change, moments

    return {"optimizer": Fast()}


def own_objective() -> dict[str, Any]:
    @technique
    class Doubled(Dropout):
        """Twice the objective."""

        name = "doubled"

        def objective(self, *arguments: Any) -> Tensor:
            return 2 * super().objective(*arguments)

    return {"regularizer": Doubled()}


def own_shrink() -> dict[str, Any]:
    @technique
    class Halved(MaxNorm):
        """Half the lengths."""

        name = "halved"

        def shrink(self, weight: Tensor) -> Tensor | None:
            factors = super().shrink(weight)
            return None if factors is None else 0.5 * factors

    return {"regularizer": Halved()}


class Louder(DropoutLayer):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


def own_random_layer() -> dict[str, Any]:
    @technique
    class Loud(Dropout):
        """Dropout that also scales in evaluation."""

        name = "loud"

        def layer(self, position: int) -> DropoutLayer | None:
            return Louder(f"dropout/{position}", 0.5) if position else None

    return {"regularizer": Loud()}


class Doubling(nn.LayerNorm):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


def own_norm_layer() -> dict[str, Any]:
    @technique
    class Twice(LayerNorm):
        """Twice the normalised values."""

        name = "twice"

        def layer(self, width: int) -> nn.Module:
            return Doubling(width)

    return {"norm": Twice()}


def patched_layer() -> dict[str, Any]:
    @technique
    class Patched(LayerNorm):
        """A layer whose forward pass is replaced."""

        name = "patched"

        def layer(self, width: int) -> nn.Module:
            layer = nn.LayerNorm(width)
            vars(layer)["forward"] = lambda inputs: 2 * inputs
            return layer

    return {"norm": Patched()}


def own_lengths() -> dict[str, Any]:
    @technique
    class Lengths(LayerNorm):
        """The lengths are the norm's of the biases."""

        name = "lengths"

        def lengths(self, linear: nn.Linear) -> Tensor:
            return linear.bias[:, None]

    return {"norm": Lengths(), "regularizer": MaxNorm(0.5)}


def own_init() -> dict[str, Any]:
    @technique
    class Drawn(XavierNormal):
        """Half of Xavier, with noise of the global generator."""

        name = "drawn"

        def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
            super().fill(weight, nonlinearity, generator)
            weight += 0.1 * torch.randn_like(weight)

    return {"init": Drawn()}


def own_after_epoch() -> dict[str, Any]:
    @technique
    class Objective(Step):
        """The rate follows the objective."""

        name = "objective"

        def after_epoch(self, scheduler: Any, objective: float) -> None:
            super().after_epoch(scheduler, objective)
            scheduler.optimizer.param_groups[0]["lr"] *= objective / (1 + objective)

    return {"schedule": Objective()}


def own_losses() -> dict[str, Any]:
    @task
    class Halves(Notebook):
        """Half the loss of each row."""

        name = "halves"

        def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return 0.5 * super().losses(outputs, targets)

    return {"task": Halves()}


def own_mean_loss() -> dict[str, Any]:
    @task
    class Sums(Notebook):
        """The root of the mean loss."""

        name = "sums"

        def mean_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return super().mean_loss(outputs, targets).sqrt()

    return {"task": Sums()}


def own_build_of_a_model() -> dict[str, Any]:
    @model
    class Wrapped(MLP):
        """Twice the outputs."""

        name = "wrapped"

        def build(self, *arguments: Any) -> nn.Module:
            network = super().build(*arguments)
            network.register_forward_hook(lambda layer, inputs, outputs: 2 * outputs)
            return network

    return {"model": Wrapped()}


def own_fill() -> dict[str, Any]:
    @model
    class Scaled(MLP):
        """Scale the weights that were built."""

        name = "scaled"
        untouched: ClassVar[bool] = True

        def fill(self, network: nn.Module, *arguments: Any) -> None:
            for _, layer, _ in self.weights(network):
                layer.weight *= 0.5

    return {"model": Scaled()}


CASES = [
    own_build, own_decay, own_update, own_objective, own_shrink, own_random_layer, own_norm_layer,
    patched_layer, own_lengths, own_init, own_after_epoch, own_losses, own_mean_loss,
    own_build_of_a_model, own_fill,
]  # fmt: skip
BY_LOOP = {
    own_build, own_decay, own_update, own_objective, own_shrink, own_random_layer, patched_layer,
    own_lengths, own_mean_loss, own_build_of_a_model,
}  # fmt: skip


def make_configuration(**levels: Any) -> Configuration:
    axes = {k: [v] for k, v in levels.items() if k not in ("task", "model", "optimizer")}
    others = {k: v for k, v in levels.items() if k not in axes}
    study = Study(**({"task": "notebook"} | others), axes=axes, epochs=4, lr=0.01, dtype="float64")
    return study.configurations[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_engines_train_a_subclass_as_it_is(case: Any) -> None:
    configuration = make_configuration(**case())
    runs = [Run(configuration, seed) for seed in (1, 2)]
    try:
        build_program(configuration)
    except NotStackableError:
        assert case in BY_LOOP
        return
    assert case not in BY_LOOP
    for _ in range(2):  # the second time from caches
        for result in trainer.train(runs, 8):
            expected = loop.train(result.run)
            assert result.reason is None
            for epoch, reference in zip(result.curve, expected.curve, strict=True):
                assert epoch.val_loss == pytest.approx(reference.val_loss, rel=1e-8)
                assert epoch.lr == pytest.approx(reference.lr, rel=1e-12)
