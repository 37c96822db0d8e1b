"""Columns of a Parquet file, which states their types: pandas columns that keep each value."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ablations.core.errors import RequestError
from ablations.core.parquet import read_parquet
from ablations.tasks.tabular.delimited import ROW_NAMES
from ablations.tasks.tabular.texts import MAX_EXACT

_INDEX = "__index_level_0__"
"""The column of an index without a name."""
_SECOND = pd.Timedelta(seconds=1)


def read_columns(content: bytes, path: str) -> tuple[dict[str, pa.ChunkedArray], set[str]]:
    """Return the columns of a Parquet file by name, and which of them are the index of pandas."""
    try:
        table = read_parquet(content)
    except (pa.ArrowException, ValueError, TypeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"not a Parquet file: {reason}", source=path) from None
    names = [ROW_NAMES if name == _INDEX else name for name in table.column_names]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise RequestError(f"two columns are named '{repeated[0]}'; rename one", source=path)
    columns, index = dict(zip(names, table.columns, strict=True)), set[str]()
    metadata = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    for entry in metadata.get("index_columns", []):
        if isinstance(entry, str):
            index.add(ROW_NAMES if entry == _INDEX else entry)
        elif (name := entry.get("name")) and name not in columns:  # a range is not stored
            values = range(entry["start"], entry["stop"], entry["step"])
            columns[name] = pa.chunked_array([pa.array(values, pa.int64())])
            index.add(name)
    return columns, index


def find_misfit(name: str, values: pa.ChunkedArray) -> str:
    """Return why no type fits a column; "" if one does."""
    if pa.types.is_nested(values.type):
        return f"column '{name}' holds lists or tables; expected one value a row"
    if _is_binary(values.type):
        try:
            pc.cast(pc.cast(values, pa.large_binary()), pa.large_string())
        except pa.ArrowInvalid:
            return f"column '{name}' holds bytes that are no text; write it as numbers or text"
    try:
        values.validate(full=True)
        to_series(values.slice(0, 1))
    except (pa.ArrowException, ValueError, LookupError) as error:
        reason = "text that is not UTF-8" if "UTF8" in str(error) else f"{values.type} values"
        return f"column '{name}' holds {reason}, which cannot be read here"
    return ""


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def to_series(values: pa.ChunkedArray) -> pd.Series:
    """Return a column with its type: numbers, dates, truth values, or words."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):  # periods of pandas among them
        column = values.to_pandas()
        is_period = isinstance(column.dtype, pd.PeriodDtype)
        storage = pa.chunked_array([chunk.storage for chunk in values.chunks], kind.storage_type)
        return column.dt.to_timestamp() if is_period else to_series(storage)
    if _is_binary(kind):
        return pc.cast(pc.cast(values, pa.large_binary()), pa.large_string()).to_pandas()
    if pa.types.is_dictionary(kind):
        values = pa.chunked_array(
            [chunk.dictionary_decode() for chunk in values.chunks], kind.value_type
        )
        is_words = not pa.types.is_string(values.type)
        return to_series(to_texts(values) if is_words else values)
    if pa.types.is_integer(kind) and values.null_count:
        limits = pc.min_max(values).as_py()
        if max(abs(limits["min"] or 0), abs(limits["max"] or 0)) > MAX_EXACT:
            return pd.Series(
                values.to_pandas(integer_object_nulls=True),
                dtype="UInt64" if limits["max"] >= 2**63 else "Int64",
            )
    if pa.types.is_decimal(kind):
        numbers = pc.cast(values, pa.float64())
        is_long = kind.scale <= 0 and (pc.max(pc.abs(numbers)).as_py() or 0) > MAX_EXACT
        return (to_texts(values) if is_long else numbers).to_pandas()
    if pa.types.is_date(kind):
        return pc.cast(values, pa.timestamp("ms")).to_pandas()
    if pa.types.is_time(kind):
        return pd.to_timedelta(values.to_pandas().astype(str), errors="coerce") / _SECOND
    if pa.types.is_duration(kind):
        return values.to_pandas() / _SECOND
    return values.to_pandas()


def to_texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as texts; a float that is a whole number has no decimals."""
    kind = values.type
    if pa.types.is_floating(kind):
        texts = [None if v is None or v != v else _format(v) for v in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if pa.types.is_decimal(kind) or not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        texts = [None if v is None else str(v) for v in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return pc.cast(values, pa.string())


def _format(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)
