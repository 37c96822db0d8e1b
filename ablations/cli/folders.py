"""Commands that mend and join results folders: repair, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.commands import command, interruptible
from ablations.cli.words import KeepWhich
from ablations.errors import RequestError


@command
def repair(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
) -> None:
    """Set aside the files of a results folder that cannot be read."""
    from ablations import folders, store

    if not store.is_results(folder):
        raise RequestError("not a results folder", source=str(folder))
    with folders.one_writer(folder, print):
        done = folders.repair(folder)
    print("\n".join(done) or "nothing to repair")


@command
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.")],
    out: Annotated[Path, typer.Option(help="A new results folder.")],
    keep: Annotated[
        KeepWhich | None, typer.Option(help="Which of two results of one run that differ.")
    ] = None,
) -> None:
    """Put the runs of several results folders, of one study, into a new one."""
    from ablations.folders import merge as merged

    with interruptible():
        print(merged(folders, out, keep.value if keep else None))
