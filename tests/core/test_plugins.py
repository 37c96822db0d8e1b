"""User modules: what other processes need to import them."""

from __future__ import annotations

import importlib
import operator
import os
import shutil
import subprocess
import sys
from functools import lru_cache, partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from joblib.executor import get_memmapping_executor
from torch import nn

from ablations import RequestError, Study
from ablations.core.plugins import (
    check_function,
    import_object,
    import_state,
    loaded_hashes,
    refuse_changed_modules,
    unimportable_modules,
)
from ablations.execution import workers
from ablations.execution.workers import call_isolated


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of an imported module in the folder of a study."""
    name = f"module_{request.node.name}"[:60]
    (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert import_object(f"{name}:VALUE", "key", tmp_path) == 1
    return name


def test_a_process_with_the_same_path_imports_a_study_s_module(module: str, tmp_path: Path) -> None:
    path, _ = import_state()
    assert str(tmp_path) in path
    assert unimportable_modules([module]) == []
    assert sys.modules[module] in unimportable_modules([module], same_path=False)


def test_a_module_without_a_file_is_not_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("defined_in_memory")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert unimportable_modules([module.__name__, "json", "torch.nn"]) == [module]


def test_an_edited_module_is_sent_as_it_is_in_memory_until_it_is_reloaded(
    module: str, tmp_path: Path
) -> None:
    before = import_state()
    assert unimportable_modules([module]) == []
    (tmp_path / f"{module}.py").write_text("VALUE = 22\n")
    assert sys.modules[module] in unimportable_modules([module])
    assert import_state() == before
    importlib.invalidate_caches()
    assert importlib.reload(sys.modules[module]).VALUE == 22
    # The workers that imported the earlier code are replaced.
    assert import_state() != before


def test_a_worker_that_would_import_an_edited_module_is_refused(
    module: str, tmp_path: Path
) -> None:
    hashes = loaded_hashes()
    refuse_changed_modules(hashes)
    with pytest.raises(RequestError, match=f"module '{module}' was changed while the command ran"):
        refuse_changed_modules(hashes | {module: "0" * 20})
    path = tmp_path / f"{module}.py"
    path.write_text("def double(number):\n    return 2 * number\n")
    importlib.invalidate_caches()
    double = importlib.reload(sys.modules[module]).double
    assert module in loaded_hashes()
    path.write_text(path.read_text().replace("2 *", "33 *"))
    # The worker starts now, and imports what the file holds now.
    with pytest.raises(RequestError, match="was changed while the command ran"):
        call_isolated(double, 2)


class Network(nn.Module):
    @classmethod
    def build(cls, inputs: int) -> nn.Module:
        return cls()

    def method(self) -> None:
        pass


def plain(inputs: int) -> nn.Module:
    return nn.Linear(inputs, 1)


@wraps(plain)
def decorated(*arguments: Any) -> nn.Module:
    return plain(*arguments)


@pytest.mark.parametrize(
    "value",
    [
        *(plain, decorated, partial(plain, inputs=1), lru_cache(plain)),
        *(lambda inputs: plain(inputs), Network, Network.build),
    ],
)
def test_functions_and_classes_of_modules_are_read(value: Any) -> None:
    check_function(value, "mine:value", "model", classes=(nn.Module,))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (len, "a built-in function"),
        (torch.relu, "a built-in function"),
        (importlib, "a module"),
        (dict, "a class"),
        (nn.Linear(1, 1), "an object of the class Linear"),
        (Network().method, "a method of an object of the class Network"),
        (nn.Linear(1, 1).forward, "a method of an object of the class Linear"),
        (3, "an object of the class int"),
        (None, "an object of the class NoneType"),
        (operator.itemgetter(0), "an object of the class itemgetter"),
    ],
)
def test_nothing_else_is_read(value: Any, kind: str) -> None:
    with pytest.raises(RequestError, match=f"^model: 'python:mine:value' is {kind}; expected a f"):
        check_function(value, "mine:value", "model", classes=(nn.Module,))


@pytest.mark.parametrize(
    "value",
    [
        *(shutil.rmtree, partial(shutil.rmtree, "/"), torch.load, nn.functional.mse_loss),
        *(sklearn.metrics.r2_score, np.mean, import_object),
    ],
)
def test_a_function_of_python_or_a_package_is_no_user_s_in_any_module(value: Any) -> None:
    with pytest.raises(RequestError, match=r"; write a function of your own that calls it$"):
        check_function(value, "mine:value", "model", classes=(nn.Module,))


@pytest.mark.parametrize("target", ["torch:load", "numpy:save", "torch.nn:Sequential", "pip:main"])
def test_a_package_that_offers_nothing_is_not_even_imported(target: str) -> None:
    with pytest.raises(RequestError, match="belongs to an installed package"):
        import_object(target, "model")


@pytest.mark.parametrize("target", ["os:system", "subprocess:run", "importlib.util:find_spec"])
def test_a_module_of_python_itself_is_not_even_imported(target: str) -> None:
    with pytest.raises(RequestError, match="is a module of Python itself"):
        import_object(target, "model")
    for study in ({"model": f"python:{target}"}, {"axes": {"norm": [f"python:{target}"]}}):
        with pytest.raises(RequestError, match="is a module of Python itself"):
            Study(task="notebook", **study)


@pytest.mark.slow
def test_a_worker_that_joblib_replaces_starts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    executor = get_memmapping_executor(1, **workers._worker_start())
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown(kill_workers=True)


def test_worker_processes_hash_texts_alike() -> None:
    command = [sys.executable, "-c", "print(hash('text'))"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    expected = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    before = os.environ.get("PYTHONHASHSEED")
    assert call_isolated(hash, "text") == int(expected.stdout)
    assert os.environ.get("PYTHONHASHSEED") == before
