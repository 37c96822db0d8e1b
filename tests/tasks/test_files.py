"""What a table's columns become, and how its rows are split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import RequestError
from ablations.tasks.tabular.columns import MISSING, Asked, columns
from ablations.tasks.tabular.encoding import encode
from ablations.tasks.tabular.reader import Read, read
from ablations.tasks.tabular.splits import How, parts


def held(frame: pd.DataFrame) -> Read:
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Read("a table", frame, "row")


def shuffler(seed: int) -> Callable[[int, str], np.ndarray]:
    return lambda count, purpose: np.random.default_rng([seed, len(purpose)]).permutation(count)


CSV = """ name ; size ;day;flag;price
a;1,5;2024-01-01;true;1
b;2,5;2024-01-02;FALSE;2

"a;b";?;2024-01-03T12:00:00Z;true;3
a;NA;;;4
"""


def test_a_csv_file_is_read_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    found = read(str(path), "csv")
    frame = found.frame
    assert list(frame.columns) == ["name", "size", "day", "flag", "price"]
    assert list(frame.index) == [2, 3, 5, 6]  # the lines of the file
    assert frame["name"].tolist() == ["a", "b", "a;b", "a"]
    assert frame["size"].tolist()[:2] == [1.5, 2.5]
    assert frame["size"].isna().tolist() == [False, False, True, True]
    assert frame["day"].iloc[2] == pd.Timestamp("2024-01-03 12:00")
    assert frame["flag"].tolist()[:3] == [1.0, 0.0, 1.0]
    assert frame["price"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_found(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(separator.join(row) for row in (["a", "b"], ["1.5", "x"])))
    assert read(str(path), "csv").frame.iloc[0].tolist() == [1.5, "x"]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    assert read(str(path), "csv").frame["a"].tolist() == [1]
    path.write_text("a,b\n3,2\n4,2\n")
    assert read(str(path), "csv").frame["a"].tolist() == [3, 4]


def example() -> pd.DataFrame:
    rows = 40
    place = np.arange(rows)
    return pd.DataFrame(
        {
            "size": np.where(place % 10 == 3, np.nan, place * 2.0),
            "sort": [None if i % 8 == 5 else "xyz"[i % 3] for i in place],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(place, "D"),
            "planet": "Earth",
            "nothing": [None] * rows,
            "target": place / 4.0,
        }
    )


def test_numbers_categories_and_days_become_features_fitted_on_training_rows() -> None:
    found = columns(held(example()), Asked("target"))
    assert found.kind == "regression"
    assert found.inputs == 1 + 3 + 4  # size; day, and its place in the year; x, y, z, missing
    assert found.outputs == 1
    assert any("'planet', 'nothing'" in note for note in found.notes)
    assert any("'size'" in note and "median" in note for note in found.notes)
    train = np.arange(0, 40, 2)
    x = encode(found, train)
    size = example()["size"]
    filled = size.fillna(size.iloc[train].median())
    mean, deviation = filled.iloc[train].mean(), filled.iloc[train].std(ddof=0)
    assert x[:, 0] == pytest.approx((filled - mean) / deviation)
    sort = example()["sort"].fillna(MISSING)
    # Every sort is in a training row, but a missing one: those rows have odd places.
    for place, value in enumerate(["x", "y", "z"], start=4):
        assert x[:, place].tolist() == (sort == value).astype(float).tolist()
    assert found.categories[0].values[-1] == MISSING
    assert not x[:, 7].any()


def test_what_columns_are_taken_can_be_said() -> None:
    table = held(example())
    assert columns(table, Asked("target", features=("size", "sort"))).inputs == 5
    assert columns(table, Asked("target", drop=("day",))).inputs == 5
    assert columns(table, Asked("target", apart=("day",))).inputs == 5
    assert columns(table, Asked("target", features=("day",), apart=("day",))).inputs == 3


def test_rows_without_a_target_are_left_out_and_counted() -> None:
    frame = example()
    frame.loc[[4, 9], "target"] = np.nan
    found = columns(held(frame), Asked("target"))
    assert len(found.frame) == len(found.targets) == 38
    assert "2 rows without a target are left out, the first in row 5." in found.notes


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
def test_what_a_target_is_is_found(values: list[Any], kind: str, classes: tuple[str, ...]) -> None:
    frame = example().assign(target=[values[i % len(values)] for i in range(40)])
    found = columns(held(frame), Asked("target"))
    assert (found.kind, found.classes) == (kind, classes)
    if classes:
        named = [classes[code] for code in found.targets]
        assert named == [str(value) for value in frame["target"]]


def test_whole_numbers_are_classes_in_the_order_of_their_size() -> None:
    frame = example().assign(target=[[2, 10, 1][i % 3] for i in range(40)])
    found = columns(held(frame), Asked("target", kind="multiclass"))
    assert found.classes == ("1", "2", "10")


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
@given(FRAMES, st.sampled_from(["chance", "classes", "group"]), st.floats(0.1, 0.6), st.integers(0))
def test_every_seed_gets_as_many_rows_and_no_row_is_in_both_parts(
    frame: pd.DataFrame, how: str, share: float, seed: int
) -> None:
    target = "class" if how == "classes" else "x"
    features = ("group",) if target == "x" else ("x",)
    found = columns(held(frame), Asked(target, features=features))
    asked = How(validation=share, group="group" if how == "group" else "")
    largest = frame["group"].value_counts().max()
    wanted = round(len(frame) * share)
    if how == "group" and wanted - largest + 1 < max(2, wanted // 2):
        with pytest.raises(RequestError, match="largest group"):
            parts(found, asked)
        return
    planned = parts(found, asked)
    for number in (seed % 1000, seed % 1000 + 1):
        train, held_out = planned.draw(shuffler(number))
        assert (len(train), len(held_out)) == (planned.train, planned.validation)
        assert not set(train) & set(held_out)
        assert len(set(train)) == len(train)
        if how == "group":
            assert not set(frame["group"].iloc[train]) & set(frame["group"].iloc[held_out])
        else:
            assert len(train) + len(held_out) == len(frame)
        if how == "classes":
            rows = frame["class"].value_counts()
            tested = frame["class"].iloc[held_out].value_counts()
            assert ((tested - rows * share).abs() <= 1.5).all()


def test_a_rare_class_is_in_both_parts() -> None:
    frame = example().assign(target=["rare" if i < 2 else "ab"[i % 2] for i in range(40)])
    planned = parts(columns(held(frame), Asked("target")), How())
    for seed in range(20):
        train, held_out = planned.draw(shuffler(seed))
        assert sum(train < 2) == sum(held_out < 2) == 1


def test_a_split_by_time_takes_the_last_rows_and_one_by_column_what_it_says() -> None:
    frame = example().sample(frac=1, random_state=0)
    frame["part"] = np.where(frame["size"] > 50, "Test", "train")
    found = columns(held(frame), Asked("target", apart=("day", "part")))
    by_time = parts(found, How("time", "day"))
    train, held_out = by_time.draw(shuffler(0))
    assert frame["day"].iloc[train].max() < frame["day"].iloc[held_out].min()
    assert len(held_out) == 8
    by_column = parts(found, How("column", "part"))
    train, held_out = by_column.draw(shuffler(1))
    assert set(frame["part"].iloc[train]) == {"train"}
    assert set(frame["part"].iloc[held_out]) == {"Test"}
    for planned in (by_time, by_column):
        assert "the same for every seed" in planned.notes[0]


def test_one_time_is_on_one_side() -> None:
    frame = example().assign(when=[i // 13 for i in range(40)])
    planned = parts(columns(held(frame), Asked("target", apart=("when",))), How("time", "when"))
    train, held_out = planned.draw(shuffler(0))
    assert not set(frame["when"].iloc[train]) & set(frame["when"].iloc[held_out])
    assert (planned.train, planned.validation) == (26, 14)


def test_groups_of_one_lose_no_row() -> None:
    frame = example().assign(patient=range(40))
    planned = parts(columns(held(frame), Asked("target", apart=("patient",))), How(group="patient"))
    assert (planned.train, planned.validation, planned.notes) == (32, 8, ())
