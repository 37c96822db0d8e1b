"""Which engine trains which runs, and whether its programs are compiled.

What trains a configuration's runs follows from the configuration; whether programs are compiled is
decided once for a results folder.  Both change how numbers are rounded, so neither may depend on
what is left to train.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablations.core.errors import RequestError
from ablations.results.settings import EngineSettings
from ablations.study.configuration import Configuration, Run
from ablations.training import cohorts
from ablations.training.cohorts import MIN_MEMBERS, Cohort, count_steps
from ablations.training.fused import compilation, trainer
from ablations.training.fused.build import build_program
from ablations.training.fused.layers import NotStackableError
from ablations.training.fused.program import CohortProgram
from ablations.training.result import error_message

Engine = Literal["auto", "fused", "loop"]


Compile = Literal["auto", "always", "never"]


MEMBERS, MANY = 32, 256
"""Most members of a program on a CPU, and on an accelerator, which hardly notices small steps.

Both, and the fewest, are multiples of what a vector instruction takes, so that no member's numbers
are left over for instructions that round otherwise.
"""


CACHE, MEMORY = 2**22, 2**32
"""Bytes of a program's parameters, moments and activations up to which it grows: on a CPU, where
they should stay in its cache, and on an accelerator.
"""


LARGE, DEPTH = 4, 8
"""How many times that many the fewest members may have; on a CPU, for each so many layers.  Beyond,
the plain loop is as fast: its products are large.  On a CPU of 512 KiB and 32 MiB of cache, members
that train on digits take, at 8, 16 and 32 at a time and alone: 433, 374, 418 and 1461 µs a step
with 128 and 64 units; 1603, 1749, 2080 and 2054 with twice 256; 6807, 7275, 18696 and 4182 with
twice 512.
A recurrence over 40 steps of 100 rows has small products, and many of them: with layer norm it
takes 10.6 ms a step at 8 at a time, and 13.1 alone; over 32 rows 3.9 and 7.6.
"""


SHORT_SECONDS = 20.0
"""Eager training that is over sooner is not worth a thought about compiling."""


ROUGH_SECONDS = 2e-4
"""What a run's step costs, before anything is measured."""


MOST_SECONDS = 1e-3
"""What it costs at most, in a network of few layers."""


@dataclass(frozen=True)
class EngineChoice:
    """What trains the runs of one kind."""

    runs: tuple[Run, ...]
    size: int | None
    """Members of the program; None for the plain loop."""
    engine: str
    """``fused``, ``vmap`` or ``loop``."""
    reason: str | None = None
    """Why no program trains them; None if one does."""
    program: CohortProgram | None = None

    def cohorts(self, runs: Sequence[Run] | None = None) -> list[Cohort]:
        """Split the runs, or some of them, into cohorts."""
        n_groups = self.program.network.slot_groups if self.program else 1
        return list(cohorts.split_runs(self.runs if runs is None else runs, self.size, n_groups))

    @property
    def steps(self) -> int:
        """Optimizer steps of all its runs."""
        return len(self.runs) * count_steps(self.runs[0].configuration)


def choose_engines(
    runs: Iterable[Run],
    engine: Engine = "auto",
    broken: Mapping[Configuration, str] | None = None,
) -> list[EngineChoice]:
    """What trains each kind of the runs.

    Parameters
    ----------
    broken
        Configurations whose networks cannot be built, and why.
    """
    broken = broken or {}
    return [_choice(members, engine, broken) for members in cohorts.group_runs(runs, broken)]


def _choice(
    runs: tuple[Run, ...], engine: Engine, broken: Mapping[Configuration, str]
) -> EngineChoice:
    configuration = runs[0].configuration
    why = broken.get(configuration)
    if engine == "loop":
        return EngineChoice(runs, None, "loop")
    if why is not None:
        return EngineChoice(runs, None, "loop", f"its network cannot be built: {why}")
    try:
        made = build_program(configuration)
    except NotStackableError as error:
        return EngineChoice(runs, None, "loop", str(error))
    except (Exception, SystemExit) as error:
        # The runs say so themselves, each in its row, when the loop comes to them.
        reason = error_message(error)
        return EngineChoice(runs, None, "loop", f"its network cannot be built: {reason}")
    size = _size(made)
    if size is None:
        found = made.network.slots[-1].stop
        why = f"a program gains nothing with {found:,} parameters"
        return EngineChoice(
            runs, None, "loop", f"{why} and batches of {configuration.rows_per_batch:,}"
        )
    return EngineChoice(runs, size, made.network.engine, program=made)


def _size(made: CohortProgram) -> int | None:
    """Members of a program; None where it gains nothing."""
    on_cpu, each = made.configuration.device.name == "cpu", _bytes(made)
    size, cache = (MEMBERS, CACHE) if on_cpu else (MANY, MEMORY)
    while size > MIN_MEMBERS and size * each > cache:
        size //= 2
    large = LARGE * max(1.0, made.network.depth / DEPTH if on_cpu else 0)
    return size if size * each <= large * cache else None


