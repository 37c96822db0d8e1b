"""Which engine trains which runs, and whether its programs are compiled.

The engine follows from the configuration alone.  Whether programs are compiled is decided once for
a results folder.  Both change how numbers are rounded, so neither may depend on which runs are
still to be trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablations.core.errors import RequestError
from ablations.results.settings import EngineSettings
from ablations.study.configuration import Configuration, Run
from ablations.training import cohorts
from ablations.training.cohorts import MIN_MEMBERS, Cohort, count_steps
from ablations.training.fused import compilation
from ablations.training.fused.build import build_program
from ablations.training.fused.layers.base import NotStackableError
from ablations.training.fused.program import CohortProgram
from ablations.training.probe import probe_training
from ablations.training.result import error_message

Engine = Literal["auto", "fused", "loop"]
Compile = Literal["auto", "always", "never"]

CPU_MEMBERS, ACCELERATOR_MEMBERS = 32, 256
"""Most members of a program.  These and ``MIN_MEMBERS`` are multiples of the width of a vector
instruction, so that the numbers of all members go through the same instructions."""
CPU_PROGRAM_BYTES, ACCELERATOR_PROGRAM_BYTES = 2**22, 2**32
"""A program has as many members as have their parameters, moments and activations in this memory:
on a CPU, in its cache."""
MAX_PROGRAM_FACTOR, LAYERS_PER_FACTOR = 4, 8
"""A program of ``MIN_MEMBERS`` may exceed this memory by ``4 * max(1, depth / 8)`` on a CPU, and
by 4 on an accelerator.  Beyond, the plain loop is as fast, because its matrix products are large;
a deep network has smaller products (measurements in bench/README.md)."""
MIN_EAGER_SECONDS = 20.0
"""Compiling is not considered for less eager training."""
ROUGH_STEP_SECONDS, MAX_STEP_SECONDS = 2e-4, 1e-3
"""Seconds of a run's step before anything is measured; and at most, for ``LAYERS_PER_FACTOR``
layers."""
_PROGRAM_KINDS = {False: "eager", True: "compiled"}


@dataclass(frozen=True)
class EngineChoice:
    """The engine for the runs with one cohort key."""

    runs: tuple[Run, ...]
    size: int | None
    """Members of the program; None for the plain loop."""
    engine: str
    """``fused``, ``vmap`` or ``loop``."""
    reason: str | None = None
    """Why no program trains them; None if one does."""
    program: CohortProgram | None = None

    def cohorts(self, runs: Sequence[Run] | None = None) -> list[Cohort]:
        n_groups = self.program.network.slot_groups if self.program else 1
        return list(cohorts.split_runs(self.runs if runs is None else runs, self.size, n_groups))

    @property
    def steps(self) -> int:
        return len(self.runs) * count_steps(self.runs[0].configuration)


def choose_engines(
    runs: Iterable[Run], engine: Engine = "auto", broken: Mapping[Configuration, str] | None = None
) -> list[EngineChoice]:
    """Choose an engine for each cohort key of the runs.

    ``broken`` holds the configurations whose networks cannot be built, and why.
    """
    broken = broken or {}
    return [_choose_engine(members, engine, broken) for members in cohorts.group_runs(runs, broken)]


def _choose_engine(
    runs: tuple[Run, ...], engine: Engine, broken: Mapping[Configuration, str]
) -> EngineChoice:
    if engine == "loop":
        return EngineChoice(runs, None, "loop")
    configuration = runs[0].configuration
    if configuration in broken:
        reason = f"its network cannot be built: {broken[configuration]}"
        return EngineChoice(runs, None, "loop", reason)
    try:
        program = build_program(configuration)
    except NotStackableError as error:
        reason = str(error)
    except (Exception, SystemExit) as error:
        # Each run fails with this error in its row when the loop trains it.
        reason = f"its network cannot be built: {error_message(error)}"
    else:
        if size := _program_size(program):
            return EngineChoice(runs, size, program.network.engine, program=program)
        n_parameters, rows = program.network.slots[-1].stop, configuration.rows_per_batch
        reason = f"a program gains nothing with {n_parameters:,} parameters and batches of {rows:,}"
    return EngineChoice(runs, None, "loop", reason)


def _program_size(program: CohortProgram) -> int | None:
    """Members of a program; None if it is not faster than the plain loop."""
    c = program.configuration
    parameters = program.network.slots[-1].stop * (1 + c.optimizer.moments)
    member_bytes = parameters * c.torch_dtype.itemsize + c.rows_per_batch * program.row_bytes
    if c.device.name == "cpu":
        size, memory, depth = CPU_MEMBERS, CPU_PROGRAM_BYTES, _relative_depth(program)
    else:
        size, memory, depth = ACCELERATOR_MEMBERS, ACCELERATOR_PROGRAM_BYTES, 1.0
    while size > MIN_MEMBERS and size * member_bytes > memory:
        size //= 2
    return size if size * member_bytes <= MAX_PROGRAM_FACTOR * depth * memory else None


def _relative_depth(program: CohortProgram) -> float:
    return max(1.0, program.network.depth / LAYERS_PER_FACTOR)


def eager_seconds(choice: EngineChoice) -> float:
    """Measure a run's share of an uncompiled step, in seconds of one core, on the first cohort."""
    size, configuration = choice.size or 1, choice.runs[0].configuration
    cost = probe_training(choice.runs[:size], choice.size)
    return cost.per_epoch / (size * configuration.steps_per_epoch)


