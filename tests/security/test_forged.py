"""Forged results folders: the right rows, or an error that names the file; and a way back.

``pytest tests/security/test_forged.py --slow --forged 1000`` tries a thousand.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner, Result

from ablations import Study
from ablations.cli import app
from ablations.cli.inspect import Question

from ..studies import SMALL, run
from .forging import forge

STUDY = Study(**SMALL)
QUESTIONS = [name for name in get_args(Question) if not name.startswith("dataset")]


def ablations(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged") / "sound"
    run(STUDY, folder, jobs=1)
    (folder.parent / "study.toml").write_text(STUDY.to_toml(), encoding="utf-8")
    return folder


def assert_answered(result: Result, folder: Path, words: object) -> None:
    """It worked, or says in one line which file of the folder is wrong; never a traceback."""
    text = result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), words
    assert result.exit_code in (0, 1, 2), (words, text)
    assert "Traceback" not in text, words
    assert not {"\x1b", "\x07", "\u202e"} & {*text}, words
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == bool(result.exit_code), (words, text)
    if result.exit_code:
        assert "sent" in errors[0] or "audit" in errors[0] or "--of" in errors[0], (words, text)


def try_folder(folder: Path, sound: Path, seed: int) -> list[str]:
    """Forge a folder, read it by several commands, repair it, and train it to the end."""
    names, chance = forge(folder, seed), random.Random(seed)
    commands: list[list[str | Path]] = [
        ["effects", folder, "--of", chance.choice(QUESTIONS)],
        ["effects", folder, "--format", chance.choice(["csv", "json", "markdown", "latex"])],
        ["merge", folder, "--out", folder.parent / "merged"],
        ["compare", sound, folder, "--out", folder.parent / "page.html"],
        ["rerun", folder, "0"],
    ]
    commands = [["effects", folder], *chance.sample(commands, 2)]
    commands += [["report", folder]] if seed % 20 == 0 else []
    for words in commands:
        assert_answered(ablations(*words), folder, (names, words))
    result = ablations("repair", folder)
    assert result.exit_code == 0, (names, result.output, result.exception)
    study = sound.parent / "study.toml"
    result = ablations("run", study, "--out", folder, "--no-report")
    if result.exit_code == 2 and "choose another folder" in result.stderr:
        # Another study with a right digest is the folder's, or another file was its input.
        result = ablations("run", folder, "--out", folder, "--no-report", "--force")
    # A study that names code is not trained by its folder's word.
    assert result.exit_code == 0 or "needs --trust" in result.stderr, (names, result.output)
    assert ablations("effects", folder).exit_code in (0, 2), names
    return names


@pytest.mark.parametrize("batch", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_forged_folders(
    sound: Path, tmp_path: Path, request: pytest.FixtureRequest, batch: int
) -> None:
    count = request.config.getoption("--forged")
    seeds = range(100_000, 100_003) if not batch else range(count)
    failures = []
    for seed in seeds:
        folder = tmp_path / str(seed) / "sent"
        shutil.copytree(sound, folder)
        try:
            try_folder(folder, sound, seed)
        except AssertionError as error:
            failures.append((seed, str(error).splitlines()[0]))
        shutil.rmtree(folder.parent, ignore_errors=True)
    assert failures == []
