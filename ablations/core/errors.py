"""The one error that means "what was asked for cannot be done as it stands"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RequestError(ValueError):
    """The request was wrong; nothing was trained and nothing written.

    Parameters
    ----------
    message
        One sentence: what was found, and what would be right.
    key
        Where it stands, as a path into the study: ``axes.norm[2].groups``.
    source
        The file or command-line option that holds the key.
    """

    def __init__(self, message: str, key: str = "", source: str = "") -> None:
        super().__init__(message)
        self.message, self.key, self.source = message, key, source

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.source, self.key, self.message) if part)
        return said.replace("\n", "\\n")  # one message is one line

    def at(self, source: str) -> RequestError:
        """Return the same error with the name of a file or an option."""
        return RequestError(self.message, self.key, source)

    def under(self, key: str) -> RequestError:
        """Return the same error with a key above its own; one with a source stays as it is."""
        if self.source:
            return self
        dot = "." if key and self.key and not self.key.startswith("[") else ""
        return RequestError(self.message, f"{key}{dot}{self.key}")


def nearest(word: object, names: Iterable[str]) -> str:
    """A clause that names the closest of ``names``, then all of them.

    >>> nearest("lyer", ["none", "layer"])
    "did you mean 'layer'? (valid: none, layer)"
    """
    options = list(names)
    lowered = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.4)
    hint = f"did you mean '{lowered[close[0]]}'? " if close else ""
    return f"{hint}(valid: {', '.join(options)})"


class AuditError(Exception):
    """The fused engine's results are not the plain loop's; they are written, and not to be
    trusted.
    """


class WriteError(Exception):
    """The system refused to write; what was finished before is kept, and can be read."""


class FailedError(Exception):
    """A run failed, and a study that fails fast stopped.

    Parameters
    ----------
    run_id
        The run.
    reason
        Why it failed.
    """

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(f"run {run_id} failed: {reason}")
        self.run_id, self.reason = run_id, reason
