"""A lock by the operating system, or by a lease where the file system has no locks.

A lock of the operating system (``flock``) ends with its process.  File systems without it, as some
network mounts, get a lease instead: a file that its owner touches again and again, and that another
process takes over if the owner has died on this machine, or has not touched it for a minute.  Each
process measures that minute by its own clock, so that clocks need not agree.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from ablations.core.errors import WriteError
from ablations.core.files import refuse_link

LEASE_SECONDS = 60.0
"""Seconds without a sign of life after which a lease expires; equal for all who share a folder."""
_UNLOCKABLE = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""Error numbers of ``flock`` on a file system that has no locks."""
_FIRST_TRY = 0.2  # seconds, in which the lease of a process that died here is taken over

Lease = filelock.SoftFileLease


@contextmanager
def hold_lock(
    path: Path, on_wait: Callable[[], None] = lambda: None, seconds: float = -1
) -> Iterator[Lease | None]:
    """Hold the lock at ``path``; yield the lease, if there is one beside or instead of it.

    Parameters
    ----------
    on_wait
        Is called if another process has the lock.
    seconds
        How long to wait for it; -1 for ever.

    Raises
    ------
    OSError
        If no lock can be made here, or another process had it all the time.
    """
    lease_path = path.with_name(f"{path.name}-lease")
    for each in (path, lease_path):
        refuse_link(each)
    lock: filelock.BaseFileLock = filelock.FileLock(path, fallback_to_soft=False)
    lease = filelock.SoftFileLease(lease_path, lease_duration=LEASE_SECONDS)
    try:
        try:
            _acquire(lock, on_wait, seconds, 0)
            has_locks = True
        except OSError as error:
            if error.errno not in _UNLOCKABLE:
                raise
            has_locks = False
        # Where there are locks, another machine may see the folder without.
        if not has_locks or lease_path.exists():
            _acquire(lease, on_wait, seconds, _FIRST_TRY)
        yield lease if lease.is_locked else None
    finally:
        for each_lock in (lease, lock):
            each_lock.release()


def _acquire(
    lock: filelock.BaseFileLock, on_wait: Callable[[], None], seconds: float, first_try: float
) -> None:
    try:
        lock.acquire(timeout=first_try)
    except filelock.Timeout:
        on_wait()
        lock.acquire(timeout=seconds)


def require_lease(lease: Lease | None, folder: Path) -> None:
    """Refuse to write if the lease was taken over, as after a long sleep of this machine."""
    if lease is not None and not lease.is_lock_held_by_us:
        raise refuse_late(folder)


def refuse_late(folder: Path) -> WriteError:
    """Return the error to raise where another command has begun to write meanwhile."""
    message = "another command writes here, since this one was stopped or cut off for so long"
    return WriteError(f"{folder}: {message}")
