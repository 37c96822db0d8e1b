"""What a command would do: the study's plan against what its results folder holds."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ablations.core import files
from ablations.core.errors import RequestError
from ablations.core.random import SOURCES
from ablations.core.registry import resolve, without_imports
from ablations.execution import dispatch, workers
from ablations.execution.workers import CannotSendError, Pool, WorkerDiedError
from ablations.results import environment, settings, store
from ablations.results.lock import LOCK
from ablations.results.settings import EngineSettings
from ablations.study import expand
from ablations.study.configuration import SETTINGS, Configuration
from ablations.study.expand import ExpandedGrid
from ablations.study.study import Study
from ablations.training import engine as engines
from ablations.training import recovery
from ablations.training.cohorts import Cohort
from ablations.training.engine import Compile, Engine, EngineChoice


@dataclass(frozen=True)
class RunOptions:
    """How to train, as far as somebody asked for it; ``pipeline.run`` says what each means."""

    jobs: int | None = None
    backend: str | None = None
    engine: Engine = "auto"
    compile: Compile = "auto"
    timeout: float | None = None
    fail_fast: bool = False
    force: bool = False
    accept_environment: bool = False
    time_budget: float | None = None

    def check(self) -> None:
        """Refuse what cannot be had here, before anything is planned.

        Raises
        ------
        RequestError
            Naming the option.
        """
        dispatch.check_backend(self.backend, self.jobs)
        if self.time_budget is not None and not 0 <= self.time_budget < 1e7:
            message = f"expected a number of seconds from 0 up, found {self.time_budget:g}"
            raise RequestError(message, "--time-budget")
        if self.timeout is None:
            return
        if not 0 < self.timeout < 1e7:
            message = f"expected a number of seconds above 0, found {self.timeout:g}"
            raise RequestError(message, "--timeout")
        if self.backend not in (None, "loky"):
            message = f"{self.backend} cannot stop what takes too long; leave --backend out"
            raise RequestError(message, "--timeout")


@dataclass(frozen=True)
class ExecutionPlan:
    """The plan, what is finished already, what is left to train."""

    plan: ExpandedGrid
    finished: int
    choices: tuple[EngineChoice, ...]
    """What trains the runs that are left, kind by kind."""
    settled: EngineSettings
    pool: Pool

    @property
    def todo(self) -> int:
        """How many runs are left to train."""
        return sum(len(choice.runs) for choice in self.choices)

    @cached_property
    def cohorts(self) -> list[Cohort]:
        """The runs that are left, as they will be trained."""
        return [cohort for choice in self.choices for cohort in choice.cohorts()]

    def notes(self) -> list[str]:
        """One line for each way to train runs, and for each reason to skip some."""
        ways = Counter[str]()
        for choice in self.choices:
            ways[engines.describe_engine(choice, self.settled)] += len(choice.runs)
        reasons = Counter(reason for _, reason in self.plan.skipped)
        return [
            *(f"training {count:,} runs {way}" for way, count in ways.items()),
            *(f"skipping {count:,} runs: {reason}" for reason, count in reasons.items()),
        ]


def plan_execution(study: Study, folder: Path, how: RunOptions | None = None) -> ExecutionPlan:
    """Plan the study against what the folder holds; changes nothing.

    Raises
    ------
    RequestError
        If the folder holds the results of another study, engine or version of a library, or
        something else than results; or if nothing of the study can be had.
    """
    how = how or RunOptions()
    plan = expand.expand(study)
    if plan.skipped and not plan.runs:
        first, *others = dict.fromkeys(reason for _, reason in plan.skipped)
        more = f", and {len(others):,} other reasons" if others else ""
        message = f"all {len(plan.skipped):,} runs would be skipped: {first}{more}"
        raise RequestError(message, source=f"study {study.name}")
    known, engine, compile_ = None, how.engine, how.compile
    done: dict[str, str] = {}
    if store.is_results(folder):
        store.verify(folder)
        refuse_another(study, folder)
        if not how.accept_environment:
            refuse_environment(folder)
        done = {} if how.force else store.finished(folder)
        if (folder / settings.ENGINE_FILE).exists() or store.engines(folder):
            known = settings.load_settings(folder)
            engines.refuse_other_engine(known, engine, compile_, folder)
            engine = "loop" if known.engine == "loop" else engine
    elif folder.exists() and not _empty(folder):
        raise RequestError("is there already and is no results folder", source=str(folder))
    left = [run for run in plan.runs if run.run_id not in done]
    if left:
        study.task.ready()
    modules = {name for one in study.configurations for name in one.user_modules}
    workers.carry(modules, how.backend)
    apart = bool(modules) and how.backend in (None, "loky")
    foreign = dict.fromkeys(
        run.configuration for run in left if apart and run.configuration.user_modules
    )
    choices = tuple(engines.choose_engines(left, engine, _broken(list(foreign), how.timeout)))
    if engine == "fused":
        engines.refuse_loops(choices)
    cohorts = [cohort for choice in choices for cohort in choice.cohorts()]
    needed = bool(modules) or how.timeout is not None
    pool = dispatch.arrange(cohorts, how.jobs, how.backend, apart=needed)
    if how.backend == "threading" and compile_ == "auto":
        compile_ = "never"
    settled = known or engines.decide_settings(engine, compile_, choices, pool.jobs)
    if settled.compiled and pool.backend == "threading":
        # PyTorch traces with marks that hold for the whole process.
        if how.backend is not None:
            message = (
                "threads cannot share compiled programs; leave it out, or give --compile never"
            )
            raise RequestError(message, "--backend")
        pool = Pool(pool.jobs, "loky")
    return ExecutionPlan(plan, len(plan.runs) - len(left), choices, settled, pool)


def _broken(configurations: list[Configuration], seconds: float | None) -> dict[Configuration, str]:
    """Which networks with somebody's own code cannot be built, found where that can do no harm."""
    if not configurations:
        return {}
    try:
        found = workers.call_isolated(recovery.build_errors, configurations, seconds)
    except WorkerDiedError as error:
        if len(configurations) == 1:
            return {configurations[0]: f"its process ended: {error.exit_code}"}
        half = len(configurations) // 2
        parts = configurations[:half], configurations[half:]
        return _broken(parts[0], seconds) | _broken(parts[1], seconds)
    except CannotSendError as error:
        named = ", ".join(sorted({n for one in configurations for n in one.user_modules}))
        message = f"worker processes cannot load what {named} defines: {error}".splitlines()[0]
        advice = "--backend sequential trains in this process"
        raise RequestError(f"{message}; {advice}", "--backend") from None
    return {one: why for one, why in zip(configurations, found, strict=True) if why}


