"""Parquet files of which nothing outlives the interpreter, and none grows beyond the memory."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["read_parquet", "read_schema"]

_FREE, _RATIO = 1 << 28, 1_000
"""A file may unpack to so many bytes, and to so many times its size."""
_WIDTH = 8
"""Bytes of a value that is no text."""


def read_parquet(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table of a Parquet file in memory: all columns, or those named.

    The content is copied into memory that pyarrow allocates.  A thread of pyarrow can release its
    source only after the table is returned; where that is a Python object, and Python is about to
    exit, the thread cannot take the interpreter's lock, and the process aborts.

    Raises
    ------
    pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError
        If the content is no Parquet file, or unpacks to far more than its size.
    """
    source = _copy(content)
    long_texts = _refuse_bomb(pq.read_metadata(pa.BufferReader(source)), len(content))
    table = pq.read_table(pa.BufferReader(source), columns=columns, read_dictionary=long_texts)
    for i, field in enumerate(table.schema):
        if field.name in long_texts and pa.types.is_dictionary(field.type):
            _refuse_size(sum(map(_decoded_size, table.column(i).chunks)), len(content))
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table


def read_schema(content: bytes) -> pa.Schema:
    """Return the schema of a Parquet file, whose columns are not read; raises as above."""
    return pq.read_schema(pa.BufferReader(_copy(content)))


def _copy(content: bytes) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    sink.write(content)
    return sink.getvalue()


def _refuse_bomb(metadata: pq.FileMetaData, size: int) -> list[str]:
    """Refuse a file that unpacks to far more than its size; return the columns of texts of which
    only their distinct values can say it.
    """
    total, long_texts = 0, dict[str, int]()
    widths = [max(_WIDTH, metadata.schema.column(i).length) for i in range(metadata.num_columns)]
    names = set(metadata.schema.to_arrow_schema().names)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        total += group.num_rows  # rows without columns
        for i, column in enumerate(map(group.column, range(group.num_columns))):
            total += column.total_uncompressed_size + widths[i] * column.num_values
            path = column.path_in_schema
            if column.physical_type == "BYTE_ARRAY" and path in names:
                largest = column.num_values * column.total_uncompressed_size
                long_texts[path] = long_texts.get(path, 0) + largest
    _refuse_size(total, size)
    return [name for name, most in long_texts.items() if most > _FREE]


def _decoded_size(chunk: pa.DictionaryArray) -> int:
    lengths = pc.binary_length(chunk.dictionary)
    return int(pc.sum(pc.take(lengths, chunk.indices)).as_py() or 0)


def _refuse_size(unpacked: int, size: int) -> None:
    if unpacked > _FREE + _RATIO * size:
        message = f"its {size:,} bytes unpack to {unpacked / 2**20:,.0f} MiB, which is not read"
        raise ValueError(message)
