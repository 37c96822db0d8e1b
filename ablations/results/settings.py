"""settings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ablations.core import files
from ablations.core.errors import RequestError

PROGRAMS = ("fused", "fused-compiled", "vmap")
"""What the column ``engine`` says of runs that a program trained."""


# ------------------------------------------------------------- what a results folder settled


@dataclass(frozen=True)
class EngineSettings:
    """What was decided for a results folder, once."""

    engine: Literal["fused", "loop"]
    compiled: bool


ENGINE_FILE = "engine.json"


def save_settings(folder: Path, settled: EngineSettings) -> None:
    """Write down what was decided."""
    files.write_text(folder / ENGINE_FILE, _sealed(settled))


def _sealed(settled: EngineSettings) -> str:
    """What was decided as JSON, with a check that tells whether it was changed."""
    decided = asdict(settled)
    return json.dumps(decided | {"check": files.digest(json.dumps(decided).encode())}) + "\n"


def load_settings(folder: Path) -> EngineSettings:
    """What was decided for a results folder.

    Raises
    ------
    RequestError
        If the file is not there, or not as it was written.
    """
    path = folder / ENGINE_FILE
    advice = f"'ablations repair {folder}' makes it again from the runs"
    if not path.exists():
        raise RequestError(f"is missing; {advice}", source=str(path))
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
        settled = EngineSettings(found["engine"], found["compiled"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"cannot be read: {error}; {advice}", source=str(path)) from None
    if text != _sealed(settled):
        raise RequestError(f"was changed since it was written; {advice}", source=str(path))
    return settled


def infer_settings(engines: Iterable[str]) -> EngineSettings:
    """What must have been decided where these engines trained the runs of a folder."""
    found = set(engines)
    fused = not found.isdisjoint(PROGRAMS)
    return EngineSettings("fused" if fused else "loop", "fused-compiled" in found)
