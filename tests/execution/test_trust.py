"""A results folder is complete by itself, and runs nothing unless a person trusts it."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import ablations
from ablations import RequestError, Study
from ablations.cli import app
from ablations.core.files import digest, write_sealed_json
from ablations.execution.merge import merge_results
from ablations.execution.rerun import rerun
from ablations.results import environment, store
from ablations.results.metadata import METADATA_FILE, load_metadata

from ..studies import SMALL, run

STUDY = Study(**(SMALL | {"seeds": 7}))
READING: dict[str, Callable[[Path], list[str]]] = {
    "effects": lambda folder: ["effects", str(folder)],
    "report": lambda folder: ["report", str(folder)],
    "compare": lambda folder: ["compare", str(folder.parent / "sound"), str(folder)],
    "compared with": lambda folder: [
        *("compare", str(folder), str(folder.parent / "sound")),
        *("--out", str(folder.parent / "page.html")),
    ],
    "repair": lambda folder: ["repair", str(folder)],
}
USING: dict[str, Callable[[Path], list[str]]] = {
    "merge": lambda folder: ["merge", str(folder), "--out", str(folder.parent / "merged")],
    "rerun": lambda folder: ["rerun", str(folder), "0"],
    "run": lambda folder: ["run", str(folder), "--out", str(folder)],
    "time": lambda folder: ["time", str(folder), "--out", str(folder)],
    "run here": lambda folder: ["run", "notebook", "--out", str(folder)],
    "time here": lambda folder: ["time", "notebook", "--out", str(folder)],
    "add seeds": lambda folder: [
        *("run", "notebook", "--out", str(folder)),
        *("--seeds-until", "decided", "--no-report"),
    ],
}


def invoke(words: list[str]) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trust") / "sound"
    run(STUDY, folder, jobs=1)
    return folder


def replace_study(folder: Path, text: str) -> None:
    """Write another study.toml, sealed as the writer seals it."""
    seal = f"# checked by {digest(text.encode())}"
    (folder / "study.toml").write_text(f"{seal}\n{text}", encoding="utf-8")


@pytest.fixture(params=["model", "task", "norm", "wrapper"])
def hostile(request: pytest.FixtureRequest, sound: Path, tmp_path: Path) -> Path:
    """A folder that somebody sent: its study names a shell command, which makes a file."""
    shutil.copytree(sound, tmp_path / "sound")
    folder = tmp_path / "sent"
    shutil.copytree(sound, folder)
    command = f"touch {tmp_path / 'marker'}"
    spec = f'{{name = "python:os:system", command = "{command}"}}'
    text = STUDY.to_toml()
    (tmp_path / "evil.py").write_text(f"import os\nos.system({command!r})\n")
    replaced = {
        "model": text.replace('model = "mlp"', f"model = {spec}"),
        "task": text.replace('task = "notebook"', 'task = "python:evil:Task"'),
        "norm": text.replace('"batch"', '"python:evil:Norm"'),
        "wrapper": text.replace(
            'model = "mlp"', 'model = {name = "python", target = "evil:build"}'
        ),
    }[request.param]
    assert replaced != text
    replace_study(folder, replaced)
    return folder


@pytest.fixture
def marker(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(hostile.parent)  # where the study's modules are looked for
    monkeypatch.setattr(sys, "path", list(sys.path))
    return hostile.parent / "marker"


@pytest.mark.parametrize("hostile", ["model"], indirect=True)
@pytest.mark.parametrize("command", READING)
def test_reading_a_folder_runs_nothing_that_it_names(
    hostile: Path, marker: Path, command: str
) -> None:
    result = invoke(READING[command](hostile))
    assert result.exit_code == 0, result.output
    assert not marker.exists()


@pytest.mark.parametrize(
    ("hostile", "command"),
    [
        *(("model", command) for command in READING if command != "repair"),
        *((kind, "effects") for kind in ("task", "norm", "wrapper")),
    ],
    indirect=["hostile"],
)
def test_a_folder_of_an_earlier_version_runs_nothing_without_trust(
    hostile: Path, marker: Path, command: str
) -> None:
    (hostile / METADATA_FILE).unlink()
    result = invoke(READING[command](hostile))
    assert result.exit_code == 2
    (message,) = result.stderr.strip().splitlines()
    assert "metadata.json" in message
    assert "--trust" in message
    assert not marker.exists()


@pytest.mark.parametrize("command", USING)
def test_commands_that_need_the_study_run_its_code_with_trust_only(
    hostile: Path, marker: Path, command: str
) -> None:
    result = invoke(USING[command](hostile))
    assert result.exit_code == 2, result.output
    assert not marker.exists()
    if command in ("merge", "rerun", "run", "time"):
        assert "needs --trust" in result.stderr
    if command == "rerun":
        assert "needs --trust" not in invoke([*USING[command](hostile), "--trust"]).output


@pytest.mark.parametrize("hostile", ["model"], indirect=True)
def test_python_reads_a_folder_without_running_it(hostile: Path, marker: Path) -> None:
    results = ablations.load(hostile)
    assert len(results.effects()) == 2
    assert "Of 2 levels" in results._repr_html_() or "<table" in results._repr_html_()
    with pytest.raises(RequestError, match="needs --trust"):
        rerun(hostile, str(results.runs["run_id"].iloc[0]))
    with pytest.raises(RequestError, match="needs --trust"):
        merge_results([hostile], hostile.parent / "merged")
    (hostile / METADATA_FILE).unlink()
    old = ablations.load(hostile)
    pd.testing.assert_frame_equal(old.runs, results.runs)
    with pytest.raises(RequestError, match="--trust"):
        old.effects()
    assert not marker.exists()


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_is_completed_once(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef build(inputs, outputs):\n"
        "    return nn.Sequential(nn.Linear(inputs, 4), nn.Linear(4, outputs))\n"
    )
    text = STUDY.to_toml().replace('model = "mlp"', 'model = "python:net:build"')
    (tmp_path / "study.toml").write_text(text)
    python(tmp_path, "run", "study.toml", "--out", "out", "--seeds", "3", "--jobs", "1")
    effects = python(tmp_path, "effects", "out", "--format", "csv")
    content = (folder / METADATA_FILE).read_bytes()
    (folder / METADATA_FILE).unlink()
    refused = subprocess.run(
        [sys.executable, "-m", "ablations", "effects", "out"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "--trust" in refused.stderr
    assert python(tmp_path, "effects", "out", "--format", "csv", "--trust") == effects
    assert (folder / METADATA_FILE).read_bytes() == content
    # From now on the folder needs nobody's module.
    (tmp_path / "net.py").unlink()
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert python(tmp_path, "effects", "elsewhere", "--format", "csv") == effects
    assert "report.html" in python(tmp_path, "report", "elsewhere")


def python(folder: Path, *words: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "ablations", *words],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_components_of_this_package_need_no_trust(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(sound, folder)
    (folder / METADATA_FILE).unlink()
    results = ablations.load(folder)
    pd.testing.assert_frame_equal(results.effects(), ablations.load(sound).effects())
    assert load_metadata(folder) == load_metadata(sound)


def test_results_know_their_study_wherever_they_are(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    shutil.copytree(sound, folder)
    results = ablations.load(folder)
    effects = results.effects()
    shutil.rmtree(folder)
    sent = pickle.loads(pickle.dumps(results))  # as a worker process receives it
    pd.testing.assert_frame_equal(sent.effects(), effects)
    subset = sent.only(results.runs.loc[results.runs["norm"] == "none", "run_id"])
    assert subset.effects()["axis"].tolist() == ["regularizer"]
    assert "<td>dropout</td>" in subset._repr_html_()


def test_a_report_shows_the_runs_of_the_last_study_only(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(sound, folder)
    fewer = STUDY.replace(seeds=2)
    run(fewer, folder, jobs=1)
    results = ablations.load(folder)
    assert len(results.runs) == 4 * 7
    assert set(results.of_study().runs["seed"]) == {0, 1}
    assert invoke(["report", str(folder)]).exit_code == 0
    assert "8 runs" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="a shell's words")
def test_effects_import_no_torch_and_no_figures(sound: Path) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "ablations", "effects", str(sound)]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "ablations.analysis.results" in modules
    unwelcome = {"torch", "sklearn", "joblib", "matplotlib", "seaborn", "ablations.study.study"}
    assert not modules & unwelcome
    for command in ("report", "compare"):
        other = [str(sound)] if command == "report" else [str(sound), str(sound.parent / "copy")]
        shutil.copytree(sound, sound.parent / "copy", dirs_exist_ok=True)
        script = f"import sys; from ablations.cli import main; sys.argv[1:] = {[command, *other]}"
        check = "\ntry: main()\nexcept SystemExit as e: assert not e.code, e.code"
        last = "\nassert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", script + check + last], check=True)


def test_a_link_for_the_figures_leads_nowhere(sound: Path, tmp_path: Path) -> None:
    folder, pictures = tmp_path / "sent", tmp_path / "pictures"
    shutil.copytree(sound, folder, ignore=shutil.ignore_patterns("figures"))
    pictures.mkdir()
    (pictures / "holiday.png").write_bytes(b"sea")
    (folder / "figures").symlink_to(pictures)
    result = invoke(["report", str(folder)])
    assert result.exit_code == 2
    assert "figures: is a link" in result.stderr
    assert [path.name for path in pictures.iterdir()] == ["holiday.png"]


class Tags(HTMLParser):
    """The names of all attributes of a page, and the text of its scripts that run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: set[str] = set()
        self.scripts: list[str] = []
        self._runs = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.update(name for name, _ in attrs)
        self._runs = tag == "script" and ("type", "application/json") not in attrs

    def handle_endtag(self, tag: str) -> None:
        self._runs = False

    def handle_data(self, data: str) -> None:
        if self._runs:
            self.scripts.append(data)


