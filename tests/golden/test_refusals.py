"""Help, exit codes, and the one message with which each wrong request ends.

Help is laid out by typer and click: the committed text is that of the versions in
``constraints.txt``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ablations as public
from tests.golden import grids
from tests.golden.harness import Golden, Output, ablations, local

COMMANDS = [
    "run", "report", "effects", "time", "compare", "rerun", "repair", "merge", "list", "env",
]  # fmt: skip

STUDIES = {
    "unknown key": 'task = "notebook"\nepoch = 3',
    "unknown key of a grid": 'task = "notebook"\n[[grid]]\naxis = {}',
    "no task": "seeds = 3",
    "unknown task": 'task = "digit"',
    "unknown model": 'task = "digits"\nmodel = "mpl"',
    "unknown optimizer": 'task = "digits"\noptimizer = "adan"',
    "unknown axis": 'task = "digits"\naxes.regulariser = ["none"]',
    "unknown level": 'task = "digits"\naxes.norm = ["none", "lyer"]',
    "level of another axis": 'task = "digits"\naxes.norm = ["dropout"]',
    "unknown parameter": 'task = "digits"\naxes.regularizer = [{name = "dropout", rate = 0.3}]',
    "parameter of the wrong type": (
        'task = "digits"\naxes.regularizer = [{name = "dropout", p = ["much"]}]'
    ),
    "parameter out of range": 'task = "digits"\naxes.regularizer = [{name = "dropout", p = [1.5]}]',
    "number as words": 'task = "digits"\naxes.lr = ["fast"]',
    "axis without levels": 'task = "digits"\naxes.norm = []',
    "axis that is no list": 'task = "digits"\naxes.norm = "layer"',
    "level twice": 'task = "digits"\naxes.norm = ["layer", {name = "layer"}]',
    "no seeds": 'task = "digits"\nseeds = 0',
    "seeds in words": 'task = "digits"\nseeds = "many"',
    "epochs of the wrong type": 'task = "digits"\nepochs = "20"',
    "rate that is not positive": 'task = "digits"\nlr = 0',
    "batch size in words": 'task = "digits"\nbatch_size = "half"',
    "batch beyond the rows": 'task = "notebook"\nbatch_size = 5000',
    "unknown precision": 'task = "digits"\ndtype = "float16"',
    "unknown device": 'task = "digits"\naxes.device = "availble"',
    "margin out of range": 'task = "digits"\nmargin = 2.0',
    "unknown source of chance": 'task = "digits"\nvary = ["splt"]',
    "seeds that change nothing": 'task = "notebook"\nvary = ["order"]',
    "tuning over no axis": 'task = "digits"\ntune_over = ["lr"]',
    "looks that shrink": 'task = "digits"\nlooks = [9, 6]',
    "exclusion of an unknown axis": 'task = "digits"\n[[exclude]]\nnrm = "batch"',
    "exclusion of no level": 'task = "digits"\n[[exclude]]\nnorm = "batch"',
    "exclusion of everything": 'task = "digits"\n[[exclude]]\nnorm = "none"',
    "published losses without a name": 'task = "digits"\n[[grid]]\npublished = [1.0]',
    "classes asked for where there are none": (
        'task = "notebook"\naxes.regularizer = ["label_smoothing"]'
    ),
    "missing module": 'task = "digits"\nmodel = "python:nowhere:build"',
    "missing file of data": 'task = {name = "csv", path = "nowhere.csv", target = "y"}',
    "name that leaves the folder": 'task = "digits"\nname = "../up"',
    "no TOML": "task = ]",
}

WORDS: list[tuple[str, ...]] = [
    (),
    ("train",),
    ("run", "nootbook"),
    ("run", "missing.toml"),
    ("run", "notebook", "digits"),
    ("run", "--nonsense"),
    ("run", "notebook", "--seeds", "0"),
    ("run", "notebook", "--seeds", "few"),
    ("run", "notebook", "--seeds", "5:2"),
    ("run", "notebook", "--axis", "norm"),
    ("run", "notebook", "--axis", "norm="),
    ("run", "notebook", "--axis", "nrm=none"),
    ("run", "notebook", "--axis", "norm=none,lyer"),
    ("run", "notebook", "--axis", "norm=[none]"),
    ("run", "notebook", "--epochs", "0"),
    ("run", "notebook", "--epochs", "ten"),
    ("run", "notebook", "--jobs", "0"),
    ("run", "notebook", "--backend", "lokky"),
    ("run", "notebook", "--backend", "dask"),
    ("run", "notebook", "--engine", "fast"),
    ("run", "notebook", "--compile", "often"),
    ("run", "notebook", "--timeout", "0"),
    ("run", "notebook", "--timeout", "5", "--backend", "threading"),
    ("run", "notebook", "--time-budget", "-1"),
    ("run", "notebook", "--budget", "soon"),
    ("run", "notebook", "--budget", "1m", "--seeds-until", "decided"),
    ("run", "notebook", "--max-seeds", "9"),
    ("run", "notebook", "--seeds-until", "decided", "--max-seeds", "2"),
    ("run", "notebook", "--seeds-until", "bored"),
    ("time", "nootbook"),
    ("time", "notebook", "--budget", "0"),
    ("time", "notebook", "--threads", "0"),
    ("list", "norms"),
    ("merge", "one", "two"),
    ("effects",),
]

FOLDERS: list[tuple[str, ...]] = [
    ("report", "nowhere"),
    ("report", "."),
    ("effects", "nowhere"),
    ("effects", "there", "--of", "everything"),
    ("effects", "there", "--format", "xml"),
    ("effects", "there", "--outcome", "speed"),
    ("effects", "there", "--outcome", "train_seconds"),
    ("effects", "there", "--tune-over", "nrm"),
    ("effects", "there", "--of", "costs", "--outcome", "metric"),
    ("effects", "untimed", "--of", "costs"),
    ("compare", "there", "nowhere"),
    ("compare", "there", "empty"),
    ("rerun", "there", "zz"),
    ("rerun", "there", ""),
    ("rerun", "nowhere", "0"),
    ("repair", "nowhere"),
    ("repair", "."),
    ("repair", "there"),
    ("merge", "there", "nowhere", "--out", "all"),
    ("merge", "there", "--out", "untimed"),
    ("merge", "there", "other", "--out", "all"),
    ("merge", "there", "alien", "--out", "all"),
    ("compare", "there", "alien"),
    ("run", "notebook", "--out", "there"),
    ("run", "rate.toml", "--out", "there"),
    ("run", "vary.toml", "--out", "there"),
    ("run", "there", "--out", "there", "--engine", "loop"),
    ("run", "there", "--out", "there", "--compile", "always"),
    ("run", "there", "--out", "."),
    ("run", "there", "--out", "rate.toml"),
    ("run", "aged", "--out", "aged"),
    ("report", "unread"),
    ("effects", "unread"),
    ("run", "there", "--out", "unread"),
    ("effects", "rebuilt"),
    ("effects", "cut"),
    ("repair", "cut"),
    ("repair", "cut"),
    ("run", "there", "--out", "unsettled"),
    ("repair", "unsettled"),
]


def test_the_help_of_every_command(golden: Golden) -> None:
    output = [ablations("--help"), *(ablations(name, "--help") for name in COMMANDS)]
    assert all(each.code == 0 for each in output)
    golden("help.txt", transcript(output))


def test_python_m_ablations_is_the_same_command() -> None:
    words = [sys.executable, "-m", "ablations", "effects"]
    output = subprocess.run(words, capture_output=True, text=True, check=False)
    here = ablations("effects")
    assert (output.returncode, output.stdout, output.stderr) == (here.code, here.out, here.err)


def test_wrong_studies(golden: Golden) -> None:
    texts = []
    for case, text in STUDIES.items():
        Path("mine.toml").write_text(text, encoding="utf-8")
        output = ablations("run", "mine.toml")
        assert output.code == 2, output
        texts.append(f"{case}\n{local(output.err)}")
    assert [path.name for path in Path().iterdir()] == ["mine.toml"]
    golden("refused-studies.txt", "\n".join(texts))


def test_wrong_words(golden: Golden) -> None:
    output = [ablations(*words) for words in WORDS]
    assert all(each.code == 2 for each in output)
    paths = sorted(path.name for path in Path().iterdir())
    golden("refused-words.txt", f"{transcript(output)}\nwritten: {', '.join(paths)}\n")


def test_wrong_folders(golden: Golden, there: Path) -> None:
    make_folders(there)
    golden("refused-folders.txt", transcript([ablations(*words) for words in FOLDERS]))


def make_folders(there: Path) -> None:
    """Make copies of the results folder that each have one fault, and studies that differ."""
    here = json.loads(ablations("env").out)
    environments = add_environment(there, here)
    for name in ("untimed", "other", "aged", "unread", "rebuilt", "cut", "unsettled"):
        shutil.copytree(there, name)
    Path("empty").mkdir()
    text = (there / "study.toml").read_text(encoding="utf-8")
    Path("rate.toml").write_text(text.replace("epochs = 3", "epochs = 9"), encoding="utf-8")
    Path("vary.toml").write_text(f'vary = ["init"]\n{text}', encoding="utf-8")
    other = text.replace('"friedman1"', '"diabetes"')
    Path("other/study.toml").write_text(other, encoding="utf-8")
    Path("unread/study.toml").write_text(f"{text}\n[", encoding="utf-8")
    shutil.rmtree("untimed/timings")
    (Path("aged") / "environment.json").write_text("{}\n", encoding="utf-8")
    older = here["packages"] | {"ablations": "0.0.1", "numpy": "1.0"}
    add_environment(Path("aged"), here | {"packages": older})
    environments[next(iter(environments))]["cores"] = 1000
    Path("rebuilt/environment.json").write_text(json.dumps(environments), encoding="utf-8")
    grids.train({"task": "diabetes", "epochs": 1, "seeds": 1}, Path("alien"), engine="loop")
    (shard,) = Path("cut/curves").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1])
    Path("unsettled/engine.json").write_text('{"engine": "fused", "compiled": true}')


def add_environment(folder: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Write into ``folder`` that some of its runs were trained there; all environments of it."""
    path = folder / "environment.json"
    digest = hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=6)
    environments = json.loads(path.read_text(encoding="utf-8")) | {digest.hexdigest(): description}
    path.write_text(json.dumps(environments, indent=2) + "\n", encoding="utf-8")
    return dict(environments)


