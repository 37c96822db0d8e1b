"""The ledger of looks: what records a look, and what is read, refused, united and said of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

import ablations
from ablations import RequestError, Study
from ablations.analysis import UNDECIDED
from ablations.analysis.results import Results
from ablations.analysis.spending import FIRST, next_look
from ablations.execution.compatibility import refuse_other_study
from ablations.execution.merge import merge_results
from ablations.report.summary import summarise
from ablations.results import looks, repair
from ablations.results.looks import LOOKS_FILE, Look, load_looks, save_looks

from ..studies import run

STUDY = Study(task="notebook", epochs=1, axes={"norm": ["none", "layer"], "device": ["cpu"]})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seeds, of which no verdict was shown."""
    folder = tmp_path_factory.mktemp("looks") / "trained"
    run(STUDY.replace(seeds=12), folder)
    (folder / LOOKS_FILE).unlink()
    return folder


@pytest.fixture
def grow(trained: Path, tmp_path: Path) -> Callable[[int], Results]:
    """Make a folder that was run with a number of seeds, one after another; its ledger stays."""

    def resume(seeds: int) -> Results:
        results = ablations.load(shutil.copytree(trained, tmp_path / "f", dirs_exist_ok=True))
        return results.only(results.runs.loc[results.runs["seed"] < seeds, "run_id"])

    return resume


def test_the_first_verdicts_at_a_number_of_seeds_are_a_look(grow: Callable[[int], Results]) -> None:
    folder = grow(3).folder
    assert grow(3).verdicts()["verdict"].eq(UNDECIDED).all()
    assert load_looks(folder) == ()
    grow(6).interactions()
    assert load_looks(folder) == ()
    first = grow(6).verdicts()
    (look,) = load_looks(folder)
    assert (look.seeds, look.level, look.spent) == (6, FIRST, FIRST)
    assert look.date.startswith("20")
    assert look.command
    second = grow(12).ablation
    assert [look.seeds for look in load_looks(folder)] == [6, 12]
    expected = next_look([look], 12, 1)
    assert second.design.alpha == load_looks(folder)[1].level == expected.level < FIRST
    assert second.design.confidence == 1 - expected.level
    # The same seeds again are the same look with the same answer, but for what another look costs.
    assert grow(6).verdicts().drop(columns="more").equals(first.drop(columns="more"))
    assert grow(12).effects().equals(grow(12).effects())
    assert [look.seeds for look in load_looks(folder)] == [6, 12]


def test_other_seeds_of_the_same_number_are_another_look(grow: Callable[[int], Results]) -> None:
    folder, runs = grow(8).folder, grow(12).runs
    grow(8).verdicts()
    others = set(runs.loc[runs["seed"] >= 4, "run_id"])
    grow(12).only(others).verdicts()
    looks = load_looks(folder)
    assert [look.labels for look in looks] == [tuple(range(8)), tuple(range(4, 12))]
    assert looks[1].level < FIRST / 3
    assert grow(12).only(others).design().alpha == looks[1].level
    assert grow(8).design().alpha == FIRST


def test_the_answer_says_which_look_it_is(grow: Callable[[int], Results]) -> None:
    assert not any("look " in text for text in summarise(grow(6).ablation).cautions)
    sentences = " ".join(summarise(grow(12).ablation).cautions)
    assert "verdicts were shown at 6 and 12 seeds, so this is look 2." in sentences
    table = grow(12).effects()
    assert table["procedure"].str.contains("which keeps 95 % over all looks").all()
    assert table["procedure"].str.endswith("at look 2").all()


def test_a_folder_that_cannot_be_written_answers_and_says_so(
    grow: Callable[[int], Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = grow(6)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(looks, "save_looks", refuse)
    assert len(results.verdicts()) == 1
    assert results.ablation.unrecorded == "Permission denied"
    sentences = " ".join(summarise(results.ablation).cautions)
    assert "This look could not be recorded (Permission denied)" in sentences


def test_a_ledger_reads_as_it_was_written_or_is_refused(tmp_path: Path) -> None:
    assert load_looks(tmp_path) == ()
    ledger = (
        Look(6, 0.032, 0.032, "2026-01-02T03:04:05+00:00", "ablations run"),
        Look(9, 0.01, 0.04, labels=(0, 1, 2, 3, 4, 5, 6, 8, 9)),
    )
    save_looks(tmp_path, ledger)
    assert load_looks(tmp_path) == ledger
    assert [path.name for path in tmp_path.iterdir()] == [LOOKS_FILE]  # nothing half-written
    path = tmp_path / LOOKS_FILE
    path.write_text(path.read_text().replace("0.032", "0.002"))
    with pytest.raises(RequestError, match=r"was changed since it was written; 'ablations repair"):
        load_looks(tmp_path)


@pytest.mark.parametrize("change", [{"seeds": 0}, {"level": 1.5}, {"spent": "a"}])
def test_a_ledger_of_wrong_entries_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    from ablations.core.files import write_sealed_json

    write_sealed_json(tmp_path / LOOKS_FILE, {"looks": [asdict(Look(6, 0.032, 0.032)) | change]})
    with pytest.raises(RequestError, match="expected a list of looks"):
        load_looks(tmp_path)


def test_repair_sets_a_broken_ledger_aside(grow: Callable[[int], Results]) -> None:
    folder = grow(6).folder
    (folder / LOOKS_FILE).write_text(json.dumps({"looks": []}))
    with pytest.raises(RequestError, match="was changed since it was written"):
        ablations.load(folder)
    assert any(LOOKS_FILE in line for line in repair.repair_folder(folder))
    assert ablations.load(folder).looks == ()


def test_merged_folders_have_the_looks_of_all(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    run(STUDY.replace(seeds="0:6"), first)
    run(STUDY.replace(seeds="6:13"), second)
    assert [look.seeds for look in load_looks(first)] == [6]  # the end of a run is a look
    merged = merge_results([first, second], tmp_path / "c")
    assert [look.seeds for look in merged.looks] == [6, 7]
    assert merged.design().position == 3
    assert merged.design().alpha < FIRST


def test_looks_are_stated_before_the_first_one(grow: Callable[[int], Results]) -> None:
    results = grow(12)
    study = STUDY.replace(seeds=12)
    refuse_other_study(study.replace(looks=[12]), results.folder)  # no verdict was shown
    results.verdicts()
    refuse_other_study(study, results.folder)
    with pytest.raises(RequestError, match="verdicts at 12 seeds were shown before any looks"):
        refuse_other_study(study.replace(looks=[12, 24]), results.folder)


def test_one_stated_look_has_the_whole_level_and_other_numbers_have_none(tmp_path: Path) -> None:
    results = run(STUDY.replace(seeds=7, looks=[7]), tmp_path)
    design = results.design()
    assert (design.alpha, design.confidence, design.look) == (0.05, 0.95, None)
    assert results.effects()["reachable"].all()
    assert load_looks(tmp_path) == ()
    with pytest.raises(RequestError, match="its looks were stated for other seeds"):
        refuse_other_study(STUDY.replace(seeds="7:14", looks=[7]), tmp_path)
    refuse_other_study(STUDY.replace(seeds=14, looks=[7]), tmp_path)
    fewer = results.only(results.runs.loc[results.runs["seed"] < 6, "run_id"])
    table = fewer.effects()
    assert (table["verdict"] == UNDECIDED).all()
    assert not table["reachable"].any()
    assert "no verdict, as looks were stated at 7 seeds" in table["procedure"][0]
    sentences = " ".join(summarise(fewer.ablation).cautions)
    assert "Looks were planned at 7 seeds, so that there is no verdict" in sentences
