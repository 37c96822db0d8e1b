"""Standard output and standard error that may be closed, full, or cut off by their reader."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Output:
    """A standard stream that fails silently, and remembers why.

    A command goes on when nobody can read what it says: its results are in a folder.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, which may get lost."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        self._attempt(self._stream.flush)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except ValueError:  # Python has closed the stream at its end
            return
        except OSError as error:
            self.error = self.error or error
            # What the buffer still holds must go somewhere when Python ends.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    @property
    def failure(self) -> str:
        """Why text got lost that somebody may expect; "" also where its reader had enough."""
        self.flush()
        if self.error is None or self.error.errno == errno.EPIPE:
            return ""
        return self.error.strerror or str(self.error)


def open_streams() -> Output:
    """Make the standard streams safe to write to; return standard output."""
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:  # closed: the next file that is opened would get its number
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)  # worker processes need theirs, too
    for name, handle in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            stream = os.fdopen(handle, "w", encoding="utf-8")
        # An old console's encoding lacks a minus sign; a question mark is better than no answer.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        setattr(sys, name, stream if isinstance(stream, Output) else Output(stream))
    return sys.stdout  # type: ignore[return-value]
