"""Studies in files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from ablations.core.errors import RequestError
from ablations.core.files import read_text
from ablations.study.splits import stored_splits

SEAL = "# checked by "
"""How the study of a results folder begins."""


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