def _empty(folder: Path) -> bool:
    """Whether there is nothing but what a command writes first."""
    first = (LOCK, settings.ENGINE_FILE)
    return folder.is_dir() and all(
        path.name in first or path.name.startswith(files.WRITING) for path in folder.iterdir()
    )


def refuse_another(study: Study, folder: Path) -> None:
    """Refuse a folder whose runs were trained under other settings than those of ``study``.

    Levels and seeds may differ: they tell the runs of one folder apart, and a study may grow.
    """
    path = folder / "study.toml"
    if not path.exists():
        return  # set aside by a repair
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"cannot be read: {error}", source=str(path)) from None
    wanted = study.plain()
    _refuse_another_task(study, found.get("task"), folder)
    for key in ("model", *SETTINGS):
        if wanted[key] != found.get(key):
            message = f"holds results with {key} {found.get(key)!r}, not {wanted[key]!r}"
            raise RequestError(f"{message}; choose another folder with --out", source=str(folder))
    for name, code in found.get("code", {}).items():
        if study.code.get(name, code) != code:
            message = f"holds runs of other code: {name} has changed since"
            raise RequestError(f"{message}; choose another folder with --out", source=str(folder))
    varied = list(found.get("vary", SOURCES))
    if varied != list(study.vary):
        message = f"holds results in which seeds vary {', '.join(varied)}"
        message = f"{message}, not {', '.join(study.vary)}"
        raise RequestError(f"{message}; choose another folder with --out", source=str(folder))
    stated = found.get("looks")
    if stated and wanted.get("looks") != stated:
        # Under other looks, or none, what was not enough evidence would be enough.
        message = f"its looks were stated at {', '.join(map(str, stated))} seeds"
        advice = (
            f"continue with --seeds-until decided --max-seeds {stated[-1]} and the seeds that it "
            "began with, or choose another folder with --out"
        )
        raise RequestError(f"{message}; {advice}", source=str(folder))


def _refuse_another_task(study: Study, spec: object, folder: Path) -> None:
    if spec == study.plain()["task"]:
        return
    try:
        with without_imports():  # the folder must not decide what code runs
            there = resolve("task", spec, "task").identity()
    except RequestError:
        there = {"name": spec}
    here = study.task.identity()
    if here == there:
        return
    if here | {"content": None} == there | {"content": None}:
        message = f"holds results of other data: {study.task.label} has changed since"
    else:
        same = here["name"] == there["name"]
        differing = [key for key in here if here[key] != there.get(key)] if same else ["name"]
        told = [f"{key} {there.get(key)!r}, not {here[key]!r}" for key in differing]
        message = f"holds results with task {', '.join(told).removeprefix('name ')}"
    raise RequestError(f"{message}; choose another folder with --out", source=str(folder))


def refuse_environment(folder: Path) -> None:
    """Refuse a folder whose runs were all trained by other versions of the libraries."""
    known = [one["packages"] for one in environment.read_environments(folder).values() if one]
    here = environment.describe()["packages"]
    if not known or here in known:
        return
    there = known[-1]
    differing = [
        f"{name} {there.get(name, 'not installed')} there and {version} here"
        for name, version in here.items()
        if there.get(name) != version
    ]
    message = f"holds runs of other versions: {', '.join(differing)}"
    advice = "choose another folder with --out, or mix them with --accept-environment"
    raise RequestError(f"{message}; {advice}", source=str(folder))
