"""The way through, as a short list of named steps; ``run`` is the Python API's."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.analysis import results as answers
from ablations.analysis.results import Results
from ablations.core.errors import AuditError, FailedError, RequestError, WriteError
from ablations.core.schema import TRAINED
from ablations.execution import dispatch, interrupts, timing, workers
from ablations.execution.interrupts import Interrupted, StopRequest
from ablations.execution.metadata import study_metadata
from ablations.execution.plan import ExecutionPlan, RunOptions, plan_execution
from ablations.execution.progress import Live, Reporter
from ablations.execution.workers import WorkerDiedError
from ablations.report.formatting import describe_audit
from ablations.report.summary import summarise
from ablations.results import environment, settings, store
from ablations.results.answer import Answer, load_answer, save_answer
from ablations.results.lock import write_lock
from ablations.results.schema import AUDIT
from ablations.study.expand import ExpandedGrid
from ablations.study.study import Study
from ablations.training import audit
from ablations.training.audit import AuditRecord
from ablations.training.cohorts import batch_cohorts
from ablations.training.engine import Compile, Engine
from ablations.training.fused import compilation
from ablations.training.result import RunResult

if TYPE_CHECKING:
    from ablations.analysis.ablation import Effects

_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG),
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, getattr(errno, "EDQUOT", None)),
}
"""What the system says where it refuses to write."""

STOPPING = "stopping: what is in training is finished first; once more stops at once"


def run(
    study: Study,
    out: Path | str | None = None,
    *,
    jobs: int | None = None,
    backend: str | None = None,
    engine: Engine = "auto",
    compile: Compile = "auto",  # noqa: A002
    timeout: float | None = None,
    fail_fast: bool = False,
    force: bool = False,
    accept_environment: bool = False,
    time_budget: float | None = None,
    with_report: bool = True,
    reporter: Reporter | None = None,
) -> Results:
    """Train what is missing of a study, and write its report.

    The first Ctrl-C, or SIGTERM, lets what is in training finish; the second stops at once.  The
    same call continues.

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
        sooner than processes start.  What other people wrote is trained in processes, unless
        ``sequential`` or ``threading`` is asked for: it may end the process that it runs in.
    engine
        ``auto`` trains runs as fused programs where they can be, one by one where not; ``fused``
        refuses a study that needs the latter; ``loop`` trains all one by one, in plain PyTorch.
    compile
        Whether programs are compiled: ``auto`` where that pays, from what was measured here.  It is
        settled once for a results folder.
    timeout
        Seconds that a cohort, and a run by itself, may take (compiling does not count); a run that
        takes longer is ``failed``.
    fail_fast
        Whether to stop at the first run that fails.
    force
        Whether to train again what the folder holds already; old results stay until new ones
        are there.
    accept_environment
        Whether to go on in a folder whose runs other versions of the libraries trained.
    time_budget
        Seconds that timing may take after training (``timing.measure``), 0 for none; by default a
        third of what training took, at most 20 s, and none after a training of a few seconds.
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
    WriteError
        If something could not be written: a full disk, say.
    FailedError
        With ``fail_fast``, if a run failed.
    AuditError
        If runs of the fused engine are not what the plain loop trains; all is written all the
        same, the report included.
    Interrupted
        A KeyboardInterrupt, once what was in training is written.
    """
    from ablations.analysis import audit_failure

    how = RunOptions(
        *(jobs, backend, engine, compile, timeout, fail_fast, force, accept_environment),
        time_budget=time_budget,
    )
    how.check()
    reporter = reporter or Live()
    folder = folder_of(study, out)
    known = known_answer(study, folder, how, with_report)
    if known:
        up_to_date = ", and the report is up to date" if with_report else ""
        reporter.say(f"nothing to train{up_to_date}")
        return of_study(known[1], answers.load(folder))[0]
    seen, outlook = store.list_shards(folder), plan_execution(study, folder, how)
    with _writing(folder), write_lock(folder, reporter.say):
        if store.list_shards(folder) != seen:
            outlook = plan_execution(study, folder, how)
        results = _run(study, folder, outlook, how, reporter)
        wrong = audit_failure(results.audit)
        if with_report:
            path = write_report(study, results)
            reporter.say(f"report: {path}")
        if wrong is None:
            write_answer(study, results, with_page=with_report)
    if wrong:
        raise AuditError(wrong)
    if len(results.audit):
        reporter.say(describe_audit(results.audit))
    return results


def _run(
    study: Study, folder: Path, outlook: ExecutionPlan, how: RunOptions, reporter: Reporter
) -> Results:
    """Train what is left, have it judged, and leave few files behind."""
    target = begin(study, folder, outlook, how.timeout)
    for note in outlook.notes():
        reporter.say(note)
    begun = time.monotonic()
    stop = StopRequest(target.stop, lambda: reporter.say(STOPPING))
    try:
        with interrupts.handle_signals(stop.interrupt):
            train(outlook, target, stop, reporter, fail_fast=how.fail_fast)
            whole = answers.load(folder)
            took = time.monotonic() - begun
            if not stop.asked and judge(outlook, whole, target, stop, again=how.force):
                whole = answers.load(folder)
            seconds = timing.allowed(how.time_budget, took)
            if not stop.asked and seconds:
                measured = timing.measure(study, folder, reporter, seconds=seconds, stopped=stop)
                whole = answers.load(folder) if measured else whole
    finally:
        stop.withdraw()
    results, others = of_study(outlook.plan, whole)
    if stop.asked and not stop.interrupted:
        failed = results.runs[results.runs["status"] == "failed"]
        raise FailedError(str(failed["run_id"].iloc[0]), str(failed["reason"].iloc[0]))
    if stop.asked:
        done = results.runs["status"].isin(TRAINED).sum()
        raise Interrupted(f"{done:,} of {len(outlook.plan.runs):,} runs are finished and kept")
    with suppress(OSError):  # on a full disk many files stay many
        store.tidy(folder, target.session)
    eager = int((results.runs["engine"] == "fused").sum()) if target.compiled else 0
    if eager:
        reporter.say(f"{eager:,} runs were trained by eager programs: the compiler failed on them")
    if others:
        reporter.say(f"{folder} also holds {others:,} runs that this study does not ask for")
    return results


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What the system refuses to write is one clear error."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        where = error.filename or folder
        raise WriteError(f"{where}: {error.strerror or error}") from error


def known_answer(
    study: Study, folder: Path, how: RunOptions, with_report: bool = True
) -> tuple[Answer, ExpandedGrid] | None:
    """The answer of a study of which nothing is left to train, where its report is up to date, and
    the study's plan.
    """
    if how.force or not store.is_results(folder):
        return None
    answer = load_answer(folder, with_page=with_report)
    if answer is None or store.read_study(folder) != study.to_toml():
        return None
    outlook = plan_execution(study, folder, how)
    return None if outlook.todo else (answer, outlook.plan)


def write_answer(study: Study, results: Results, with_page: bool = True) -> None:
    """Write down the answer, and what it is the answer to."""
    save_answer(answer(study, results), results, with_page=with_page)


def of_study(plan: ExpandedGrid, results: Results) -> tuple[Results, int]:
    """The rows that a study asks for, and how many others the folder holds.

    A folder keeps what earlier commands trained, with more seeds or other levels; a table of
    this study must not mix them in.
    """
    asked = plan.run_ids
    if asked.issuperset(results.runs["run_id"]):
        return results, 0
    own = results.only(asked)
    return own, len(results.runs) - len(own.runs)


def folder_of(study: Study, out: Path | str | None) -> Path:
    """Where a study's results go."""
    return Path(out) if out is not None else Path("results") / study.name


