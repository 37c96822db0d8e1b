"""Tables of several test modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def rare(tmp_path: Path) -> str:
    """A table of 200 rows, 5 % of them ill."""
    generator = np.random.default_rng(0)
    ill = np.arange(200) % 20 == 0
    table = pd.DataFrame(generator.normal(size=(200, 2)) + 1.2 * ill[:, None], columns=["a", "b"])
    path = tmp_path / "rare.csv"
    table.assign(ill=np.where(ill, "yes", "no")).to_csv(path, index=False)
    return str(path)
