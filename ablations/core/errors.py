"""Exceptions with a message for the user."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ablations.core.memory import is_limited


class RequestError(ValueError):
    """The request is invalid; nothing was trained and nothing was written.

    It is a ValueError, so that pydantic adds the location of a validator that raises it.

    Parameters
    ----------
    message
        One sentence: the invalid value, and valid ones.
    key
        The path of the value in the study: ``axes.norm[2].groups``.
    source
        The file or command-line option that holds the key.
    """

    def __init__(self, message: str, key: str = "", source: str = "") -> None:
        super().__init__(message)
        self.message, self.key, self.source = message, key, source

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.source, self.key, self.message)))
        return text.replace("\n", "\\n")  # one message is one line

    def at(self, source: str) -> RequestError:
        """Return the same error with the name of a file or an option."""
        return RequestError(self.message, self.key, source)

    def under(self, key: str) -> RequestError:
        """Return the same error with ``key`` before its own key, unless it has a source."""
        if self.source:
            return self
        dot = "." if key and self.key and not self.key.startswith("[") else ""
        return RequestError(self.message, f"{key}{dot}{self.key}")


def nearest(word: object, names: Iterable[str]) -> str:
    """Return a clause with the name closest to ``word``, then all names.

    >>> nearest("lyer", ["none", "layer"])
    "did you mean 'layer'? (valid: none, layer)"
    """
    options = list(names)
    lowered = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.4)
    hint = f"did you mean '{lowered[close[0]]}'? " if close else ""
    return f"{hint}(valid: {', '.join(options)})"


class AuditError(Exception):
    """The results of the fused engine differ from the plain loop's: they are not reliable."""


class WriteError(Exception):
    """Writing to the disk failed; the runs that finished before are stored and can be read."""


class FailedError(Exception):
    """A run failed in a study that stops at the first failure."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(f"run {run_id} failed: {reason}" if run_id else reason)
        self.run_id, self.reason = run_id, reason


def is_storage_error(error: OSError) -> bool:
    """Whether storage failed or is full: another time, or with room, the same request is right."""
    numbers = {errno.ENOSPC, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", None)}
    return error.errno in numbers


_NO_MEMORY = re.compile(
    "allocate memory|failed to map segment|cannot map|not enough memory|start new thread", re.I
)


def is_memory_error(error: BaseException) -> bool:
    """Whether an exception says that the system has no memory left, in whatever words."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, SystemError):  # Python itself had no room for an exception
        return is_limited() and "exception" in str(error)
    return isinstance(error, (ImportError, RuntimeError)) and bool(_NO_MEMORY.search(str(error)))


def refuse_writing(error: OSError, folder: Path) -> RequestError | WriteError:
    """Return the error to raise where nothing can be written to a folder."""
    reason = f"cannot write results here: {error.strerror or error}"
    if is_storage_error(error):
        return WriteError(f"{folder}: {reason}")
    return RequestError(reason, source=str(folder))


_WRITE_ERRORS = {
    *(errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG),
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, getattr(errno, "EDQUOT", None)),
}
"""Error numbers of a system that refuses to write."""


@contextmanager
def clear_write_errors(folder: Path) -> Iterator[None]:
    """Turn an error of a system that refuses to write into one clear message."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITE_ERRORS:
            raise
        path = error.filename or folder
        raise WriteError(f"{path}: {error.strerror or error}") from error
