"""One cohort's arithmetic as pure functions over tensors with a leading member dimension.

Every run of a cohort does the same operations on numbers of its own, so all of them are one
program.  Its functions run eagerly or through ``compiling``; which of both changes the rounding
and nothing else.

Letters in names: M member, B batch, I inputs, O outputs, P parameters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ablations.core.random import Draws, StackedStreams, Streams
from ablations.models.base import build_network, finish_network
from ablations.study.configuration import Configuration, Run
from ablations.tasks.base import Data, Task
from ablations.techniques.base import Optimizer, RandomLayer, Regularizer, shrinking, uniform_loss
from ablations.training.fused import networks
from ablations.training.fused.layers import NotStackableError, Tensors
from ablations.training.fused.networks import Network
from ablations.training.loop import on_device

__all__ = [
    "CohortProgram",
    "CohortRandomness",
    "MemberParams",
    "StepOutput",
    "numbers_of",
    "program",
]

Split = tuple[Tensor, Tensor]
"""Inputs (M, B, I) and targets (M, B, …)."""


class MemberParams(NamedTuple):
    """What differs between members without changing the program."""

    l1: Tensor
    coupled: Tensor
    decoupled: Tensor
    smoothing: Tensor
    """These four of shape (M, 1)."""
    max_norm: Tensor
    """Shape (M, 1, 1)."""
    layers: tuple[tuple[Tensor, ...], ...]
    """For each layer that draws, each of shape (M, 1, …)."""


class StepOutput(NamedTuple):
    """Where a step leads; objective and loss (M,) are those before it."""

    flat: Tensor
    moments: tuple[Tensor, ...]
    state: Tensors
    objective: Tensor
    loss: Tensor


@dataclass(frozen=True)
class CohortProgram:
    """The functions that all runs of one kind of cohort share."""

    configuration: Configuration
    """That of any of its runs."""
    network: Network

    @cached_property
    def smooths(self) -> bool:
        """Whether members smooth their targets."""
        return self.configuration.regularizer.penalties().smoothing > 0

    @cached_property
    def row_bytes(self) -> int:
        """Bytes that a member keeps of each row while it trains."""
        c = self.configuration
        numbers = c.task.inputs + c.model.activations(c.task) + c.task.outputs
        return numbers * c.torch_dtype.itemsize

    @cached_property
    def limits(self) -> bool:
        """Whether members limit the length of incoming weights."""
        return not math.isinf(self.configuration.regularizer.penalties().max_norm)

    @cached_property
    def steady(self) -> bool:
        """Whether a step's loss is that of the training split, in evaluation mode, before it."""
        full = self.configuration.steps_per_epoch == 1
        return full and self.network.same_in_training

    def factors(self, steps: int) -> list[tuple[Tensor, ...]]:
        """The optimizer's factors of each step.

        Computed here once: in a compiled step, every few parameters would do it anew.
        """
        configuration = self.configuration
        optimizer, device = configuration.optimizer, configuration.device.torch_device()
        found = [optimizer.factors(step) for step in range(1, steps + 1)]
        rows = torch.tensor(found, dtype=torch.float64).to(device, configuration.torch_dtype)
        return [tuple(row.unbind()) for row in rows]

    def step(
        self,
        flat_MP: Tensor,
        moments: tuple[Tensor, ...],
        state: Tensors,
        batch: Split,
        prepared: tuple[Tensor, ...],
        numbers: MemberParams,
        lr_M1: Tensor,
        factors: tuple[Tensor, ...],
    ) -> StepOutput:
        """One optimizer step.

        Parameters
        ----------
        flat_MP
            Parameters, as ``networks.split`` takes them apart.
        moments
            What the optimizer carries, each (M, P).
        state
            Buffers of the network.
        prepared
            What each layer that draws made of its draws.
        factors
            The optimizer's, of this step.
        """
        x_MBI, y_MB = batch
        drawn = tuple(zip(prepared, numbers.layers, strict=True))
        leaves = {
            name: part.detach().requires_grad_()
            for name, part in networks.split(self.network, flat_MP).items()
        }
        with torch.enable_grad():
            outputs, after = self.network.forward(leaves, state, x_MBI, drawn, training=True)
            loss_M = objective_M = self.configuration.task.losses(outputs, y_MB).mean(1)
            if self.smooths:
                share = numbers.smoothing[:, 0]
                objective_M = (1 - share) * loss_M + share * uniform_loss(outputs).mean(1)
            found = torch.autograd.grad(objective_M.sum(), list(leaves.values()))
        gradient_MP = networks.join(self.network, dict(zip(leaves, found, strict=True)))
        objective_M = objective_M.detach() + numbers.l1[:, 0] * flat_MP.abs().sum(1)
        gradient_MP = torch.addcmul(gradient_MP, numbers.l1, flat_MP.sign())
        gradient_MP = torch.addcmul(gradient_MP, numbers.coupled, flat_MP)
        change_MP, moments = self.configuration.optimizer.update(gradient_MP, moments, factors)
        kept_MP = flat_MP * (1 - lr_M1 * numbers.decoupled)
        flat_MP = torch.addcmul(kept_MP, lr_M1, change_MP, value=-1)
        if self.limits:
            flat_MP = self._limited(flat_MP, numbers.max_norm)
        after = {name: buffer.detach() for name, buffer in after.items()}
        return StepOutput(flat_MP, moments, after, objective_M, loss_M.detach())

    def _limited(self, flat_MP: Tensor, limit: Tensor) -> Tensor:
        parameters = networks.split(self.network, flat_MP)
        for name, dims in self.network.rows:
            weight = parameters[name]
            own = limit.view(-1, *[1] * (weight.ndim - 1))
            parameters[name] = weight * shrinking(weight, own, dims)
        return networks.join(self.network, parameters)

    def outputs(self, flat_MP: Tensor, state: Tensors, x_MBI: Tensor) -> Tensor:
        """Outputs in evaluation mode, shape (M, B, O)."""
        parameters = networks.split(self.network, flat_MP)
        return self.network.forward(parameters, state, x_MBI, (), training=False)[0]

    def losses(self, flat_MP: Tensor, state: Tensors, *splits: Split) -> tuple[Tensor, ...]:
        """Losses in evaluation mode on each split: each (M,)."""
        task = self.configuration.task
        return tuple(
            task.losses(self.outputs(flat_MP, state, x_MBI), y_MB).mean(1) for x_MBI, y_MB in splits
        )

    def epoch(
        self,
        flat_MP: Tensor,
        moments: tuple[Tensor, ...],
        state: Tensors,
        batch: Split,
        prepared: tuple[Tensor, ...],
        numbers: MemberParams,
        lr_M1: Tensor,
        factors: tuple[Tensor, ...],
        *splits: Split,
    ) -> tuple[StepOutput, tuple[Tensor, ...]]:
        """A step and the losses after it, in one."""
        after = self.step(flat_MP, moments, state, batch, prepared, numbers, lr_M1, factors)
        return after, self.losses(after.flat, after.state, *splits)

    @cached_property
    def kind(self) -> str:
        """All that makes two programs one, as text."""
        c = self.configuration
        parts = (c.task, c.model, c.norm, c.optimizer, c.device)
        named = [[type(part).__module__, part.name, repr(part.identity())] for part in parts]
        layers = [[repr(type(place.layer)), place.layer.purpose] for place in self.network.places]
        return json.dumps([named, c.batch_size, c.dtype, self.smooths, self.limits, layers])


