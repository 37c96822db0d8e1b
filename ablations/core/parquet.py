"""Parquet files of which nothing outlives the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["read_parquet"]


def read_parquet(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table of a Parquet file in memory: all columns, or those named.

    The content is copied into memory that pyarrow allocates.  A thread of pyarrow can release its
    source only after the table is returned; where that is a Python object, and Python is about to
    exit, the thread cannot take the interpreter's lock, and the process aborts.

    Raises
    ------
    pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError
        If the content is no Parquet file.
    """
    sink = pa.BufferOutputStream()
    sink.write(content)
    return pq.read_table(pa.BufferReader(sink.getvalue()), columns=columns)
