"""What ``nox -s regress`` concludes from matched pairs of times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.regression import timing


def pairs(
    slower: float = 1.0, noise: float = 0.03, count: int = 12, seed: int = 0, names: int = 6
) -> pd.DataFrame:
    """Times on a machine whose pace drifts; the first benchmark is slower in the candidate."""
    draw = np.random.default_rng(seed)
    rows = []
    for pair in range(count):
        pace = np.exp(draw.uniform(0, 0.5))
        for name in range(names):
            base, candidate = 0.1 * pace * np.exp(noise * draw.standard_normal(2))
            planted = slower if name == 0 else 1.0
            order = ("AB", "BA")[pair % 2]
            rows.append((f"benchmark {name}", pair, order, base, candidate * planted))
    return pd.DataFrame(rows, columns=["benchmark", "pair", "order", "base", "candidate"])


def verdict(**how: float) -> pd.DataFrame:
    return timing.verdicts(pairs(**how), 0.04).set_index("benchmark")  # type: ignore[arg-type]


def test_a_slow_down_is_found_and_named() -> None:
    table = verdict(slower=1.15, noise=0.01)
    assert table["verdict"]["benchmark 0"] == timing.SLOWER
    assert set(table["verdict"][1:]) == {timing.EQUAL}
    row = table.loc["benchmark 0"]
    assert row["low"] < 1.15 < row["high"]
    assert row["pairs"] == 12
    faster = verdict(slower=1 / 1.15, noise=0.01)
    assert faster["verdict"]["benchmark 0"] == timing.FASTER


@pytest.mark.parametrize("seed", range(30))
def test_no_wolf_is_cried(seed: int) -> None:
    found = {word for noise in (0.01, 0.05) for word in verdict(noise=noise, seed=seed)["verdict"]}
    assert found <= {timing.EQUAL, timing.OPEN}
    assert timing.SLOWER not in set(verdict(slower=1.02, seed=seed)["verdict"])


def test_too_few_pairs_prove_nothing() -> None:
    assert set(verdict(slower=3.0, count=6)["verdict"]) == {timing.OPEN}


def test_noise_is_no_equality() -> None:
    assert timing.OPEN in set(verdict(noise=0.1)["verdict"])
