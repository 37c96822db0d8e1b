"""How files are opened, parsed, typed and copied."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import decimal
import io
import os
from pathlib import Path
from typing import Any, Literal

import hypothesis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ablations import RequestError, Study
from ablations.core.files import cache_folder
from ablations.tasks.tabular.cache import MIN_CELLS
from ablations.tasks.tabular.fields import Numbers, parse_fields
from ablations.tasks.tabular.options import ReadingOptions
from ablations.tasks.tabular.reader import TableFile, content_hash, read_table


def read(path: Path, format_: Literal["csv", "parquet"] = "csv", **keys: Any) -> TableFile:
    """Read a file as a task with these keys does."""
    options = TypeAdapter(ReadingOptions).validate_python(keys)
    read_table.cache_clear()
    return read_table(str(path), format_, content_hash(str(path)), options)


FIELDS = st.sampled_from(["1", "-2.5", "a", "", " b ", '"q"', '""', '"a,b"', '"l\nm"', '"x ""y"""',
                          'x"y', '"', '"x"y', " ", "\r"])  # fmt: skip
LINES = st.lists(FIELDS, min_size=0, max_size=3).map(",".join)


@settings(max_examples=400, deadline=None)
@hypothesis.given(st.lists(LINES, min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_the_fast_parser_agrees_with_the_exact_one(lines: list[str], ending: str) -> None:
    text = ending.join(lines)
    rows = parse_fields(memoryview(text.encode()), ",", 1, [True, True])
    if rows is None:
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    expected, start = dict[int, list[str]](), 1
    for record in reader:
        if record:
            expected[start] = record
        start = reader.line_num + 1
    assert list(rows.index) == list(expected)
    if not expected:
        return
    for column, fields in zip(rows.columns, zip(*expected.values(), strict=True), strict=True):
        if isinstance(column, Numbers):
            assert [f"{v:g}" for v in column.values] == [f"{float(f or 'nan'):g}" for f in fields]
        else:
            assert [(v or "").strip() for v in column.to_pylist()] == [f.strip() for f in fields]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path, message in (
        (pipe, "is a pipe"),
        (tmp_path, "Is a directory"),
        ("/dev/null", "a dev"),
    ):
        with pytest.raises(RequestError, match=message):
            content_hash(str(path))


ROWS = [("700000000000000001", 1), (None, 2), ("700000000000000002", 2)]


def test_a_parquet_file_keeps_its_types_unless_the_study_states_others(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    day = datetime.date(2024, 1, 31)
    table = pa.table(
        {
            "owner": pa.array([700000000000000001, None, 700000000000000002], pa.int64()),
            "huge": pa.array([2**64 - 1, 1, None], pa.uint64()),
            "price": pa.array([decimal.Decimal("1.5"), None, decimal.Decimal("2.25")]),
            "id": pa.array([decimal.Decimal(10**30), decimal.Decimal(10**30 + 1), None]),
            "day": pa.array([day, None, day], pa.date32()),
            "wait": pa.array([datetime.timedelta(seconds=90), None, datetime.timedelta(0)]),
            "clock": pa.array([datetime.time(1), datetime.time(0, 1), None], pa.time64("us")),
            "land": pa.array(["NA", None, "unknown"]),
            "shop": pa.array([7, 8, -999], pa.int64()),
            "zip": pa.array(["01234", "1234", "-999"]).dictionary_encode(),
            "text": pa.array(["182 lb", "75 lb", None]),
            "when": pa.array(["31.01.2024", None, "01.02.2024"]),
        }
    )
    pq.write_table(table, path)
    keys = {"types": {"text": "number", "when": "date"}, "date_format": "%d.%m.%Y"}
    frame = read(path, "parquet", missing=["-999", "unknown"], **keys).frame

    def values(name: str) -> list[object]:
        return [None if pd.isna(value) else value for value in frame[name].tolist()]

    assert values("owner") == [700000000000000001, None, 700000000000000002]
    assert values("huge") == [2**64 - 1, 1, None]
    assert values("price") == [1.5, None, 2.25]
    assert values("id") == [str(10**30), str(10**30 + 1), None]
    assert values("day") == [pd.Timestamp(day), None, pd.Timestamp(day)]
    assert values("wait") == [90, None, 0]
    assert values("clock") == [3600, 60, None]
    assert values("land") == ["NA", None, None]
    assert values("shop") == [7, 8, None]
    assert values("zip") == ["01234", "1234", None]
    assert values("text") == [182, 75, None]
    stated = read(path, "parquet", types={"shop": "category", "price": "text", "owner": "category"})
    assert stated.frame["shop"].tolist() == ["7", "8", "-999"]
    assert stated.frame["price"].dropna().tolist() == ["1.50", "2.25"]
    assert stated.frame["owner"].iloc[0] == "700000000000000001"
    with pytest.raises(RequestError, match="'unknown' in row 3, no number"):
        read(path, "parquet", types={"land": "number"})
    with pytest.raises(RequestError, match="separator: belongs to text"):
        read(path, "parquet", separator=";")


def test_a_parquet_column_that_cannot_be_used_is_refused_where_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    columns: dict[str, list[object]] = {
        "lists": [[1], [2], [3]],
        "bytes": [b"\xff", b"\xfe", b"x"],
        "numbers": ["0.5", "1.5", None],
        "more": ["0.5", "1.5", "2"],
        "commas": ["0,5", "1,5", "2"],
        "days": ["2024-01-31", "2024-02-01", "2024-02-02"],
        "zip": ["01", "02", "03"],
    }
    pq.write_table(pa.table(columns), path)
    table = read(path, "parquet")
    problems = {
        "lists": "holds lists",
        "bytes": "holds bytes",
        "more": "'0.5' in row 1; say types = { more = \"number\" }, or types",
        "commas": 'say types = { commas = "number" } and decimal = ","',
        "days": 'say types = { days = "date" }, or types',
    }
    for name in columns:
        problem = table.reading(name).problem
        assert problems[name] in problem if name in problems else not problem
    keys: dict[str, Any] = {"types": {"commas": "number"}, "decimal": ","}
    assert read(path, "parquet", **keys).frame["commas"].tolist() == [0.5, 1.5, 2]


def test_periods_are_dates(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    months = pd.period_range("2024-01", periods=3, freq="M")
    pd.DataFrame({"month": months}).to_parquet(path)
    assert read(path, "parquet").frame["month"].tolist() == months.to_timestamp().tolist()


def test_the_index_of_a_parquet_file_is_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, 2.5], "owner": [3, 4]})
    for i, table in enumerate((frame, frame.set_index("owner"), frame.set_axis([7, 5]))):
        path = tmp_path / f"{i}.parquet"
        table.to_parquet(path)
        features = read(path, "parquet").default_features()
        assert features == (["x"] if i == 1 else ["x", "owner"])
    assert read(tmp_path / "1.parquet", "parquet").frame["owner"].tolist() == [3, 4]
    assert "'Unnamed: 0', the names of the rows" in read(tmp_path / "2.parquet", "parquet").notes[0]


def test_a_large_table_has_a_copy_that_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = MIN_CELLS // 5
    frame = pd.DataFrame(
        {
            "x": np.arange(rows) / 4,
            "owner": [20000000000000000 + i // 2 if i % 10 else None for i in range(rows)],
            "word": ["NA" if i % 3 else None for i in range(rows)],
            "day": pd.Timestamp("2024-01-01"),
            "zip": [f"{i % 100:03}" for i in range(rows)],
        }
    ).astype({"owner": "Int64"})
    path = tmp_path / "table.csv"
    frame.to_csv(path)
    first = read(path)
    copies = list(cache_folder("tables").iterdir())
    assert len(copies) == 1
    second = read(path)
    pd.testing.assert_frame_equal(first.frame, second.frame)
    assert dataclasses.replace(first, frame=None) == dataclasses.replace(second, frame=None)
    assert first.frame["owner"].dtype == "Int64"
    assert first.default_features() == list(frame.columns)
    read(path, types={"zip": "number"})
    assert len(list(cache_folder("tables").iterdir())) == 2
    copies[0].write_bytes(copies[0].read_bytes()[:-1000] + bytes(1000))
    pd.testing.assert_frame_equal(first.frame, read(path).frame)
    copies[0].write_bytes(b"")
    pd.testing.assert_frame_equal(first.frame, read(path).frame)


def test_a_cache_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "1.5,2\n" * (MIN_CELLS // 2))
    assert len(read(path).frame) == MIN_CELLS // 2


def write_table(path: Path, owners: list[str]) -> Path:
    lines = [f"{i % 7}.5,{owner},{i / 4}" for i, owner in enumerate(owners)]
    path.write_text("\n".join(["size,owner,price", *lines]) + "\n")
    return path


def test_reading_is_a_part_of_identity_where_it_is_stated(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.csv", [f"{i % 3:02}" for i in range(40)])

    def study(**keys: Any) -> Study:
        return Study(task={"name": "csv", "path": str(path), "target": "price", **keys})

    plain, stated = study(), study(types={"owner": "number"})
    identities = [s.task.identity() for s in (plain, stated)]
    assert "types" not in identities[0]
    assert identities[1]["types"] == (("owner", "number"),)
    stored = tmp_path / "study.toml"
    stored.write_text(stated.to_toml())
    assert Study.from_toml(stored).task == stated.task


def task(path: Path, target: str, **keys: Any) -> Any:
    return Study(task={"name": "csv", "path": str(path), "target": target, **keys}).task


def test_what_an_earlier_version_merged_has_a_new_identity(tmp_path: Path) -> None:
    codes = write_table(tmp_path / "codes.csv", [f"{i % 3:02}" for i in range(40)])
    numbers = write_table(tmp_path / "numbers.csv", [f"{i % 3}" for i in range(40)])
    long = write_table(tmp_path / "long.csv", [str(10**17 + i // 2) for i in range(40)])
    lands = write_table(tmp_path / "lands.csv", [("NA", "US")[i % 2] for i in range(40)])
    for path, keys, is_rekeyed in (
        (codes, {}, True), (codes, {"drop": ["owner"]}, False), (numbers, {}, False),
        (long, {"group": "owner"}, True), (long, {}, False), (lands, {}, True),
    ):  # fmt: skip
        assert ("reading" in task(path, "price", **keys).identity()) == is_rekeyed


def test_na_is_a_class_and_a_category_beside_missing_entries(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    for quote in ("", '"'):
        words = [[f"{quote}{w}{quote}" if w else "" for w in ("NA", "EU", v)] for v in ("AS", "")]
        rows = [f"{i % 7}.5,{words[0][i % 3]},{words[1][i // 3 % 3]}" for i in range(210)]
        path.write_text("\n".join(["rain,continent,country", *rows]) + "\n")
        places = task(path, "continent")
        assert (places.outputs, places.inputs, places.rows) == (3, 4, 126)
        assert places.class_labels == ("AS", "EU", "NA")
    path.write_text(
        "\n".join(["rain,sex", *(f"{i}.5,{['male', 'NA', 'female'][i % 3]}" for i in range(60))])
    )
    assert task(path, "sex").class_labels == ("female", "male")
    notes = " ".join(task(path, "rain", kind="regression").notes)
    assert "Taken as missing: 'NA' in 'sex' (20 rows)." in notes


@pytest.mark.parametrize("digits", [17, 18, 19, 20, 25])
def test_long_numbers_stay_different_groups_and_classes(digits: int, tmp_path: Path) -> None:
    owners = [str(10 ** (digits - 1) + i // 5) for i in range(800)]
    path = write_table(tmp_path / "table.csv", owners)
    table = read(path)
    assert table.frame["owner"].nunique() == 160
    assert table.frame["owner"].astype(str).tolist() == owners
    notes = task(path, "price", group="owner").notes
    assert "leaves out up to 4 rows" in notes[-1]
