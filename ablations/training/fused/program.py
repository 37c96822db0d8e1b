"""The arithmetic of one cohort, as pure functions of tensors, and its random draws.

Every run of a cohort does the same operations on its own numbers, so that one program trains all
of them.  The functions run eagerly or compiled; this changes the rounding and nothing else.

Letters in names: M member, B row of the batch, I input, O output, P parameter of a member, N row of
the training split, S seed, U unique pair of a seed and layer parameters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ablations.core.random import StackedStreams
from ablations.study.configuration import Configuration, Run
from ablations.techniques.base import RandomLayer, Regularizer, shrinking, uniform_loss
from ablations.training.fused.layers.base import Tensors
from ablations.training.fused.networks import Network
from ablations.training.loop import to_device

BLOCK_STEPS = 1_024
"""Steps whose rates and factors are computed at a time: memory does not grow with the epochs."""
Split = tuple[Tensor, Tensor]
"""Inputs (M, B, I) and targets (M, B, …)."""


class MemberParams(NamedTuple):
    """Hyper-parameters in which members differ; the first four of shape (M, 1)."""

    l1: Tensor
    coupled: Tensor
    """Weight decay added to the gradient."""
    decoupled: Tensor
    """Weight decay subtracted from the parameters."""
    smoothing: Tensor
    max_norm: Tensor
    """Shape (M, 1, 1)."""
    layers: tuple[tuple[Tensor, ...], ...]
    """The parameters of each stochastic layer, of shape (M, 1, …)."""


class StepInput(NamedTuple):
    """The arguments of one optimizer step."""

    flat_MP: Tensor
    """Parameters, in the order of ``Network.slots``."""
    moments: tuple[Tensor, ...]
    """State of the optimizer, each (M, P)."""
    state: Tensors
    """Buffers of the network."""
    batch: Split
    draws: tuple[Tensor, ...]
    """Transformed draws of each stochastic layer."""
    params: MemberParams
    lr_M1: Tensor
    factors: tuple[Tensor, ...]
    """Factors of the optimizer for this step."""


class StepOutput(NamedTuple):
    """The state after a step; objective and loss (M,) are those before it."""

    flat_MP: Tensor
    moments: tuple[Tensor, ...]
    state: Tensors
    objective_M: Tensor
    loss_M: Tensor


@dataclass(frozen=True)
class CohortProgram:
    """The functions that all runs of one cohort key share."""

    configuration: Configuration
    """The configuration of any of these runs."""
    network: Network

    @cached_property
    def has_smoothing(self) -> bool:
        return self.configuration.regularizer.penalties().smoothing > 0

    @cached_property
    def has_max_norm(self) -> bool:
        return not math.isinf(self.configuration.regularizer.penalties().max_norm)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of activations that a member stores for each row while training."""
        c = self.configuration
        numbers = c.task.inputs + c.model.activations(c.task) + c.task.outputs
        return numbers * c.torch_dtype.itemsize

    @cached_property
    def step_gives_train_loss(self) -> bool:
        """Whether the loss of a step is the evaluation loss of the training split before it."""
        return self.configuration.steps_per_epoch == 1 and self.network.same_in_training

    @cached_property
    def recomputes_statistics(self) -> bool:
        """Whether evaluation uses statistics of all training rows."""
        return self.configuration.norm.recomputes_statistics()

    @cached_property
    def identity(self) -> str:
        """Everything but shapes that the arithmetic depends on, as text."""
        c = self.configuration
        components = (c.task, c.model, c.norm, c.optimizer, c.device)
        names = [[type(c).__module__, c.name, repr(c.identity())] for c in components]
        random_layers = [random.layer for random in self.network.stochastic_layers]
        layers = [[repr(type(layer)), layer.purpose] for layer in random_layers]
        arithmetic = [names, c.batch_size, c.dtype, self.has_smoothing, self.has_max_norm, layers]
        return json.dumps(arithmetic)

    def optimizer_factors(self, steps: range) -> list[tuple[Tensor, ...]]:
        """Compute the optimizer's factors of some steps, the first of which is 0.

        A compiled step would compute them again for every few parameters.
        """
        c = self.configuration
        factors = [c.optimizer.factors(step + 1) for step in steps]
        table = to_device(torch.tensor(factors, dtype=torch.float64), c)
        return [tuple(row.unbind()) for row in table]

    def step(self, inputs: StepInput) -> StepOutput:
        flat_MP, moments, state, (x_MBI, y_MB), draws, params, lr_M1, factors = inputs
        noise = tuple(zip(draws, params.layers, strict=True))
        leaves = {
            name: parameter.detach().requires_grad_()
            for name, parameter in self.network.split(flat_MP).items()
        }
        with torch.enable_grad():
            outputs, state = self.network.forward(leaves, state, x_MBI, noise, True)
            loss_M = objective_M = self.configuration.task.losses(outputs, y_MB).mean(1)
            if self.has_smoothing:
                share = params.smoothing[:, 0]
                objective_M = (1 - share) * loss_M + share * uniform_loss(outputs).mean(1)
            gradients = torch.autograd.grad(objective_M.sum(), list(leaves.values()))
        gradient_MP = self.network.join(dict(zip(leaves, gradients, strict=True)))
        objective_M = objective_M.detach() + params.l1[:, 0] * flat_MP.abs().sum(1)
        gradient_MP = torch.addcmul(gradient_MP, params.l1, flat_MP.sign())
        gradient_MP = torch.addcmul(gradient_MP, params.coupled, flat_MP)
        change_MP, moments = self.configuration.optimizer.update(gradient_MP, moments, factors)
        decayed_MP = flat_MP * (1 - lr_M1 * params.decoupled)
        flat_MP = torch.addcmul(decayed_MP, lr_M1, change_MP, value=-1)
        if self.has_max_norm:
            flat_MP = self._limit_lengths(flat_MP, params.max_norm)
        state = {name: buffer.detach() for name, buffer in state.items()}
        return StepOutput(flat_MP, moments, state, objective_M, loss_M.detach())

    def _limit_lengths(self, flat_MP: Tensor, max_norm: Tensor) -> Tensor:
        parameters = self.network.split(flat_MP)
        for name, dims in self.network.unit_weights:
            weight = parameters[name]
            limit = max_norm.view(-1, *[1] * (weight.ndim - 1))
            parameters[name] = weight * shrinking(weight, limit, dims)
        return self.network.join(parameters)

    def refresh(self, flat_MP: Tensor, state: Tensors, x_MNI: Tensor) -> Tensors:
        """Return the buffers with the statistics of the training rows in batch norm layers."""
        return self.network.statistics(self.network.split(flat_MP), state, x_MNI)

    def outputs(self, flat_MP: Tensor, state: Tensors, x_MBI: Tensor) -> Tensor:
        """Return the outputs (M, B, O) in evaluation mode."""
        return self.network.forward(self.network.split(flat_MP), state, x_MBI, (), False)[0]

    def losses(self, flat_MP: Tensor, state: Tensors, *splits: Split) -> tuple[Tensor, ...]:
        """Return the losses (M,) of each split in evaluation mode."""
        task = self.configuration.task
        return tuple(
            task.losses(self.outputs(flat_MP, state, x_MBI), y_MB).mean(1) for x_MBI, y_MB in splits
        )

    def epoch(self, inputs: StepInput, *splits: Split) -> tuple[StepOutput, tuple[Tensor, ...]]:
        """Take the only step of an epoch, and compute the losses after it."""
        output = self.step(inputs)
        if self.recomputes_statistics:
            state = self.refresh(output.flat_MP, output.state, inputs.batch[0])
            output = output._replace(state=state)
        return output, self.losses(output.flat_MP, output.state, *splits)