def begin(
    study: Study, folder: Path, outlook: ExecutionPlan, seconds: float | None = None
) -> dispatch.OutputContext:
    """Make the folder, describe study and machine in it, and write down the skipped runs."""
    described = environment.describe()
    identity, skipped = environment.identify(described), outlook.plan.skipped
    compiled = outlook.settled.compiled and compilation.why_unavailable() is None
    target = dispatch.OutputContext(
        folder.absolute(), study.name, identity, compiled, seconds=seconds
    )
    try:
        settings.save_settings(folder, outlook.settled)
        metadata = study_metadata(study, store.run_ids(folder) - outlook.plan.run_ids)
        session = store.start(folder, study.to_toml(), {identity: described}, metadata)
        target = replace(target, session=session)
        if skipped:
            rows = [RunResult(run, "skipped", reason, engine="none") for run, reason in skipped]
            dispatch.write(rows, target)
    except OSError as error:
        message = f"cannot write results here: {error.strerror}"
        raise RequestError(message, source=str(folder)) from None
    return target


def train(
    outlook: ExecutionPlan,
    target: dispatch.OutputContext,
    stop: StopRequest,
    reporter: Reporter,
    *,
    fail_fast: bool = False,
) -> None:
    """Train what is left, telling the reporter as cohorts finish."""
    shared = batch_cohorts(outlook.cohorts, outlook.pool.jobs)
    reporter.begin(len(outlook.plan.runs), outlook.finished)
    try:
        for statuses in dispatch.dispatch(shared, target, outlook.pool, stop):
            reporter.update(statuses)
            if fail_fast and statuses["failed"]:
                stop.ask()
    finally:
        reporter.end()


