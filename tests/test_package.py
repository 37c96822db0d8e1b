"""The public surface of the package."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import ablations


@pytest.mark.parametrize("name", ablations.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    assert (getattr(ablations, name).__doc__ or "").strip()


def test_public_names_are_listed_before_they_are_used() -> None:
    code = "import ablations; print(*dir(ablations))"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ablations.__all__) <= set(names.stdout.split())


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        ablations.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "module", ["ablations", "ablations.cli", "ablations.results.store", "ablations.report"]
)
def test_importing_the_reading_side_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_statistics_and_figures_are_imported_when_training_has_ended() -> None:
    """They take 100 MB, which workers may need until then."""
    modules = "ablations.cli.run, ablations.execution.run, ablations.execution.sequential"
    code = f"import sys, {modules}; sys.exit('scipy' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_installed_package_has_its_command_and_its_data() -> None:
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
        "datasets",
    }
