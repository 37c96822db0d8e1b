"""The way through, as a short list of named steps; ``run`` is the Python API's."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ablations import dispatch, environment, report, store
from ablations import grid as grids
from ablations.analysis import fault
from ablations.cohorts import Cohort, pack, parcels
from ablations.dispatch import check_backend
from ablations.errors import AuditError, RequestError
from ablations.folders import LOCK, one_writer
from ablations.grid import SETTINGS, TECHNIQUES, Plan
from ablations.progress import Live, Reporter
from ablations.report import Published, Story, words
from ablations.store import Results
from ablations.study import Study, published
from ablations.techniques.base import CONTROLS
from ablations.training import audit, compiling, engines
from ablations.training.engines import Choice, Compile, Engine, Settled
from ablations.training.result import Result


@dataclass(frozen=True)
class Outlook:
    """What a command would do: the plan, what is finished already, what is left to train."""

    plan: Plan
    finished: int
    choices: tuple[Choice, ...]
    """What trains the runs that are left, kind by kind."""
    settled: Settled
    jobs: int
    backend: str

    @property
    def todo(self) -> int:
        """How many runs are left to train."""
        return sum(len(choice.runs) for choice in self.choices)

    @cached_property
    def cohorts(self) -> list[Cohort]:
        """The runs that are left, as they will be trained."""
        return pack(choice.part for choice in self.choices)

    def notes(self) -> list[str]:
        """One line for each way to train runs, and for each reason to skip some."""
        ways = Counter[str]()
        for choice in self.choices:
            ways[engines.way(choice, self.settled)] += len(choice.runs)
        reasons = Counter(reason for _, reason in self.plan.skipped)
        return [
            *(f"training {count:,} runs {way}" for way, count in ways.items()),
            *(f"skipping {count:,} runs: {reason}" for reason, count in reasons.items()),
        ]


def run(
    study: Study,
    out: Path | str | None = None,
    *,
    jobs: int | None = None,
    backend: str | None = None,
    engine: Engine = "auto",
    compile: Compile = "auto",  # noqa: A002
    force: bool = False,
    accept_environment: bool = False,
    with_report: bool = True,
    reporter: Reporter | None = None,
) -> Results:
    """Train what is missing of a study, and write its report.

    Parameters
    ----------
    study
        What to train.
    out
        The results folder; ``results/<study>`` by default.  Runs that it holds already as ``ok``
        or ``diverged`` are not trained again.
    jobs
        Worker processes; by default one a core, or none for a study of a few seconds.
    backend
        A joblib backend; by default processes (``loky``), or threads for a study that is over
        sooner than processes start.
    engine
        ``auto`` trains runs as fused programs where they can be, one by one where not; ``fused``
        refuses a study that needs the latter; ``loop`` trains all one by one, in plain PyTorch.
    compile
        Whether programs are compiled: ``auto`` where that pays, from what was measured here.  It is
        settled once for a results folder.
    force
        Whether to train again what the folder holds already.
    accept_environment
        Whether to go on in a folder whose runs other versions of the libraries trained.
    with_report
        Whether to write ``report.html`` and the figures.
    reporter
        Who is told of the progress; a live display on standard error by default.

    Returns
    -------
    Results
        The runs of this study; ``ablations.load`` gives all that the folder holds.

    Raises
    ------
    RequestError
        If the folder holds the results of another study or engine, or the backend cannot be used.
    AuditError
        If runs of the fused engine are not what the plain loop trains; all is written all the
        same, the report included.
    """
    check_backend(backend, jobs)
    reporter = reporter or Live()
    folder = folder_of(study, out)

    def found() -> Outlook:
        return look(
            study, folder, jobs, backend, engine, compile, accept_environment=accept_environment
        )

    seen, outlook = store.written(folder), found()
    with one_writer(folder, reporter.say):
        if force:
            forget(folder, outlook)
        if store.written(folder) != seen:
            outlook = found()
        results = _run(study, folder, outlook, reporter)
        if with_report:
            path = write_report(study, results)
            reporter.say(f"report: {path}")
    wrong = fault(results.audit)
    if wrong:
        raise AuditError(wrong)
    if len(results.audit):
        reporter.say(words.audit(results.audit))
    return results


def _run(study: Study, folder: Path, outlook: Outlook, reporter: Reporter) -> Results:
    """Train what is left, have it judged, and leave few files behind."""
    target = begin(study, folder, outlook)
    for note in outlook.notes():
        reporter.say(note)
    train(outlook, target, reporter)
    whole = store.load(folder)
    if judge(outlook, whole, target):
        whole = store.load(folder)
    store.tidy(folder, target.session)
    results, others = of_study(study, whole)
    eager = int((results.runs["engine"] == "fused").sum()) if target.compiled else 0
    if eager:
        reporter.say(f"{eager:,} runs were trained by eager programs: the compiler failed on them")
    if others:
        reporter.say(f"{folder} also holds {others:,} runs that this study does not ask for")
    return results


def forget(folder: Path, outlook: Outlook) -> None:
    """Take a study's runs out of a folder, to be trained again."""
    if store.is_results(folder):
        store.forget(folder, [run.run_id for run in outlook.plan.runs])


