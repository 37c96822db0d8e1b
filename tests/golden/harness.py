"""Run commands as a person would, and compare what comes back with committed files.

``pytest tests/golden --rewrite-golden`` writes the files anew after an intended change; the change
is then a diff of ``tests/golden/expected``.
"""

from __future__ import annotations

import difflib
import io
import math
import re
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from ablations.cli import main

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected"
FOLDER = HERE / "folder"

_NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?|-?\d+e[-+]\d+")
RELATIVE, ABSOLUTE = 1e-10, 1e-12
"""How far a number in a text may be from the committed one: another processor rounds otherwise."""


@dataclass(frozen=True)
class Output:
    """What a command printed, and its exit code."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def transcript(self) -> str:
        """All of it as one text, for a file of many."""
        lines = ["$ ablations " + " ".join(map(_quoted, self.words)), f"exit code {self.code}"]
        lines += [f"out| {line}".rstrip() for line in self.out.splitlines()]
        lines += [f"err| {line}".rstrip() for line in self.err.splitlines()]
        return "\n".join(lines) + "\n"


def _quoted(word: str) -> str:
    short = word if len(word) < 80 else f"{word[:20]}...{len(word)} characters"
    return repr(short) if re.search(r"\s|[\"'{}\[\]]", short) or not short else short


def ablations(*words: str) -> Output:
    """Run a command in this process, which has imported torch already."""
    out, err = io.StringIO(), io.StringIO()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    code: object = 0
    try:
        with (
            mock.patch.object(sys, "argv", ["ablations", *words]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as error:
        code = error.code
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert code is None or isinstance(code, int)
    return Output(words, code or 0, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Golden:
    """Compares texts with the files of ``expected``, or rewrites them."""

    rewrite: bool

    def __call__(self, name: str, text: str) -> None:
        """Fail with a diff where ``text`` is not what the file ``name`` holds."""
        path = EXPECTED / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if alike(text, before):
            return
        if self.rewrite:
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        lines = difflib.unified_diff(
            before.splitlines(), text.splitlines(), f"expected/{name}", "now", lineterm="", n=1
        )
        diff = "\n".join(list(lines)[:200])
        raise AssertionError(f"{diff}\n\nif this is intended: pytest --rewrite-golden")


def alike(text: str, other: str, relative: float = RELATIVE, absolute: float = ABSOLUTE) -> bool:
    """Whether two texts are the same but for the last digits of their numbers."""
    if text == other:
        return True
    if _NUMBER.sub("#", text) != _NUMBER.sub("#", other):
        return False
    pairs = zip(_NUMBER.findall(text), _NUMBER.findall(other), strict=True)
    return all(
        math.isclose(float(a), float(b), rel_tol=relative, abs_tol=absolute) for a, b in pairs
    )


def local(text: str) -> str:
    """A text in which the current folder has another name, which is the same on every machine."""
    return text.replace(str(Path.cwd().resolve()), "HERE").replace(str(Path.cwd()), "HERE")
