"""Names, types and values of every table, on the fixed results folder.

What is computed from the folder depends on no training, so numbers agree to the last digits.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import ablations as public
from tests.golden import grids
from tests.golden.frozen import FOLDER, Frozen, ablations

QUESTIONS = [
    "effects", "verdicts", "simple-effects", "interactions", "aliases", "importance", "one-factor",
    "ranking", "winner", "divergence", "tuning", "costs",
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
def results() -> public.Results:
    return public.load(FOLDER)


def test_names_and_types_of_columns(frozen: Frozen, results: public.Results) -> None:
    tables = {name: getattr(results, name) for name in STORED}
    tables |= {question: answer(results, question) for question in QUESTIONS}
    tables["tuning over lr"] = results.tuning(tune_over=["lr"])
    lines = []
    for name, table in tables.items():
        lines += [f"{name}: index {table.index.dtype}, {len(table)} rows"]
        lines += [f"  {column}: {dtype}" for column, dtype in table.dtypes.items()]
    frozen("columns.txt", "\n".join(lines) + "\n")


def test_parquet_files_of_old_and_new_results(frozen: Frozen, tmp_path: Path) -> None:
    small = grids.NOTEBOOK | {"epochs": 1, "grid": [{"axes": grids.CPU | {"norm": ["none"]}}]}
    grids.train(small, tmp_path / "new", engine="fused", time_budget=1)
    lines = []
    for name in STORED:
        new, old = (schema(folder / name) for folder in (tmp_path / "new", FOLDER))
        assert new == old
        lines += [name, *new]
    frozen("parquet.txt", "\n".join(lines) + "\n")


def schema(folder: Path) -> list[str]:
    """Columns, types and metadata of the Parquet files in a folder, which must all agree."""
    found = []
    for path in folder.glob("*.parquet"):
        read = pq.read_schema(path)
        keys = sorted(key.decode() for key in read.metadata or {})
        found.append([*(f"  {field.name}: {field.type}" for field in read), f"  metadata: {keys}"])
    assert found
    assert all(one == found[0] for one in found)
    return found[0]


def test_values_of_stored_tables(frozen: Frozen, results: public.Results) -> None:
    runs = results.runs
    shown = runs.iloc[[0, 1, len(runs) // 2, -2, -1]]
    texts = [shown.to_json(orient="records", indent=1), results.curves.head(4).to_csv(index=False)]
    order = ",".join(run_id[:4] for run_id in runs["run_id"])
    frozen("stored.txt", "\n".join([*texts, f"order of runs: {order}", f"{len(runs)}", ""]))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_to_a_question_in_every_format(question: str, frozen: Frozen) -> None:
    rounded = (told(question, form) for form in ("table", "markdown", "latex"))
    frozen(f"{question}.txt", "\n".join(rounded))
    if question not in LARGE:
        frozen(f"{question}.json", told(question, "json"))
    if question in QUICK:
        frozen(f"{question}.csv", told(question, "csv"))


def told(question: str, form: str) -> str:
    """What the command prints in a format; below a line that names it where it is for reading."""
    done = ablations("effects", str(FOLDER), "--of", question, "--format", form)
    assert (done.code, done.err) == (0, "")
    return done.out if form in ("csv", "json") else f"--format {form}\n{done.out}"


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_methods_of_results_return_what_the_command_writes(
    question: str, frozen: Frozen, results: public.Results
) -> None:
    table = answer(results, question)
    frozen(f"{question}.csv", table.to_csv(index=False))


@pytest.mark.parametrize("options", OPTIONS)
def test_answers_about_other_outcomes_and_tuned_levels(options: str, frozen: Frozen) -> None:
    texts = []
    for question in ("verdicts", "importance", "winner", "tuning"):
        done = ablations("effects", str(FOLDER), "--of", question, *OPTIONS[options])
        assert (done.code, done.err) == (0, "")
        texts.append(f"--of {question} {' '.join(OPTIONS[options])}\n{done.out}")
    frozen(f"{options}.txt", "\n".join(texts))


def answer(results: public.Results, question: str) -> pd.DataFrame:
    """What the method of a question returns."""
    table = getattr(results, question.replace("-", "_"))()
    assert isinstance(table, pd.DataFrame)
    return table
