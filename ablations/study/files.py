"""Studies in files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ablations.core.errors import RequestError
from ablations.core.files import read_text
from ablations.core.plugins import PREFIX, find_file, without_imports
from ablations.core.registry import STUDY_DIR, registered
from ablations.study.splits import stored_splits

SEAL = "# checked by "
"""How the study of a results folder begins."""


_TARGET = re.compile(rf"{PREFIX}[\w.]+:[\w.]+")
_TEXTS = ("description", "question", "code", "label")
"""Keys of a study whose values name nothing."""


def is_of_results(path: Path) -> bool:
    """Whether a study's file belongs to a results folder, whoever wrote it there."""
    folders = path.absolute().parents
    try:
        is_sealed = read_text(path, "utf-8-sig").startswith(SEAL)
        return is_sealed or any((folder / "environment.json").is_file() for folder in folders)
    except (OSError, ValueError):
        return False


def find_code(data: Any) -> Iterator[str]:
    """Yield what a study in a file names of Python code: ``module:name``."""
    if isinstance(data, str) and _TARGET.fullmatch(data):
        yield data.removeprefix(PREFIX)
    elif isinstance(data, Mapping):
        if data.get("name") == "python" and isinstance(data.get("target"), str):
            yield data["target"]
        for key, value in data.items():
            if key not in _TEXTS:
                yield from find_code(value)
    elif isinstance(data, list):
        for value in data:
            yield from find_code(value)


def refuse_code(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse the study of a results folder that names code, and say what would run."""
    targets = dict.fromkeys(find_code(data))
    if targets:
        names = ", ".join(
            f"{target} ({find_file(target, path.parent) or 'which is not there'})"
            for target in targets
        )
        message = f"this study of a results folder would run {names}, which needs --trust"
        raise RequestError(message, source=str(path))


@contextmanager
def study_context(path: Path, data: Mapping[str, Any], *, trust: bool) -> Iterator[None]:
    """Resolve names beside the study's file, and say in errors which file it is.

    No code may run that the study of a results folder names, unless there is ``trust``.
    """
    is_sent = not trust and is_of_results(path)
    if is_sent:
        refuse_code(path, data)
        registered("task")  # loads what installed packages offer
    token = STUDY_DIR.set(path.parent.absolute())
    try:
        with without_imports() if is_sent else nullcontext():
            yield
    except RequestError as error:
        raise (error if error.source else error.at(str(path))) from None
    finally:
        STUDY_DIR.reset(token)


def read_study_file(path: Path) -> dict[str, Any]:
    """Return the keys of a study in a TOML file; one without a name has that of its path.

    Raises
    ------
    RequestError
        With the name of the file, if it cannot be read or is no TOML.
    """
    try:
        text = read_text(path, "utf-8-sig")
        data = tomllib.loads(text)
    except OSError as error:
        message = f"cannot read the study: {error.strerror}"
        raise RequestError(message, source=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"not a TOML file: {error}", source=str(path)) from None
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-") or "study"
    is_stored = text.startswith(SEAL)
    splits = {"splits": stored_splits(data)} if is_stored and stored_splits(data) else {}
    return {"name": name} | splits | data
