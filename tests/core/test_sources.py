"""Ways to change the code that a module depends on: none leaves its hash as it was."""

from __future__ import annotations

import importlib
import itertools
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ablations.core.plugins import import_object, module_hash, source_hash
from ablations.core.sources import describe_unseen, find_modules

NUMBER = itertools.count()
BUILD = "def build(inputs, outputs):\n    {}\n    return SLOPE\n"


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the modules that a test imports."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    forget(before)


def forget(before: set[str]) -> None:
    """Let the modules that were imported since be imported anew, as by another process."""
    for name in sys.modules.keys() - before:
        if name.startswith(("code_", "package_")):
            del sys.modules[name]
    importlib.invalidate_caches()


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def hash_anew(folder: Path, target: str, *, call: bool = False) -> str:
    """Hash a module as a new process would; with ``call``, after its function was called."""
    before = set(sys.modules)
    function = import_object(target, "model", folder)
    first = module_hash(target.partition(":")[0])
    if call:
        function(1, 1)
        assert module_hash(target.partition(":")[0]) == first
    forget(before)
    return first


IMPORTS = {
    "at the top": ("from {0}h import SLOPE\n", "pass"),
    "inside a function": ("", "from {0}h import SLOPE"),
    "a module inside a function": ("", "import {0}h; SLOPE = {0}h.SLOPE"),
    "under another name": ("", "import {0}h as other; SLOPE = other.SLOPE"),
    "all names": ("from {0}h import *\n", "pass"),
    "in a try": ("try:\n    from {0}h import SLOPE\nexcept ImportError:\n    SLOPE = 1\n", "pass"),
    "by import_module": ("import importlib\n", "SLOPE = importlib.import_module('{0}h').SLOPE"),
    "by __import__": ("", "SLOPE = __import__('{0}h').SLOPE"),
    "by a computed name": (
        "import importlib\n", "SLOPE = importlib.import_module('{0}' + 'h').SLOPE",
    ),
    "by a file's path": (
        "from importlib.util import spec_from_file_location as find, module_from_spec\n"
        "from pathlib import Path\n",
        "spec = find('x', Path(__file__).with_name('{0}h.py')); other = module_from_spec(spec); "
        "spec.loader.exec_module(other); SLOPE = other.SLOPE",
    ),
    "by runpy": (
        "import runpy\nfrom pathlib import Path\n",
        "SLOPE = runpy.run_path(str(Path(__file__).with_name('{0}h.py')))['SLOPE']",
    ),
    "by exec": (
        "from pathlib import Path\n",
        "SLOPE = {{}}; exec(Path(__file__).with_name('{0}h.py').read_text(), SLOPE)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", IMPORTS)
def test_an_imported_module_counts_before_and_after_it_is_loaded(way: str, tmp_path: Path) -> None:
    stem = f"code_{next(NUMBER)}_"
    top, line = (text.format(stem) for text in IMPORTS[way])
    write(tmp_path, {f"{stem}m.py": top + BUILD.format(line), f"{stem}h.py": "SLOPE = 0.01\n"})
    target = f"{stem}m:build"
    first = hash_anew(tmp_path, target)
    assert hash_anew(tmp_path, target, call=True) == first
    write(tmp_path, {f"{stem}h.py": "SLOPE = 0.9\n"})
    assert hash_anew(tmp_path, target) != first


PACKAGE = {
    "{0}/__init__.py": "",
    "{0}/m.py": "def build(inputs, outputs):\n    from .a import SLOPE\n    return SLOPE\n",
    "{0}/a.py": "from . import b\nSLOPE = b.SLOPE\n",
    "{0}/b.py": "from ..{0}.deep.c import SLOPE\n",
    "{0}/deep/__init__.py": "from .d import *\n",
    "{0}/deep/c.py": "def slope():\n    from {0}.deep import e\n    return e.S\nSLOPE = 1\n",
    "{0}/deep/d.py": "X = 1\n",
    "{0}/deep/e.py": "S = 1\n",
}


@pytest.mark.parametrize("changed", PACKAGE)
def test_every_file_of_a_package_that_takes_part_counts(changed: str, tmp_path: Path) -> None:
    package = f"package_{next(NUMBER)}"
    files = {k.format(package): v.format(package) for k, v in PACKAGE.items()}
    files[f"{package}/b.py"] = f"from {package}.deep.c import SLOPE\n"
    write(tmp_path, files | {f"{package}/unused.py": "X = 1\n"})
    target = f"{package}.m:build"
    first = hash_anew(tmp_path, target)
    write(tmp_path, {f"{package}/unused.py": "X = 2\n"})
    assert hash_anew(tmp_path, target, call=True) == first
    changed = changed.format(package)
    write(tmp_path, {changed: files[changed] + "Y = 2\n"})
    assert hash_anew(tmp_path, target) != first


@pytest.mark.parametrize("place", ["folder", "archive"])
def test_a_module_elsewhere_on_the_search_path_counts(place: str, tmp_path: Path) -> None:
    stem, library = f"code_{next(NUMBER)}_", tmp_path / "lib"
    write(tmp_path, {f"{stem}m.py": f"from {stem}h import SLOPE\n{BUILD.format('pass')}"})
    hashes = []
    for slope in ("0.01", "0.9"):
        archive_path = tmp_path / f"{slope}.zip"
        write(library, {f"{stem}h.py": f"SLOPE = {slope}\n"})
        if place == "archive":
            with zipfile.ZipFile(archive_path, "w") as archive:
                archive.writestr(f"{stem}h.py", f"SLOPE = {slope}\n")
        sys.path.append(entry := str(library if place == "folder" else archive_path))
        hashes.append(hash_anew(tmp_path, f"{stem}m:build"))
        sys.path.remove(entry)
    assert len(set(hashes)) == 2


def test_the_module_itself_and_a_constant_that_other_code_sets_count(tmp_path: Path) -> None:
    stem = f"code_{next(NUMBER)}_"
    write(tmp_path, {f"{stem}m.py": f"import {stem}h\nSLOPE = 0.01\n{BUILD.format('pass')}"})
    write(tmp_path, {f"{stem}h.py": "RATE = -1\nTABLE = []\n"})
    import_object(f"{stem}m:build", "model", tmp_path)
    first = module_hash(f"{stem}m")
    sys.modules[f"{stem}m"].SLOPE = 0.9  # type: ignore[attr-defined]
    second = module_hash(f"{stem}m")
    sys.modules[f"{stem}h"].RATE = 2  # type: ignore[attr-defined]
    third = module_hash(f"{stem}m")
    assert len({first, second, third}) == 3


def test_libraries_and_what_is_never_run_do_not_count(tmp_path: Path) -> None:
    stem = f"code_{next(NUMBER)}_"
    never = (
        f"if TYPE_CHECKING:\n    import {stem}h\nif __name__ == '__main__':\n    import {stem}h\n"
    )
    text = f"from typing import TYPE_CHECKING\nimport json, torch, ablations\n{never}"
    write(tmp_path, {f"{stem}m.py": text + BUILD.format("pass"), f"{stem}h.py": ""})
    import_object(f"{stem}m:build", "model", tmp_path)
    assert set(find_modules(f"{stem}m")) == {f"{stem}m"}
    assert set(find_modules("torch.nn")) == {"torch.nn"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import os; SLOPE = os.environ['SLOPE']", "environment variables"),
        ("from os import getenv; SLOPE = getenv('SLOPE')", "environment variables"),
        ("import sys; SLOPE = sys.argv[1]", "the command line"),
        ("import pandas as pd; SLOPE = pd.read_parquet('x')", "a file, by read_parquet"),
        ("from urllib.request import urlopen; SLOPE = urlopen('x')", "the network"),
    ],
)
def test_what_no_hash_includes_is_named(line: str, what: str, tmp_path: Path) -> None:
    stem = f"code_{next(NUMBER)}_"
    write(tmp_path, {f"{stem}m.py": BUILD.format(f"from {stem}h import SLOPE")})
    write(tmp_path, {f"{stem}h.py": f"def slope():\n    {line}\n"})
    import_object(f"{stem}m:build", "model", tmp_path)
    (sentence,) = describe_unseen(f"{stem}m")
    assert sentence.startswith(f"{stem}h.py reads {what}, no part of a run's identity")


