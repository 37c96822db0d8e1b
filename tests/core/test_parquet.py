"""Parquet files in memory."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations.core.parquet import read_parquet


def test_no_reader_keeps_a_python_object_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that drops a Python object while Python exits aborts the process."""
    sources, load = list[Any](), pq.read_table

    def read_and_keep(source: Any, **options: Any) -> pa.Table:
        sources.append(source)
        return load(source, **options)

    monkeypatch.setattr(pq, "read_table", read_and_keep)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [0.5, 1.5], "y": [1, 2]}), sink)
    content = sink.getvalue().to_pybytes()
    references = sys.getrefcount(content)
    assert read_parquet(content).to_pydict() == {"x": [0.5, 1.5], "y": [1, 2]}
    assert read_parquet(content, ["y"]).to_pydict() == {"y": [1, 2]}
    assert len(sources) == 2
    assert sys.getrefcount(content) == references
    assert isinstance(sources[0], pa.NativeFile)
