"""One writer of a results folder at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ablations.core.errors import RequestError
from ablations.results.store import is_results

LOCK = ".lock"


@contextmanager
def write_lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lock a folder for writing, and create it if it does not exist.

    If another process holds the lock, ``say`` is called and this one waits.  The operating system
    releases the lock of a process that dies.  A folder in which nothing else was written is left
    as it was.
    """
    try:
        new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
        had_lock = (folder / LOCK).exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            say(f"another command is writing to {folder}; waiting for it to end")
            lock.acquire()
        except NotImplementedError:
            say(f"the file system of {folder} has no locks: let no other command write there")
    except OSError as error:
        message = f"cannot write results here: {error.strerror or error}"
        raise RequestError(message, source=str(folder)) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps an open file; a folder may hold other files
            if not had_lock and not is_results(folder):
                (folder / LOCK).unlink()
                for path in new_folders:
                    path.rmdir()
        lock.release()
