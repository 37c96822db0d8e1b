"""What becomes of the columns of a table: many categories, codes, texts; several targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations import RequestError, Study
from ablations.core.random import Streams
from ablations.core.schema import TableColumn
from ablations.execution.metadata import study_metadata
from ablations.report.data_columns import MOST_COLUMNS, describe_columns
from ablations.results.metadata import load_metadata, save_metadata
from ablations.tasks.tabular.columns import TableColumns
from ablations.tasks.tabular.features import HASH_INPUTS, MISSING, OTHER
from tests.report.pages import render_undrawn
from tests.report.studies import make_metadata, make_results
from tests.tasks.test_files import classify


def with_codes(n_codes: int, n_rows: int = 600) -> pd.DataFrame:
    """A code whose value in the target is its own; the first third of the rows has code 0."""
    draw = np.random.default_rng(0)
    codes = np.where(np.arange(n_rows) < n_rows // 3, 0, np.arange(n_rows) % n_codes)
    target = draw.normal(size=n_codes)[codes]
    return pd.DataFrame(
        {"code": [f"k{c}" for c in codes], "x": draw.normal(size=n_rows), "target": target}
    )


def treatment(columns: TableColumns, name: str) -> str:
    return next(column.treatment for column in columns.columns if column.name == name)


def test_many_categories_are_patterns_that_no_row_or_target_changes() -> None:
    frame = with_codes(150)
    columns = classify(frame)
    assert columns.inputs == 1 + HASH_INPUTS
    assert "'code' has 150 categories, more than 100: each is a pattern of 64" in columns.notes[-1]
    everywhere = np.arange(len(frame))
    inputs = columns.encode(everywhere)[0][:, 1:]
    patterns = pd.DataFrame(inputs).groupby(frame["code"].to_numpy()).nunique()
    assert (patterns == 1).all(axis=None)
    assert len(np.unique(inputs, axis=0)) == 150
    assert set(np.unique(inputs)) == {-1.0, 1.0}
    assert np.abs(np.corrcoef(np.unique(inputs, axis=0))[0, 1:]).max() < 0.55
    # Other rows and other targets: the same pattern.
    other = classify(frame.iloc[200:].assign(target=1.0 * np.arange(400)))
    later = other.encode(np.arange(400))[0][:, 1:]
    np.testing.assert_array_equal(later, inputs[200:])
    # A code without training rows has no input.
    train = np.flatnonzero(frame["code"] != "k7")
    hidden = columns.encode(train)[0][:, 1:]
    assert not hidden[frame["code"] == "k7"].any()
    np.testing.assert_array_equal(hidden[train], inputs[train])


def test_rare_categories_are_taken_together_if_the_study_says_so() -> None:
    frame = with_codes(30)
    frame.loc[:1, "code"] = None
    columns = classify(frame, max_categories=5, many_categories="other")
    (category,) = columns.categories
    counts = frame["code"].value_counts()
    assert category.values[-1] == MISSING
    assert OTHER in category.values
    assert len(category.values) == 5 + 2
    rare = int(counts.sort_values(ascending=False).iloc[5:].sum())
    assert f"25 rare categories ({rare:,} rows) are taken together as other." in columns.notes[-1]
    assert "25 rare categories" in treatment(columns, "code")
    is_other = category.codes == category.values.index(OTHER)
    assert is_other.sum() == rare
    assert "k0" in category.values
    assert classify(frame, max_categories=30).inputs == 1 + 31


def test_texts_of_a_row_each_are_left_out_unless_types_say_category(tmp_path: Path) -> None:
    frame = with_codes(50).assign(name=[f"person {i}" for i in range(600)])
    columns = classify(frame)
    assert columns.inputs == 1 + 50
    assert "Left out: 'name', which has 600 different texts in 600 rows" in columns.notes[-1]
    role = {column.name: column.role for column in columns.columns}
    assert role == {"code": "feature", "x": "feature", "target": "target", "name": "left out"}
    with pytest.raises(RequestError, match=r"'name' has 600 .* types = \{ name = \"category\" \}"):
        classify(frame, features=("name",))
    frame.to_csv(tmp_path / "table.csv", index=False)
    task = {"name": "csv", "path": str(tmp_path / "table.csv"), "target": "target"}
    assert Study(task={**task, "types": {"name": "category"}}).task.inputs == 1 + 50 + HASH_INPUTS


def test_numbers_that_are_codes_become_categories_and_are_suspected(tmp_path: Path) -> None:
    frame = with_codes(150)
    frame = frame.assign(shopId=frame.pop("code").str[1:].astype(int), age=np.arange(600) % 70)
    columns = classify(frame)
    assert columns.inputs == 3
    (note,) = columns.notes
    assert note.startswith("'shopId' is read as an amount; if its 150 numbers are codes, say types")
    frame.to_csv(tmp_path / "table.csv", index=False)
    task = {"name": "csv", "path": str(tmp_path / "table.csv"), "target": "target"}
    study = Study(task={**task, "types": {"shopId": "category"}})
    assert study.task.inputs == 2 + HASH_INPUTS
    types = {column.name: column.type for column in study.task.describe_columns()}
    assert types == {
        "x": "number", "target": "number", "shopId": "category (stated)", "age": "number",
    }  # fmt: skip


def test_options_of_categories_change_the_run_only_where_they_are_not_the_default(
    tmp_path: Path,
) -> None:
    with_codes(150).to_csv(tmp_path / "table.csv", index=False)
    task = {"name": "csv", "path": str(tmp_path / "table.csv"), "target": "target"}
    plain, same, other = (
        Study(task=task | options).task
        for options in ({}, {"max_categories": 100}, {"many_categories": "other"})
    )
    assert plain.identity() == same.identity() != other.identity()
    assert "max_categories" not in plain.identity()
    data = other.splits(Streams(0))
    assert data.x_train.shape[1] == 1 + 101


def test_the_plan_and_the_report_show_the_same_columns(tmp_path: Path) -> None:
    frame = with_codes(150).assign(
        patient=np.arange(600) % 60,
        planet="Earth",
        name=[f"person {i}" for i in range(600)],
        odd=np.where(np.arange(600) % 9 == 0, np.nan, np.arange(600) % 7),
    )
    path = tmp_path / "table.csv"
    frame.to_csv(path, na_rep="?")
    task: dict[str, object] = {"name": "csv", "path": str(path), "target": "target"}
    task |= {"group": "patient", "many_categories": "other", "types": {"odd": "number"}}
    columns = Study(task=task).task.describe_columns()
    expected = {
        "unnamed": ("left out", "number", "", "names of the rows"),
        "code": ("feature", "category", "", "an indicator for each of 100 values, 50 rare"),
        "x": ("feature", "number", "", "mean 0 and standard deviation 1"),
        "target": ("target", "number", "", "regression: mean 0 and standard deviation 1"),
        "patient": ("group", "number", "", "rows of one value stay in the same split"),
        "planet": ("left out", "category", "", "never varies"),
        "name": (
            "left out",
            "category",
            "",
            "too many to be categories: 600 different texts in 600 rows",
        ),
        "odd": ("feature", "number (stated)", "? (67)", "mean 0 and standard deviation 1, missing"),
    }
    for column, (_, (role, type_, missing, treatment)) in zip(
        columns, expected.items(), strict=True
    ):
        assert (column.role, column.type, column.missing) == (role, type_, missing)
        assert column.treatment.startswith(treatment)
    lines = describe_columns(columns)
    assert lines[0] == (
        "data: 8 columns, 3 features (1 category, 2 number), 3 left out, 1 target, 1 group"
    )
    save_metadata(tmp_path, study_metadata(Study(task=task)))
    path.unlink()  # the report of a mailed folder has no data
    stored = load_metadata(tmp_path)
    assert stored is not None
    assert stored.columns == columns
    page = render_undrawn(make_results(tmp_path), make_metadata(columns=stored.columns))
    cells = [[cell.text for cell in row.values()] for row in page.rows("columns")]
    assert cells == [[c.name, c.role, c.type, c.missing, c.treatment] for c in columns]
    for line, column in zip(lines[2:], columns, strict=True):
        assert line.split()[0] in column.name
        assert line.endswith(column.treatment)


def test_a_terminal_counts_many_columns_and_escapes_their_names() -> None:
    columns = [TableColumn(f"x{i}", "feature", "number", "", "as it is") for i in range(1000)]
    columns.append(TableColumn("y\x1b[31m", "target", "number", "", "2 classes: a\x1b, b"))
    lines = describe_columns(columns)
    assert lines[0].startswith("data: 1,001 columns, 1,000 features (1,000 number), 1 target;")
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)
    assert len(describe_columns(columns[:MOST_COLUMNS])) == MOST_COLUMNS + 2
    assert describe_columns(()) == []