def worth_compiling(choices: Sequence[EngineChoice], jobs: int) -> bool:
    """Whether compiling would save more wall time than it costs.

    Every job loads the compiled programs that it needs, so their cost does not depend on ``jobs``.
    """
    fusable = [
        (choice, choice.program, choice.size)
        for choice in choices
        # A user's code must not run here only to be measured.
        if choice.engine == "fused" and not choice.runs[0].configuration.user_modules
        if choice.program and choice.size
    ]
    rough = sum(choice.steps for choice, _, _ in fusable) * ROUGH_STEP_SECONDS / jobs
    if compilation.why_unavailable() or rough < MIN_EAGER_SECONDS:
        return False
    costs = [
        compilation.compile_cost(program.identity, size, program.network.depth)
        for _, program, size in fusable
    ]
    cost = compilation.IMPORT_SECONDS + sum(compiled.seconds for compiled in costs)
    shares = [(1 - 1 / compiled.gain) / jobs for compiled in costs]
    upper_bound = sum(
        choice.steps * MAX_STEP_SECONDS * _relative_depth(program) * share
        for (choice, program, _), share in zip(fusable, shares, strict=True)
    )
    if upper_bound <= cost:  # to measure each program would take longer than it could save
        return False
    savings = (
        choice.steps * eager_seconds(choice) * share
        for (choice, _, _), share in zip(fusable, shares, strict=True)
    )
    return sum(savings) > cost


def decide_settings(
    engine: Engine, compile_: Compile, choices: Sequence[EngineChoice], jobs: int
) -> EngineSettings:
    """Decide the settings of a new results folder."""
    if engine == "loop":
        return EngineSettings("loop", compiled=False)
    compiled = compile_ == "always" or (compile_ == "auto" and worth_compiling(choices, jobs))
    return EngineSettings("fused", compiled and compilation.why_unavailable() is None)


def refuse_other_engine(
    settings: EngineSettings, engine: Engine, compile_: Compile, folder: Path
) -> None:
    """Refuse an engine whose numbers would be rounded differently from those in the folder."""
    if engine not in ("auto", settings.engine):
        contents, option = f"the engine '{settings.engine}', not '{engine}'", "--engine"
    elif settings.engine == "fused" and compile_ == ("never" if settings.compiled else "always"):
        contents, option = f"{_PROGRAM_KINDS[settings.compiled]} programs", "--compile"
    else:
        return
    remedy = "leave the option out, or choose another folder with --out"
    raise RequestError(f"{folder} holds results of {contents}; {remedy}", option)


def refuse_loops(choices: Sequence[EngineChoice]) -> None:
    """Refuse runs that only the plain loop can train."""
    by_loop = [choice for choice in choices if choice.size is None]
    if by_loop:
        count = sum(len(choice.runs) for choice in by_loop)
        message = f"{count:,} runs cannot be trained as fused programs: {by_loop[0].reason}"
        raise RequestError(f"{message}; 'auto' trains those one by one", "--engine")


def describe_engine(choice: EngineChoice, settings: EngineSettings) -> str:
    """Describe how runs are trained, for the plan."""
    if choice.size is None:
        return f"one by one{f': {choice.reason}' if choice.reason else ''}"
    if choice.engine == "vmap":
        return f"{choice.size} at a time, mapped by torch.func.vmap"
    unavailable = compilation.why_unavailable() if settings.compiled else None
    kind = _PROGRAM_KINDS[settings.compiled and unavailable is None]
    return f"{choice.size} at a time, as {kind} programs{f'; {unavailable}' if unavailable else ''}"
