"""One cohort as one tensor program, from initial states to results.

    data, initial parameters and learning rates of every member
    for epoch in epochs:
        for batch in the order of (seed, epoch):
            outputs, losses, penalties;  gradient;  weight decay;  optimizer;  max norm
        losses of both splits, in evaluation mode
        stop when no member has a finite loss
    loss and metrics of the judged epoch of every member

A program is always executed at its full size: slots without a run hold copies of a member, whose
results are dropped.  So kernels round the numbers of a run alike in any cohort.

Letters in names: M member, B row of the batch, N row of a split, I input, E epoch.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ablations.study.configuration import Run
from ablations.training.cohorts import assign_slots
from ablations.training.curve import COLUMNS, Curve
from ablations.training.evaluation import BestEpoch, Evaluation, evaluate, judging_rows
from ablations.training.fused import compilation
from ablations.training.fused.initial_states import LearningRates, Member, initial_state_cache
from ablations.training.fused.layers.base import Tensors
from ablations.training.fused.memory import retain_freed_memory
from ablations.training.fused.program import (
    CohortProgram,
    CohortRandomness,
    Split,
    StepFactors,
    StepInput,
    StepOutput,
    stack_member_params,
)
from ablations.training.loop import one_thread
from ablations.training.result import RunResult, is_failure, out_of_memory
from ablations.training.timeout import RunTimeoutError


@dataclass(frozen=True)
class TrainerSettings:
    """Memory limits and the pace of checks; they change rounding at most."""

    max_split_bytes: int = 2**25
    """Activations of a whole split on a CPU; the losses of a larger split are summed in chunks."""
    chunk_bytes: int = 2**23
    """Activations of a chunk, which should fit into the CPU's cache."""
    min_chunk_rows: int = 128
    finite_check_epochs: int | None = None
    """Epochs between checks whether any member is finite.  By default 1 on a CPU; 16 elsewhere,
    because a check waits for the device."""


DEFAULT_SETTINGS = TrainerSettings()


def train(
    runs: Sequence[Run],
    size: int,
    *,
    compiled: bool = False,
    stop: int | None = None,
    settings: TrainerSettings = DEFAULT_SETTINGS,
) -> list[RunResult]:
    """Train runs of one cohort key as a program of ``size`` members.

    A member whose loss is no longer finite does not affect the others.  A member that raises an
    exception is ``failed``, and the others are trained again without it.  Only an error for lack of
    memory (``result.out_of_memory``) is raised.  Training ends after ``stop`` epochs, if given.
    """
    retain_freed_memory()
    with one_thread():
        try:
            cache = initial_state_cache(runs[0].configuration)
        except BaseException as error:
            if not _fails_a_run(error):
                raise
            return [RunResult.from_exception(run, error, "fused", size) for run in runs]
        engine = cache.program.network.engine
        members, failures = list[Member](), list[RunResult]()
        for run in runs:
            try:
                members.append(cache.member(run))
            except BaseException as error:
                if not _fails_a_run(error):
                    raise
                failures.append(RunResult.from_exception(run, error, engine, size))
        attempt = partial(_train_members, cache.program, compiled, stop, settings)
        return [*_isolate_failures(attempt, members, size, engine), *failures]


def _train_members(
    program: CohortProgram,
    compiled: bool,
    stop: int | None,
    settings: TrainerSettings,
    members: Sequence[Member],
    size: int,
) -> list[RunResult]:
    """Train members together; start again eagerly if the program cannot be compiled."""
    training = partial(_CohortTraining, program, members, size, stop, settings)
    is_compilable = (
        program.network.engine == "fused" and program.identity not in compilation.REFUSED
    )
    if compiled and is_compilable:
        # If it cannot be compiled, the results' ``engine`` column shows it.
        with suppress(compilation.CannotCompileError):
            return training(compiled=True).results()
    return training(compiled=False).results()