def of_study(study: Study, results: Results) -> tuple[Results, int]:
    """The rows that a study asks for, and how many others the folder holds.

    A folder keeps what earlier commands trained, with more seeds or other levels; a table of
    this study must not mix them in.
    """
    plan = grids.plan(study)
    asked = {run.run_id for run in (*plan.runs, *(run for run, _ in plan.skipped))}
    own = results.only(asked)
    return own, len(results.runs) - len(own.runs)


def folder_of(study: Study, out: Path | str | None) -> Path:
    """Where a study's results go."""
    return Path(out) if out is not None else Path("results") / study.name


def look(
    study: Study,
    folder: Path,
    jobs: int | None = None,
    backend: str | None = None,
    engine: Engine = "auto",
    compile: Compile = "auto",  # noqa: A002
    *,
    accept_environment: bool = False,
) -> Outlook:
    """Plan the study against what the folder holds; changes nothing."""
    plan = grids.plan(study)
    known = None
    if store.is_results(folder):
        refuse_another(study, folder)
        if not accept_environment:
            refuse_environment(folder)
        done = store.finished(folder)
        known = engines.recorded(folder)
        engines.refuse_another(known, engine, compile, folder)
        engine = "loop" if known.engine == "loop" else engine
    elif folder.exists() and not _empty(folder):
        raise RequestError("is there already and is no results folder", source=str(folder))
    else:
        done = {}
    left = [run for run in plan.runs if run.run_id not in done]
    choices = tuple(engines.choose(left, engine))
    if engine == "fused":
        engines.refuse_loops(choices)
    count, way = dispatch.arrange(pack(choice.part for choice in choices), jobs, backend)
    if backend == "threading" and compile == "auto":
        compile = "never"  # noqa: A001
    settled = known or engines.settle(engine, compile, choices, count)
    if settled.compiled and way == "threading":
        # PyTorch traces with marks that hold for the whole process.
        if backend is not None:
            message = (
                "threads cannot share compiled programs; leave it out, or give --compile never"
            )
            raise RequestError(message, "--backend")
        way = "loky"
    return Outlook(plan, len(plan.runs) - len(left), choices, settled, count, way)


def _empty(folder: Path) -> bool:
    return folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())


def refuse_another(study: Study, folder: Path) -> None:
    """Refuse a folder whose runs were trained under other settings than those of ``study``.

    Levels and seeds may differ: they tell the runs of one folder apart, and a study may grow.
    """
    path = folder / "study.toml"
    if not path.exists():
        return  # set aside by a repair
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot be read: {error}", source=str(path)) from None
    wanted = study.plain()
    for key in ("task", "model", *SETTINGS):
        if wanted[key] != found.get(key):
            message = f"holds results with {key} {found.get(key)!r}, not {wanted[key]!r}"
            raise RequestError(f"{message}; choose another folder with --out", source=str(folder))


def refuse_environment(folder: Path) -> None:
    """Refuse a folder whose runs were all trained by other versions of the libraries."""
    known = [one["packages"] for one in store.read_environments(folder).values() if one]
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


