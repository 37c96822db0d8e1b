"""Published tables, small enough to stand here."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import scipy

# Crampton (1947), as in R's ToothGrowth: length by supplement and dose, ten animals each.
_TEETH = {
    ("VC", 0.5): [4.2, 11.5, 7.3, 5.8, 6.4, 10, 11.2, 11.2, 5.2, 7],
    ("VC", 1.0): [16.5, 16.5, 15.2, 17.3, 22.5, 17.3, 13.6, 14.5, 18.8, 15.5],
    ("VC", 2.0): [23.6, 18.5, 33.9, 25.5, 26.4, 32.5, 26.7, 21.5, 23.3, 29.5],
    ("OJ", 0.5): [15.2, 21.5, 17.6, 9.7, 14.5, 10, 8.2, 9.4, 16.5, 9.7],
    ("OJ", 1.0): [19.7, 23.3, 23.6, 26.4, 20, 25.2, 25.8, 21.2, 14.5, 27.3],
    ("OJ", 2.0): [25.5, 26.4, 22.4, 24.5, 24.8, 30.9, 26.4, 27.3, 29.4, 23.0],
}

# Demsar (2006), Table 6: AUC of C4.5 with m, with cf and with both, on 14 data sets.
_AUC = [
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.975, 0.975], [0.957, 0.978, 0.946, 0.970],
]  # fmt: skip


def tooth_growth() -> pd.DataFrame:
    rows = [(*cell, length) for cell, lengths in _TEETH.items() for length in lengths]
    return pd.DataFrame(rows, columns=["supp", "dose", "len"])


def demsar() -> pd.DataFrame:
    cells = product(range(14), ("C4.5", "m", "cf", "m+cf"))
    table = pd.DataFrame(list(cells), columns=["data", "learner"])
    return table.assign(auc=np.ravel(_AUC))


def nist(name: str) -> pd.DataFrame:
    """One-way data of NIST's Statistical Reference Datasets, which scipy ships with its tests."""
    path = Path(scipy.__file__).parent / "stats/tests/data/nist_anova" / f"{name}.dat"
    lines = path.read_text(encoding="ascii").splitlines()[60:]
    rows = [tuple(map(float, line.split())) for line in lines if line.strip()]
    return pd.DataFrame(rows, columns=["group", "y"])
