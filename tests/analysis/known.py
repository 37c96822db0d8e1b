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


def npk() -> pd.DataFrame:
    """Peas on six blocks of four plots (Imperial College, as in R's npk); yields sum to 1317."""
    plots = [
        "011 49.5 110 62.8 000 46.8 101 57.0", "100 59.8 111 58.5 001 55.5 010 56.0",
        "010 62.8 111 55.8 100 69.5 001 55.0", "100 62.0 111 48.8 001 45.5 010 44.2",
        "110 52.0 000 51.5 101 49.8 011 48.8", "101 57.2 110 59.0 011 53.2 000 56.0",
    ]  # fmt: skip
    words = [(block, line.split()) for block, line in enumerate(plots, 1)]
    rows = [
        (block, *map(int, plot), float(value))
        for block, line in words
        for plot, value in zip(line[::2], line[1::2], strict=True)
    ]
    return pd.DataFrame(rows, columns=["block", "N", "P", "K", "yield"])


# Yates (1935), as in MASS's oats: blocks of three plots (varieties), of four subplots (nitrogen).
_OATS = [
    [111, 130, 157, 174, 117, 114, 161, 141, 105, 140, 118, 156],
    [61, 91, 97, 100, 70, 108, 126, 149, 96, 124, 121, 144],
    [68, 64, 112, 86, 60, 102, 89, 96, 89, 129, 132, 124],
    [74, 89, 81, 122, 64, 103, 132, 133, 70, 89, 104, 117],
    [62, 90, 100, 116, 80, 82, 94, 126, 63, 70, 109, 99],
    [53, 74, 118, 113, 89, 82, 86, 104, 97, 99, 119, 121],
]


def oats() -> pd.DataFrame:
    cells = product(range(6), ("Victory", "Golden.rain", "Marvellous"), (0.0, 0.2, 0.4, 0.6))
    return pd.DataFrame(list(cells), columns=["B", "V", "N"]).assign(Y=np.ravel(_OATS))


def warp_breaks() -> pd.DataFrame:
    """Tippett (1950), as in R's warpbreaks: nine looms for each wool and tension."""
    breaks = {
        "AL": [26, 30, 54, 25, 70, 52, 51, 26, 67], "AM": [18, 21, 29, 17, 12, 18, 35, 30, 36],
        "AH": [36, 21, 24, 18, 10, 43, 28, 15, 26], "BL": [27, 14, 29, 19, 29, 31, 41, 20, 44],
        "BM": [42, 26, 19, 16, 39, 28, 21, 39, 29], "BH": [20, 21, 24, 17, 13, 15, 15, 16, 28],
    }  # fmt: skip
    rows = [(*cell, value) for cell, values in breaks.items() for value in values]
    return pd.DataFrame(rows, columns=["wool", "tension", "breaks"])


def penicillin() -> pd.DataFrame:
    """Davies & Goldsmith (1972), as in lme4's Penicillin: 24 plates, six samples, above 18 mm."""
    diameters = (
        "958553 958553 737662 857552 748452 647541 625341 848663 636442 636541 858663 748662 "
        "868674 858552 857664 747552 736552 746551 635331 858663 736440 747442 636461 636430"
    )
    rows = [
        (plate, sample, 18 + int(digit))
        for plate, digits in enumerate(diameters.split())
        for sample, digit in zip("ABCDEF", digits, strict=True)
    ]
    return pd.DataFrame(rows, columns=["plate", "sample", "diameter"])


def fraction(values: list[float], generators: dict[str, str]) -> pd.DataFrame:
    """A fraction of a two-level design: the first factors in standard order, the others products of
    these; ``y`` in that order.
    """
    base = "ABCDEF"[: int(np.log2(len(values)))]
    runs = pd.DataFrame({name: [1 if i >> j & 1 else -1 for i in range(len(values))]
                         for j, name in enumerate(base)})  # fmt: skip
    for name, word in generators.items():
        runs[name] = runs[list(word)].prod(axis=1)
    return runs.assign(y=np.array(values, dtype=float))


# Montgomery's filtration rate, 2^(4-1), D = ABC; and his injection molding, 2^(6-2).
FILTRATION = fraction([45, 100, 45, 65, 75, 60, 80, 96], {"D": "ABC"})
MOLDING = fraction(
    [6, 10, 32, 60, 4, 15, 26, 60, 8, 12, 34, 60, 16, 5, 37, 52], {"E": "ABC", "F": "BCD"}
)
# Box, Hunter and Hunter's bicycle, 2^(7-4): seconds to climb a hill.
BICYCLE = fraction([69, 52, 60, 83, 71, 50, 59, 88], {"D": "AB", "E": "AC", "F": "BC", "G": "ABC"})
