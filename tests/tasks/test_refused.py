"""Files that cannot be used: one sentence names the column or line that is wrong."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations import RequestError, Study
from ablations.cli import main

ROWS = [f"{i},{i % 7}.5,{'ab'[i % 2]},{i * 1.25}" for i in range(30)]
HEADER = "id,size,sort,price"


def table(*, header: str = HEADER, **new_lines: str) -> str:
    """Return a valid table with some lines replaced: ``line5="…"``."""
    lines = [header, *ROWS]
    for name, text in new_lines.items():
        lines[int(name.removeprefix("line")) - 1] = text
    return "\n".join(lines) + "\n"


def with_column(name: str, values: Sequence[object]) -> str:
    """Return a valid table with one more column."""
    return "\n".join([f"{HEADER},{name}", *(f"{r},{v}" for r, v in zip(ROWS, values, strict=True))])


def repeat(values: str) -> list[object]:
    """Return the values in turn for thirty rows."""
    return [values[i % len(values)] for i in range(30)]


ONE = {"line2": "0,inf,a,0.0"}
NUMBERED = [f"x{i}" for i in range(150)]
LONG = "\n".join([HEADER, *(f"{i},1.5,{NUMBERED[i]},{i * 1.25}" for i in range(150))])

WRONG: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty": ("", {}, "is empty"),
    "blank": ("\n\n  \n", {}, "is empty"),
    "header alone": (HEADER + "\n", {}, "holds no rows of data"),
    "no header": ("\n".join(["1,2,3,4"] * 30), {}, "line 1 holds numbers (1, 2, 3, …)"),
    "two names": (table(header="id,size,size,price"), {}, "columns 2 and 3 are both named 'size'"),
    "no name": (table(header="id,,sort,price"), {}, "column 2 of 4 has no name"),
    "short line": (table(line5="3,3.5,b"), {}, "line 5 has 3 fields, the header 4"),
    "long line": (table(line7="5,5.5,b,6,7"), {}, "line 7 has 5 fields, the header 4"),
    "open quote": (table(line9='7,"0.5,b,1'), {}, "line 9 on"),
    "zero byte": (table(line3="1,1\0,b,1"), {}, "line 3 holds a zero byte"),
    "latin 1": (table(line4="2,1,é,1").encode("latin-1"), {}, "line 4 holds the byte 0xe9"),
    "packed": (gzip.compress(table().encode())[:-20], {}, "is compressed and cannot be unpacked"),
    "binary": (bytes(random.Random(0).randbytes(400)), {}, "not UTF-8 text"),
    "no target": (table(), {"target": "prices"}, "no column 'prices' for target; did you mean "),
    "empty target": (with_column("y", [""] * 30), {"target": "y"}, "the target 'y' has no values"),
    "text target": (
        table(line6="4,4.5,a,about 5"), {"kind": "regression"}, "also 'about 5' in line 6; "
    ),
    "constant target": (with_column("y", [3] * 30), {"target": "y"}, "'y' never varies: it is 3"),
    "infinite target": (table(line4="2,2,a,inf"), {"kind": "regression"}, "not finite in line 4"),
    "huge target": (table(line4="2,2,a,-1e300"), {"kind": "regression"}, "-1e+300 in line 4, too"),
    "infinite, which may be missing": (
        table(line4="2,1e400,a,1"), {"kind": "regression"}, '4; correct it, or say missing = ["inf'
    ),
    "no split": (
        with_column("y", ["train", "test", ""] * 10), {"split": "column", "by": "y"},
        "column 'y' has no split in line 4",
    ),
    "few whole numbers": (
        with_column("y", repeat("012")), {"target": "y"}, "'y' holds 3 different whole numbers"
    ),
    "target of days": (
        with_column("y", [f"2024-01-{i + 1:02}" for i in range(30)]), {"target": "y"},
        "the target 'y' holds dates",
    ),
    "binary of three": (
        with_column("y", repeat("abc")), {"target": "y", "kind": "binary"},
        "'y' has 3 different values, binary means two",
    ),
    "a class of one": (
        with_column("y", ["c", *repeat("ab")[1:]]), {"target": "y"},
        "class 'c' of 'y' has a single row, line 2",
    ),
    "a class a row": (table(), {"kind": "multiclass"}, "'price' has 30 different values in 30"),
    "no feature": (table(), {"features": ["sise"]}, "has no column 'sise' for features; did you"),
    "nothing to drop": (table(), {"drop": ["ids"]}, "has no column 'ids' for drop; did you mean"),
    "target as feature": (table(), {"features": ["price"]}, "'price' cannot be a feature too"),
    "almost numbers": (
        table(line8="6,about 2,a,7.5"), {}, "'size' holds numbers, but also 'about 2' in line 8"
    ),
    "almost days": (
        with_column("day", ["2024-01-01"] * 20 + ["2024-13-01"] + ["2024-01-01"] * 9), {},
        "'day' holds dates, but also '2024-13-01' in line 22",
    ),
    "decimal commas": (
        with_column("w", [f'"{i},5"' for i in range(29)] + ["n/v"]), {},
        "column 'w' holds numbers as '0,5' in line 2",
    ),
    "thousands": (
        with_column("w", [f'"{i},000.50"' for i in range(1, 31)]), {},
        "column 'w' holds numbers as '1,000.50' in line 2",
    ),
    "money": (
        with_column("w", [f"{i}.5 €" for i in range(30)]), {}, "as '0.5 €' in line 2"
    ),
    "one day": (
        with_column("d", ["2024-01-01"] * 30), {"split": "time", "by": "d"}, "'d' never varies"
    ),
    "a class of one group": (
        with_column("g", [f"g{i // 2}" for i in range(30)]).replace("b,", "a,").replace(
            "0,0.5,a", "0,0.5,c").replace("1,1.5,a", "1,1.5,c"),
        {"group": "g", "target": "sort", "drop": ["id"]}, "class 'c' is in a single group of 'g'",
    ),
    "true and false": (
        with_column("p", [True, False] * 15), {"split": "column", "by": "p"},
        "column 'p' holds '1' in line 2; expected 'train', 'validation' or 'test'",
    ),
    "two words for validation": (
        with_column("p", ["train", "val", "valid"] * 10), {"split": "column", "by": "p"},
        "column 'p' says both 'val' and 'valid'",
    ),
    "one test row": (
        with_column("p", ["train", "val"] * 14 + ["val", "test"]), {"split": "column", "by": "p"},
        "and 1 test row; each needs two",
    ),
    "two notations": (
        table(line6="4,4.5,a,5").replace(",", "\t").replace("1.5", "1,5"), {},
        "holds numbers, but also '1,5' in line 3",
    ),
    "thousands or decimals": (
        "\n".join(["x;price", *(f"{i + 1},250;{i}" for i in range(30))]), {},
        "holds numbers as '1,250' in line 2; say decimal = \",\" or thousands = \",\"",
    ),
    "too large": (table(line5="3,1e200,b,3.75"), {}, "'size' holds 1e+200 in line 5, too large"),
    "a text a row": (
        with_column("who", [f"user{i}" for i in range(30)]), {"features": ["who"]},
        'for categories say types = { who = "category" }',
    ),
    "feature and dropped": (
        table(), {"features": ["id", "size"], "drop": ["id"]}, "'id' is both in features and in dr"
    ),
    "infinite feature": (table(**ONE), {}, "'size' holds an infinite number in line 2"),
    "texts": (
        LONG, {"features": ["sort"]}, "'sort' has 150 different texts in 150 rows; for categories"
    ),
    "two kinds of targets": (
        table(), {"target": ["size", "price"], "kind": "multiclass"},
        "the targets 'size', 'price' are several, which kind = \"regression\" alone can have",
    ),
    "targets of texts": (
        table(), {"target": ["price", "sort"], "kind": "regression"}, "the target 'sort' holds 'a'"
    ),
    "a target of classes": (
        table(), {"target": ["price", "sort"]}, "the target 'sort' of 2 seems to be of classes; say"
    ),
    "a target that is a feature": (
        table(), {"target": ["size", "price"], "features": ["size", "id"]},
        "the target 'size' cannot be a feature too",
    ),
    "few rows": ("\n".join([HEADER, *ROWS[:7]]), {}, "has 7 rows with a target; at least 20"),
    "nothing varies": (
        "\n".join(["x,price", *(f"1,{i}.5" for i in range(30))]), {}, "has no feature that varies"
    ),
    "no group": (
        with_column("g", ["", *repeat("abcdef")[1:]]), {"group": "g"}, "'g' has no group in line 2"
    ),
    "one group": (with_column("g", repeat("a")), {"group": "g"}, "group of 'g' has 30 of 30 rows"),
    "text as time": (table(), {"split": "time", "by": "sort"}, "column 'sort' holds 'a' in line 2"),
    "time without column": (table(), {"split": "time"}, "need the name of a column in by"),
    "column without need": (table(), {"by": "id"}, "split = \"random\" takes no by; found 'id'"),
    "odd word": (
        with_column("part", ["train"] * 25 + ["later"] * 5), {"split": "column", "by": "part"},
        "column 'part' holds 'later' in line 27",
    ),
    "nothing to judge by": (
        with_column("part", ["train"] * 30), {"split": "column", "by": "part"},
        "30 training rows and 0 validation rows",
    ),
    "class never learnt": (
        "\n".join(
            ["part,x,y", *(f"{'train' if i < 20 else 'test'},{i},{'abc'[i // 10]}"
                           for i in range(30))]
        ),
        {"split": "column", "by": "part", "target": "y"}, "no training row has the class 'c'",
    ),
    "groups in time": (
        table(), {"split": "time", "by": "id", "group": "sort"}, "groups need a random split"
    ),
    "hardly a share": (table(), {"validation": 0.01}, "leaves a split with less than two"),
    "whole share": (table(), {"validation": 1.0}, "less than 1"),
    "odd kind": (table(), {"kind": "ordinal"}, "'regression', 'binary' or 'multiclass'"),
    "odd key": (table(), {"sep": ";"}, "task 'csv' has no parameter 'sep'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_file_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    content, options, message = WRONG[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    task = {"name": "csv", "path": str(path), "target": "price", **options}
    with pytest.raises(RequestError) as caught:
        Study(task=task)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere.csv", "No such file"), (".", "Is a directory"), ("a\0b", "embedded null")],
)
def test_an_unreadable_file_is_refused_with_the_reason(
    path: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        Study(task={"name": "csv", "path": str(tmp_path / path), "target": "y"})


def test_long_numbers_are_counted_exactly(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(with_column("shopId", [10**17 + 3 * i for i in range(30)]))
    notes = Study(task={"name": "csv", "path": str(path), "target": "price"}).task.caution
    assert "'shopId' has another number in each row" in notes


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    task = {"name": "parquet", "path": str(path), "target": "price"}
    path.write_text(table())
    with pytest.raises(RequestError, match="not a Parquet file"):
        Study(task=task)
    pd.DataFrame({"x": [[1, 2]] * 30, "price": range(30)}).to_parquet(path)
    with pytest.raises(RequestError, match="column 'x' holds lists"):
        Study(task=task)
    path.rename(tmp_path / "table.csv")
    with pytest.raises(RequestError, match="is a Parquet file; use name"):
        Study(task={**task, "name": "csv", "path": str(tmp_path / "table.csv")})


def broken_text(rows: int) -> pa.Array:
    """Bytes that a column of text may not hold, as a careless writer leaves them."""
    valid = pa.array([b"\xff\xfe", b"fine"] * (rows // 2), pa.binary())
    return pa.Array.from_buffers(pa.string(), rows, valid.buffers())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (broken_text(30), "column 'x' holds text that is not UTF-8"),
        (pa.array([b"\xff\xfe"] * 30), "column 'x' holds bytes that are no text"),
        (pa.array([b"\xff\xfe"] * 30, pa.binary(2)), "column 'x' holds bytes that are no text"),
        (pa.array([1] * 30, pa.timestamp("s", "Mars/Base")), r"timestamp\[.*\] values"),
        (pa.array([{"a": 1}] * 30), "column 'x' holds lists or tables"),
    ],
)
@pytest.mark.parametrize("target", ["price", "x"])
def test_parquet_columns_that_cannot_be_read_are_refused_by_name(
    tmp_path: Path, values: pa.Array, expected: str, target: str
) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": values, "price": pa.array(range(30))}), path)
    with pytest.raises(RequestError, match=expected) as refused:
        Study(task={"name": "parquet", "path": str(path), "target": target})
    assert "value error" not in str(refused.value)


def test_the_command_line_prints_one_line_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table.csv").write_text(table(line5="3,3.5,b"))
    study = tmp_path / "mine.toml"
    study.write_text('task = { name = "csv", path = "table.csv", target = "price" }\n')
    monkeypatch.setattr("sys.argv", ["ablations", "run", str(study)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    message = "line 5 has 3 fields, the header 4; is the separator ',', and has a text with it "
    expected = f"error: {tmp_path / 'table.csv'}: {message}quotation marks?\n"
    assert capsys.readouterr().err == expected
