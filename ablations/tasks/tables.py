"""The former name of ``ablations.tasks.files``, which stays usable for one version."""

from __future__ import annotations

import warnings
from typing import Any

from ablations.tasks import files

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    value = getattr(files, name)
    if not name.startswith("__"):
        message = "the module 'ablations.tasks.tables' is now called 'ablations.tasks.files'"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    return value
