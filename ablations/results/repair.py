"""repair."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ablations.core.errors import RequestError
from ablations.core.files import write_text
from ablations.results import shards
from ablations.results.metadata import METADATA_FILE, load_metadata
from ablations.results.schema import _TABLES
from ablations.results.settings import (
    ENGINE_FILE,
    infer_settings,
    load_settings,
    save_settings,
)
from ablations.results.store import (
    _curves,
    _read,
    _runs,
    _without_curves,
    read_environments,
    read_study,
)
from ablations.results.store import engines as trained_by

_FILES = (
    *("study.toml", METADATA_FILE, "environment.json", "engine.json", "answer.json"),
    *("report.html", ".lock"),
)


def forget(folder: Path, run_ids: Collection[str]) -> None:
    """Take runs out of the tables, so that they are missing; the runs first, then their curves.

    The files that held them are set aside.
    """
    session = shards.next_session([folder / name for name in _TABLES])
    dropped = pa.array(sorted(run_ids), pa.string())
    for name in ("runs", "curves", "audit"):
        for path in shards.paths(folder / name):
            found, _ = shards.scan_files([path])
            if not found:
                continue
            table = found[0].table
            kept = table.filter(pc.invert(pc.is_in(table["run_id"], dropped)))
            if len(kept) == len(table):
                continue
            if len(kept):
                shards.write(folder / name, kept, session)
            quarantine(folder, path)


def repair(folder: Path) -> list[str]:
    """Set aside what cannot be read, in the folder ``aside``; what was done, line by line.

    What is missing then is trained again by the command that made the folder.
    """
    done: list[str] = []
    done += [f"{quarantine(folder, path)}: {reason}" for path, reason in _misplaced(folder)]
    for name in _TABLES:
        for path, reason in shards.scan(folder / name)[1]:
            done.append(f"{quarantine(folder, path)}: {reason}")
    for name, read in (("study.toml", read_study), (METADATA_FILE, load_metadata)):
        path = folder / name
        if not path.is_file():
            continue
        try:
            read(folder)
        except RequestError as error:
            done.append(f"{quarantine(folder, path)}: {error.message.partition(';')[0]}")
    try:
        known = read_environments(folder)
    except RequestError as error:
        path = folder / "environment.json"
        done.append(f"{quarantine(folder, path)}: {error.message}")
        known = {}
    runs, curves = _runs(_read(folder, "runs")), _curves(_read(folder, "curves"))
    timed = set(_read(folder, "timings", ["environment_id"])["environment_id"])
    lost = (set(runs["environment_id"].dropna()) | timed) - set(known)
    if lost:
        known |= {name: {} for name in lost}
        text = json.dumps(known, indent=2, sort_keys=True) + "\n"
        write_text(folder / "environment.json", text)
        done.append(f"{len(lost)} environments that rows name are not described any more")
    without = _without_curves(runs, curves)
    if without:
        forget(folder, without)
        done.append(f"{len(without):,} runs whose curves are missing will be trained again")
    return [*done, *_repair_settings(folder)]


def _repair_settings(folder: Path) -> Iterator[str]:
    try:
        load_settings(folder)
    except RequestError as error:
        path = folder / ENGINE_FILE
        if path.exists():
            yield f"{quarantine(folder, path)}: {error.message.partition(';')[0]}"
        engines = trained_by(folder)
        if engines:  # without any run the next command decides anew
            settings = infer_settings(engines)
            save_settings(folder, settings)
            yield f"{path}: made again from the runs, engine {settings.engine}"


def _misplaced(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files where folders belong, and the other way round.

    A folder that cannot be listed is none of them: what it holds may be sound.
    """
    folders = [(folder / name, Path.is_dir, "is no folder") for name in (*_TABLES, "figures")]
    files = [(folder / name, Path.is_file, "is no file") for name in _FILES]
    for path, right, wrong in (*folders, *files):
        if (path.exists() or path.is_symlink()) and not right(path):
            yield path, wrong


def quarantine(folder: Path, path: Path) -> Path:
    """Move a file of a results folder to its folder ``aside``."""
    aside = folder / "aside"
    aside.mkdir(exist_ok=True)
    name = path.name if path.parent == folder else f"{path.parent.name}-{path.name}"
    taken = len(list(aside.glob(f"{name}*")))
    target = aside / (f"{name}.{taken}" if taken else name)
    path.replace(target)
    return target