def judge(
    outlook: ExecutionPlan,
    results: Results,
    target: dispatch.OutputContext,
    stop: StopRequest,
    again: bool = False,
) -> int:
    """Have the plain loop judge a few runs of each kind that were not judged yet, or all of those
    ``again``; how many.

    Only runs trained in this environment: others are rounded otherwise, and were judged there.
    """
    table = results.runs
    fused = table["engine"].isin(settings.PROGRAMS)
    here = table[fused & table["status"].isin(TRAINED)]
    here = here[here["environment_id"] == target.environment_id]
    ways = dict(
        zip(here["run_id"], zip(here["engine"], here["cohort_size"], strict=True), strict=True)
    )
    sound = results.audit.loc[results.audit["reason"].isna(), "run_id"]
    known = set() if again else set(sound)
    calls = []
    for runs in audit.sample_runs(run for run in outlook.plan.runs if run.run_id in ways):
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
    asked = [
        (*call, {run.run_id: curves[run.run_id] for run in call[0]}, target.seconds)
        for call in calls
    ]
    judged = workers.map_calls(
        audit.audit_runs, asked, outlook.pool, again=_judge_again, stopped=lambda: stop.asked
    )
    count = 0
    for found in judged:
        rows = [one.row(target.environment_id) for one in found]
        store.write_rows(target.folder, AUDIT, rows, target.session)
        count += len(found)
    return count


def _judge_again(call: tuple[Any, ...], first: WorkerDiedError) -> Iterator[list[AuditRecord]]:
    """Judge runs whose judge may have been the worker that died."""
    try:
        yield workers.call_isolated(audit.audit_runs, *call)
    except WorkerDiedError as error:
        runs, engine, size = call[:3]
        codes = f"{first.exit_code}, {error.exit_code}"
        reason = f"it could not be judged: the worker process died each time: {codes}"
        yield [AuditRecord(run.run_id, engine, size, reason=reason) for run in runs]


def write_report(study: Study, results: Results) -> Path:
    """Write the report of a results folder."""
    from ablations.report.page import write_report

    page, _ = write_report(results, study_metadata(study))
    return page


def effects(study: Study, results: Results) -> Effects:
    """The ablation table, as the report has it: every level against its control."""
    from ablations.analysis.ablation import ablation_effects, study_design

    return ablation_effects(study_design(results, study_metadata(study)))


def answer(study: Study, results: Results) -> Answer:
    """The ablation table and the answer in words."""
    return summarise(effects(study, results), study_metadata(study).cautions)
