"""How often the set of the best holds a truly best configuration, and how often it has one member.

Also whether the number beside a name is that configuration's own: its mean error in standard
deviations over seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ablations.analysis import best_configuration, best_set, ranking
from ablations.analysis.coding import Floats
from bench.calibration.rates import mean_row, rate_row, rate_table

STUDIES = 200
SEEDS = (6, 10, 20)
MANY = 24
OVERLAP = 0.25
"""Judging rows over training rows, where seeds split one table."""
Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
"""Draws true means and noise of seeds x configurations; lower is better."""


def equal(n: int) -> Draw:
    return lambda random, seeds: (np.zeros(n), random.normal(size=(seeds, n)))


def _near_ties(random: np.random.Generator, seeds: int) -> tuple[Floats, Floats]:
    return 0.1 * random.normal(size=MANY), random.normal(size=(seeds, MANY))


def _clear_best(random: np.random.Generator, seeds: int) -> tuple[Floats, Floats]:
    return np.r_[-1.0, np.zeros(MANY - 1)], random.normal(size=(seeds, MANY))


def _two_far_ahead(random: np.random.Generator, seeds: int) -> tuple[Floats, Floats]:
    return np.r_[0.0, 0.0, np.linspace(2, 4, MANY - 2)], random.normal(size=(seeds, MANY))


def _unequal_variances(random: np.random.Generator, seeds: int) -> tuple[Floats, Floats]:
    spread = np.geomspace(0.2, 5, MANY) / 5
    return np.zeros(MANY), spread * random.normal(size=(seeds, MANY))


def _correlated(random: np.random.Generator, seeds: int) -> tuple[Floats, Floats]:
    """Seeds that are harder for all, and two traits that configurations share."""
    traits = random.normal(size=(2, MANY))
    shared = random.normal(size=(seeds, 3)) @ np.vstack([np.ones(MANY), *traits])
    return np.zeros(MANY), 0.6 * random.normal(size=(seeds, MANY)) + 0.5 * shared


def _heavy_tails(random: np.random.Generator, seeds: int) -> tuple[Floats, Floats]:
    return np.zeros(MANY), random.standard_t(3, size=(seeds, MANY))


def _shared_table(n: int) -> Draw:
    """Equal on new data; seeds split one table, on which chance prefers some for all seeds."""

    def draw(random: np.random.Generator, seeds: int) -> tuple[Floats, Floats]:
        table = np.sqrt(OVERLAP) * random.normal(size=n)
        return np.zeros(n), table + random.normal(size=(seeds, n))

    return draw


SETTINGS: dict[str, Draw] = {
    "2 equal": equal(2),
    "24 equal": equal(MANY),
    "24 near-ties, spread 0.1 SD": _near_ties,
    "1 best by 1 SD of 24": _clear_best,
    "2 equal, 22 far behind": _two_far_ahead,
    "24 equal, variances differ 600-fold": _unequal_variances,
    "24 equal, correlated": _correlated,
    "24 equal, t with 3 df": _heavy_tails,
    "2 equal on new data, one table": _shared_table(2),
    "24 equal on new data, one table": _shared_table(MANY),
}
EQUAL = {"2 equal", "24 equal"}
"""Settings in which all are alike."""


def measure(studies: int) -> pd.DataFrame:
    """Judge studies of each setting, and return the rates."""
    rows = []
    for setting, draw in SETTINGS.items():
        for seeds in SEEDS:
            random = np.random.default_rng(seeds)
            overlap = OVERLAP if setting.endswith("one table") else 0.0
            is_ranked = setting in EQUAL
            verdicts = [
                judge(*draw(random, seeds), random, is_ranked=is_ranked, overlap=overlap)
                for _ in range(studies)
            ]
            rows += summarise(setting, seeds, pd.DataFrame(verdicts))
    return rate_table(rows)


def judge(
    means: Floats,
    noise: Floats,
    random: np.random.Generator,
    *,
    is_ranked: bool = False,
    overlap: float = 0.0,
) -> dict[str, float]:
    """Judge one study as a user's; errors in the unit of the noise.

    ``is_ranked`` says whether to rank it too, which takes longest.
    """
    seeds, n = noise.shape
    runs = pd.DataFrame(
        {
            "cell": np.tile(np.arange(n), seeds),
            "seed": np.repeat(np.arange(seeds), n),
            "y": (means + noise).ravel(),
            "train_seconds": np.tile(random.permutation(n) + 1.0, seeds),
        }
    )
    roles = {"factors": ["cell"], "outcome": "y", "scale": "difference", "overlap": overlap}
    members = best_set(runs, **roles)
    first = best_configuration(runs, **roles).iloc[0]
    cheapest = members[members["cheapest"]].iloc[0]
    is_best = means == means.min()
    apart = False
    if is_ranked:
        apart = bool((ranking(runs, **roles, best=n)["p_first"] <= 0.05).any())
    return {
        "covered": (members["cell"] == means.argmin()).any(),
        "single": len(members) == 1,
        "false single": len(members) == 1 and not is_best[members["cell"].iloc[0]],
        "size": len(members),
        "apart": apart,
        "first": first["held_out"] - means[first["cell"]],
        "naive": first["naive"] - means[first["cell"]],
        "cheapest": cheapest["mean"] - means[cheapest["cell"]],
    }


def summarise(setting: str, seeds: int, verdicts: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of one setting and number of seeds."""
    studies = len(verdicts)

    def rate(quantity: str, column: str, promised: str) -> dict[str, object]:
        hits = int(verdicts[column].sum())
        return rate_row(
            setting, quantity, seeds=seeds, hits=hits, studies=studies, promised=promised
        )

    def mean(quantity: str, column: str, promised: str = "") -> dict[str, object]:
        return mean_row(setting, quantity, verdicts[column], seeds=seeds, promised=promised)

    unbiased = "within 0.05" if setting in EQUAL else ""
    single = "single" if setting.startswith(("2 equal", "24 equal")) else "false single"
    rows = [
        rate("set holds the best", "covered", "at least 0.95"),
        rate(f"{single} name asserted", single, "at most 0.05"),
        mean("size of the set", "size"),
        mean("error of the mean of the first", "naive"),
        mean("error of the number beside the first", "first", unbiased),
        mean("error of the number beside the cheapest", "cheapest", unbiased),
    ]
    if setting in EQUAL:
        rows.append(rate("any p of the ranking at most 0.05", "apart", "at most 0.05"))
    return rows
