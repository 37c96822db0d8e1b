"""No attack of the corpus runs code, changes anything outside, hangs, or ends in a traceback."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations import Study, load
from ablations.core.errors import RequestError

from ..studies import SMALL, run
from .hostile import ATTACKS, CANARY
from .test_forged import ablations

STUDY = Study(**SMALL)
FAST = ("effects", "rerun", "repair")
COMMANDS = (*FAST, "merge", "compare", "run", "time", "report", "run here")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "sound"
    run(STUDY, folder, jobs=1)
    return folder


@pytest.fixture
def sent(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a folder, in which the command runs, beside a file that must not change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim.png").write_bytes(b"holiday")
    folder = tmp_path / "sent"
    shutil.copytree(sound, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    monkeypatch.undo()


def words_of(command: str, folder: Path, sound: Path) -> list[str | Path]:
    lines: dict[str, list[str | Path]] = {
        "merge": ["merge", folder, "--out", folder / "merged"],
        "compare": ["compare", sound, folder],
        "rerun": ["rerun", folder, "0"],
        "run": ["run", folder, "--out", folder, "--no-report", "--time-budget", "0"],
        "run here": ["run", "notebook", "--out", folder, "--seeds", "1", "--no-report"],
        "time": ["time", folder, "--out", folder, "--budget", "0.1"],
    }
    return lines.get(command, [command, folder])


def outside(folder: Path) -> dict[Path, bytes]:
    """Return name and content of all that lies beside a folder."""
    files = (path for path in folder.parent.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        path: path.read_bytes()
        for path in files
        if folder not in path.parents and path.suffix not in (".pyc",)
    }


@pytest.mark.parametrize(
    "command", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in COMMANDS]
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_happens(attack: str, command: str, sent: Path, sound: Path) -> None:
    ATTACKS[attack](sent)
    before, modules = outside(sent), set(sys.modules)
    result = ablations(*words_of(command, sent, sound))
    text = result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (0, 1, 2), text
    assert "Traceback" not in text
    assert not {"\x1b", "\x07", "\x00", "\u202e"} & {*text}
    assert outside(sent) == before
    assert not (sent.parent / CANARY).exists()
    assert not (sent / CANARY).exists()
    loaded = (sys.modules[name] for name in set(sys.modules) - modules)
    files = [str(getattr(module, "__file__", "")) for module in loaded]
    assert not [file for file in files if file.startswith(str(sent.parent))]


@pytest.mark.parametrize("attack", ATTACKS)
def test_python_reads_it_or_says_why_not(attack: str, sent: Path) -> None:
    ATTACKS[attack](sent)
    message, runs = str(sent), 12
    try:
        runs = len(load(sent).runs)
    except RequestError as error:
        message = str(error)
    assert runs == 12
    assert str(sent) in message
    assert not (sent.parent / CANARY).exists()


def test_there_are_fifty() -> None:
    assert len(ATTACKS) >= 50
