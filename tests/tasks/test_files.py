"""Tables: how columns become features, and how rows are split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from ablations import RequestError
from ablations.tasks.tabular.columns import TableColumns, classify_columns
from ablations.tasks.tabular.features import MISSING
from ablations.tasks.tabular.options import TableOptions
from ablations.tasks.tabular.reader import TableFile, content_hash, read_table
from ablations.tasks.tabular.splits import plan_split


def to_table(frame: pd.DataFrame) -> TableFile:
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return TableFile("a table", frame, "row")


def read_csv(path: Path) -> TableFile:
    return read_table(str(path), "csv", content_hash(str(path)))


def classify(frame: pd.DataFrame, target: str = "target", **options: Any) -> TableColumns:
    return classify_columns(to_table(frame), TableOptions("a table", target, **options))


def shuffler(seed: int) -> Callable[[int, str], np.ndarray]:
    return lambda count, purpose: np.random.default_rng([seed, len(purpose)]).permutation(count)


CSV = """ name ; size ;day;flag;price
a;1,5;2024-01-01;true;1
b;2,5;2024-01-02;FALSE;2

"a;b";?;2024-01-03T12:00:00Z;true;3
a;NA;;;4
"""


def test_a_csv_file_may_have_semicolons_decimal_commas_and_gaps(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    table = read_csv(path)
    frame = table.frame
    assert list(frame.columns) == ["name", "size", "day", "flag", "price"]
    assert list(frame.index) == [2, 3, 5, 6]  # the lines of the file
    assert frame["name"].tolist() == ["a", "b", "a;b", "a"]
    assert frame["size"].tolist()[:2] == [1.5, 2.5]
    assert frame["size"].isna().tolist() == [False, False, True, True]
    assert frame["day"].iloc[2] == pd.Timestamp("2024-01-03 12:00")
    assert frame["flag"].tolist()[:3] == [1.0, 0.0, 1.0]
    assert frame["price"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_detected(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(separator.join(row) for row in (["a", "b"], ["1.5", "x"])))
    assert read_csv(path).frame.iloc[0].tolist() == [1.5, "x"]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    assert read_csv(path).frame["a"].tolist() == [1]
    path.write_text("a,b\n3,2\n4,2\n")
    assert read_csv(path).frame["a"].tolist() == [3, 4]


def example() -> pd.DataFrame:
    rows = 40
    index = np.arange(rows)
    return pd.DataFrame(
        {
            "size": np.where(index % 10 == 3, np.nan, index * 2.0),
            "sort": [None if i % 8 == 5 else "xyz"[i % 3] for i in index],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(index, "D"),
            "planet": "Earth",
            "nothing": [None] * rows,
            "target": index / 4.0,
        }
    )


def test_numbers_categories_and_days_become_features_fitted_on_training_rows() -> None:
    columns = classify(example())
    assert columns.kind == "regression"
    assert columns.inputs == 1 + 3 + 4  # size; day, and the time of the year; x, y, z, missing
    assert columns.outputs == 1
    assert any("'planet', 'nothing'" in note for note in columns.notes)
    assert any("'size'" in note and "median" in note for note in columns.notes)
    train = np.arange(0, 40, 2)
    x, _ = columns.encode(train)
    size = example()["size"]
    filled = size.fillna(size.iloc[train].median())
    mean, deviation = filled.iloc[train].mean(), filled.iloc[train].std(ddof=0)
    assert x[:, 0] == pytest.approx((filled - mean) / deviation)
    sort = example()["sort"].fillna(MISSING)
    # Every sort is in a training row, except the missing one: those rows have odd indices.
    for feature, value in enumerate(["x", "y", "z"], start=4):
        assert x[:, feature].tolist() == (sort == value).astype(float).tolist()
    assert columns.categories[0].values[-1] == MISSING
    assert not x[:, 7].any()


def test_features_can_be_selected_and_dropped() -> None:
    assert classify(example(), features=("size", "sort")).inputs == 5
    assert classify(example(), drop=("day",)).inputs == 5
    assert classify(example(), by="day").inputs == 5
    assert classify(example(), features=("day",), by="day").inputs == 3


def test_rows_without_a_target_are_left_out_and_counted() -> None:
    frame = example()
    frame.loc[[4, 9], "target"] = np.nan
    columns = classify(frame)
    assert len(columns.table.frame) == len(columns.targets) == 38
    assert "2 rows without a target are left out, the first in row 5." in columns.notes


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["no", "yes"], "binary", ("no", "yes")),
        ([0, 1], "binary", ("0", "1")),
        ([True, False], "binary", ("False", "True")),
        (["b", "a", "c"], "multiclass", ("a", "b", "c")),
        ([0.5, 1.5, 2.5], "regression", ()),
        (list(range(40)), "regression", ()),
    ],
)
def test_the_kind_of_target_is_inferred(
    values: list[Any], kind: str, classes: tuple[str, ...]
) -> None:
    frame = example().assign(target=[values[i % len(values)] for i in range(40)])
    columns = classify(frame)
    assert (columns.kind, columns.classes) == (kind, classes)
    if classes:
        labels = [classes[code] for code in columns.targets]
        assert labels == [str(value) for value in frame["target"]]


def test_whole_numbers_are_classes_in_the_order_of_their_size() -> None:
    frame = example().assign(target=[[2, 10, 1][i % 3] for i in range(40)])
    columns = classify(frame, kind="multiclass")
    assert columns.classes == ("1", "2", "10")


FRAMES = st.builds(
    lambda rows, classes, groups, seed: pd.DataFrame(
        {
            "x": np.random.default_rng(seed).normal(size=rows),
            "group": np.random.default_rng(seed).integers(0, groups, rows),
            "class": [f"c{i % classes}" for i in range(rows)],
        }
    ),
    st.integers(20, 200), st.integers(2, 5), st.integers(10, 60), st.integers(0, 2**31),
)  # fmt: skip


@settings(max_examples=60)
@hypothesis.given(
    FRAMES,
    st.sampled_from(["random", "classes", "group"]),
    st.floats(0.1, 0.4),
    st.sampled_from([0.0, 0.2]),
    st.integers(0),
)
def test_every_seed_has_splits_of_one_size_without_common_rows(
    frame: pd.DataFrame, method: str, share: float, test: float, seed: int
) -> None:
    target = "class" if method == "classes" else "x"
    features = ("group",) if target == "x" else ("x",)
    columns = classify(frame, target, features=features)
    group = "group" if method == "group" else ""
    options = TableOptions("a table", target, validation=share, group=group, test=test)
    largest = frame["group"].value_counts().max()
    sizes = [round(len(frame) * s) for s in (share, test) if s]
    if method == "group" and any(n - largest + 1 < max(2, n // 2) for n in sizes):
        with pytest.raises(RequestError, match="largest group"):
            plan_split(columns, options)
        return
    plan = plan_split(columns, options)
    assert (plan.n_test > 0) == (test > 0)
    for number in (seed % 1000, seed % 1000 + 1):
        splits = plan.draw(shuffler(number))
        assert tuple(map(len, splits)) == (plan.n_train, plan.n_validation, plan.n_test)
        rows = np.concatenate(splits)
        assert len(set(rows)) == len(rows)
        if method == "group":
            groups = [set(frame["group"].iloc[split]) for split in splits]
            assert not groups[0] & groups[1]
            assert not groups[2] & (groups[0] | groups[1])
        else:
            assert len(rows) == len(frame)
        if method == "classes":
            counts = frame["class"].value_counts()
            for split, fraction in zip(splits[1:], (share, test), strict=True):
                in_split = frame["class"].iloc[split].value_counts().reindex(counts.index)
                assert ((in_split.fillna(0) - counts * fraction).abs() <= 2).all()


def test_test_rows_come_out_of_the_training_rows() -> None:
    columns = classify(example())
    two, three = (plan_split(columns, TableOptions("", "target", test=t)) for t in (0.0, 0.3))
    splits, others = (plan.draw(shuffler(5)) for plan in (two, three))
    np.testing.assert_array_equal(splits[1], others[1])
    assert set(splits[0]) == set(others[0]) | set(others[2])
    assert (three.n_train, three.n_validation, three.n_test) == (20, 8, 12)


def test_a_split_by_time_or_column_may_have_test_rows() -> None:
    frame = example().sample(frac=1, random_state=0)
    rank = frame["day"].rank().to_numpy()
    frame["part"] = np.select([rank > 30, rank > 20], ["test", "Val"], "Train")
    columns = classify(frame, by="day", group="part")
    by_time = TableOptions("a table", "target", split="time", by="day", test=0.25)
    by_column = TableOptions("a table", "target", split="column", by="part")
    train, validation, test = plan_split(columns, by_time).draw(shuffler(0))
    days = frame["day"].to_numpy()
    assert days[train].max() < days[validation].min()
    assert days[validation].max() < days[test].min()
    assert (len(train), len(validation), len(test)) == (22, 8, 10)
    splits = plan_split(columns, by_column).draw(shuffler(0))
    parts = [set(frame["part"].iloc[split]) for split in splits]
    assert parts == [{"Train"}, {"Val"}, {"test"}]


def test_a_rare_class_is_in_both_splits() -> None:
    frame = example().assign(target=["rare" if i < 2 else "ab"[i % 2] for i in range(40)])
    plan = plan_split(classify(frame), TableOptions("a table", "target"))
    for seed in range(20):
        train, validation, _ = plan.draw(shuffler(seed))
        assert sum(train < 2) == sum(validation < 2) == 1


def test_splits_by_time_and_by_column_are_the_same_for_every_seed() -> None:
    frame = example().sample(frac=1, random_state=0)
    frame["part"] = np.where(frame["size"] > 50, "Test", "train")
    columns = classify(frame, by="day", group="part")
    by_time = plan_split(columns, TableOptions("a table", "target", split="time", by="day"))
    train, validation, _ = by_time.draw(shuffler(0))
    assert frame["day"].iloc[train].max() < frame["day"].iloc[validation].min()
    assert len(validation) == 8
    by_column = plan_split(columns, TableOptions("a table", "target", split="column", by="part"))
    train, validation, _ = by_column.draw(shuffler(1))
    assert set(frame["part"].iloc[train]) == {"train"}
    assert set(frame["part"].iloc[validation]) == {"Test"}
    for plan in (by_time, by_column):
        assert "the same for every seed" in plan.notes[0]


def test_rows_of_one_time_are_in_one_split() -> None:
    frame = example().assign(when=[i // 13 for i in range(40)])
    plan = plan_split(
        classify(frame, by="when"),
        TableOptions("a table", "target", split="time", by="when"),
    )
    train, validation, _ = plan.draw(shuffler(0))
    assert not set(frame["when"].iloc[train]) & set(frame["when"].iloc[validation])
    assert (plan.n_train, plan.n_validation) == (26, 14)


def test_groups_of_one_row_omit_no_row() -> None:
    frame = example().assign(patient=range(40))
    plan = plan_split(
        classify(frame, group="patient"),
        TableOptions("a table", "target", group="patient"),
    )
    assert (plan.n_train, plan.n_validation, plan.notes) == (32, 8, ())