HOSTILE = "<script>alert('x')</script>"


def test_text_of_metadata_is_escaped_in_pages_and_terminals(sound: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "<b>sent", tmp_path / "sound"
    shutil.copytree(sound, folder)
    shutil.copytree(sound, other)
    metadata = load_metadata(folder)
    assert metadata is not None
    content: dict[str, Any] = {"schema": 1, **asdict(metadata)}
    words = f"{HOSTILE} \" onload='x'"
    content |= {
        "study": words,
        "description": words,
        "captions": {
            axis: dict.fromkeys(levels, words) for axis, levels in content["captions"].items()
        },
        "cautions": [f"{words} \x1b[31m"],
        "badges": [words],
        "metric_name": words,
        "command": words,
        "levels": content["levels"] | {"norm": [words, "none", "batch"]},
        "published": [{"label": words, "where": {"norm": "none"}, "objective": [1.0]}],
        "columns": [
            dict.fromkeys(("name", "role", "type", "missing", "treatment"), value)
            for value in (words, "")
        ],
    }
    write_sealed_json(folder / METADATA_FILE, content)
    for command in (["report", folder], ["compare", other, folder], ["effects", folder]):
        result = invoke([str(word) for word in command])
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.output
    for page in ("report.html", "comparison.html"):
        tags = Tags((folder / page).read_text(encoding="utf-8"))
        assert "onload" not in tags.attributes
        assert not any("alert('x')" in script for script in tags.scripts)
    assert HOSTILE not in ablations.load(folder)._repr_html_()


def test_axes_and_curves_that_the_tables_lack_are_no_traceback(sound: Path, tmp_path: Path) -> None:
    metadata = load_metadata(sound)
    assert metadata is not None
    lies: list[dict[str, Any]] = [
        {"axes": [*metadata.axes, "nowhere"]},
        {"axes": [*metadata.axes, "norm"]},
        {"axes": ["val_loss"]},
        {"axes": []},
        {"controls": {"norm": "no such level"}},
        {"controls": {}},
        {"levels": {}},
        {"tune_over": ["nowhere"]},
        {"looks": [-1]},
        {"published": [{"label": "x", "where": {"nowhere": 1}, "objective": [1.0]}]},
        {"published": [{"label": "x", "where": {}, "objective": []}]},
        {"published": [{"label": "x", "where": {"norm": 3}, "objective": [1.0] * 99}]},
    ]
    folder = tmp_path / "sent"
    shutil.copytree(sound, folder)
    for lie in lies:
        write_sealed_json(folder / METADATA_FILE, {"schema": 1, **asdict(metadata), **lie})
        for command in ("effects", "report"):
            result = invoke([command, str(folder)])
            assert isinstance(result.exception, SystemExit | None), (lie, result)
            assert result.exit_code in (0, 2), (lie, result.output)
            if result.exit_code == 2:
                break


def test_metadata_are_written_with_the_study(tmp_path: Path) -> None:
    store.start(tmp_path, STUDY.to_toml(), {}, None)
    assert not (tmp_path / METADATA_FILE).exists()
    run(STUDY.replace(seeds=1), tmp_path / "out", jobs=1)
    first = load_metadata(tmp_path / "out")
    assert first is not None
    assert first.levels["norm"] == ("none", "batch")
    run(STUDY.replace(seeds=1).with_axis("norm", ["none", "layer"]), tmp_path / "out", jobs=1)
    second = load_metadata(tmp_path / "out")
    assert second is not None
    assert second.levels["norm"] == ("none", "layer")
    assert len(second.other_runs) == 2
    assert (
        environment.identify(environment.describe()) in ablations.load(tmp_path / "out").environment
    )
