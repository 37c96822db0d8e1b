"""Tables as people have them: read right, or refused with line, column and the key that helps."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from ablations import RequestError
from ablations.core.files import digest
from ablations.tasks.tabular.options import ReadingOptions
from ablations.tasks.tabular.reader import TableFile, content_hash, read_table

NA = None
"""A missing value."""
Keys = dict[str, Any]


def read(path: Path, format_: Literal["csv", "parquet"] = "csv", **keys: Any) -> TableFile:
    """Read a file as a task with these keys does."""
    options = TypeAdapter(ReadingOptions).validate_python(keys)
    return read_table(str(path), format_, content_hash(str(path)), options)


def values(column: pd.Series) -> list[object]:
    """Return a column as plain values, dates as texts."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%d %H:%M").str.removesuffix(" 00:00")
    return [NA if pd.isna(value) else value for value in column.tolist()]


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def numbered(*fields: str, others: int = 0) -> str:
    """Return a table of one column ``a`` with these fields, then so many numbers."""
    rows = [*fields, *(str(i) for i in range(others))]
    return "\n".join(["a;b", *(f"{row};x" for row in rows)])


TWO: dict[str, list[object]] = {"a": [1, 2], "b": ["x", "y"]}
PLAIN = "a,b\n1,x\n2,y\n"

