"""Set broken files of a results folder aside, so that what they held is trained again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ablations.core.errors import RequestError
from ablations.results import settings, shards, store
from ablations.results.answer import ANSWER_FILE, REPORT_FILE
from ablations.results.environment import ENVIRONMENT_FILE, read_environments, write_environments
from ablations.results.inputs import INPUTS_FILE, load_inputs
from ablations.results.lock import LOCK
from ablations.results.looks import LOOKS_FILE, load_looks
from ablations.results.manifest import (
    MANIFEST_FILE,
    SESSION_FILE,
    begin_session,
    load_manifest,
    missing_shards,
    record_shards,
    reset_manifest,
)
from ablations.results.metadata import METADATA_FILE, load_metadata
from ablations.results.outputs import WRITTEN_FILE, load_written
from ablations.results.schema import AUDIT, TABLES, TIMINGS
from ablations.results.shards import quarantine
from ablations.results.store import STUDY_FILE
from ablations.results.tables import compact_parcels, load_parcels, set_halves_aside

_READERS: dict[str, Callable[[Path], object]] = {
    STUDY_FILE: store.read_study,
    METADATA_FILE: load_metadata,
    MANIFEST_FILE: load_manifest,
    LOOKS_FILE: load_looks,
    ENVIRONMENT_FILE: read_environments,
    settings.ENGINE_FILE: settings.load_settings,
    INPUTS_FILE: load_inputs,
    WRITTEN_FILE: load_written,
}


def repair_folder(folder: Path) -> list[str]:
    """Move files that cannot be read to the folder ``aside``, and describe each step in a line.

    The command that made the folder trains again what is missing then.
    """
    lines = [f"{quarantine(folder, path)}: {reason}" for path, reason in _misplaced(folder)]
    lost_files = list[Path]()
    with suppress(RequestError):  # the manifest is set aside, and made again
        lost_files = missing_shards(folder)
    for spec in TABLES:
        for path, reason in shards.scan(folder / spec.name)[1]:
            lines.append(f"{quarantine(folder, path)}: {reason}")
    for name, read in _READERS.items():
        try:
            if (folder / name).is_file():
                read(folder)
        except RequestError as error:
            lines.append(f"{quarantine(folder, folder / name)}: {error.message.partition(';')[0]}")
    if lost_files:
        lines.append(
            f"{store.describe_losses(folder, lost_files)}: what it held will be made again"
        )
    lines += [f"{path}: the curves of its runs are missing" for path in set_halves_aside(folder)]
    reset_manifest(folder)
    parcels, timings = load_parcels(folder), store.load_table(folder, TIMINGS)
    environments = read_environments(folder)
    lost = store.undescribed_environments(environments, parcels.runs, timings)
    if lost:
        write_environments(folder, environments | {name: {} for name in lost})
        lines.append(f"{len(lost)} environments that rows name are not described any more")
    without = store.runs_without_curves(parcels.runs, parcels.curves)
    if without:
        forget(folder, without)
        lines.append(f"{len(without):,} runs whose curves are missing will be trained again")
    trained_by, path = store.engines(folder), folder / settings.ENGINE_FILE
    if trained_by and not path.exists():  # else the next command decides anew
        is_fused = not trained_by.isdisjoint(settings.PROGRAMS)
        engine = settings.EngineSettings(
            "fused" if is_fused else "loop", compiled="fused-compiled" in trained_by
        )
        settings.save_settings(folder, engine)
        lines.append(f"{path}: made again from the runs, engine {engine.engine}")
    return lines


def _misplaced(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield files where folders belong, and folders where files belong.

    A folder that cannot be listed is not yielded: its content may be sound.
    """
    folders = (*(spec.name for spec in TABLES), "figures")
    files = (*_READERS, ANSWER_FILE, REPORT_FILE, LOCK, SESSION_FILE)
    expected: list[tuple[Path, Callable[[Path], bool], str]]
    expected = [(folder / name, _is_real_folder, "is no folder, or a link") for name in folders]
    expected += [(folder / name, Path.is_file, "is no file") for name in files]
    for path, is_right, reason in expected:
        if (path.exists() or path.is_symlink()) and not is_right(path):
            yield path, reason


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def forget(folder: Path, run_ids: Collection[str]) -> None:
    """Remove runs from the tables; the files that held them are set aside."""
    session = begin_session(folder)
    files = compact_parcels(folder, session, run_ids)
    for path in shards.paths(folder / AUDIT.name):
        (shard,) = shards.scan_files([path])[0]
        ids = pa.array(sorted(run_ids), pa.string())
        remaining = shard.table.filter(pc.invert(pc.is_in(shard.table["run_id"], ids)))
        if len(remaining) < len(shard.table):
            files.append(path)
            if len(remaining):
                shards.write(folder / AUDIT.name, remaining, session)
    record_shards(folder, removed=files)
    for path in files:
        quarantine(folder, path)