class StepFactors:
    """The optimizer's factors of each step, computed a block of steps at a time."""

    def __init__(self, program: CohortProgram) -> None:
        c = program.configuration
        self._program, self._last = program, c.epochs * c.steps_per_epoch
        self._block, self._factors = -1, list[tuple[Tensor, ...]]()

    def at_step(self, step: int) -> tuple[Tensor, ...]:
        block, offset = divmod(step, BLOCK_STEPS)
        if block != self._block:
            first = step - offset
            steps = range(first, min(first + BLOCK_STEPS, self._last))
            self._block, self._factors = block, self._program.optimizer_factors(steps)
        return self._factors[offset]


def stack_member_params(program: CohortProgram, runs: Sequence[Run]) -> MemberParams:
    """Collect the hyper-parameters of the runs, one run per member."""
    c = program.configuration
    penalties = [run.configuration.regularizer.penalties() for run in runs]
    decays = [c.optimizer.decay(p.decay) for p in penalties]
    n_sites = c.model.n_regularizer_sites(c.task)

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=c.torch_dtype, device=c.device.torch_device())[:, None]

    def layer_params(index: int) -> tuple[Tensor, ...]:
        random = program.network.stochastic_layers[index]
        shape = (len(runs), *[1] * (random.n_dims - 1))
        layers = [regularizer_layers(run.configuration.regularizer, n_sites) for run in runs]
        numbers = [each.get(random.layer.purpose, random.layer).numbers() for each in layers]
        columns = [torch.stack(values) for values in zip(*numbers, strict=True)]
        return tuple(to_device(values, c).view(shape) for values in columns)

    return MemberParams(
        l1=column([p.l1 for p in penalties]),
        coupled=column([0.0 if d.decoupled else d.amount for d in decays]),
        decoupled=column([d.amount if d.decoupled else 0.0 for d in decays]),
        smoothing=column([p.smoothing for p in penalties]),
        max_norm=column([p.max_norm for p in penalties])[:, None],
        layers=tuple(map(layer_params, range(len(program.network.stochastic_layers)))),
    )


