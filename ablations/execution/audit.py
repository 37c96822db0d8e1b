"""Which runs of fused programs are audited by the plain loop, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from ablations.core.schema import TRAINED
from ablations.execution import workers
from ablations.execution.dispatch import OutputContext
from ablations.execution.interrupts import StopRequest
from ablations.execution.workers import Pool, WorkerDiedError
from ablations.results import store
from ablations.results.schema import AUDIT
from ablations.results.settings import PROGRAMS
from ablations.results.store import StoredResults
from ablations.study.configuration import Run
from ablations.training.audit import AuditRecord, audit_runs, sample_runs

_LOSSES = ["objective", "train_loss", "val_loss"]

AuditGroup = tuple[list[Run], str, int]
"""Runs of one kind, the engine that trained them, and the members of its programs."""


def audit(
    runs: Iterable[Run],
    results: StoredResults,
    context: OutputContext,
    pool: Pool,
    stop: StopRequest,
    *,
    repeat: bool = False,
) -> StoredResults:
    """Audit a few of the runs of each kind; return the results with the records of the audit.

    Only runs that were trained in this environment are audited: others are rounded otherwise, and
    were audited there.  ``repeat`` says whether to audit again those that passed an earlier audit.
    """
    groups = _select_groups(runs, results, context.environment_id, repeat=repeat)
    if not groups or stop():
        return results
    curves = _stored_curves(results.curves, [run for members, _, _ in groups for run in members])
    calls = [
        (*group, {run.run_id: curves[run.run_id] for run in group[0]}, context.seconds)
        for group in groups
    ]
    for records in workers.map_calls(
        audit_runs, calls, pool, on_worker_death=_audit_again, is_stopped=stop
    ):
        rows = [record.row(context.environment_id) for record in records]
        store.write_rows(context.folder, AUDIT, rows, context.session)
    return replace(results, audit=store.load_table(context.folder, AUDIT))


def _select_groups(
    runs: Iterable[Run], results: StoredResults, environment_id: str, *, repeat: bool
) -> list[AuditGroup]:
    """The sampled runs of each kind, apart by what trained them, without those that passed."""
    table = results.runs
    rows = table[
        table["engine"].isin(PROGRAMS)
        & table["status"].isin(TRAINED)
        & (table["environment_id"] == environment_id)
    ]
    programs = zip(rows["engine"], rows["cohort_size"].fillna(1).astype(int), strict=True)
    trained_by: dict[str, tuple[str, int]] = dict(zip(rows["run_id"], programs, strict=True))
    passed_ids: set[str] = set()
    if not repeat:
        # An audit in another environment judged an earlier training of the run.
        is_here = results.audit["environment_id"] == environment_id
        passed = results.audit[results.audit["reason"].isna() & is_here]
        passed_ids.update(passed["run_id"])
    groups: list[AuditGroup] = []
    for sample in sample_runs(run for run in runs if run.run_id in trained_by):
        by_program: dict[tuple[str, int], list[Run]] = {}
        for run in sample:
            by_program.setdefault(trained_by[run.run_id], []).append(run)
        groups += [
            (members, engine, size)
            for (engine, size), members in by_program.items()
            if not passed_ids.issuperset(run.run_id for run in members)
        ]
    return groups


def _stored_curves(
    curves: pd.DataFrame, runs: Iterable[Run]
) -> dict[str, list[tuple[float, float, float]]]:
    rows = curves[curves["run_id"].isin({run.run_id for run in runs})]
    return {
        str(run_id): list(curve[_LOSSES].itertuples(index=False))
        for run_id, curve in rows.groupby("run_id")
    }


def _audit_again(call: tuple[Any, ...], death: WorkerDiedError) -> Iterator[list[AuditRecord]]:
    """Audit runs whose audit may have been at work in the process that died."""
    try:
        yield workers.call_isolated(audit_runs, *call)
    except WorkerDiedError as error:
        runs, engine, size = call[:3]
        codes = f"{death.exit_code}, {error.exit_code}"
        reason = f"it could not be judged: the worker process died each time: {codes}"
        yield [AuditRecord(run.run_id, engine, size, reason=reason) for run in runs]