def _isolate_failures(
    attempt: Callable[[Sequence[Member], int], list[RunResult]],
    members: Sequence[Member],
    size: int,
    engine: str,
) -> list[RunResult]:
    """Train members; if that raises, train each half, down to the single member that raises."""
    if not members:
        return []
    try:
        return attempt(members, size)
    except BaseException as error:
        if not _fails_a_run(error) or out_of_memory(error):
            raise
        if len(members) == 1:
            return [RunResult.from_exception(members[0].run, error, engine, size)]
        half = len(members) // 2
        halves = [members[:half], members[half:]]
        # The traceback holds the tensors of the failed attempt.
        traceback.clear_frames(error.__traceback__)
    return [r for half in halves for r in _isolate_failures(attempt, half, size, engine)]


def _fails_a_run(error: BaseException) -> bool:
    return is_failure(error) and not isinstance(error, RunTimeoutError)


def _chunk_splits(
    splits: Sequence[Split], row_bytes: int, device: torch.device, settings: TrainerSettings
) -> list[list[Split]]:
    """Cut the rows of each split into chunks; nothing if whole splits fit into memory.

    Chunks are contiguous, as batches are, because rounding depends on the memory layout.
    """
    rows = max(settings.min_chunk_rows, settings.chunk_bytes // row_bytes)
    most = max(x.shape[1] for x, _ in splits)
    if device.type != "cpu" or most * row_bytes <= settings.max_split_bytes:
        return []
    pairs = [(torch.split(x, rows, 1), torch.split(y, rows, 1)) for x, y in splits]
    return [
        [(x.contiguous(), y.contiguous()) for x, y in zip(*pair, strict=True)] for pair in pairs
    ]


def _copy_members(arguments: Any, first: int, width: int) -> Any:
    return tree_map(lambda tensor: tensor[first : first + width].clone(), arguments)


class _CohortTraining:
    """The training of one cohort."""

    def __init__(
        self,
        program: CohortProgram,
        members: Sequence[Member],
        size: int,
        stop: int | None,
        settings: TrainerSettings,
        compiled: bool,
    ) -> None:
        c = program.configuration
        self._program, self._size, self._compiled = program, size, compiled
        self._last_epoch = min(stop or c.epochs, c.epochs)
        runs = [member.run for member in members]
        slots = assign_slots(runs, size, min(size, program.network.slot_groups))
        self._members = dict(zip(slots, members, strict=True))
        by_slot = [self._members.get(slot, members[0]) for slot in range(size)]
        runs = [member.run for member in by_slot]
        self._configuration = runs[0].configuration
        self._device = c.device.torch_device()
        on_cpu = self._device.type == "cpu"
        self._check_epochs = settings.finite_check_epochs or (1 if on_cpu else 16)
        # Losses are summed in float64 where the device has it.
        self._loss_dtype = torch.float32 if self._device.type == "mps" else torch.float64
        data = [member.data for member in by_slot]
        self._train = torch.stack([d.x_train for d in data]), torch.stack([d.y_train for d in data])
        self._val = torch.stack([d.x_val for d in data]), torch.stack([d.y_val for d in data])
        gives_train_loss = program.step_gives_train_loss
        self._splits = (self._val,) if gives_train_loss else (self._train, self._val)
        row_bytes = size * program.row_bytes
        self._data, self._baselines = data, [member.baseline for member in by_slot]
        self._judging, splits = self._val, [*self._splits]
        if data[0].x_test is not None:
            inputs, targets = zip(*map(judging_rows, data), strict=True)
            self._judging = torch.stack(inputs), torch.stack(targets)
            splits.append(self._judging)
        self._chunks = _chunk_splits(splits, row_bytes, self._device, settings)
        self._params = stack_member_params(program, runs)
        self._randomness = CohortRandomness(program, runs, self._params)
        self._flat_MP = torch.stack([member.initial.flat_P for member in by_slot])
        self._moments = tuple(torch.zeros_like(self._flat_MP) for _ in range(c.optimizer.moments))
        self._state = {
            name: torch.stack([member.initial.buffers[name] for member in by_slot])
            for name in by_slot[0].initial.buffers
        }
        self._rates = LearningRates(by_slot, self._device, c.torch_dtype)
        self._best = None
        if c.judge == "best":
            self._best = BestEpoch(self._flat_MP, self._state, self._loss_dtype)
        self._factors = StepFactors(program)
        self._step = 0

    def results(self) -> list[RunResult]:
        """Train to the last epoch, or until no member is finite."""
        device = self._configuration.device
        device.synchronize()
        start = time.perf_counter()
        with torch.no_grad():
            curves_MEK, finite_epochs = self._train_epochs()
            evaluations = self._evaluate()
        device.synchronize()
        share = (time.perf_counter() - start) / len(self._members)
        engine = "fused-compiled" if self._compiled else self._program.network.engine
        results = []
        for slot, member in self._members.items():
            # Up to and including the first epoch that is not finite.
            length = min(finite_epochs[slot] + 1, self._last_epoch)
            curve = Curve(curves_MEK[slot, :length].numpy().copy())
            finite = finite_epochs[slot] == self._last_epoch
            results.append(
                RunResult(
                    member.run,
                    status="ok" if finite else "diverged",
                    reason=None if finite else f"non-finite loss in epoch {curve[-1].epoch}",
                    engine=engine,
                    cohort_size=self._size,
                    parameters=member.initial.n_parameters,
                    evaluation=evaluations[slot] if finite else Evaluation(),
                    train_seconds=share,
                    curve=curve,
                )
            )
        return results

    def _evaluate(self) -> list[Evaluation]:
        """Judge every slot at its judged epoch."""
        flat_MP, state = self._flat_MP, self._state
        if self._best is not None:
            flat_MP, state = self._best.flat_MP, self._best.state
        chunks = self._chunks[-1] if self._chunks else [self._judging]
        outputs = [self._program.outputs(flat_MP, state, x) for x, _ in chunks]
        outputs_MNO, targets = torch.cat(outputs, 1), self._judging[1]
        return evaluate(self._configuration, self._data, outputs_MNO, targets, self._baselines)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self._compiled:
            return function(*arguments)
        return compilation.call(function, self._program.identity, self._size, arguments)

    def _train_epochs(self) -> tuple[Tensor, list[int]]:
        """Return the columns of the curves, float64 of shape (M, E, K).

        Also return the number of epochs, from the first, in which a member's losses are finite.
        """
        # One block for all epochs: small tensors kept between large ones that are freed would
        # leave the memory in pieces.
        shape = len(COLUMNS) - 1, self._last_epoch, self._size
        losses_KEM = torch.full(shape, torch.nan, dtype=self._loss_dtype, device=self._device)
        objectives_EM, train_losses_EM, val_losses_EM = losses_KEM
        rates_EM = torch.full(shape[1:], torch.nan, dtype=torch.float64)
        alive_M = torch.ones(self._size, dtype=torch.bool, device=self._device)
        for epoch in range(self._last_epoch):
            rates_EM[epoch] = self._rates.exact(self._step)
            objective_M, step_loss_M, losses = self._train_epoch(epoch + 1)
            objectives_EM[epoch] = objective_M
            val_losses_EM[epoch] = losses[-1]
            if not self._program.step_gives_train_loss:
                train_losses_EM[epoch] = losses[0]
            elif epoch:
                train_losses_EM[epoch - 1] = step_loss_M  # the loss after the previous epoch
            if self._best is not None:
                self._best.update(val_losses_EM[epoch], self._flat_MP, self._state)
            self._rates.after_epoch(objective_M)
            alive_M &= objective_M.isfinite() & val_losses_EM[epoch].isfinite()
            if (epoch + 1) % self._check_epochs == 0 and not alive_M.any():
                break
        if self._program.step_gives_train_loss:
            train_losses_EM[epoch] = self._last_train_loss()
        finite_epochs = losses_KEM.isfinite().all(0).cumprod(0).sum(0).tolist()
        columns_KEM = torch.cat([losses_KEM.cpu().double(), rates_EM[None]])
        return columns_KEM.permute(2, 1, 0), finite_epochs

    def _train_epoch(self, epoch: int) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Train one epoch; return tensors (M,).

        These are the mean objective, the loss before the last step, and the losses of the splits
        after the epoch.
        """
        c = self._configuration
        losses: tuple[Tensor, ...] = ()
        total_M = torch.zeros(self._size, dtype=self._loss_dtype, device=self._device)
        for batch in self._batches(epoch):
            n_rows = batch[0].shape[1]
            inputs = StepInput(
                *(self._flat_MP, self._moments, self._state, batch),
                *(self._randomness.layer_draws(self._step, n_rows), self._params),
                *(self._rates.at_step(self._step), self._factors.at_step(self._step)),
            )
            output: StepOutput
            if c.steps_per_epoch == 1:
                output, losses = self._call(self._program.epoch, inputs, *self._splits)
            elif n_rows == c.rows_per_batch:
                output = self._call(self._program.step, inputs)
            else:
                # A smaller last batch is not worth compiling a program for its shape.
                output = self._program.step(inputs)
            self._flat_MP, self._moments, self._state = output[:3]
            self._step += 1
            self._rates.after_step()
            total_M += output.objective_M.to(self._loss_dtype) * n_rows
        if not losses:
            self._state = self._refreshed_state()
        objective_M = total_M / c.task.rows
        return objective_M, output.loss_M.to(self._loss_dtype), losses or self._losses()

    def _last_train_loss(self) -> Tensor:
        """The training loss after the last epoch, from one more step, whose result is dropped.

        The same program as in training computes it, because another program would round it
        differently.
        """
        rate_M1 = torch.zeros_like(self._flat_MP[:, :1])
        inputs = StepInput(
            *(self._flat_MP, self._moments, self._state, self._train, ()),
            *(self._params, rate_M1, self._factors.at_step(0)),
        )
        output, _ = self._call(self._program.epoch, inputs, *self._splits)
        loss_M: Tensor = output.loss_M.to(self._loss_dtype)
        return loss_M

    def _refreshed_state(self) -> Tensors:
        """The buffers with which the present weights are evaluated."""
        if not self._program.recomputes_statistics:
            return self._state
        # One member at a time where memory is short: a layer's statistics need all rows at once.
        width = 1 if self._chunks else self._size
        arguments = (self._flat_MP, self._state, self._train[0])
        states = [
            self._call(self._program.refresh, *_copy_members(arguments, first, width))
            for first in range(0, self._size, width)
        ]
        return {name: torch.cat([state[name] for state in states]) for name in self._state}

    def _losses(self) -> tuple[Tensor, ...]:
        if not self._chunks:
            arguments = (self._flat_MP, self._state, *self._splits)
            losses: tuple[Tensor, ...] = self._call(self._program.losses, *arguments)
            return losses
        return tuple(
            torch.stack(list(self._chunk_losses(chunks))).sum(0) / x.shape[1]
            for (x, _), chunks in zip(self._splits, self._chunks, strict=False)
        )

    def _chunk_losses(self, chunks: Sequence[Split]) -> Iterator[Tensor]:
        """The summed losses (M,) of each chunk; a smaller last chunk runs eagerly."""
        full_rows = chunks[0][0].shape[1]
        for chunk in chunks:
            rows, arguments = chunk[0].shape[1], (self._flat_MP, self._state, chunk)
            is_full, function = rows == full_rows, self._program.losses
            losses = self._call(function, *arguments) if is_full else function(*arguments)
            yield losses[0] * rows

    def _batches(self, epoch: int) -> Iterator[Split]:
        rows, size = self._configuration.task.rows, self._configuration.rows_per_batch
        if size == rows:
            yield self._train
            return
        order_MN = self._randomness.row_order(epoch)
        order_MN += rows * torch.arange(self._size, device=self._device)[:, None]
        x, y = (values.flatten(0, 1) for values in self._train)
        for rows_MB in torch.split(order_MN, size, dim=1):
            index = rows_MB.reshape(-1)
            x_RI, y_R = x.index_select(0, index), y.index_select(0, index)
            yield x_RI.view(*rows_MB.shape, *x.shape[1:]), y_R.view(*rows_MB.shape, *y.shape[1:])
