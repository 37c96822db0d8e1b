"""The random draws of one cohort; members with the same seed share them.

Letters in names: M member, B row of the batch, N row of the training split, S seed, U unique pair
of a seed and layer parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ablations.core.random import StackedStreams
from ablations.study.configuration import Run
from ablations.training.fused.program import CohortProgram, MemberParams


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
    """The draws of the stochastic layers and the order of rows, drawn once per seed."""

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