# ------------------------------------------------------------------------ what can be fused


def program(configuration: Configuration) -> CohortProgram:
    """The program of a configuration's runs.

    Raises
    ------
    NotStackableError
        If only the plain loop can train them, with the reason.
    """
    regularizer, optimizer, task = (
        configuration.regularizer,
        configuration.optimizer,
        configuration.task,
    )
    if regularizer.has_own_hooks():
        raise NotStackableError(f"the regularizer '{regularizer.name}' is more than its penalties")
    if type(optimizer).update is Optimizer.update:
        raise NotStackableError(f"the optimizer '{optimizer.name}' has no 'update'")
    if type(task).loss is not Task.loss or type(task).losses is Task.losses:
        raise NotStackableError(f"the task '{task.name}' has no loss of each row")
    # No init: it may differ among the runs of a kind, and one that raises harms its own run only.
    with Streams(0).isolated(configuration.device.torch_device()):
        template = finish_network(build_network(configuration), configuration)
    _refuse_the_unusual(template)
    drawing = [layer for layer in template.modules() if isinstance(layer, RandomLayer)]
    known = _layers(regularizer, configuration.model.n_regularizer_sites(task))
    for layer in drawing:
        if type(layer).forward is not RandomLayer.forward:
            raise NotStackableError(f"{type(layer).__name__} has its own forward pass")
        if layer.purpose not in known:
            reason = f"the layer '{layer.purpose}' stands where the regularizer was not asked"
            raise NotStackableError(reason)
    row = torch.zeros(1, task.inputs, dtype=configuration.torch_dtype)
    row = row.to(configuration.device.torch_device())
    try:
        return CohortProgram(configuration, networks.sequence(template, row))
    except NotStackableError:
        return _mapped(configuration, template)


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _refuse_the_unusual(template: nn.Module) -> None:
    """What acts beside the layers' own computation is seen by the plain loop alone."""
    for name, parameter in template.named_parameters():
        if not parameter.requires_grad:
            raise NotStackableError(f"the parameter {name} is frozen")
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise NotStackableError(f"the parameter {name} has a hook")
    for module in template.modules():
        if any(getattr(module, kind, None) for kind in _HOOKS):
            raise NotStackableError(f"a layer has a hook: {type(module).__name__}")


