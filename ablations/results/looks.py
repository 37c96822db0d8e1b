"""The ledger of looks: at how many seeds the verdicts of a results folder were shown."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field, TypeAdapter

from ablations.core.errors import RequestError
from ablations.core.files import read_sealed_json, write_sealed_json
from ablations.results.lease import hold_lock

LOOKS_FILE, LOOKS_LOCK = "looks.json", ".looks-lock"
LOOKS_SECONDS = 90.0  # to wait for another command that records a look, or died while it did
_Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Look:
    """Verdicts that were shown at one number of seeds.

    Attributes
    ----------
    seeds
        Their number.
    level
        The nominal level of the look: what a family-wise adjusted p was compared with.
    spent
        The error that this look and all before it may have made, of the 5 % of the study.
    date, command
        When the verdicts were first shown, in UTC, and by what.
    labels
        The seeds themselves, in their order; () in a ledger of an earlier version.
    """

    seeds: Annotated[int, Field(ge=1)]
    level: _Share
    spent: Annotated[float, Field(ge=0, lt=1)]
    date: str = ""
    command: str = ""
    labels: tuple[int, ...] = ()

    def is_at(self, seeds: int, labels: Collection[int] = ()) -> bool:
        """Whether the look was at these seeds; at so many, where either does not say which."""
        is_unknown = not labels or not self.labels
        return self.seeds == seeds and (is_unknown or set(self.labels) == set(labels))

    def is_within(self, labels: Collection[int]) -> bool:
        """Whether all seeds of the look are among these; yes, where either does not say which."""
        return not labels or set(self.labels) <= set(labels)


def load_looks(folder: Path) -> tuple[Look, ...]:
    """Read the ledger of a results folder, in the order of the looks; empty without one."""
    path = folder / LOOKS_FILE
    if not path.exists() and not path.is_symlink():
        return ()
    advice = f"'ablations repair {folder}' sets it aside"
    content = read_sealed_json(path, advice)
    try:
        entries = json.dumps(content.get("looks"))
        return TypeAdapter(tuple[Look, ...]).validate_json(entries, strict=True)
    except pydantic.ValidationError as error:
        message = f"expected a list of looks: {error.errors(include_url=False)[0]['msg']}"
        raise RequestError(f"{message}; {advice}", source=str(path)) from None


def save_looks(folder: Path, looks: Sequence[Look]) -> None:
    """Write the ledger of a results folder."""
    content = {"looks": [asdict(look) for look in looks]}
    write_sealed_json(folder / LOOKS_FILE, content, indent=1)


def is_counted(look: Look) -> bool:
    """Whether any sign-flip p of a look's seeds can be as small as its level."""
    return 2.0 ** (1 - look.seeds) <= look.level


def add_look(folder: Path, look: Look) -> None:
    """Record a look, unless there is another at these seeds, with the time and the command.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    if any(other.is_at(look.seeds, look.labels) for other in load_looks(folder)):
        return
    date = datetime.now(UTC).isoformat(timespec="seconds")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with hold_lock(folder / LOOKS_LOCK, seconds=LOOKS_SECONDS):
        looks = load_looks(folder)  # another command may have recorded one since
        if not any(other.is_at(look.seeds, look.labels) for other in looks):
            save_looks(folder, [*looks, replace(look, date=date, command=command)])