@lru_cache(maxsize=1024)
def regularizer_layers(regularizer: Regularizer, n_sites: int) -> dict[str, RandomLayer]:
    """Return the layers of a regularizer at the input and ``n_sites`` hidden sites, by purpose."""
    layers = [regularizer.layer(site) for site in range(n_sites + 1)]
    return {layer.purpose: layer for layer in layers if layer is not None}


class UniquePairs(NamedTuple):
    """The distinct pairs of a seed and layer parameters in a cohort."""

    seed_U: Tensor
    """Index of the seed."""
    params_U: tuple[Tensor, ...]
    unique_M: Tensor
    """Index of each member's pair."""


def _deduplicate(
    seed_M: Sequence[int], params: tuple[Tensor, ...], device: torch.device
) -> UniquePairs:
    pairs = list(zip(seed_M, *(values.flatten().tolist() for values in params), strict=True))
    index = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    member_of = {pair: member for member, pair in reversed(list(enumerate(pairs)))}
    member_U = torch.tensor([member_of[pair] for pair in index], device=device)
    unique_M = torch.tensor([index[pair] for pair in pairs], device=device)
    seed_U = torch.tensor(seed_M, device=device)[member_U]
    return UniquePairs(seed_U, tuple(values[member_U] for values in params), unique_M)


class CohortRandomness:
    """The draws of the stochastic layers and the order of rows; members share those of a seed."""

    def __init__(self, program: CohortProgram, runs: Sequence[Run], params: MemberParams) -> None:
        configuration = program.configuration
        self._device = configuration.device.torch_device()
        self._n_rows = configuration.task.rows
        seeds = sorted({run.seed for run in runs})
        self._streams = StackedStreams(tuple(seeds), self._device, configuration.fixed)
        seed_M = [seeds.index(run.seed) for run in runs]
        self._seed_M = torch.tensor(seed_M, device=self._device)
        pairs = [_deduplicate(seed_M, values, self._device) for values in params.layers]
        self._layers = list(zip(program.network.stochastic_layers, pairs, strict=True))

    def layer_draws(self, step: int, n_rows: int) -> tuple[Tensor, ...]:
        """Draw and transform what each stochastic layer needs in a step on ``n_rows`` rows."""
        transformed = []
        for random, pairs in self._layers:
            layer = random.layer
            draws_S = layer.sample(self._streams, (n_rows, *random.shape), layer.purpose, step)
            transformed.append(random.transform(draws_S.to(self._device), *pairs))
        return tuple(transformed)

    def row_order(self, epoch: int) -> Tensor:
        """Return each member's rows in the order of an epoch, int64 of shape (M, N)."""
        order_SN = self._streams.permutation(self._n_rows, "order", epoch).to(self._device)
        return order_SN.index_select(0, self._seed_M)
