"""Files that user code reads: recorded wherever they are read, and compared by the next command."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ablations
from ablations import RequestError, Study
from ablations.core.plugins import import_object
from ablations.core.recorder import recorded_inputs, recording
from ablations.execution.options import RunOptions
from ablations.execution.plan import plan_execution
from ablations.execution.progress import Silent
from ablations.results.inputs import changed_input, save_inputs, unite_inputs

NUMBER = itertools.count()


@pytest.fixture
def stem(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The first letters of the names of a test's modules."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"reader_{next(NUMBER)}_"
    yield name
    for module in [each for each in sys.modules if each.startswith(name)]:
        del sys.modules[module]


READS = {
    "open": "with open(FOLDER / 'data.json') as f: value = f.read()",
    "bytes": "value = (FOLDER / 'data.json').read_bytes()",
    "text": "value = (FOLDER / 'data.json').read_text()",
    "by descriptor": "import os; value = os.read(os.open(FOLDER / 'data.json', os.O_RDONLY), 9)",
    "json": "with (FOLDER / 'data.json').open() as f: value = __import__('json').load(f)",
    "numpy": "import numpy as np; value = np.load(FOLDER / 'data.npy')",
    "text table": "import numpy as np; value = np.loadtxt(FOLDER / 'data.txt')",
    "memory map": "import numpy as np; value = np.load(FOLDER / 'data.npy', mmap_mode='r')",
    "pandas": "import pandas as pd; value = pd.read_csv(FOLDER / 'data.csv')",
    "torch": "import torch; value = torch.load(FOLDER / 'data.pt')",
    "database": "import sqlite3; sqlite3.connect(FOLDER / 'data.db').close()",
    "a relative path": "with open('data.json') as f: value = f.read()",
    "code": "exec((FOLDER / 'data.json').read_text())",
    "lines": "import fileinput; value = list(fileinput.input(FOLDER / 'data.txt'))",
}


@pytest.mark.parametrize("at_import", [True, False])
@pytest.mark.parametrize("way", READS)
def test_a_file_counts_however_it_is_read(
    way: str, at_import: bool, stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "data.npy", np.ones(2))
    (tmp_path / "data.json").write_text("1")
    (tmp_path / "data.txt").write_text("1\n")
    (tmp_path / "data.db").write_text("")
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "data.csv")
    torch.save(torch.ones(2), tmp_path / "data.pt")
    head = "from pathlib import Path\nFOLDER = Path(__file__).parent\n"
    lines = (
        [READS[way], "def build(): pass"] if at_import else ["def build():", f"    {READS[way]}"]
    )
    (tmp_path / f"{stem}m.py").write_text(head + "\n".join(lines))
    build = import_object(f"{stem}m:build", "model", tmp_path)
    with recording():
        build()
    files = recorded_inputs([f"{stem}m"]).files
    (path,) = files
    assert Path(path).name.startswith("data.")
    (tmp_path / "out").mkdir()
    save_inputs(tmp_path / "out", files)
    assert changed_input(tmp_path / "out") is None
    Path(path).write_bytes(Path(path).read_bytes() + b" ")
    assert changed_input(tmp_path / "out") == path


def test_what_code_writes_itself_and_what_others_read_does_not_count(
    stem: str, tmp_path: Path
) -> None:
    text = "from pathlib import Path\nimport {0}h\nLOG = Path(__file__).with_name('log.txt')\n"
    text += "def build():\n    LOG.write_text('x')\n    return LOG.read_text()\n"
    (tmp_path / f"{stem}m.py").write_text(text.format(stem))
    (tmp_path / f"{stem}h.py").write_text("X = 1\n")
    (tmp_path / "other.txt").write_text("x")
    build = import_object(f"{stem}m:build", "model", tmp_path)
    with recording():
        build()
        (tmp_path / "other.txt").read_text()  # another user module reads it: this test
    assert recorded_inputs([f"{stem}m"]).files == {}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import subprocess; subprocess.run(['true'])", "the output of another program"),
        ("import os; os.system('true')", "the output of another program"),
        ("import socket; socket.getaddrinfo('127.0.0.1', 1)", "the network"),
    ],
)
def test_what_no_hash_can_include_is_named(line: str, what: str, stem: str, tmp_path: Path) -> None:
    (tmp_path / f"{stem}m.py").write_text(f"def build():\n    {line}\n")
    build = import_object(f"{stem}m:build", "model", tmp_path)
    with recording():
        build()
    (sentence,) = recorded_inputs([f"{stem}m"]).unseen
    assert sentence.startswith(f"{stem}m.py reads {what}, no part of a run's identity")


NETWORK = """
import json, os
from pathlib import Path
from torch import nn

def build(inputs, outputs, norm):
    slope = json.loads(Path(__file__).with_name("{0}slope.json").read_text())
    os.environ.get("SLOPE")
    return nn.Sequential(nn.Linear(inputs, 4), nn.LeakyReLU(slope), norm(4), nn.Linear(4, outputs))
"""


def test_a_changed_file_is_refused_and_what_is_not_seen_is_named(stem: str, tmp_path: Path) -> None:
    (tmp_path / f"{stem}net.py").write_text(NETWORK.format(stem))
    (tmp_path / f"{stem}slope.json").write_text("0.1")
    (tmp_path / "study.toml").write_text(f'task = "diabetes"\nmodel = "python:{stem}net:build"\n')
    study = Study.from_toml(tmp_path / "study.toml", seeds=2, epochs=1)
    out = tmp_path / "out"
    options = RunOptions(backend="sequential")
    plan = plan_execution(study, out, options)
    assert [Path(path).name for path in plan.inputs.files] == [f"{stem}slope.json"]
    ablations.run(study, out, backend="sequential", with_report=False, reporter=Silent())
    cautions = json.loads((out / "metadata.json").read_text())["cautions"]
    assert any("reads environment variables" in caution for caution in cautions)
    assert plan_execution(study, out, options).todo == 0
    (tmp_path / f"{stem}slope.json").write_text("0.9")
    with pytest.raises(RequestError, match=r"slope.json, which has changed since"):
        plan_execution(study, out, options)
    united = unite_inputs([out, out])
    save_inputs(tmp_path, dict.fromkeys(united, "0" * 20))
    with pytest.raises(RequestError, match="when it had another content"):
        unite_inputs([out, tmp_path])
    forced = RunOptions(backend="sequential", force=True)
    assert plan_execution(study, out, forced).todo == 2


def test_a_module_that_is_outdated_in_this_process_is_named(stem: str, tmp_path: Path) -> None:
    (tmp_path / f"{stem}net.py").write_text(NETWORK.format(stem).replace(" os.env", " #"))
    (tmp_path / f"{stem}slope.json").write_text("0.1")
    target = f"python:{stem}net:build"
    (tmp_path / "study.toml").write_text(f'task = "diabetes"\nmodel = "{target}"\n')
    study = Study.from_toml(tmp_path / "study.toml", seeds=1, epochs=1)
    options = RunOptions(backend="sequential")
    assert plan_execution(study, tmp_path / "out", options).inputs.unseen == ()
    (tmp_path / f"{stem}net.py").write_text("X = 1\n")
    (sentence,) = plan_execution(study, tmp_path / "out", options).inputs.unseen
    assert "was edited after this process imported it" in sentence
