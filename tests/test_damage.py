"""Damage anywhere in a results folder: the right numbers or a named error, and a way back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from ablations import Results, Study, load
from ablations.cli import app

from .studies import SMALL, run, same

STUDY = Study(**(SMALL | {"axes": {"norm": ["none", "batch"]}}))


def ablations(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("sound")
    run(STUDY, folder, jobs=1, with_report=True)
    return load(folder)


def harmed(content: bytes, other: bytes, data: st.DataObject) -> bytes:
    harm = data.draw(st.sampled_from(["flip", "cut", "empty", "swap", "grow"]))
    place = data.draw(st.integers(0, max(len(content) - 1, 0)))
    if harm == "flip" and content:
        changed = bytearray(content)
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
        return bytes(changed)
    return {"cut": content[:place], "empty": b"", "swap": other}.get(harm, content + b"\n#")


def answered(done: Result) -> None:
    """It worked, or said in one line what is wrong; never a traceback."""
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code in (0, 2), done.output
    if done.exit_code == 2:
        (message,) = done.stderr.strip().splitlines()
        assert message.startswith("error: ")


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_commands_give_the_right_numbers_or_a_named_error_and_repair_finds_a_way_back(
    sound: Results, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "results"
    shutil.copytree(sound.folder, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.parent.name != "figures")
    path, other = data.draw(st.sampled_from(files)), data.draw(st.sampled_from(files))
    path.write_bytes(harmed(path.read_bytes(), other.read_bytes(), data))
    study = folder.parent / "study.toml"
    study.write_text(STUDY.to_toml(), encoding="utf-8")
    run_id = sound.runs["run_id"].iloc[0]
    answered(ablations("rerun", folder, run_id))
    answered(ablations("merge", folder, "--out", folder.parent / "merged"))
    if (folder.parent / "merged").exists():
        same(load(folder.parent / "merged"), sound)
    answered(ablations("run", study, "--out", folder, "--no-report"))
    assert ablations("repair", folder).exit_code == 0
    done = ablations("run", study, "--out", folder, "--no-report")
    assert done.exit_code == 0, done.output
    same(load(folder), sound)
