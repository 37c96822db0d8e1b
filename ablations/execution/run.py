"""From a study to its results and report: ``run_study`` is the way through, step by step."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ablations.core.errors import (
    AuditError,
    FailedError,
    RequestError,
    clear_write_errors,
    refuse_writing,
)
from ablations.core.schema import TRAINED
from ablations.execution import workers
from ablations.execution.audit import audit
from ablations.execution.compatibility import continue_splits
from ablations.execution.dispatch import OutputContext, dispatch, write_results
from ablations.execution.interrupts import Interrupted, StopRequest
from ablations.execution.metadata import folder_metadata
from ablations.execution.options import RunOptions
from ablations.execution.plan import ExecutionPlan, plan_execution
from ablations.execution.progress import Live, Reporter
from ablations.execution.timing import TimingPhase, phase_seconds
from ablations.results import environment, settings, store
from ablations.results.answer import Answer, load_answer, save_answer
from ablations.results.inputs import save_inputs
from ablations.results.lock import Confirm, write_lock
from ablations.results.schema import TIMINGS
from ablations.results.store import StoredResults
from ablations.study.study import Study
from ablations.training.cohorts import batch_cohorts
from ablations.training.engine import Compile, Engine
from ablations.training.fused import compilation
from ablations.training.result import RunResult

if TYPE_CHECKING:
    # Imported when training has ended: statistics take memory that workers may need.
    from ablations.analysis.ablation import Effects
    from ablations.analysis.results import Results

RECORD_EVERY = 5.0  # seconds after which the shards that workers wrote enter the manifest
STOPPING = "stopping: what is in training is finished first; once more stops at once"


@dataclass(frozen=True)
class RunOutcome:
    """A study, its runs, and what they say."""

    study: Study
    results: Results
    answer: Answer
    table: Effects | None = None
    """The ablation table, if the command has computed it apart from the report."""

    @cached_property
    def verdicts(self) -> pd.Series:
        """The verdict of each level; on each data set, where there are several."""
        if self.results.by_task:
            return self.results.dataset_effects()["verdict"]
        table = self.table or compare_levels(self.results)
        return table.effects["verdict"]


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
    """Train the missing runs of a study, and write its report.

    The first Ctrl-C, SIGTERM or SIGHUP lets the cohorts in training finish; the second stops at
    once.  The same call continues.

    Parameters
    ----------
    study
        What to train.
    out
        The results folder; ``results/<study>`` by default.  Its runs with the status ``ok`` or
        ``diverged`` are not trained again.
    jobs
        Number of workers; by default one a core, or none for a study of a few seconds.
    backend
        A joblib backend; by default processes (``loky``), or threads for a short study.  Other
        people's code may end its process: unless a backend is given, processes run it.
    engine
        ``auto`` trains runs as fused programs where possible, else one by one; ``fused`` refuses
        a study with others; ``loop`` trains all one by one, in plain PyTorch.
    compile
        Whether programs are compiled; ``auto``: if that saves time.  Decided once for a folder.
    timeout
        Seconds that a cohort, and a run by itself, may take without compiling.  A run that takes
        longer is ``failed``.
    fail_fast
        Whether to stop at the first run that fails.
    force
        Whether to train finished runs again; their old results stay until then.
    accept_environment
        Whether to continue a folder whose runs other versions of the libraries trained.
    time_budget
        Seconds for timing after training (``timing.measure``), 0 for none; by default a third of
        the training time, at most 20 s, and none after a few seconds of training or of several
        tasks.
    with_report
        Whether to write ``report.html`` and the figures.
    reporter
        Receives the progress; a live display on standard error by default.

    Returns
    -------
    Results
        The runs of this study; ``ablations.load`` returns all runs of the folder.

    Raises
    ------
    RequestError
        If the folder holds the results of another study or engine, or an option is wrong.
    WriteError
        If the system refuses to write, on a full disk for instance.
    FailedError
        With ``fail_fast``, if a run fails.
    AuditError
        If the fused engine's runs are wrong; they are written all the same, with the report.
    Interrupted
        A KeyboardInterrupt, once the cohorts in training are written.
    """
    options = RunOptions(
        jobs=jobs,
        backend=backend,
        engine=engine,
        compile=compile,
        timeout=timeout,
        fail_fast=fail_fast,
        force=force,
        accept_environment=accept_environment,
        time_budget=time_budget,
        with_report=with_report,
    )
    return run_study(study, out, options, reporter, keep_workers=not with_report).results


def run_study(
    study: Study,
    out: Path | str | None = None,
    options: RunOptions | None = None,
    reporter: Reporter | None = None,
    *,
    keep_workers: bool = False,
) -> RunOutcome:
    """Train what is missing of a study, and analyse it: ``run`` with its options as one object.

    Workers end before the analysis, unless ``keep_workers``.
    """
    options, reporter = options or RunOptions(), reporter or Live()
    options.check()
    folder = results_folder(study, out)
    study = continue_splits(study, folder)
    with clear_write_errors(folder), _exclusive(folder, reporter) as confirm_lock:
        plan = _plan(study, folder, options)
        if store.is_results(folder) and (lost := store.lost_shards(folder)):
            reporter.say(f"{store.describe_losses(folder, lost)}; what it held is made again")
        if answer := stored_answer(study, folder, plan, options):
            note = f"; report: {folder / 'report.html'}" if options.with_report else ""
            for sentence in plan.inputs.unseen:
                reporter.say(f"note: {sentence}")
            reporter.say(f"nothing to train{note}")
            return RunOutcome(study, _with_questions(store.load(folder).of_study()), answer)
        confirm_lock()
        context = start_folder(study, folder, plan, options)
        stop = StopRequest(context.stop_file, lambda: reporter.say(STOPPING))
        if not plan.finished:
            _say_columns(study, reporter)
        with stop.on_signal():
            seconds = train(plan, context, options, reporter, stop)
            stored = store.load(folder)
            stored = audit(plan.grid.runs, stored, context, plan.pool, stop, repeat=options.force)
            stored = time_phase(study, plan, stored, context, options, reporter, stop, seconds)
            store.require_session(folder, context.session)
        selected = stored.of_study()
        raise_if_stopped(plan, selected, stop)
        tidy(context, stored, selected, reporter)
        if not keep_workers:
            workers.stop_idle(plan.pool)
        del plan, stored  # of many runs: memory for their analysis
        outcome = report(study, _with_questions(selected), options, reporter)
    raise_if_audit_failed(outcome.results, reporter)
    return outcome


def _with_questions(stored: StoredResults) -> Results:
    from ablations.analysis.results import Results

    return Results(**vars(stored)).with_missing()


def _say_columns(study: Study, reporter: Reporter) -> None:
    """Say what the columns of the data become, and what is noteworthy, before training."""
    for each in study.by_task:
        if columns := each.task.describe_columns():
            from ablations.report.data_columns import describe_columns

            prefix = f"{each.task_label}: " if each.task_label else ""
            for line in filter(None, (*describe_columns(columns), each.task.caution)):
                reporter.say(f"{prefix}{line}")


def results_folder(study: Study, out: Path | str | None) -> Path:
    """Where the results of a study go."""
    return Path(out) if out is not None else Path("results") / study.name


def stored_answer(
    study: Study, folder: Path, plan: ExecutionPlan, options: RunOptions
) -> Answer | None:
    """The answer of an earlier command, if nothing remains to be trained and it is up to date."""
    if plan.todo or options.force or not store.is_results(folder):
        return None
    answer = load_answer(folder, with_page=options.with_report)
    return answer if answer and store.read_study(folder) == study.to_toml() else None


def start_folder(
    study: Study, folder: Path, plan: ExecutionPlan, options: RunOptions
) -> OutputContext:
    """Make the folder, describe study and machine in it, and write the rows of skipped runs."""
    described = environment.describe()
    context = OutputContext(
        folder.absolute(),
        study.name,
        environment.identify(described),
        compiled=plan.settings.compiled and compilation.why_unavailable() is None,
        seconds=options.timeout,
    )
    try:
        settings.save_settings(folder, plan.settings)
        save_inputs(folder, plan.inputs.files)
        stored_ids = store.run_ids(folder)
        metadata = folder_metadata(study, plan.grid, stored_ids, plan.inputs.unseen)
        environments = {context.environment_id: described}
        session = store.start(folder, study.to_toml(), environments, metadata)
        context = replace(context, session=session)
        skipped = plan.grid.skipped
        rows = [RunResult(run, "skipped", reason, engine="none") for run, reason in skipped]
        write_results(rows, context)
        store.record_shards(folder)
    except OSError as error:
        raise refuse_writing(error, folder) from None
    return context


def train(
    plan: ExecutionPlan,
    context: OutputContext,
    options: RunOptions,
    reporter: Reporter,
    stop: StopRequest,
) -> float:
    """Train the remaining runs; returns the seconds that it took."""
    for note in plan.notes():
        reporter.say(note)
    start = last_record = time.monotonic()
    batches = batch_cohorts(plan.cohorts, plan.pool.jobs)
    reporter.begin(len(plan.grid.runs), plan.finished)
    try:
        for statuses in dispatch(batches, context, plan.pool, stop):
            reporter.update(statuses)
            if time.monotonic() - last_record > RECORD_EVERY:
                store.record_shards(context.folder)
                last_record = time.monotonic()
            if options.fail_fast and statuses["failed"]:
                stop.request()
    finally:
        reporter.end()
    store.record_shards(context.folder)
    return time.monotonic() - start


def time_phase(
    study: Study,
    plan: ExecutionPlan,
    results: StoredResults,
    context: OutputContext,
    options: RunOptions,
    reporter: Reporter,
    stop: StopRequest,
    trained_seconds: float,
) -> StoredResults:
    """Time the steps of the study for as long as the options allow; returns the results with it."""
    if study.task_studies and options.time_budget is None:
        return results  # shared by several data sets, the time would be too short for each
    seconds = phase_seconds(options.time_budget, trained_seconds)
    if stop() or not seconds:
        return results
    phase = TimingPhase(context, reporter, is_stopped=stop)
    count = phase.run(study, plan.grid.runs, results.runs, results.timings, seconds)
    return replace(results, timings=store.load_table(context.folder, TIMINGS)) if count else results


def raise_if_stopped(plan: ExecutionPlan, results: StoredResults, stop: StopRequest) -> None:
    """Raise Interrupted after a signal, and FailedError after a failure that stops the study."""
    if not stop():
        return
    runs = results.runs
    if stop.is_interrupt:
        finished = runs["status"].isin(TRAINED).sum()
        raise Interrupted(f"{finished:,} of {len(plan.grid.runs):,} runs are finished and kept")
    failed = runs[runs["status"] == "failed"]
    if failed.empty:  # with --force, an earlier result of the run is better than the failure
        raise FailedError("", "a run failed; its earlier result is kept")
    raise FailedError(str(failed["run_id"].iloc[0]), str(failed["reason"].iloc[0]))


def tidy(
    context: OutputContext, results: StoredResults, selected: StoredResults, reporter: Reporter
) -> None:
    """Leave few files behind, and say what the user may not expect of the runs."""
    with suppress(OSError):  # on a full disk many files stay many
        store.tidy(context.folder, context.session)
    eager = int((selected.runs["engine"] == "fused").sum()) if context.compiled else 0
    if eager:
        reporter.say(f"{eager:,} runs were trained by eager programs: the compiler failed on them")
    others = len(results.runs) - len(selected.runs)
    if others:
        note = f"also holds {others:,} runs that this study does not ask for"
        reporter.say(f"{results.folder} {note}")


def report(study: Study, results: Results, options: RunOptions, reporter: Reporter) -> RunOutcome:
    """Analyse the runs of a study once: for the page, the terminal and the stored answer."""
    from ablations.analysis import audit_failure
    from ablations.report.datasets import summarise_datasets
    from ablations.report.summary import summarise

    metadata, table = results.require_metadata(), None
    if options.with_report:
        from ablations.report.page import write_report

        page, make_answer = write_report(results, metadata)
        answer = make_answer()
        reporter.say(f"report: {page}")
    elif metadata.tasks:
        answer = summarise_datasets(results)
    else:
        table = compare_levels(results)
        answer = summarise(table, metadata)
    if audit_failure(results.audit) is None:
        save_answer(answer, results, with_page=options.with_report)
    return RunOutcome(study, results, answer, table)


def compare_levels(results: Results) -> Effects:
    """The ablation table: every level against its control."""
    return results.ablation


def raise_if_audit_failed(results: Results, reporter: Reporter) -> None:
    """Raise AuditError if the fused engine's runs are wrong, else say what the audit has shown."""
    from ablations.analysis import audit_failure
    from ablations.report.texts import describe_audit

    if message := audit_failure(results.audit):
        raise AuditError(message)
    if len(results.audit):
        reporter.say(describe_audit(results.audit))


def _exclusive(folder: Path, reporter: Reporter) -> AbstractContextManager[Confirm]:
    """The lock of a folder; none for one that nobody can write to, which can still be read."""
    if os.path.exists(folder) and not os.access(folder, os.W_OK):  # noqa: PTH110  (never raises)
        return nullcontext(lambda: None)
    return write_lock(folder, reporter.say)


def _plan(study: Study, folder: Path, options: RunOptions) -> ExecutionPlan:
    """Make the plan; nothing is written yet, so a file that cannot be read is a wrong request."""
    try:
        return plan_execution(study, folder, options)
    except OSError as error:
        source = str(error.filename or folder)
        raise RequestError(f"cannot be read: {error.strerror or error}", source=source) from error
