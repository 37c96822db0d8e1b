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
from ablations.results import shards

from ..studies import SMALL, run, same

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


def assert_answered(result: Result) -> None:
    """It worked, or expected in one line what is wrong; never a traceback."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (0, 2), result.output
    if result.exit_code == 2:
        (message,) = result.stderr.strip().splitlines()
        assert message.startswith("error: ")


@pytest.mark.slow
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
    expected = ablations("run", study, "--out", sound.folder, "--no-report")
    run_id = sound.runs["run_id"].iloc[0]
    assert_answered(ablations("rerun", folder, run_id))
    assert_answered(ablations("merge", folder, "--out", folder.parent / "merged"))
    if (folder.parent / "merged").exists():
        same(load(folder.parent / "merged"), sound)
    result = ablations("run", study, "--out", folder, "--no-report")
    assert_answered(result)
    if result.exit_code == 0:
        assert result.stdout == expected.stdout
    assert ablations("repair", folder).exit_code == 0
    result = ablations("run", study, "--out", folder, "--no-report")
    assert result.exit_code == 0, result.output
    same(load(folder), sound)


def put_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("no folder")


def put_a_link(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path.parent / "nothing")


def put_a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path / "inside").mkdir(parents=True)


MISPLACED = [
    *((name, harm) for name in ("runs", "curves", "audit") for harm in (put_a_file, put_a_link)),
    *((name, put_a_folder) for name in ("study.toml", "environment.json", "engine.json")),
    *((name, put_a_folder) for name in ("answer.json", "report.html")),
    ("environment.json", lambda path: path.write_text("[" * 100_000)),
    ("engine.json", lambda path: path.write_text("[" * 100_000)),
]


@pytest.mark.parametrize(("name", "harm"), MISPLACED)
def test_what_is_not_where_it_belongs_is_named_and_set_aside(
    sound: Results, tmp_path: Path, name: str, harm: Any
) -> None:
    folder, study = tmp_path / "results", tmp_path / "study.toml"
    shutil.copytree(sound.folder, folder)
    study.write_text(STUDY.to_toml(), encoding="utf-8")
    harm(folder / name)
    if name not in ("answer.json", "report.html"):
        refused = (
            ablations("report", folder)
            if name != "engine.json"
            else ablations("run", study, "--out", folder, "--seeds", "4")
        )
        assert refused.exit_code == 2
        assert_answered(refused)
    result = ablations("repair", folder)
    assert result.exit_code == 0
    assert "aside" in result.stdout
    options = () if name == "report.html" else ("--no-report",)
    assert ablations("run", study, "--out", folder, *options).exit_code == 0
    same(load(folder), sound)


def test_what_cannot_be_read_is_not_taken_for_lost(
    sound: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(sound.folder, folder)
    iterdir = Path.iterdir

    def denied(path: Path) -> Any:
        if path.name == "curves":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    for command in ("report", "repair"):
        result = ablations(command, folder)
        assert_answered(result)
        assert "curves: cannot be read: Permission denied" in result.stderr
    monkeypatch.undo()
    same(load(folder), sound)


def test_a_damaged_answer_is_made_anew(sound: Results, tmp_path: Path) -> None:
    folder, study = tmp_path / "results", tmp_path / "study.toml"
    shutil.copytree(sound.folder, folder)
    study.write_text(STUDY.to_toml(), encoding="utf-8")
    first = ablations("run", study, "--out", folder)
    again = ablations("run", study, "--out", folder)
    assert again.stdout == first.stdout
    assert "nothing to train" in again.stderr
    answer = folder / "answer.json"
    answer.write_text(answer.read_text().replace("norm", "NORM"))
    assert ablations("run", study, "--out", folder).stdout == first.stdout
    shutil.rmtree(folder / "figures")
    assert ablations("run", study, "--out", folder).stdout == first.stdout
    assert any((folder / "figures").iterdir())


def test_a_deleted_shard_is_named_and_its_runs_are_trained_again(
    sound: Results, tmp_path: Path
) -> None:
    folder, study = tmp_path / "results", tmp_path / "study.toml"
    study.write_text(STUDY.to_toml(), encoding="utf-8")
    for table in ("runs", "curves", "audit"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound.folder, folder)
        lost = next((folder / table).iterdir())
        lost.unlink()
        refused = ablations("effects", folder)
        assert refused.exit_code == 2
        assert_answered(refused)
        assert f"{table}/{lost.name} is missing" in refused.stderr
        result = ablations("run", study, "--out", folder, "--no-report")
        assert result.exit_code == 0
        assert f"{table}/{lost.name} is missing" in result.stderr
        same(load(folder), sound)


def test_after_a_repair_each_answer_says_how_many_runs_are_missing(
    sound: Results, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(sound.folder, folder)
    lost = next((folder / "runs").iterdir())
    n_lost = len(shards.scan_files([lost])[0][0].table)
    lost.unlink()
    assert f"{lost.name} is missing" in ablations("repair", folder).stdout
    sentence = f"{n_lost} of the {len(sound.runs)} runs of the study are missing"
    assert n_lost < len(sound.runs)
    for command in ("effects", "report"):
        result = ablations(command, folder)
        assert result.exit_code == 0
        assert f"note: {sentence}" in result.stderr
    assert sentence in (folder / "report.html").read_text(encoding="utf-8")
    assert sentence in load(folder).describe_missing()