def begin(study: Study, folder: Path, outlook: Outlook) -> dispatch.Target:
    """Make the folder, describe study and machine in it, and write down the skipped runs."""
    described = environment.describe()
    identity, skipped = environment.identify(described), outlook.plan.skipped
    compiled = outlook.settled.compiled and compiling.unavailable() is None
    target = dispatch.Target(folder.absolute(), study.name, identity, compiled)
    try:
        engines.record(folder, outlook.settled)
        session = store.start(folder, study.to_toml(), {identity: described})
        target = replace(target, session=session)
        if skipped:
            rows = [Result(run, "skipped", reason, engine="none") for run, reason in skipped]
            dispatch.write(rows, target)
    except OSError as error:
        message = f"cannot write results here: {error.strerror}"
        raise RequestError(message, source=str(folder)) from None
    return target


def train(outlook: Outlook, target: dispatch.Target, reporter: Reporter) -> None:
    """Train what is left, telling the reporter as cohorts finish."""
    shared = parcels(outlook.cohorts, outlook.jobs)
    reporter.begin(len(outlook.plan.runs), outlook.finished)
    try:
        for statuses in dispatch.dispatch(shared, target, outlook.jobs, outlook.backend):
            reporter.update(statuses)
    finally:
        reporter.end()


def judge(outlook: Outlook, results: Results, target: dispatch.Target) -> int:
    """Have the plain loop judge a few runs of each kind that were not judged yet; how many.

    Only runs trained in this environment: others are rounded otherwise, and were judged there.
    """
    table = results.runs
    fused = table["engine"].isin(["fused", "fused-compiled", "vmap"])
    here = table[fused & table["status"].isin(["ok", "diverged"])]
    here = here[here["environment_id"] == target.environment_id]
    ways = dict(
        zip(here["run_id"], zip(here["engine"], here["cohort_size"], strict=True), strict=True)
    )
    known = set(results.audit.loc[results.audit["reason"].isna(), "run_id"])
    calls = []
    for runs in audit.chosen(run for run in outlook.plan.runs if run.run_id in ways):
        for engine, size in dict.fromkeys(ways[run.run_id] for run in runs):
            alike = [run for run in runs if ways[run.run_id] == (engine, size)]
            if not known.issuperset(run.run_id for run in alike):
                calls.append((alike, str(engine), int(size)))
    wanted = {run.run_id for runs, _, _ in calls for run in runs}
    rows = results.curves[results.curves["run_id"].isin(wanted)]
    curves = {
        str(run_id): list(part[["objective", "train_loss", "val_loss"]].itertuples(index=False))
        for run_id, part in rows.groupby("run_id")
    }
    count = 0
    asked = (
        (audit.judge, (*call, {run.run_id: curves[run.run_id] for run in call[0]}))
        for call in calls
    )
    for judged in dispatch.parallel(asked, outlook.jobs, outlook.backend):
        rows = [one.row(target.environment_id) for one in judged]
        store.write_audit(target.folder, rows, target.session)
        count += len(judged)
    return count


def write_report(study: Study, results: Results) -> Path:
    """Write the report of a results folder."""
    return report.write(results, story(study))


def effects(study: Study, results: Results) -> report.Effects:
    """The ablation table, as the report has it: every level against its control."""
    return report.ablation_effects(results, story(study))


def controls(study: Study) -> dict[str, str | float]:
    """The level of each axis that the others are compared with: its control, else its first."""
    chosen: dict[str, str | float] = {}
    for axis, labels in study.levels.items():
        named = CONTROLS.get(axis)
        chosen[axis] = named if named is not None and named in labels else labels[0]
    return chosen


def story(study: Study) -> Story:
    """What the report says that no table holds: captions, cautions, published curves."""
    return Story(
        study=study.name,
        description=study.description,
        axes=tuple(study.levels),
        controls=controls(study),
        levels=study.levels,
        captions=_captions(study),
        cautions=tuple(filter(None, [study.task.caution])),
        metric_name=study.task.metric_name,
        higher_is_better=study.task.higher_is_better,
        published=_published(study, list(study.levels)),
        margin=study.margin,
        command="ablations run study.toml --out .",
    )


def _captions(study: Study) -> dict[str, dict[str, str]]:
    captions: dict[str, dict[str, str]] = {}
    for grid in study.grids:
        for axis in (*TECHNIQUES, "optimizer"):
            for level in grid.axes.get(axis, ()):
                captions.setdefault(axis, {})[level.label] = level.caption()
    return captions


def _published(study: Study, axes: Sequence[str]) -> tuple[Published, ...]:
    return tuple(
        Published(name, {axis: configuration.columns[axis] for axis in axes}, objective)
        for name, configuration, objective in published(study)
    )
