"""What a command will do: a study's runs against those that its results folder holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.core.definitions import describe_unseen_values
from ablations.core.errors import RequestError
from ablations.core.recorder import NOTHING, Inputs, recorded_inputs
from ablations.core.sources import describe_unseen
from ablations.execution import dispatch, heartbeat, workers
from ablations.execution.compatibility import check_folder
from ablations.execution.options import RunOptions
from ablations.execution.workers import CannotSendError, Pool, WorkerDiedError
from ablations.results import store
from ablations.results.settings import EngineSettings
from ablations.study.configuration import Configuration, Run
from ablations.study.defaults import refuse_equal_runs
from ablations.study.expand import ExpandedGrid, expand
from ablations.study.study import Study
from ablations.training import recovery
from ablations.training.cohorts import Cohort
from ablations.training.engine import (
    EngineChoice,
    choose_engines,
    decide_settings,
    describe_engine,
    refuse_loops,
)
from ablations.training.repetition import select_user_runs, try_user_runs


@dataclass(frozen=True)
class ExecutionPlan:
    """The runs of a study, how many of them are finished, and how the others will be trained."""

    grid: ExpandedGrid
    finished: int
    choices: tuple[EngineChoice, ...]  # what trains the remaining runs, kind by kind
    cohorts: tuple[Cohort, ...]  # the remaining runs, as they will be trained
    settings: EngineSettings
    pool: Pool
    inputs: Inputs = NOTHING  # what user code reads beside its modules

    @property
    def todo(self) -> int:
        """How many runs remain to be trained."""
        return sum(len(choice.runs) for choice in self.choices)

    def notes(self) -> list[str]:
        """One line for each way to train runs, and for each reason to skip some."""
        engines = Counter[str]()
        for choice in self.choices:
            engines[describe_engine(choice, self.settings)] += len(choice.runs)
        reasons = Counter(reason for _, reason in self.grid.skipped)
        return [
            *(f"training {count:,} runs {engine}" for engine, count in engines.items()),
            *(f"skipping {count:,} runs: {reason}" for reason, count in reasons.items()),
            *(f"note: {sentence}" for sentence in self.inputs.unseen),
        ]


def plan_execution(study: Study, folder: Path, options: RunOptions | None = None) -> ExecutionPlan:
    """Plan the study against what the folder holds; writes nothing.

    A study is refused that cannot be run in this folder (``compatibility.check_folder``), whose
    runs would all be skipped, or whose data, engine or backend cannot be used.
    """
    options, grid = options or RunOptions(), expand(study)
    if grid.skipped and not grid.runs:
        first, *others = dict.fromkeys(reason for _, reason in grid.skipped)
        more = f", and {len(others):,} other reasons" if others else ""
        message = f"all {len(grid.skipped):,} runs would be skipped: {first}{more}"
        raise RequestError(message, source=f"study {study.name}")
    stored = check_folder(study, folder, options)
    finished = {} if options.force or not store.is_results(folder) else store.finished(folder)
    runs = [run for run in grid.runs if run.run_id not in finished]
    for task in dict.fromkeys(run.configuration.task for run in runs):
        task.ready()
    modules = {name for each in study.configurations for name in each.user_modules}
    workers.carry(modules, options.backend)
    broken = _foreign_errors(runs, options) if modules else {}
    inputs = NOTHING
    if modules:
        sound = [run for run in runs if run.configuration not in broken]
        refuse_equal_runs({run.configuration: None for run in sound}, study.vary, len(study.seeds))
        inputs = _describe_inputs(study, modules).union(_try_user_code(sound, options))
    choices = _choose_engines(runs, options, stored, broken)
    cohorts = tuple(cohort for choice in choices for cohort in choice.cohorts())
    isolate = bool(modules) or options.timeout is not None
    pool = dispatch.choose_pool(cohorts, options.jobs, options.backend, isolate=isolate)
    is_eager = options.backend == "threading" and options.compile == "auto"
    compile_ = "never" if is_eager else options.compile
    settings = stored or decide_settings(options.engine, compile_, choices, pool.jobs)
    if settings.compiled and pool.backend == "threading":
        # PyTorch's tracing sets flags that hold for a process.
        if options.backend is not None:
            message = "threads cannot share compiled programs; leave it out, or give"
            raise RequestError(f"{message} --compile never", "--backend")
        pool = Pool(pool.jobs, "loky")
    pool = replace(pool, patience=heartbeat.limit_patience(options.timeout))
    return ExecutionPlan(grid, len(grid.runs) - len(runs), choices, cohorts, settings, pool, inputs)


def _choose_engines(
    runs: Sequence[Run],
    options: RunOptions,
    stored: EngineSettings | None,
    broken: Mapping[Configuration, str],
) -> tuple[EngineChoice, ...]:
    engine = "loop" if stored and stored.engine == "loop" else options.engine
    choices = tuple(choose_engines(runs, engine, broken))
    if engine == "fused":
        refuse_loops(choices)
    return choices


def _foreign_errors(runs: Sequence[Run], options: RunOptions) -> dict[Configuration, str]:
    """Networks of other people's code that cannot be built, tried out in a worker process."""
    if options.backend not in (None, "loky"):
        return {}
    configurations = (run.configuration for run in runs if run.configuration.user_modules)
    return _build_errors(list(dict.fromkeys(configurations)), options.timeout)


def _describe_inputs(study: Study, modules: Iterable[str]) -> Inputs:
    """What user code reads beside its modules, as far as this process knows without training."""
    components = [each for c in study.configurations for each in c.components]
    classes = dict.fromkeys(type(each) for each in components if each.user_modules())
    unseen = [
        *(sentence for name in sorted(modules) for sentence in describe_unseen(name)),
        *(sentence for cls in classes for sentence in describe_unseen_values(cls)),
    ]
    return Inputs({}, tuple(unseen)).union(recorded_inputs(sorted(modules)))


def _try_user_code(runs: Sequence[Run], options: RunOptions) -> Inputs:
    """Refuse user code that gives other numbers when the same run is begun again.

    Return what it reads beside its modules.
    """
    selected = select_user_runs(runs)
    if not selected:
        return NOTHING
    arguments = (selected, options.timeout)
    if options.backend in (None, "loky"):
        try:
            reasons, read = workers.call_isolated(try_user_runs, *arguments)
        except (WorkerDiedError, CannotSendError):
            return NOTHING  # the rows of its runs will say so
    else:
        reasons, read = try_user_runs(*arguments)
    if message := next(filter(None, reasons), None):
        raise RequestError(message)
    return read


def _build_errors(
    configurations: Sequence[Configuration], seconds: float | None
) -> dict[Configuration, str]:
    """Why networks of other people's code cannot be built, tried in a process by itself."""
    if not configurations:
        return {}
    try:
        errors = workers.call_isolated(recovery.build_errors, configurations, seconds)
    except WorkerDiedError as error:
        if len(configurations) == 1:
            return {configurations[0]: f"its process ended: {error.exit_code}"}
        half = len(configurations) // 2
        halves = configurations[:half], configurations[half:]
        return _build_errors(halves[0], seconds) | _build_errors(halves[1], seconds)
    except CannotSendError as error:
        modules = {name for each in configurations for name in each.user_modules}
        message = f"worker processes cannot load what {', '.join(sorted(modules))} defines: {error}"
        advice = "--backend sequential trains in this process"
        raise RequestError(f"{message.splitlines()[0]}; {advice}", "--backend") from None
    return {c: message for c, message in zip(configurations, errors, strict=True) if message}
