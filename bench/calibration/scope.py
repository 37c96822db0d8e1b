"""Verdicts about new data, from studies whose seeds split one table: false ones, and coverage.

Two generators of which the effect on new data is 0.  In the first the difference of a seed is a
normal draw with a part for its split, a share ``f`` of the variance, and the table shifts all
splits.  In the second, networks are trained: a hidden layer of random units, and a ridge regression
on it, of 160 rows of a table of 200; the two levels see one half of the features each, and the
target depends on both halves in the same way, so that a level is better on this table by chance
alone.  There the variance over tables is 0.27 to 0.29 of the split's part of the variance (over
1,500 tables), and not 0.25 as assumed; with many seeds verdicts then err a little more often than
in 5 % of studies.  The second also shows the verdicts about this table when they are read as if
they were about new data, which is what an ordinary t interval over seeds says.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ablations.analysis import Design, main_effects
from ablations.analysis.posterior import infer_effects
from ablations.core.splits import split_seed
from bench.calibration.rates import rate_row, rate_table

STUDIES = 150
OVERLAP = 0.25
SEEDS = (10, 20, 40)
SHARES = (0.01, 0.1, 0.3, 0.6, 0.99)
ROWS, JUDGING, FEATURES, HIDDEN = 200, 40, 4, 12
FALSE, COVERED = "at most 0.07", "0.93 to 0.985"


def measure(studies: int) -> pd.DataFrame:
    """Return the rates of false verdicts and the coverage of all settings."""
    return rate_table([*_normal(studies), *_networks(studies)])


def _splits(seeds: int, *, are_own: bool = False) -> np.ndarray:
    return np.array([seed if are_own else split_seed(seed) for seed in range(seeds)])


def draw_differences(
    share: float, splits: np.ndarray, levels: int, random: np.random.Generator
) -> np.ndarray:
    """Draw differences (seed, level) without effect on new data; levels share their control."""

    def draw(*shape: int) -> np.ndarray:
        control = random.normal(size=(*shape, 1))
        return np.asarray(np.sqrt(0.5) * (random.normal(size=(*shape, levels)) + control))

    by_split, table = draw(splits.max() + 1)[splits] * share**0.5, draw()
    rest = draw(len(splits)) * (1 - share) ** 0.5
    return np.asarray(by_split + rest + table * (OVERLAP * share) ** 0.5)


def judge(differences: np.ndarray, splits: np.ndarray, overlap: float) -> pd.DataFrame:
    """Judge levels by their differences from a control, as a study's table of runs is judged."""
    seeds, levels = differences.shape
    values = np.column_stack([np.zeros(seeds), differences])
    runs = pd.DataFrame(
        {
            "seed": np.repeat(np.arange(seeds), levels + 1),
            "split": np.repeat(splits, levels + 1),
            "level": np.tile(np.arange(levels + 1), seeds),
            "val_loss": values.ravel(),
        }
    )
    design = Design(
        runs, ["level"], {"level": 0}, scale="difference", overlap=overlap, split="split",
        margin=1e-9,
    )  # fmt: skip
    return main_effects(design)


def _normal(studies: int) -> Iterator[dict[str, object]]:
    for seeds in SEEDS:
        for share in SHARES:
            splits, random = _splits(seeds), np.random.default_rng(seeds)
            setting = f"normal differences, {share:.0%} of the variance the split's"
            many = 10 * studies  # contrasts of as many studies, which are judged at once
            d = np.hstack([draw_differences(share, splits, 1, random) for _ in range(many)])
            low, high = infer_effects(d, splits, OVERLAP).interval()
            covered = int(((low <= 0) & (high >= 0)).sum())
            promise = COVERED if share > 0.3 else "at least 0.93"
            yield rate_row(
                setting, "coverage", seeds=seeds, hits=covered, studies=many, promised=promise
            )
            if share in (0.1, 0.6):
                tables = (
                    judge(draw_differences(share, splits, 6, random), splits, OVERLAP)
                    for _ in range(studies)
                )
                hits = sum(
                    bool((table["verdict"].isin(["helps", "hurts"])).any()) for table in tables
                )
                yield rate_row(
                    f"{setting}, 6 levels", "false verdicts, family-wise",
                    seeds=seeds, hits=hits, studies=studies, promised=FALSE,
                )  # fmt: skip


def train_networks(splits: np.ndarray, random: np.random.Generator, noise: float) -> np.ndarray:
    """Return the log ratio of the validation losses of two levels, one for each seed."""
    x = random.normal(size=(2, ROWS, FEATURES))
    signal = np.tanh(x).sum(axis=(0, 2)) + 0.5 * (x[:, :, 0] * x[:, :, 1]).sum(axis=0)
    y = signal + noise * random.normal(size=ROWS)
    order_of = {split: random.permutation(ROWS) for split in np.unique(splits)}
    order = np.array([order_of[split] for split in splits])
    weights = random.normal(size=(2, len(splits), FEATURES, HIDDEN))
    bias = random.normal(size=(2, len(splits), 1, HIDDEN))
    hidden = np.maximum(x[:, order] @ weights + bias, 0.0)  # (level, seed, row, unit)
    hidden = np.concatenate([hidden, np.ones_like(hidden[..., :1])], axis=-1)
    train, judging, target = hidden[:, :, JUDGING:], hidden[:, :, :JUDGING], y[order]
    gram = train.swapaxes(-1, -2) @ train + np.eye(HIDDEN + 1)
    moments = train.swapaxes(-1, -2) @ target[:, JUDGING:, None]
    residual = target[:, :JUDGING, None] - judging @ np.linalg.solve(gram, moments)
    losses = np.log((residual**2).mean(axis=(2, 3)))
    return np.asarray(losses[1] - losses[0])


def _networks(studies: int) -> Iterator[dict[str, object]]:
    for noise in (0.1, 1.0):
        for seeds in SEEDS:
            random = np.random.default_rng(seeds)
            hits, covered = dict.fromkeys(("new data", "this table"), 0), 0
            for _ in range(studies):
                splits = _splits(seeds)
                d = train_networks(splits, random, noise)[:, None]
                for about, overlap in (("new data", OVERLAP), ("this table", 0.0)):
                    row = judge(d, splits, overlap).iloc[0]
                    hits[about] += row["verdict"] in ("helps", "hurts")
                    covered += about == "new data" and row["low"] <= 0 <= row["high"]
            setting = f"halves of the features, noise {noise:g}"
            for about, count in hits.items():
                yield rate_row(
                    f"{setting}, verdicts about {about}", "false verdicts on new data",
                    seeds=seeds, hits=count, studies=studies,
                    promised=FALSE if about == "new data" else "none: the narrower claim",
                )  # fmt: skip
            yield rate_row(
                setting, "coverage", seeds=seeds, hits=int(covered), studies=studies,
                promised="at least 0.93",
            )  # fmt: skip