def _mapped(configuration: Configuration, template: nn.Module) -> CohortProgram:
    """The program of a network without a stacked form, tried out."""
    data = on_device(configuration.task.data(Streams(0)), configuration)
    try:
        linears = [layer for _, layer, _ in configuration.model.weights(template)]
        made = CohortProgram(configuration, networks.vmapped(template, linears, data.x_train[:2]))
        _try(made, template, data)
    except NotStackableError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise NotStackableError(f"torch.func.vmap cannot run its network: {reason}") from error
    return made


def _try(made: CohortProgram, template: nn.Module, data: Data) -> None:
    """One step of two members, whose losses must be those of the module itself."""
    configuration, network = made.configuration, made.network
    run = Run(configuration, 0)
    flat = networks.flatten(network, template).expand(2, -1).clone()
    state = {name: torch.stack([v, v]) for name, v in network.state(template).items()}
    numbers = numbers_of(made, [run, run])
    rows = slice(0, configuration.rows_per_batch)
    batch = (torch.stack([data.x_train[rows]] * 2), torch.stack([data.y_train[rows]] * 2))
    prepared = CohortRandomness(made, [run, run], numbers).prepared(0, batch[0].shape[1])
    rate = torch.zeros_like(flat[:, :1])
    moments = tuple(torch.zeros_like(flat) for _ in range(configuration.optimizer.moments))
    for layer in template.modules():
        if isinstance(layer, RandomLayer):
            layer.draws = Draws(Streams(0))
    with torch.no_grad():
        factors = made.factors(1)[0]
        stepped = made.step(flat, moments, state, batch, prepared, numbers, rate, factors)
        together = stepped.loss
        evaluated = made.outputs(flat, state, batch[0])
        with Streams(0).isolated(configuration.device.torch_device()):
            template.eval()
            alone = template(batch[0][0])
            template.train()
            loss = configuration.task.loss(template(batch[0][0]), batch[1][0])
    for layer in template.modules():
        if isinstance(layer, RandomLayer):
            layer.draws = None  # from here on it is handed what it draws, or says that it was not
    for name, buffer in network.state(template).items():
        if not torch.allclose(
            stepped.state[name][0].to(buffer.dtype), buffer, rtol=1e-3, atol=1e-5
        ):
            raise NotStackableError(f"its buffer {name} is replaced, which is lost when mapped")
    close = torch.allclose(evaluated, alone.expand_as(evaluated), rtol=1e-3, atol=1e-5)
    if not close or not torch.allclose(together, loss.expand_as(together), rtol=1e-3, atol=1e-5):
        raise NotStackableError("its network gives other outputs when mapped over members")


