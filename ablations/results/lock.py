"""One writer of a results folder at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ablations.core.errors import refuse_writing
from ablations.results.lease import Lease, hold_lock, require_lease
from ablations.results.manifest import SESSION_FILE, begin_session
from ablations.results.store import is_results

LOCK = ".lock"
_ATTEMPTS = 100

Confirm = Callable[[], None]
"""Raises WriteError if the lock is lost; to be called before the first write."""


@contextmanager
def write_lock(folder: Path, say: Callable[[str], None]) -> Iterator[Confirm]:
    """Lock a folder for writing, and create it if it does not exist.

    If another process holds the lock, ``say`` is called and this one waits.  The lock of a process
    that dies ends, at once or after a minute (``lease``).  A process that was stopped while its
    lease expired writes nothing more: whoever takes over begins a new session, which it looks for.
    A folder in which nothing else was written is left as it was.
    """
    with ExitStack() as stack:
        try:
            new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
            names = (LOCK, SESSION_FILE)
            new_files = [path for name in names if not (path := folder / name).exists()]
            lease = stack.enter_context(_hold_in(folder, say))
            stack.callback(_remove, new_files, new_folders, folder, lease)
            if lease:
                begin_session(folder)
        except OSError as error:
            raise refuse_writing(error, folder) from None
        yield lambda: require_lease(lease, folder)


@contextmanager
def _hold_in(folder: Path, say: Callable[[str], None]) -> Iterator[Lease | None]:
    """Make a folder and hold its lock."""
    waiting = f"another command is writing to {folder}; waiting for it to end"
    with ExitStack() as stack:
        for remaining in reversed(range(_ATTEMPTS)):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lease = stack.enter_context(hold_lock(folder / LOCK, lambda: say(waiting)))
                break
            except FileNotFoundError:  # the other command wrote nothing, and removed the folder
                if not remaining:
                    raise
        yield lease


def _remove(
    files: Sequence[Path], folders: Sequence[Path], folder: Path, lease: Lease | None
) -> None:
    """Remove what is new in a folder in which nothing else was written."""
    with suppress(OSError):  # a folder may hold other files
        if files and not is_results(folder):
            for path in files:
                path.unlink(missing_ok=True)
            if lease:
                lease.release()
            for path in folders:
                path.rmdir()
