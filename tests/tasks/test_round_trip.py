"""Tables written by the habits of pandas and of R are read back with their names, types, values."""

from __future__ import annotations

import csv
import importlib
import pkgutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import statsmodels.datasets
from pandas.api.types import is_numeric_dtype

from ablations.tasks.tabular.reader import content_hash, read_table

ROWS = 300
"""At most so many rows of each table."""
SKLEARN = ["iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits"]
STATSMODELS = sorted(
    module.name
    for module in pkgutil.iter_modules(statsmodels.datasets.__path__)
    if module.ispkg and module.name not in ("template_data", "tests")
)


@lru_cache(maxsize=1)
def load(name: str) -> pd.DataFrame:
    """Return a table of scikit-learn or statsmodels."""
    if name in SKLEARN:
        frame = getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame
    else:
        frame = importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data
    return frame.head(ROWS).reset_index(drop=True).rename(columns=lambda name: str(name).strip())


def write_r(
    frame: pd.DataFrame, path: Path, separator: str = ",", header: str = '""', decimal: str = "."
) -> None:
    """Write a table as ``write.csv`` and ``write.table`` do: text in quotes, NA, row names."""
    names = [f'"{name}"' for name in frame.columns]
    lines = [separator.join([header, *names] if header else names)]
    for i, row in enumerate(frame.itertuples(index=False), start=1):
        fields = [
            "NA"
            if pd.isna(v)
            else f'"{v}"'
            if isinstance(v, str)
            else f"{v:.15g}".replace(".", decimal)
            for v in row
        ]
        lines.append(separator.join([f'"{i}"', *fields]))
    path.write_text("\n".join(lines) + "\n")


HABITS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "to_csv": lambda frame, path: frame.to_csv(path),
    "to_csv without index": lambda frame, path: frame.to_csv(path, index=False),
    "to_csv in Europe": lambda frame, path: frame.to_csv(path, sep=";", decimal=","),
    "to_csv, all in quotes": lambda frame, path: frame.to_csv(path, quoting=csv.QUOTE_ALL),
    "to_csv, text in quotes": lambda frame, path: frame.to_csv(path, quoting=csv.QUOTE_NONNUMERIC),
    "to_csv with tabs, packed": lambda frame, path: frame.to_csv(
        path, sep="\t", na_rep="NA", compression="gzip"
    ),
    "write.csv": write_r,
    "write.csv2": lambda frame, path: write_r(frame, path, ";", decimal=","),
    "write.table": lambda frame, path: write_r(frame, path, " ", header=""),
}


@pytest.mark.parametrize("name", [*STATSMODELS, *SKLEARN])
def test_a_table_is_read_back(name: str, tmp_path: Path) -> None:
    frame = load(name)
    if len(frame.columns) < 2:
        frame = frame.assign(row=range(len(frame)))
    place = [*STATSMODELS, *SKLEARN].index(name)
    for habit in [list(HABITS)[(place + shift) % len(HABITS)] for shift in (0, 3, 6)]:
        path = tmp_path / habit
        HABITS[habit](frame, path)
        table = read_table(str(path), "csv", content_hash(str(path)))
        assert table.default_features() == list(frame.columns), habit
        for column, values in frame.items():
            result = table.frame[str(column)].reset_index(drop=True)
            assert not table.reading(str(column)).problem
            if is_numeric_dtype(values):
                assert is_numeric_dtype(result), (habit, column)
                np.testing.assert_allclose(result.astype(float), values.astype(float), rtol=1e-12)
            else:
                assert result.tolist() == values.astype(str).str.strip().tolist(), (habit, column)