SCRIPT = """
import numpy as np, functools
EPS, TABLE, WEIGHTS = 1, {"a": [1, 2]}, np.arange(3.0)
RATE = 1
def helper(x): return deeper(x)
def deeper(x): return x * RATE
def scale(by): return lambda f: f
class Base: k = 1
class Value:
    def __init__(self): self.size = RATE
VALUE, PARTIAL = Value(), functools.partial(deeper, x=RATE)
class Tight(Base):
    eps = EPS
    @scale(RATE)
    def layer(self, width=RATE): return helper(width) + PLACE
    def other(self): return [TABLE["a"] for _ in range(3)], VALUE, PARTIAL, WEIGHTS
"""
CHANGES = {
    "a constant in a class": ("EPS, TABLE, WEIGHTS = 1", "EPS, TABLE, WEIGHTS = 2"),
    "a constant of a function": ("RATE = 1", "RATE = 2"),
    "an entry of a table": ("[1, 2]", "[1, 3]"),
    "an array": ("np.arange(3.0)", "np.arange(1.0, 4.0)"),
    "a helper's helper": ("return x * RATE", "return x / RATE"),
    "a base class": ("k = 1", "k = 2"),
    "a decorator": ("lambda f: f", "lambda f: lambda self: by"),
    "an object": ("self.size = RATE", "self.size = RATE + 1"),
    "the class itself": ("+ PLACE", "- PLACE"),
}


@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("way", CHANGES)
def test_what_a_class_of_a_script_uses_counts(
    way: str, with_text: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = []
    for number, text in enumerate([SCRIPT, SCRIPT + "X = 1\n", SCRIPT.replace(*CHANGES[way])]):
        path = tmp_path / f"script_{number}.py"
        path.write_text(text)
        namespace = type(sys)("__main__")
        if with_text:
            namespace.__file__ = str(path)
        monkeypatch.setitem(sys.modules, "__main__", namespace)
        vars(namespace)["PLACE"] = 1
        exec(compile(text, str(path if with_text else "<none>"), "exec"), vars(namespace))
        hashes.append(source_hash(namespace.Tight))
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0] != ""


def test_the_variables_of_an_enclosing_function_count() -> None:
    def make(eps: float) -> type:
        class Tight:
            def layer(self) -> float:
                return eps

        return Tight

    assert source_hash(make(1.0)) == source_hash(make(1.0)) != source_hash(make(2.0))
