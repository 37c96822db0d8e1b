"""A user's techniques: as objects, by their Python names, and from installed packages."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablations import RequestError, Study
from ablations.study.expand import expand

from ..studies import run

MODULE = '''
from torch import nn
from ablations.techniques.base import Norm, technique


class Layer(nn.Module):
    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x):
        return x / (1e-3 + x.abs().mean(-1, keepdim=True)) ** self.power


@technique
class {name}(Norm):
    """Divide each example by its mean absolute value, to a power (nobody, 2026)."""

    name = "{name}"
    power: float = 1.0

    def layer(self, width: int) -> nn.Module:
        return Layer(self.power)


def no_technique(): ...


mild = {name}(power=0.25)
'''


@pytest.fixture
def module(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    temporary_registry: None,
) -> str:
    """A module with a norm, under a name that no other test uses; the norm has the same name."""
    name = f"own_{request.node.name.split('[')[0]}"[:60]
    (tmp_path / f"{name}.py").write_text(MODULE.format(name=name))
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.slow
def test_a_study_names_a_technique_by_its_python_path(module: str, tmp_path: Path) -> None:
    path = f"python:{module}:{module}"
    (tmp_path / "mine.toml").write_text(
        f'task = "notebook"\nseeds = 2\nepochs = 2\n[axes]\n'
        f'norm = ["none", "{path}", {{ name = "{path}", power = 0.5 }}, "python:{module}:mild"]\n'
    )
    study = Study.find("mine.toml")
    labels = ["none", module, f"{module}(power=0.5)", f"{module}(power=0.25)"]
    assert list(study.levels["norm"]) == labels
    results = run(study, tmp_path / "out", jobs=2)
    assert set(results.runs["status"]) == {"ok"}
    # Another process loads the same study from the stored file.
    load = "Study.from_toml('study.toml', trust=True)"
    words = f"from ablations import Study; print(*{load}.levels['norm'])"
    process = subprocess.run(
        [sys.executable, "-c", words], cwd=tmp_path / "out", capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=False,
    )  # fmt: skip
    assert process.stdout.split() == labels, process.stderr


@pytest.mark.parametrize(
    ("axis", "level", "message"),
    [
        ("norm", "python:{}:no_technique", "is a function; expected a class of a norm"),
        ("init", "python:{}:{}", "is a norm; expected an init decorated"),
        ("norm", "python:{}:Layer", "is a class; expected a class of a norm"),
        ("norm", "python:{}:Mine", "has no 'Mine'; "),
        ("norm", {"name": "python:{}:{}", "pover": 1.0}, "no parameter 'pover'; did you mean"),
        ("norm", {"name": "python:{}:{}", "power": "a"}, "valid number, found 'a'"),
    ],
)
def test_an_object_that_is_not_a_technique_is_refused(
    module: str, axis: str, level: object, message: str
) -> None:
    if isinstance(level, dict):
        level = level | {"name": str(level["name"]).format(module, module)}
    else:
        level = str(level).format(module, module)
    with pytest.raises(RequestError) as caught:
        Study(task="notebook", axes={axis: [level]})
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"axes.{axis}[0]")


def test_the_source_of_a_technique_is_part_of_a_run_id(module: str, tmp_path: Path) -> None:
    path = tmp_path / f"{module}.py"
    axes = {"norm": [f"python:{module}:{module}"]}

    def make_study() -> Study:
        return Study(task="notebook", seeds=2, epochs=1, axes=axes)

    first = make_study()
    run(first, tmp_path / "out")
    # The edit is in the layer's class, not in the technique's.
    path.write_text(path.read_text().replace("** self.power", "** (2 * self.power)"))
    # The loaded source counts.
    assert expand(make_study()).runs[0].run_id == expand(first).runs[0].run_id
    importlib.invalidate_caches()
    importlib.reload(sys.modules[module])
    second = make_study()
    assert expand(second).runs[0].run_id != expand(first).runs[0].run_id
    with pytest.raises(RequestError, match=f"other code: norm python:{module}:{module} has chang"):
        run(second, tmp_path / "out")


def install(folder: Path, module: str, value: str) -> dict[str, str]:
    """Install a package with an entry point; return the environment variables."""
    info = folder / "my_norms-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-norms\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[ablations.techniques]\nmine = {value}\n")
    (folder / f"{module}.py").write_text(MODULE.format(name=module))
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[2]}"}


def ablations(*words: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ablations", *words]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_study_names_a_technique_of_an_installed_package(tmp_path: Path) -> None:
    package, work = tmp_path / "package", tmp_path / "work"
    package.mkdir()
    work.mkdir()
    env = install(package, "meannorm", "meannorm:meannorm")
    process = ablations("list", "techniques", env=env, cwd=work)
    assert "meannorm (power=1.0), from my-norms 1.2\n" in process.stdout, process.stderr
    words: tuple[str, ...] = (
        "run",
        "notebook",
        "--axis",
        "norm=none,meannorm",
        "--axis",
        "regularizer=none",
    )
    words += ("--axis", "schedule=constant", "--axis", "init=default", "--seeds", "2")
    words += ("--epochs", "2", "--no-report", "--time-budget", "0", "--out", "out")
    process = ablations(*words, env=env, cwd=work)
    assert process.returncode == 0, process.stderr
    assert '"meannorm"' in (work / "out" / "study.toml").read_text()


@pytest.mark.slow
def test_a_broken_entry_point_is_an_error_that_names_the_package(
    tmp_path: Path,
) -> None:
    env = install(tmp_path, "meannorm", "meannorm:nothing")
    process = ablations("run", "notebook", env=env, cwd=tmp_path)
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: package my-norms 1.2: its technique 'mine' (meannorm:nothing) cannot be loaded: "
    )
    assert process.stderr.count("\n") == 1


@pytest.mark.slow
def test_workers_import_the_module_of_a_technique_and_follow_its_changes(
    module: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{module}.py"
    # A lock cannot be pickled, so a worker can have this module by importing it alone.
    path.write_text(f"{path.read_text()}\nimport threading\nLOCK = threading.Lock()\n")
    path.write_text(path.read_text().replace("return x", "with LOCK:\n            return x"))
    axes = {"norm": [f"python:{module}:{module}"]}

    def train(out: str, jobs: int) -> list[float]:
        study = Study(task="notebook", seeds=4, epochs=1, axes=axes)
        results = run(study, tmp_path / out, jobs=jobs, engine="loop")
        assert set(results.runs["status"]) == {"ok"}
        return list(results.runs.sort_values("seed")["val_loss"])

    first = train("first", jobs=2)
    path.write_text(path.read_text().replace("** self.power", "** (2 * self.power)"))
    importlib.invalidate_caches()
    importlib.reload(sys.modules[module])
    second = train("second", jobs=2)
    assert second != first
    assert train("alone", jobs=1) == second


SCRIPT = '''
import ablations
from ablations.techniques.base import Norm, technique
from torch import nn


class Half(nn.Module):
    def forward(self, x):
        return x / 2


@technique
class Halved(Norm):
    """Divide by two (nobody, 2026)."""

    name = "halved"

    def layer(self, width: int) -> nn.Module:
        return Half()


if __name__ == "__main__":
    study = ablations.Study(task="notebook", seeds=2, epochs=1, axes={"norm": [Halved()]})
    results = ablations.run(study, "out", jobs=2, with_report=False, time_budget=0)
    print(*results.runs["status"])
'''


@pytest.mark.slow
def test_workers_train_a_technique_that_a_script_defines(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=False,
    )  # fmt: skip
    assert process.stdout.split() == ["ok", "ok"], process.stderr
