"""What the package is from outside."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import ablations


@pytest.mark.parametrize("name", ablations.__all__)
def test_public_names_are_there_and_documented(name: str) -> None:
    assert (getattr(ablations, name).__doc__ or "").strip()


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        ablations.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "module", ["ablations", "ablations.cli", "ablations.results.store", "ablations.report"]
)
def test_importing_the_reading_side_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_installed_has_the_command_and_its_data() -> None:
    scripts = metadata.entry_points(group="console_scripts")
    assert scripts["ablations"].value == "ablations.cli:main"
    from ablations.study.study import shipped_studies

    assert set(shipped_studies()) == {
        "notebook",
        "cells",
        "digits",
        "deep",
        "small_batches",
        "images",
        "sequences",
        "everything",
    }