def _bytes(made: CohortProgram) -> int:
    """Of one member's parameters, moments and activations."""
    c = made.configuration
    parameters = made.network.slots[-1].stop * (1 + c.optimizer.moments)
    return parameters * c.torch_dtype.itemsize + c.rows_per_batch * made.row_bytes


def eager_seconds(choice: EngineChoice) -> float:
    """What a run's step costs without compiling, from a few steps of the cohort that comes first.

    In seconds of one core, a run's share of the program.
    """
    size = choice.size or 1
    few = choice.runs[:size]
    epochs = min(3, few[0].configuration.epochs)
    taken: dict[int, list[float]] = {1: [], epochs: []}
    for stop in (1, 1, epochs, 1, epochs):  # the first one makes what the others find
        start = time.perf_counter()
        trainer.train(few, size, stop=stop)
        taken[stop].append(time.perf_counter() - start)
    # The shortest: what else the machine does only adds, and would make compiling look worth it.
    once, whole = (min(seconds) for seconds in (taken[1], taken[epochs]))
    more = (whole - once) / (epochs - 1) if epochs > 1 else whole
    return max(more, 0.0) / (size * few[0].configuration.steps_per_epoch)


def worth_compiling(choices: Sequence[EngineChoice], jobs: int) -> bool:
    """Whether compiling would save more of the wall time than it costs.

    Every job loads what it needs of the compiled programs, so that they cost the same with many.
    """
    fusable = [
        (choice, choice.program, choice.size)
        for choice in choices
        if choice.program
        and choice.size
        and choice.engine == "fused"
        # Code of other people is not to be run here, only to see how long it takes.
        and not choice.runs[0].configuration.user_modules
    ]
    rough = sum(choice.steps for choice, _, _ in fusable) * ROUGH_SECONDS / jobs
    if compilation.why_unavailable() or rough < SHORT_SECONDS:
        return False
    known = [
        compilation.compile_cost(made.identity, size, made.network.depth)
        for _, made, size in fusable
    ]
    cost = compilation.IMPORT_SECONDS + sum(one.seconds for one in known)
    shares = [(1 - 1 / one.gain) / jobs for one in known]
    most = (
        choice.steps * MOST_SECONDS * max(1.0, made.network.depth / DEPTH) * share
        for (choice, made, _), share in zip(fusable, shares, strict=True)
    )
    if sum(most) <= cost:  # a look at each kind would take longer than it could save
        return False
    saved = sum(
        choice.steps * eager_seconds(choice) * share
        for (choice, _, _), share in zip(fusable, shares, strict=True)
    )
    return saved > cost


def decide_settings(
    engine: Engine, compile_: Compile, choices: Sequence[EngineChoice], jobs: int
) -> EngineSettings:
    """Decide for a new results folder."""
    if engine == "loop":
        return EngineSettings("loop", compiled=False)
    wanted = compile_ == "always" or (compile_ == "auto" and worth_compiling(choices, jobs))
    return EngineSettings("fused", wanted and compilation.why_unavailable() is None)


def refuse_other_engine(
    settled: EngineSettings, engine: Engine, compile_: Compile, folder: Path
) -> None:
    """Refuse an engine whose numbers would be rounded otherwise than those in the folder.

    Raises
    ------
    RequestError
        Naming the option.
    """
    held = settled.engine if settled.engine == "loop" else _WAYS[settled.compiled]
    if engine not in ("auto", settled.engine):
        raise RequestError(
            f"{folder} holds results of the engine '{settled.engine}', not '{engine}'; leave the "
            "option out, or choose another folder with --out",
            "--engine",
        )
    if settled.engine == "fused" and compile_ == ("never" if settled.compiled else "always"):
        raise RequestError(
            f"{folder} holds results of {held} programs; leave the option out, or choose another "
            "folder with --out",
            "--compile",
        )


_WAYS = {False: "eager", True: "compiled"}


def refuse_loops(choices: Sequence[EngineChoice]) -> None:
    """Refuse runs that only the plain loop can train.

    Raises
    ------
    RequestError
        Naming how many, and why.
    """
    alone = [choice for choice in choices if choice.size is None]
    if alone:
        count = sum(len(choice.runs) for choice in alone)
        message = f"{count:,} runs cannot be trained as fused programs: {alone[0].reason}"
        raise RequestError(f"{message}; 'auto' trains those one by one", "--engine")


def describe_engine(choice: EngineChoice, settled: EngineSettings) -> str:
    """How runs are trained, in words."""
    if choice.size is None:
        return f"one by one{f': {choice.reason}' if choice.reason else ''}"
    if choice.engine == "vmap":
        return f"{choice.size} at a time, mapped by torch.func.vmap"
    compiled = settled.compiled and compilation.why_unavailable() is None
    note = ""
    if settled.compiled and not compiled:
        note = f"; {compilation.why_unavailable()}"
    return f"{choice.size} at a time, as {_WAYS[compiled]} programs{note}"
