"""The extensions in the module docstrings of techniques, tasks and models work as they stand."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from ablations import Study
from ablations.core.registry import resolve
from ablations.models import base as models
from ablations.study.expand import expand
from ablations.tasks import base as tasks
from ablations.techniques import base as techniques
from ablations.techniques.base import Technique
from ablations.testing import check
from ablations.training import loop
from ablations.training.fused import trainer

EXAMPLES = [
    (techniques, "init", "LeCunNormal"),
    (tasks, "task", "Sine"),
    (models, "model", "Shallow"),
]


def example(module: ModuleType) -> str:
    """Return the code block of a module's docstring: the indented lines after ``::``."""
    lines = (inspect.getdoc(module) or "").partition("::\n\n")[2].split("\n")
    end = next(number for number, line in enumerate(lines) if line and not line.startswith(" "))
    return textwrap.dedent("\n".join(lines[:end]))


@pytest.mark.parametrize(("module", "role", "name"), EXAMPLES)
def test_an_example_in_a_docstring_trains_in_a_study(
    module: ModuleType,
    role: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    temporary_registry: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"example_{role}.py").write_text(example(module))
    target = f"python:example_{role}:{name}"
    component = resolve(role, target, role)
    if isinstance(component, Technique):
        check(component)
    settings = {"axes": {role: [target]}} if role == "init" else {role: target}
    study = Study(**({"task": "notebook", "seeds": 2, "epochs": 2} | settings))
    runs = list(expand(study).runs)
    assert len(runs) == 2
    assert {result.status for result in trainer.train(runs, 8)} == {"ok"}
    assert loop.train(runs[0]).status == "ok"
