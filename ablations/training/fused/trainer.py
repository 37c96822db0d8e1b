"""One cohort as one tensor program, from its initial states to its results.

    data, initial weights and rates of every member
    for epoch in epochs:
        for batch in the order of (seed, epoch):
            outputs, losses, penalties;  gradient;  weight decay;  optimizer;  limit on lengths
        losses on both splits, in evaluation mode
        stop when no member has a finite loss

A cohort is always executed at its full shape: places without a run hold copies, which are thrown
away.  So kernels round a run's numbers alike whatever else is left to train.
"""

from __future__ import annotations

import ctypes
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ablations.study.configuration import Run
from ablations.training.cohorts import assign_slots
from ablations.training.fused import compilation, trainer
from ablations.training.fused.initial_states import Member, Rates, origins
from ablations.training.fused.program import CohortProgram, CohortRandomness, Split, numbers_of
from ablations.training.loop import one_thread
from ablations.training.result import EpochRecord, RunResult, is_failure
from ablations.training.timeout import RunTimeoutError

_WIDE = {"mps": torch.float32}
"""In what losses are summed up, where a device has no float64."""


_LOOK = {"cpu": 1}


_SELDOM = 16
"""Epochs between two looks at whether any member is left: a look waits for the device."""


WHOLE, CHUNK, FEWEST_ROWS = 2**25, 2**23, 128
"""Bytes that the members' layers may fill for the losses of a split, on a CPU; where it is more,
the rows are taken in parts of as many bytes as stay in its cache, and at least so many rows."""


def train(
    runs: Sequence[Run], size: int, *, compiled: bool = False, stop: int | None = None
) -> list[RunResult]:
    """Train runs of one kind as a program of ``size`` members.

    A member whose loss is no longer finite goes on without harm to the others.  One that raises an
    exception is ``failed``; the others are trained again without it.

    Parameters
    ----------
    runs
        At most ``size`` runs of one kind (``cohorts.kind``).
    size
        Members of the program; places beyond the runs hold copies.
    compiled
        Whether to compile the step.
    stop
        The epoch after which to stop, for a look at the beginning; the last one by default.

    Raises
    ------
    MemoryError, torch.OutOfMemoryError
        If there is no memory for so many members.
    """
    trainer.keep()
    with one_thread():
        try:
            start = origins(runs[0].configuration)
        except BaseException as error:
            if not is_failure(error) or isinstance(error, RunTimeoutError):
                raise
            return [RunResult.from_exception(run, error, "fused", size) for run in runs]
        made = start.program
        engine = made.network.engine
        members: list[Member] = []
        failed: list[RunResult] = []
        for run in runs:
            try:
                members.append(start.member(run))
            except BaseException as error:
                if not is_failure(error) or isinstance(error, RunTimeoutError):
                    raise
                failed.append(RunResult.from_exception(run, error, engine, size))
        attempt = partial(_attempt, made, compiled=compiled, stop=stop)
        return [*_isolate(attempt, members, size, engine), *failed]


def _attempt(
    made: CohortProgram, members: Sequence[Member], size: int, compiled: bool, stop: int | None
) -> list[RunResult]:
    """Train members together; eagerly, from the start, where the program cannot be compiled."""
    if compiled and made.network.engine == "fused" and not compilation.refused(made.kind):
        try:
            return _Training(made, members, size, True, stop).results()
        except compilation.CannotCompileError:
            pass  # the rows' engine says so
    return _Training(made, members, size, False, stop).results()


