"""The engine that a results folder was started with: ``engine.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ablations.core.errors import RequestError
from ablations.core.files import read_sealed_json, write_sealed_json

PROGRAMS = ("fused", "fused-compiled", "vmap")
"""Values of the column ``engine`` for runs that a fused program trained."""

ENGINE_FILE = "engine.json"


@dataclass(frozen=True)
class EngineSettings:
    """Decisions that hold for all runs of a results folder."""

    engine: Literal["fused", "loop"]
    compiled: bool


def save_settings(folder: Path, settings: EngineSettings) -> None:
    """Write the engine settings of a results folder."""
    write_sealed_json(folder / ENGINE_FILE, asdict(settings))


def load_settings(folder: Path) -> EngineSettings:
    """Read the engine settings of a results folder; refuse a missing or damaged file."""
    path = folder / ENGINE_FILE
    advice = f"'ablations repair {folder}' makes it again from the runs"
    content = read_sealed_json(path, advice)
    engine, compiled = content.get("engine"), content.get("compiled")
    if engine not in ("fused", "loop") or not isinstance(compiled, bool):
        message = f"expected an engine and whether it is compiled, found {content}"
        raise RequestError(f"{message}; {advice}", source=str(path))
    return EngineSettings(engine, compiled)
