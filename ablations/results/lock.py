"""One writer of a results folder at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from ablations.core.errors import RequestError

LOCK = ".lock"


@contextmanager
def write_lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lock a folder for writing, and create it if it does not exist.

    If another process holds the lock, ``say`` is called and this one waits.  The operating system
    releases the lock of a process that dies.

    Raises
    ------
    RequestError
        If nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        _acquire(lock, folder, say)
    except OSError as error:
        message = f"cannot write results here: {error.strerror or error}"
        raise RequestError(message, source=str(folder)) from None
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: filelock.BaseFileLock, folder: Path, say: Callable[[str], None]) -> None:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"another command is writing to {folder}; waiting for it to end")
        lock.acquire()
    except NotImplementedError:
        say(f"the file system of {folder} has no locks: let no other command write there")