def _isolate(
    attempt: Callable[[Sequence[Member], int], list[RunResult]],
    members: Sequence[Member],
    size: int,
    engine: str,
) -> list[RunResult]:
    """Train members; halve those of a cohort that raised, until the guilty one is alone."""
    if not members:
        return []
    try:
        return attempt(members, size)
    except BaseException as error:
        if not is_failure(error) or isinstance(error, RunTimeoutError) or out_of_memory(error):
            raise
        if len(members) == 1:
            return [RunResult.from_exception(members[0].run, error, engine, size)]
        half = len(members) // 2
        parts = [members[:half], members[half:]]
        # The traceback holds the tensors of the failed attempt.
        traceback.clear_frames(error.__traceback__)
    return [result for part in parts for result in _isolate(attempt, part, size, engine)]


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that host or device had no memory left."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _parts(splits: Sequence[Split], each: int, device: torch.device) -> list[list[Split]]:
    """The rows of each split by so many as stay in a cache; nothing where all of them may be taken
    at once.

    Each part's members lie as those of a batch do: rounding follows how they lie.
    """
    rows = max(FEWEST_ROWS, CHUNK // each)
    if device.type != "cpu" or max(x.shape[1] for x, _ in splits) * each <= WHOLE:
        return []
    return [
        [
            (x[:, start : start + rows].contiguous(), y[:, start : start + rows].contiguous())
            for start in range(0, x.shape[1], rows)
        ]
        for x, y in splits
    ]


class _Training:
    """A cohort at work."""

    def __init__(
        self,
        made: CohortProgram,
        members: Sequence[Member],
        size: int,
        compiled: bool,
        stop: int | None,
    ) -> None:
        configuration = made.configuration
        self._stop = min(stop or configuration.epochs, configuration.epochs)
        self._made, self._size = made, size
        found = assign_slots(
            [member.run for member in members], size, min(size, made.network.lanes)
        )
        self._places = dict(zip(found, members, strict=True))
        placed = [self._places.get(place, members[0]) for place in range(size)]
        runs = [member.run for member in placed]
        self._configuration = runs[0].configuration
        self._device = configuration.device.torch_device()
        self._train, self._val = (
            (
                torch.stack([getattr(member.data, f"x_{split}") for member in placed]),
                torch.stack([getattr(member.data, f"y_{split}") for member in placed]),
            )
            for split in ("train", "val")
        )
        self._splits = (self._val,) if made.steady else (self._train, self._val)
        self._parts = _parts(self._splits, size * made.row_bytes, self._device)
        self._numbers = numbers_of(made, runs)
        self._seeded = CohortRandomness(made, runs, self._numbers)
        self._flat = torch.stack([member.flat for member in placed])
        self._moments = tuple(
            torch.zeros_like(self._flat) for _ in range(configuration.optimizer.moments)
        )
        self._state = {
            name: torch.stack([member.state[name] for member in placed]) for name in placed[0].state
        }
        self._rates = Rates(placed, self._device, configuration.torch_dtype)
        self._compiled = compiled

    def results(self) -> list[RunResult]:
        """Train to the end, or until no member is finite; each member's result."""
        configuration, made = self._configuration, self._made
        configuration.device.synchronize()
        start = time.perf_counter()
        with torch.no_grad():
            columns, finite = self._epochs()
            outputs = self._outputs()
            metrics = configuration.task.metric(outputs, self._val[1]).tolist()
        configuration.device.synchronize()
        share = (time.perf_counter() - start) / len(self._places)
        engine = "fused-compiled" if self._compiled else made.network.engine
        results = []
        for place, member in self._places.items():
            # Up to the first epoch that is not finite, that one included.
            length = min(finite[place] + 1, self._stop)
            own = (column[place][:length] for column in columns)
            curve = tuple(map(EpochRecord, range(1, length + 1), *own))
            finished = finite[place] == self._stop
            results.append(
                RunResult(
                    member.run,
                    status="ok" if finished else "diverged",
                    reason=None if finished else f"non-finite loss in epoch {curve[-1].epoch}",
                    engine=engine,
                    cohort_size=self._size,
                    parameters=member.count,
                    metric=metrics[place] if finished else None,
                    train_seconds=share,
                    curve=curve,
                )
            )
        return results

    def _call(self, name: str, *arguments: Any) -> Any:
        function = getattr(self._made, name)
        if not self._compiled:
            return function(*arguments)
        return compilation.call(function, self._made.kind, self._size, arguments)

    def _epochs(self) -> tuple[list[list[list[float]]], list[int]]:
        """Objective, losses on both splits and rate, of each member in each epoch; and in how
        many epochs, from the first, all of its losses are finite.
        """
        configuration, device = self._configuration, self._device
        full, rows = configuration.rows_per_batch, configuration.task.rows
        steps = configuration.steps_per_epoch
        last = configuration.epochs * steps
        wide = _WIDE.get(device.type, torch.float64)
        factors = self._made.factors(last)
        look = _LOOK.get(device.type, _SELDOM)
        objectives: list[Tensor] = []
        train_losses: list[Tensor] = []
        val_losses: list[Tensor] = []
        alive = torch.ones(self._size, dtype=torch.bool, device=device)
        step = 0
        for epoch in range(1, self._stop + 1):
            total = torch.zeros(self._size, dtype=wide, device=device)
            for batch in self._batches(epoch):
                size = batch[0].shape[1]
                arguments = (
                    *(self._flat, self._moments, self._state, batch),
                    *(self._seeded.prepared(step, size), self._numbers),
                    *(self._rates.at(step), factors[step]),
                )
                if steps == 1:
                    after, losses = self._call("epoch", *arguments, *self._splits)
                elif size == full:
                    after = self._call("step", *arguments)
                else:
                    # A last batch of fewer rows is not worth a compiled program of its own.
                    after = self._made.step(*arguments)
                self._flat, self._moments, self._state = after[:3]
                step += 1
                self._rates.after_step()
                total += after[3].to(wide) * size
            if steps > 1:
                losses = self._losses()
            objectives.append(total / rows)
            val_losses.append(losses[-1].to(wide))
            if not self._made.steady:
                train_losses.append(losses[0].to(wide))
            elif epoch > 1:
                train_losses.append(after[4].to(wide))  # as it was after the epoch before
            self._rates.after_epoch(objectives[-1])
            alive &= objectives[-1].isfinite() & val_losses[-1].isfinite()
            if epoch % look == 0 and not alive.any():
                break
        if self._made.steady:
            # A step more, whose loss before it is wanted, by the same program: of another one
            # the rounding would be another.
            still = torch.zeros_like(self._flat[:, :1])
            one_more = (self._flat, self._moments, self._state, self._train, (), self._numbers)
            after, _ = self._call("epoch", *one_more, still, factors[0], *self._splits)
            train_losses.append(after[4].to(wide))
        rates = self._rates.exact_SM[: len(objectives) * steps : steps]
        losses_KEM = torch.stack(list(map(torch.stack, (objectives, train_losses, val_losses))))
        finite = losses_KEM.isfinite().all(0).cumprod(0).sum(0).tolist()
        columns = [*losses_KEM.cpu(), rates]
        return [column.t().tolist() for column in columns], finite

    def _losses(self) -> tuple[Tensor, ...]:
        """The losses of each split in evaluation mode, each (M,)."""
        if not self._parts:
            found: tuple[Tensor, ...] = self._call("losses", self._flat, self._state, *self._splits)
            return found
        return tuple(
            torch.stack([self._of_part(part, parts[0]) for part in parts]).sum(0) / x.shape[1]
            for (x, _), parts in zip(self._splits, self._parts, strict=True)
        )

    def _of_part(self, part: Split, first: Split) -> Tensor:
        """The sum of a part's losses; the rest is not worth a compiled program of its own."""
        rows, arguments = part[0].shape[1], (self._flat, self._state, part)
        whole = rows == first[0].shape[1]
        losses = self._call("losses", *arguments) if whole else self._made.losses(*arguments)
        total: Tensor = losses[0] * rows
        return total

    def _outputs(self) -> Tensor:
        """Outputs (M, B, O) on the validation split."""
        parts = self._parts[-1] if self._parts else [self._val]
        found = [self._made.outputs(self._flat, self._state, x_MBI) for x_MBI, _ in parts]
        return torch.cat(found, 1)

    def _batches(self, epoch: int) -> Iterator[Split]:
        rows, size = self._configuration.task.rows, self._configuration.rows_per_batch
        if size == rows:
            yield self._train
            return
        order_MN = self._seeded.order(epoch)
        order_MN += rows * torch.arange(self._size, device=self._device)[:, None]
        x, y = (part.flatten(0, 1) for part in self._train)
        for chosen_MB in torch.split(order_MN, size, dim=1):
            rows_of_batch = chosen_MB.reshape(-1)
            x_MBI, y_MB = (
                part.index_select(0, rows_of_batch).view(*chosen_MB.shape, *part.shape[1:])
                for part in (x, y)
            )
            yield x_MBI, y_MB


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h


_LARGEST = 32 * 2**20
"""What the library's own adaptive threshold for such blocks may reach (mallopt(3))."""


@lru_cache(maxsize=1)
def keep() -> bool:
    """Keep freed memory from here on; whether the C library could be told."""
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # another C library
    asked = {
        _MMAP_THRESHOLD: _LARGEST,
        _TRIM_THRESHOLD: 4 * _LARGEST,
        _TOP_PAD: _LARGEST,
    }
    return all(tell(option, value) for option, value in asked.items())
