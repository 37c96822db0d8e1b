"""Names, types and values of every table, on the fixed results folder.

What is computed from the folder depends on no training, so numbers agree to the last digits.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import ablations as public
from tests.golden import grids
from tests.golden.harness import FOLDER, Golden, ablations

QUESTIONS = [
    "effects", "verdicts", "simple-effects", "interactions", "aliases", "importance", "one-factor",
    "ranking", "winner", "best-set", "divergence", "tuning", "costs",
]  # fmt: skip
STORED = ["runs", "curves", "timings", "audit"]
LARGE = ("simple-effects", "interactions")
"""Answers whose JSON is too large to be committed."""
QUICK = ("importance", "winner", "tuning", "aliases", "divergence")
"""Answers that the command writes as CSV, too; what the methods return stands for the others."""
OPTIONS = {
    "metric": ("--outcome", "metric"),
    "objective": ("--outcome", "objective"),
    "tuned": ("--tune-over", "lr"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the fixed folder, in which looks can be recorded."""
    return Path(shutil.copytree(FOLDER, tmp_path_factory.mktemp("golden") / "folder"))


@pytest.fixture(scope="module")
def results(folder: Path) -> public.Results:
    return public.load(folder)


def test_names_and_types_of_columns(golden: Golden, results: public.Results) -> None:
    tables = {name: getattr(results, name) for name in STORED}
    tables |= {question: answer(results, question) for question in QUESTIONS}
    tables["tuning over lr"] = results.tuning(tune_over=["lr"])
    lines = []
    for name, table in tables.items():
        lines += [f"{name}: index {table.index.dtype}, {len(table)} rows"]
        lines += [f"  {column}: {dtype}" for column, dtype in table.dtypes.items()]
    golden("columns.txt", "\n".join(lines) + "\n")


def test_parquet_files_of_old_and_new_results(golden: Golden, tmp_path: Path) -> None:
    small = grids.NOTEBOOK | {"epochs": 1, "grid": [{"axes": grids.CPU | {"norm": ["none"]}}]}
    grids.train(small, tmp_path / "new", engine="fused")
    ablations("merge", str(FOLDER), "--out", "merged")  # how long timing takes is the machine's
    lines = []
    for name in STORED:
        old = schema(FOLDER / name)
        lines += [name, *old]
        for title, folder in (("new", tmp_path / "new"), ("merged", Path("merged"))):
            if name == "timings" and title == "new":
                continue
            other = schema(folder / name)
            assert title == "merged" or [line for line in other if line in old] == old
            lines += [f"{name}, {title}", *(line for line in other if line not in old)]
    golden("parquet.txt", "\n".join(lines) + "\n")


def schema(folder: Path) -> list[str]:
    """Columns, types and metadata of the Parquet files in a folder, which must all agree."""
    schemas = []
    for path in folder.glob("*.parquet"):
        read = pq.read_schema(path)
        keys = sorted(key.decode() for key in read.metadata or {})
        schemas.append(
            [*(f"  {field.name}: {field.type}" for field in read), f"  metadata: {keys}"]
        )
    assert schemas
    assert all(each == schemas[0] for each in schemas)
    return schemas[0]


def test_values_of_stored_tables(golden: Golden, results: public.Results) -> None:
    runs = results.runs
    sample = runs.iloc[[0, 1, len(runs) // 2, -2, -1]]
    texts = [sample.to_json(orient="records", indent=1), results.curves.head(4).to_csv(index=False)]
    order = ",".join(run_id[:4] for run_id in runs["run_id"])
    golden("stored.txt", "\n".join([*texts, f"order of runs: {order}", f"{len(runs)}", ""]))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_to_a_question_in_every_format(
    question: str, golden: Golden, folder: Path
) -> None:
    texts = (transcript(question, form, folder) for form in ("table", "markdown", "latex"))
    golden(f"{question}.txt", "\n".join(texts))
    if question not in LARGE:
        golden(f"{question}.json", transcript(question, "json", folder))
    if question in QUICK:
        golden(f"{question}.csv", transcript(question, "csv", folder))


def transcript(question: str, form: str, folder: Path) -> str:
    """What the command prints in a format; below a line that names it where it is for reading."""
    output = ablations("effects", str(folder), "--of", question, "--format", form)
    assert (output.code, output.err) == (0, "")
    return output.out if form in ("csv", "json") else f"--format {form}\n{output.out}"


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_methods_of_results_return_what_the_command_writes(
    question: str, golden: Golden, results: public.Results
) -> None:
    table = answer(results, question)
    golden(f"{question}.csv", table.to_csv(index=False))


@pytest.mark.parametrize("options", OPTIONS)
def test_answers_about_other_outcomes_and_tuned_levels(
    options: str, golden: Golden, folder: Path
) -> None:
    texts = []
    for question in ("verdicts", "importance", "winner", "tuning"):
        output = ablations("effects", str(folder), "--of", question, *OPTIONS[options])
        assert (output.code, output.err) == (0, "")
        texts.append(f"--of {question} {' '.join(OPTIONS[options])}\n{output.out}")
    golden(f"{options}.txt", "\n".join(texts))


def answer(results: public.Results, question: str) -> pd.DataFrame:
    """What the method of a question returns."""
    table = getattr(results, question.replace("-", "_"))()
    assert isinstance(table, pd.DataFrame)
    return table