# ---------------------------------------------------------------------- what a cohort brings


def numbers_of(made: CohortProgram, runs: Sequence[Run]) -> MemberParams:
    """The numbers in which the runs of a cohort differ."""
    configuration = made.configuration
    terms = [run.configuration.regularizer.penalties() for run in runs]
    decays = [configuration.optimizer.decay(t.decay) for t in terms]
    device, dtype = configuration.device.torch_device(), configuration.torch_dtype

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)[:, None]

    def of_place(index: int) -> tuple[Tensor, ...]:
        place = made.network.places[index]
        hidden = configuration.model.n_regularizer_sites(configuration.task)
        shape = (len(runs),) + (1,) * (place.dims - 1)
        own = [_layers(run.configuration.regularizer, hidden) for run in runs]
        members = [layers.get(place.layer.purpose, place.layer).numbers() for layers in own]
        whole = [torch.stack(values) for values in zip(*members, strict=True)]
        types = [dtype if values.is_floating_point() else values.dtype for values in whole]
        return tuple(
            values.to(device, kind).view(shape) for values, kind in zip(whole, types, strict=True)
        )

    return MemberParams(
        l1=column([t.l1 for t in terms]),
        coupled=column([0.0 if d.decoupled else d.amount for d in decays]),
        decoupled=column([d.amount if d.decoupled else 0.0 for d in decays]),
        smoothing=column([t.smoothing for t in terms]),
        max_norm=column([t.max_norm for t in terms])[:, None],
        layers=tuple(of_place(index) for index in range(len(made.network.places))),
    )


@lru_cache(maxsize=1024)
def _layers(regularizer: Regularizer, hidden: int) -> dict[str, RandomLayer]:
    """The layers that a regularizer puts into a network, by purpose."""
    layers = [regularizer.layer(place) for place in range(hidden + 1)]
    return {layer.purpose: layer for layer in layers if layer is not None}


def _equals(
    seed_M: Sequence[int], numbers: tuple[Tensor, ...], device: torch.device
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Members that need the same of a layer: seed and numbers of one of each, and whose it is."""
    needs = list(zip(seed_M, *(values.flatten().tolist() for values in numbers), strict=True))
    number_of = {need: number for number, need in enumerate(dict.fromkeys(needs))}
    first_of = {need: member for member, need in reversed(list(enumerate(needs)))}
    first = torch.tensor([first_of[need] for need in number_of], device=device)
    unique_M = torch.tensor([number_of[need] for need in needs], device=device)
    seed_U = torch.tensor(seed_M, device=device)[first]
    return seed_U, tuple(values[first] for values in numbers), unique_M


class CohortRandomness:
    """What the runs of a cohort draw, drawn once for each seed."""

    def __init__(self, made: CohortProgram, runs: Sequence[Run], numbers: MemberParams) -> None:
        self._device = made.configuration.device.torch_device()
        self._rows = made.configuration.task.rows
        seeds = sorted({run.seed for run in runs})
        self._streams = StackedStreams(tuple(seeds), self._device, made.configuration.fixed)
        seed_M = [seeds.index(run.seed) for run in runs]
        self._seed_M = torch.tensor(seed_M, device=self._device)
        self._places = [
            (place, _equals(seed_M, of_place, self._device))
            for place, of_place in zip(made.network.places, numbers.layers, strict=True)
        ]

    def prepared(self, step: int, batch: int) -> tuple[Tensor, ...]:
        """For each layer that draws what it needs for a step on a batch of so many rows."""
        prepared = []
        for place, equals in self._places:
            layer = place.layer
            drawn_S = layer.sample(self._streams, (batch, *place.shape), layer.purpose, step)
            prepared.append(place.prepared(drawn_S.to(self._device), *equals))
        return tuple(prepared)

    def order(self, epoch: int) -> Tensor:
        """Each member's rows in the order of an epoch, int64 of shape (M, rows)."""
        order_UN = self._streams.permutation(self._rows, "order", epoch).to(self._device)
        return order_UN.index_select(0, self._seed_M)
