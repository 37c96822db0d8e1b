"""The lines of SECURITY.md, one attack each."""

from __future__ import annotations

import ast
import io
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib.figure
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations import RequestError, Study, load
from ablations.core import parquet
from ablations.core.files import SEAL, read_file
from ablations.core.parquet import read_parquet
from ablations.report.render import FORMATS
from ablations.report.style import freeze_layout, to_svg
from ablations.results.outputs import WRITTEN_FILE, load_written, write_outputs
from ablations.tasks.tabular import sources

from ..studies import SMALL, run
from .forging import ESCAPES, seal
from .hostile import CANARY, STUDIES, code, put_link, write_study
from .test_forged import ablations

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| ([A-Z`].*?\.) \| `(.+?)::(\w+)` \|$", DOCUMENT, re.MULTILINE)
STUDY = Study(**SMALL)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("promises") / "sound"
    run(STUDY, folder, jobs=1)
    return folder


@pytest.fixture
def sent(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim.png").write_bytes(b"holiday")
    folder = tmp_path / "sent"
    shutil.copytree(sound, folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return folder


def test_each_promise_names_its_test() -> None:
    section = DOCUMENT.partition("## What you may rely on")[2].partition("## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(PROMISES) > 10
    for _, file, function in PROMISES:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("attack", ["old data", "old task"])
def test_reading_opens_no_file_that_a_study_names(attack: str, sent: Path) -> None:
    STUDIES[attack](sent)
    with pytest.raises(RequestError, match="--trust"):
        load(sent).effects()
    result = ablations("effects", sent)
    assert result.exit_code == 2
    assert "needs your word: --trust" in result.stderr


@pytest.mark.parametrize("command", ["run", "time", "rerun", "merge"])
def test_the_message_names_what_would_run(command: str, sent: Path) -> None:
    STUDIES["model"](sent)
    text = (sent / "study.toml").read_text().partition("\n")[2]
    text = text.replace('"batch"', '{name = "python:nowhere:Norm"}')
    write_study(sent, text)
    options: dict[str, list[str | Path]] = {
        "rerun": ["0"],
        "merge": ["--out", sent.parent / "new"],
    }
    extra = options.get(command, [])
    result = ablations(command, sent, *extra)
    assert result.exit_code == 2
    names = f"would run evil:build ({sent / 'evil.py'}), nowhere:Norm (which is not there)"
    assert f"{names}, which needs --trust" in result.stderr
    assert not (sent.parent / CANARY).exists()


@pytest.mark.parametrize("name", ["study.toml", "mine.toml", "deep/er/mine.toml"])
def test_a_study_file_in_a_results_folder_is_not_yours(name: str, sent: Path) -> None:
    STUDIES["model"](sent)
    path = sent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (sent / "study.toml").read_text().partition("\n")[2]
    path.write_text(text)  # not sealed
    (path.parent / "evil.py").write_text(code(sent))
    result = ablations("run", path, "--dry-run")
    assert result.exit_code == 2
    assert "would run evil:build" in result.stderr
    with pytest.raises(RequestError, match="needs --trust"):
        Study.from_toml(path)
    assert not (sent.parent / CANARY).exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", [["effects", "sent"], ["report", "sent"], ["list", "models"]])
def test_the_current_folder_is_no_place_for_packages(words: list[str], sent: Path) -> None:
    place = sent.parent
    for name in ("torch", "pandas", "typer", "rich", "numpy", "typing", "json", "mine"):
        (place / f"{name}.py").write_text(code(sent))
    info = place / "evil-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ablations.techniques]\nx = mine\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    script = f"import sys; sys.argv = ['ablations', *{words}]; import ablations.cli as c; c.main()"
    for line in (["-m", "ablations", *words], ["-P", "-c", script]):
        process = subprocess.run(
            [sys.executable, *line], cwd=place, env=environment, capture_output=True, check=False
        )
        assert process.returncode == 0, process.stderr
        assert not (place / CANARY).exists()


@pytest.mark.slow
def test_workers_import_nothing_from_the_current_folder(sent: Path) -> None:
    place = sent.parent
    for name in ("joblib", "torch", "numpy", "pickle", "typing", "multiprocessing", "ablations"):
        (place / f"{name}.py").write_text(code(sent))
    words = ["run", "notebook", "--out", "new", "--seeds", "1", "--epochs", "1", "--no-report"]
    words += ["--axis", "norm=none", "--axis", "init=default", "--axis", "schedule=constant"]
    words += ["--backend", "loky", "--jobs", "2", "--compile", "never", "--time-budget", "0"]
    script = f"import sys; sys.argv = ['ablations', *{words}]; import ablations.cli as c; c.main()"
    # As the installed command does: the folder is on the path of neither, by no variable.
    process = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert not (place / CANARY).exists()


@pytest.mark.parametrize("name", ["figures", "runs", "curves", "aside", ".lock", "report.html"])
def test_nothing_is_written_through_a_link(name: str, sent: Path) -> None:
    is_file = name in (".lock", "report.html")
    put_link(name, "outside/victim.png" if is_file else "outside")(sent)
    outside = sent.parent / "outside"
    before = {path: path.read_bytes() for path in outside.iterdir()}
    (sent / "metadata.json").write_text("{")  # which a repair sets aside
    (sent / "runs" / "broken.parquet").write_bytes(b"x") if name not in ("runs",) else None
    ablations("repair", sent)
    ablations("run", "notebook", "--out", sent, "--seeds", "1", "--no-report")
    files = {"figures/time.png": b"ours", "report.html": b"page"}
    (sent / WRITTEN_FILE).unlink(missing_ok=True)
    try:
        write_outputs(sent, files, "figures")
    except RequestError as error:
        message = str(error)
        assert "is a link" in message or "is in the way" in message
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    write_outputs(tmp_path, {"figures/time.png": b"1", "figures/old.png": b"2"}, "figures")
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    (tmp_path / "figures" / "old.svg").write_bytes(b"mine too")
    write_outputs(tmp_path, {"figures/time.png": b"3"}, "figures")
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert files == {"time.png": b"3", "mine.png": b"mine", "old.svg": b"mine too"}
    assert [*load_written(tmp_path).files] == ["figures/time.png"]
    (tmp_path / "figures" / "time.png").write_bytes(b"retouched")
    for name in ("time", "mine"):
        others = {"new.png": b"4", f"figures/{name}.png": b"4"}
        with pytest.raises(RequestError, match=rf"{name}\.png: is in the way"):
            write_outputs(tmp_path, others, "figures")
    assert not (tmp_path / "new.png").exists()
    # A picture that was written again by somebody else is no picture of an earlier report.
    write_outputs(tmp_path, {"figures/new.png": b"5"}, "figures")
    assert (tmp_path / "figures" / "time.png").read_bytes() == b"retouched"


def test_pictures_of_an_earlier_version_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "time.png").write_bytes(b"old")
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    (tmp_path / "report.html").write_text("old page")
    files = {"figures/time.png": b"new", "report.html": b"new page"}
    write_outputs(tmp_path, files, "figures")
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert (tmp_path / "figures" / "mine.png").read_bytes() == b"mine"
    assert (tmp_path / "aside" / "figures-time.png").read_bytes() == b"old"


def test_a_forged_list_reaches_nothing_outside(sent: Path) -> None:
    content = {"files": {"../outside/victim.png": ["x"], "figures/../../outside/victim.png": []}}
    seal(sent / WRITTEN_FILE, content)
    write_outputs(sent, {"figures/time.png": b"new"}, "figures")
    assert (sent.parent / "outside" / "victim.png").read_bytes() == b"holiday"


@pytest.mark.parametrize("kind", ["pipe", "device", "terminal", "folder", "sparse"])
def test_what_is_no_file_is_refused_at_once(kind: str, sent: Path) -> None:
    path = {"device": Path("/dev/zero"), "terminal": Path("/dev/tty")}.get(kind)
    path = path or sent.parent / "data.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 42)
    with pytest.raises(OSError, match=r"(?i)directory|only files|more than"):
        read_file(path)
    with pytest.raises(RequestError, match=r"data\.csv|/dev/"):
        Study(task={"name": "csv", "path": str(path), "target": "x"})
    link = sent.parent / "link.toml"
    link.symlink_to(path)
    result = ablations("run", link)
    assert result.exit_code == 2
    assert "link.toml" in result.stderr
    (sent / "metadata.json").unlink()
    (sent / "metadata.json").symlink_to(path)
    result = ablations("effects", sent)
    assert result.exit_code == 2
    assert "metadata.json: cannot be read: " in result.stderr


def test_what_unpacks_to_far_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_FREE", 2**20)
    sink = pa.BufferOutputStream()
    texts_column = pa.DictionaryArray.from_arrays(pa.array([0] * 10**5, pa.int32()), ["x" * 2**20])
    pq.write_table(pa.table({"x": texts_column}), sink)
    columns = {f"x{i}": pa.nulls(2**18, pa.int64()) for i in range(32)}
    nothing = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), nothing)
    for content in (sink.getvalue().to_pybytes(), nothing.getvalue().to_pybytes()):
        assert len(content) < 2**21
        with pytest.raises(ValueError, match="unpack to"):
            read_parquet(content)
    path = tmp_path / "data.csv"
    monkeypatch.setattr(sources, "_FREE", 2**16)
    path.write_bytes(lzma.compress(lzma.compress(b"x,y\n" + b"1,2\n" * 2**19)))
    with pytest.raises(RequestError, match="unpack to more than"):
        Study(task={"name": "csv", "path": str(path), "target": "y"})


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown", "latex"])
def test_no_text_controls_the_terminal(form: str, sent: Path) -> None:
    content = json.loads((sent / "metadata.json").read_text())
    content.pop(SEAL)
    content["question"] = {"text": f"{ESCAPES}?", "axis": "norm"}
    content["cautions"] = [ESCAPES]
    seal(sent / "metadata.json", content)
    shutil.copytree(sent, sent.parent / ESCAPES.replace("/", ""))
    (sent / "runs" / f"{ESCAPES.replace('/', '')}.parquet").write_bytes(b"x")
    folder = sent.parent / ESCAPES.replace("/", "")
    commands: list[list[str | Path]] = [
        ["effects", folder, "--format", form],
        ["effects", sent],
        ["repair", sent],
        ["merge", folder, "--out", folder / "new"],
        ["rerun", folder, "x"],
    ]
    for words in commands:
        output = ablations(*words).output
        assert output
        assert not {"\x1b", "\x07", "\u202e"} & {*output}


def test_commands_print_by_one_function() -> None:
    for path in (ROOT / "ablations" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                is_print = node.func.id in ("print", "pprint")
                assert not is_print or "printable" in ast.unparse(node), (path, node.lineno)


def test_no_text_acts_where_an_answer_is_opened() -> None:
    texts = {
        "formula": "=cmd|' /C calc'!A0",
        "spaces": "  @SUM(1)",
        "tex": r"\input{/etc/passwd}\write18{x}$^_#%&~",
        "html": "<script>alert(1)</script><!-- &lt; |",
        "link": "[x](javascript:alert(1)) ![y](http://example.org) `code`",
        "lines": "a\nb\r\nc\u2028d\x1b[31m",
    }
    table = pd.DataFrame({"axis": list(texts), "level": list(texts.values()), "=name": 1.5})
    answers = {form: write("ranking", table) for form, write in FORMATS.items()}
    rows = pd.read_csv(io.StringIO(answers["csv"]))
    assert not any(str(value)[0] in "=+-@" for value in [*rows, *rows["level"]])
    assert "\\input" not in answers["latex"]
    assert "\\write" not in answers["latex"]
    assert not re.search(r"<\S|(?<!\\)[`\[\]]", answers["markdown"])
    assert len(answers["markdown"].splitlines()) == 2 + len(texts)
    assert not any("\x1b" in text for text in answers.values())


def test_a_figure_with_any_name_is_well_formed() -> None:
    figure = matplotlib.figure.Figure()
    names = ["".join(map(chr, range(1, 32))), "\ufffe\uffff<b>&amp;$\\frac{", ESCAPES]
    axes = figure.subplots()
    axes.set_title("\n".join(names).replace("\x0c", ""))
    axes.set_xlabel(names[0])
    root = ET.fromstring(to_svg(freeze_layout(figure)))
    assert "<b>&amp;$" in "".join(root.itertext())