def test_wrong_words_in_python(golden: Golden, there: Path) -> None:
    results = public.load(there)
    calls: dict[str, Callable[[], object]] = {
        "Study()": lambda: public.Study(),
        "Study(axes=3)": lambda: public.Study(task="notebook", axes=3),
        "Study(axes={'norm': [3]})": lambda: public.Study(task="notebook", axes={"norm": [3]}),
        "Study.find('nootbook')": lambda: public.Study.find("nootbook"),
        "study.with_axis('nrm', [])": lambda: public.Study(task="notebook").with_axis("nrm", []),
        "load('nowhere')": lambda: public.load("nowhere"),
        "effects('speed')": lambda: results.effects("speed"),
        "effects(margins=1)": lambda: results.effects(margins=1),
        "verdicts(tune_over='lr')": lambda: results.verdicts(tune_over="lr"),
        "verdicts(tune_over=every axis)": lambda: results.verdicts(
            tune_over=["lr", "norm", "regularizer", "device"]
        ),
        "one_factor(full={'nrm': 'none'})": lambda: results.one_factor(full={"nrm": "none"}),
        "one_factor(full={'norm': 'rms'})": lambda: results.one_factor(full={"norm": "rms"}),
        "ranking(best=0)": lambda: results.ranking(best=0),
        "costs('metric')": lambda: results.costs("metric"),
    }
    lines = []
    for name, call in calls.items():
        try:
            lines.append(f"{name}: {type(call()).__name__}")
        except public.RequestError as error:
            lines.append(f"{name}: {error}")
    golden("refused-python.txt", "\n".join(lines) + "\n")


def transcript(output: list[Output]) -> str:
    """What each of several commands printed, the versions of this place replaced."""
    text = "\n".join(each.transcript() for each in output)
    return re.sub(r"(there and) [^\s,;]+( here)", r"\1 VERSION\2", local(text))