RIGHT: dict[str, tuple[str | bytes, Keys, dict[str, list[object]]]] = {
    # encodings
    "UTF-8 with a mark": (b"\xef\xbb\xbf" + PLAIN.encode(), {}, TWO),
    "UTF-16": (PLAIN.encode("utf-16"), {}, TWO),
    "UTF-16, big end first": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), {}, TWO),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), {"encoding": "utf-16-le"}, TWO),
    "Latin 1": ("a,ü\n1,é\n".encode("latin-1"), {"encoding": "latin-1"}, {"a": [1], "ü": ["é"]}),
    "cp1252": ("a,b\n1,3 €\n".encode("cp1252"), {"encoding": "cp1252"}, {"a": [1], "b": ["3 €"]}),
    "cp1252 after a mark": (
        b"\xef\xbb\xbfa,b\n1,3 \x80\n", {"encoding": "cp1252"}, {"a": [1], "b": ["3 €"]}
    ),
    "two marks": (b"\xef\xbb\xbf" * 2 + PLAIN.encode(), {}, TWO),
    # compressed files
    "gzip in gzip": (gzip.compress(gzip.compress(PLAIN.encode())), {}, TWO),
    "gzip": (gzip.compress(PLAIN.encode()), {}, TWO),
    "bzip2": (bz2.compress(PLAIN.encode()), {}, TWO),
    "xz": (lzma.compress(PLAIN.encode()), {}, TWO),
    "zstd": (pa.compress(PLAIN.encode(), "zstd", asbytes=True), {}, TWO),
    "zip": (zipped(**{"folder/table.csv": PLAIN, "__MACOSX/._table.csv": "x"}), {}, TWO),
    # lines
    "Windows": (PLAIN.replace("\n", "\r\n"), {}, TWO),
    "old Macintosh": (PLAIN.replace("\n", "\r"), {}, TWO),
    "no last line break": (PLAIN.rstrip(), {}, TWO),
    "blank lines": ("\n\na,b\n\n1,x\n   \n2,y\n\n", {}, TWO),
    "empty rows of Excel": ("a;b;\n1;x;\n;;\n2;y;\n;;\n", {}, TWO),
    "a comma at the end of each row": ("a,b\n1,x,\n2,y,\n", {}, TWO),
    "line breaks in quotes": ('a,b\n1,"x\ny"\n2,z\n', {}, {"a": [1, 2], "b": ["x\ny", "z"]}),
    "separators and quotes in quotes": (
        'a,b\n1,"x, ""y"""\n2,"z"\n', {}, {"a": [1, 2], "b": ['x, "y"', "z"]}
    ),
    "quotes inside of words": ('a,b\n1,5" pipe\n2,6" pipe\n', {}, {"b": ['5" pipe', '6" pipe']}),
    "spaces before quotes": ('a, b\n1, "x, y"\n2, "z"\n', {}, {"a": [1, 2], "b": ["x, y", "z"]}),
    "spaces around values": (" a , b \n 1 , x \n 2 , y \n", {}, TWO),
    # separators
    "tabs": (PLAIN.replace(",", "\t"), {}, TWO),
    "vertical bars": (PLAIN.replace(",", "|"), {}, TWO),
    "colons": (PLAIN.replace(",", ":"), {"separator": ":"}, TWO),
    "spaces": ("a b\n1 x\n2 y\n", {}, TWO),
    "runs of spaces": ("  a     b\n  1     x\n 22   'y'\n", {}, {"a": [1, 22], "b": ["x", "'y'"]}),
    "commas in a header of semicolons": (
        '"size, cm, outside, with lid";b\n1;x\n', {}, {"size, cm, outside, with lid": [1]}
    ),
    "a rare separator in the header": ("a;b,c,d\n1;x\n", {}, {"a": [1], "b,c,d": ["x"]}),
    "the separator of the study": ("a;b,c\n1;2,3\n", {"separator": ","}, {"a;b": ["1;2"]}),
    "the separator of Excel": ("sep=;\na;b\n1;x\n2;y\n", {}, TWO),
    "the separator of Excel, in quotes": ('"sep=\t"\r\na\tb\r\n1\tx\r\n2\ty\r\n', {}, TWO),
    "the separator of a rare sign": ("sep=^\na^b\n1^x\n2^y\n", {}, TWO),
    # row names
    "row names of pandas": (",a,b\n0,1,x\n1,2,y\n", {}, TWO),
    "row names of R": ('"","a","b"\n"Mazda RX4",1,"x"\n"Fiat 128",2,"y"\n', {}, TWO),
    "a short header of R": ('"a" "b"\n"Mazda RX4" 1 "x"\n"Fiat 128" 2 "y"\n', {}, TWO),
    "a short header with commas": ("a,b\n1,1,x\n2,2,y\n", {}, TWO),
    "read and written again": (",Unnamed: 0,a,b\n0,0,1,x\n1,1,2,y\n", {}, TWO),
    "column numbers of pandas": ("0,1,2\n5,6,7\n", {}, {"0": [5], "1": [6], "2": [7]}),
    # missing values
    "marks among numbers": (
        'a,b\nNA,1\n2,?\n"NA",3\n,\nnan,5\n4,N/A\n', {},
        {"a": [NA, 2, NA, NA, 4], "b": [1, NA, 3, 5, NA]},
    ),
    "NA in quotes is a word": ('a,b\n1,"NA"\n2,NA\n3,"no"\n', {}, {"b": ["NA", NA, "no"]}),
    "NA among quoted words": ('a,b\n1,"NO"\n2,NA\n', {}, {"b": ["NO", NA]}),
    "NA among words": ("a,b\n1,male\n2,NA\n", {}, {"b": ["male", NA]}),
    "NA among codes": ("a,b\n1,EU\n2,NA\n", {}, {"b": ["EU", "NA"]}),
    "NA beside empty fields": ("a,b\n1,male\n2,NA\n3,\n", {}, {"b": ["male", "NA", NA]}),
    "NA as the study says": ("a,b\n1,EU\n2,NA\n", {"missing": ["NA"]}, {"b": ["EU", NA]}),
    "no marks": ("a,b\n1,male\nNA,NA\n", {"missing": []}, {"a": [1, NA], "b": ["male", "NA"]}),
    "marks of the study": (
        'a,b\n7,unknown\n2,.\n-999.0,"x"\n.,y\n-999,z\n', {"missing": ["-999", ".", "unknown"]},
        {"a": [7, 2, NA, NA, NA], "b": [NA, NA, "x", "y", "z"]},
    ),
    "marks by column": (
        "a,b\n99,99\n2,3\n", {"missing": {"a": [99]}}, {"a": [NA, 2], "b": [99, 3]}
    ),
    "a column without values": ("a,b\n1,\n2,\n", {}, {"a": [1, 2], "b": [NA, NA]}),
    # numbers
    "signs and exponents": ("a,b\n+1,1e3\n-2,-.5\n", {}, {"a": [1, -2], "b": [1000, -0.5]}),
    "typeset signs": ("a,b\n\u22125,x\n6,y\n", {}, {"a": [-5, 6]}),
    "decimal commas": ("a;b\n1,5;x\n-2,25;y\n", {}, {"a": [1.5, -2.25]}),
    "decimal commas of the study": (
        'a,b\n"1,500",x\n"2,250",y\n', {"decimal": ","}, {"a": [1.5, 2.25]}
    ),
    "groups of thousands": (
        'a,b\n"1,234.5",x\n12,y\n"1,234,567",z\n', {"thousands": ","}, {"a": [1234.5, 12, 1234567]}
    ),
    "points and commas": (
        "a;b\n1.234,5;x\n-12;y\n", {"thousands": ".", "decimal": ","}, {"a": [1234.5, -12]}
    ),
    "thin spaces": ("a\tb\n1\u202f234\tx\n12\ty\n", {"thousands": " "}, {"a": [1234, 12]}),
    "a unit": ("a,b\n182 lb,x\n75 lb,y\n", {"types": {"a": "number"}}, {"a": [182, 75]}),
    "money": (
        'a,b\n"$1,234.50",x\n-$3,y\n', {"types": {"a": "number"}, "thousands": ","},
        {"a": [1234.5, -3]},
    ),
    "percentages": ("a,b\n12 %,x\n7.5%,y\n", {"types": {"a": "number"}}, {"a": [12, 7.5]}),
    "18 digits": (
        "a,b\n700000000000000001,x\n700000000000000002,y\n", {},
        {"a": [700000000000000001, 700000000000000002]},
    ),
    "18 digits and a gap": ("a,b\n700000000000000001,x\n,y\n", {}, {"a": [700000000000000001, NA]}),
    "20 digits": ("a,b\n18446744073709551615,x\n1,y\n", {}, {"a": [18446744073709551615, 1]}),
    "40 digits": (f"a,b\n{10**40},x\n{10**40 + 1},y\n", {}, {"a": [f"{10**40}", f"{10**40 + 1}"]}),
    "a minus of typesetting": ("a;b\n\u22121,5;x\n2,5;y\n", {}, {"a": [-1.5, 2.5]}),
    "digits of other scripts": ("a;b\n\uff11\uff12;\u0663\n3;4\n", {}, {"a": [12, 3], "b": [3, 4]}),
    # codes
    "leading zeros": ("a,b\n01,x\n1,y\n", {}, {"a": ["01", "1"]}),
    "leading zeros in row 3": ("a,b\n10,x\n1,y\n,z\n007,z\n", {}, {"a": ["10", "1", NA, "007"]}),
    "leading zeros of numbers": ("a,b\n01,x\n1,y\n", {"types": {"a": "number"}}, {"a": [1, 1]}),
    "zeros of decimals": ("a,b\n0.5,x\n00.25,y\n", {}, {"a": [0.5, 0.25]}),
    "numbers as categories": (
        "a,b\n7,1.0\n7.0,2\n", {"types": {"a": "category", "b": "text"}},
        {"a": ["7", "7.0"], "b": ["1.0", "2"]},
    ),
    "truth values": ("a,b\nTRUE,x\nFalse,y\n", {}, {"a": [1, 0]}),
    "hexadecimal codes": (
        numbered(*[digest(bytes([i]), 4) for i in range(40)] * 2), {},
        {"a": [*(digest(bytes([i]), 4) for i in range(40))] * 2},
    ),
    # dates
    "ISO dates": ("a,b\n2024-01-31,x\n,y\n", {}, {"a": ["2024-01-31", NA]}),
    "dates by a format": (
        "a,b\n31.01.2024,x\n1.2.2024,NA\n", {"date_format": "%d.%m.%Y"},
        {"a": ["2024-01-31", "2024-02-01"]},
    ),
    "dates by type": (
        "a,b\n20240131,20240131\n20240201,20240201\n", {"types": {"a": "date"}},
        {"a": ["2024-01-31", "2024-02-01"], "b": [20240131, 20240201]},
    ),
    "times": ("a,b\n12:30,x\n7:05,y\n", {"date_format": "%H:%M"}, {"b": ["x", "y"]}),
    # comments
    "comments": (
        "# made by a device\na,b # names\n1,x\n# 3,z\n2,y # last\n", {"comment": "#"}, TWO
    ),
    "no comment in quotes": ('a,b\n1,"#x"\n#2,z\n', {"comment": "#"}, {"a": [1], "b": ["#x"]}),
    # sizes
    "1,000 columns": (
        "\n".join([",".join(f"x{i}" for i in range(1000)), ",".join(["1.5"] * 1000)]), {},
        {"x0": [1.5], "x999": [1.5]},
    ),
    "a single row of two million characters": (f"a,b\n1,{'y' * 2_000_000}\n", {}, {"a": [1]}),
    "a row of a million characters": (f"a,b\n1,x\n2,{'y' * 100_000}\n", {}, {"a": [1, 2]}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "is_noted"),
    [(("950", "1.200"), True), (("0.125", "2"), False), (("1.250", "2.000"), False)],
)
def test_points_that_may_be_groups_are_noted(
    fields: tuple[str, ...], is_noted: bool, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(numbered(*fields))
    table = read(path)
    assert table.frame["a"].tolist() == list(map(float, fields))
    assert any('thousands = "."' in note for note in table.reading("a").notes) == is_noted


@pytest.mark.parametrize("name", RIGHT)
def test_a_mangled_table_is_read_right(name: str, tmp_path: Path) -> None:
    content, keys, expected = RIGHT[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read(path, **keys)
    columns = {key: values(table.frame[key]) for key in table.default_features()}
    assert {key: columns[key] for key in expected} == expected
    if expected is TWO:
        assert list(columns) == list(TWO)
    assert not any(reading.problem for reading in table.readings if reading.name in expected)


REFUSED: dict[str, tuple[str | bytes, Keys, list[str]]] = {
    # the bytes
    "Latin 1": ("a,b\n1,é\n".encode("latin-1"), {}, ["line 2", "0xe9", 'encoding = "latin-1"']),
    "another encoding": ("a,b\n1,é\n".encode("latin-1"), {"encoding": "utf-8"}, ["line 2", "0xe9"]),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), {}, ["line 1", 'encoding = "utf-16-le"']),
    "UTF-16, big end first, without a mark": (
        PLAIN.encode("utf-16-be"), {}, ["line 1", 'encoding = "utf-16-be"']
    ),
    "UTF-16 of other scripts": ("中,b\n1,é\n".encode("utf-16-le"), {}, ['encoding = "utf-16-le"']),
    "half a UTF-16 file": (PLAIN.encode("utf-16")[:-1], {}, ["not utf-16", "cut off"]),
    "UTF-16 as UTF-8": (PLAIN.encode("utf-16"), {"encoding": "utf-8"}, ["leave out encoding"]),
    "cp1252": ("a,b\n1,3 €\n".encode("cp1252"), {}, ["line 2", "0x80", 'encoding = "cp1252"']),
    "an encoding of nothing": (PLAIN, {"encoding": "undefined"}, ["undefined"]),
    "no encoding": (PLAIN, {"encoding": "latin1000"}, ["encoding", "unknown encoding 'latin1000'"]),
    "a zero byte": ("a,b\n1,x\n2,y\0\n", {}, ["line 3 holds a zero byte"]),
    "empty": ("", {}, ["is empty"]),
    "comments alone": ("# nothing\n", {"comment": "#"}, ["holds nothing but comments"]),
    "header alone": ("a,b\n", {}, ["holds no rows of data"]),
    "two files in a zip": (zipped(a="a,b", b="a,b"), {}, ["holds 2 files", "path"]),
    "a workbook": (zipped(**{"xl/workbook.xml": ""}), {}, ["is an Excel workbook", "CSV"]),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {}, ["is an Excel workbook"]),
    "half a gzip file": (gzip.compress(PLAIN.encode())[:-9], {}, ["cannot be unpacked"]),
    "half a zstd file": (
        pa.compress(PLAIN.encode(), "zstd", asbytes=True)[:-9], {}, ["cannot be unpacked"]
    ),
    "half a zip file": (zipped(a=PLAIN)[:-9], {}, ["cannot be unpacked"]),
    "a web page": ("\n<!DOCTYPE html>\n<p>404</p>\n", {}, ["is a web page"]),
    "JSON": ('[{"a": 1}, {"a": 2}]', {}, ["is JSON"]),
    "ARFF": ("% iris\n@RELATION iris\n@data\n1,x\n", {}, ["is an ARFF file"]),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\n", {}, ["git lfs pull"]),
    "a tar archive": (gzip.compress(b"a".ljust(257, b"\0") + b"ustar"), {}, ["is an archive"]),
    "separators alone": (",,\n,,\n", {}, ["line 1 holds no names of columns"]),
    # header and lines
    "counts before the table": (
        "2,2,no\n" + "1.5,1,2,3,x\n" * 4, {}, ["line 2 has 5", "before the names"]
    ),
    "lines before the table": (
        "Source,IMF\nUnit,1\na,b,c,d\n" + "1,x,2,3\n" * 4, {}, ["line 3 has 4", "before the names"]
    ),
    "a title": ("My table\na,b\n1,x\n", {}, ["line 2", "before the names of the columns"]),
    "a quote after a backslash": ('a,b\n1,"x \\"y\\""\n', {}, ["line 2", 'written ""']),
    "two names": ("a,b,a\n1,2,3\n", {}, ["line 1: columns 1 and 3 are both named 'a'"]),
    "no name": ("a,,b\n1,2,3\n", {}, ["line 1", "column 2 of 3 has no name"]),
    "no header": ("5,1.5\n6,2.5\n", {}, ["line 1 holds numbers (5, 1.5"]),
    "a short line": ("a,b\n1,x\n2\n", {}, ["line 3 has 1 field, the header 2"]),
    "a long line": ("a,b\n1,x\n2,x,y\n", {}, ["line 3 has 3 fields, the header 2"]),
    "a long line after a line break": ('a,b\n"1\n2",x\n2,x,y\n', {}, ["line 4 has 3 fields"]),
    "one short line without row names": (
        "a,b\nr0,1,x\nr1,1,x\nr2,2\n", {}, ["line 4 has 2 fields, the others 3"]
    ),
    "an open quote": ('a,b\n1,"x\n2,y\n', {}, ["line 2", "quotation mark"]),
    "text after a quote": ('a,b\n1,x\n2,"x"y\n', {}, ["line 3", "expected after"]),
    "comments without the key": ("# device 7\na,b\n1,2\n", {}, ["line 2", 'comment = "#"']),
    # numbers
    "a word among numbers": (
        numbered("5", "about 5", others=9), {},
        ["column 'a'", "'about 5' in line 3", 'missing = ["about 5"]', '{ a = "category" }'],
    ),
    "a word in a column of numbers": (
        numbered("5", "five"), {"types": {"a": "number"}}, ["'a'", "'five' in line 3", "missing"]
    ),
    "units": (
        numbered("182 lb", "75 lb", "90 lb"), {},
        ["column 'a'", "'182 lb' in line 2", 'types = { a = "number" }'],
    ),
    "75 units without spaces": (
        numbered(*(f"{i}kg" for i in range(75))), {}, ["'0kg' in line 2", 'a = "number"']
    ),
    "many units": (
        numbered(*(f"{i} {'lb' if i % 2 else 'kg'}" for i in range(75))), {}, ["'0 kg' in line 2"]
    ),
    "two units": (
        numbered("182 lb", "75 lb", "90 kg"), {"types": {"a": "number"}}, ["column 'a'", "line 4"]
    ),
    "money": (
        'a,b\n"$1,234",x\n"$2",x\n"$99",x\n', {},
        ["'$1,234' in line 2", 'thousands = ","', 'types = { a = "number" }'],
    ),
    "euros": (numbered("3 €", "4 €", "5,5 €"), {}, ["'3 €' in line 2", 'types = { a = "number" }']),
    "percentages": (numbered("12 %", "3 %", "4 %"), {}, ["'12 %' in line 2", "types"]),
    "thousands": (
        'a,b\n"1,234",x\n"2,345",x\n"3,456",y\n', {}, ["'1,234' in line 2", 'thousands = ","']
    ),
    "thousands or decimals": (
        numbered("1,234", "2,345", "3,456"), {}, ['decimal = "," or thousands = ","']
    ),
    "points and commas": (
        numbered("1.234,5", "2.345,6", "3.456,7"), {}, ['thousands = "."', 'decimal = ","']
    ),
    "points and commas in turn": (numbered("1.5", "2,5", "3.5"), {}, ["'2,5' in line 3"]),
    "apostrophes": (numbered("1'234", "2'345", "3'456"), {}, ['thousands = "\'"']),
    "decimal commas in quotes": (
        'a,b\n"1,5",x\n"2,25",y\n"3",y\n', {}, ["'1,5' in line 2; say decimal = \",\", or types"]
    ),
    "points between groups": (
        numbered("1.234.567", "2.345", "3.456"), {}, ["'1.234.567' in line 2; say thousands"]
    ),
    "prices": (numbered("$0.99", "$1.99", "$5"), {}, ['say types = { a = "number" }, or types']),
    "other decimal marks": (
        numbered("0.5", "1.5", "2.5"), {"decimal": ","}, ["'0.5' in line 2", "than decimal = ','"]
    ),
    "words among units": (
        numbered("5 kg", "6 kg", "7 kg", "unknown"), {}, ["'5 kg' in", 'and missing = ["unknown"]']
    ),
    "units of two sizes": (
        numbered(*(f"{i} {'kB' if i % 2 else 'MB'}" for i in range(30))), {}, ["in one unit"]
    ),
    "words for nothing": (
        numbered("5", "None", "-", others=9), {}, ["'None' in line 3", 'missing = ["None", "-"]']
    ),
    **{
        f"numbers such as {form.format(0)}": (
            numbered(*[form.format(i) for i in range(25)] * 2), {},
            ["column 'a' holds 25 texts", "in line 2", "plain numbers"],
        )
        for form in ("{}/7", "~{}", "{}_000", "{}m 3s", "{}-3", "Mon Jan {}", "{}. März 24")
    },
    "lengths of time": (numbered("1:02:03", "26:03:04", "2:00:00"), {}, ["lengths of time"]),
    "groups of a wrong size": (
        numbered("1,234", "12,34", "5"), {"thousands": ",", "types": {"a": "number"}}, ["'12,34'"]
    ),
    "a wrong decimal mark": (
        numbered("1.5", "2.5"), {"decimal": ",", "types": {"a": "number"}}, ["'1.5' in line 2"]
    ),
    "brackets": (numbered("(12)", "(13)", "(14)", "5"), {"types": {"a": "number"}}, ["'(12)'"]),
    "accounts": (numbered("(1,234)", "(2,345)", "3,456"), {}, ["'(1,234)' in line 2", "minus"]),
    # dates
    "dates of one format": (
        numbered("31/01/2024", "01/02/2024"), {},
        ["column 'a'", "'31/01/2024' in line 2", 'date_format = "%d/%m/%Y"'],
    ),
    "dates of two formats": (
        numbered("02/01/2024", "01/02/2024"), {}, ['"%d/%m/%Y" or date_format = "%m/%d/%Y"']
    ),
    "dates with times": (
        numbered("1.2.2024 12:30", "3.2.2024 1:05"), {}, ['date_format = "%d.%m.%Y %H:%M"']
    ),
    "months": (numbered("1 Jan 2024", "2 Feb 2024"), {}, ['date_format = "%d %b %Y"']),
    "times": (numbered("12:30", "7:05"), {}, ['date_format = "%H:%M"']),
    "no day": (
        numbered("2024-01-31", "2024-02-30"), {"types": {"a": "date"}}, ["'2024-02-30' in line 3"]
    ),
    "an invalid day": (
        numbered("2024-01-31", "2024-02-01", "2024-02-30"), {}, ["dates", "'2024-02-30' in line 4"]
    ),
    "a format that nothing has": (
        numbered("5", "6"), {"date_format": "%d.%m.%Y"}, ["date_format", "no column"]
    ),
    "another format": (
        numbered("31/01/2024"), {"date_format": "%m/%d/%Y", "types": {"a": "date"}},
        ["'31/01/2024' in line 2", '"%d/%m/%Y"'],
    ),
    # keys
    "no such column": (PLAIN, {"types": {"c": "text"}}, ["no column 'c' for types"]),
    "no such column to be missing": (PLAIN, {"missing": {"c": [1]}}, ["no column 'c' for missing"]),
    "no type": (PLAIN, {"types": {"a": "float"}}, ["types", "unknown type 'float'"]),
    "one mark for both": (PLAIN, {"decimal": ",", "thousands": ","}, ["decimal", "thousands"]),
    "a quote as separator": (PLAIN, {"separator": '"'}, ["separator"]),
}  # fmt: skip


def use(path: Path, keys: Keys) -> None:
    """Read a table, and use all of its columns."""
    table = read(path, **keys)
    for column in table.frame:
        table.column(column)


@pytest.mark.parametrize("name", REFUSED)
def test_a_mangled_table_is_refused_with_what_helps(name: str, tmp_path: Path) -> None:
    content, keys, messages = REFUSED[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((RequestError, ValidationError)) as caught:
        use(path, keys)
    for message in messages:
        assert message in str(caught.value)
