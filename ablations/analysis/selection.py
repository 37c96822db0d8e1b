"""What is the best configuration worth without the luck that selected it?  And tuning by halves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.arguments import check_mapping, check_names
from ablations.analysis.best_set import find_configuration
from ablations.analysis.coding import Bools, Floats, Ints, fixed_order, number_pairs
from ablations.analysis.design import Design, accept_table
from ablations.analysis.inference import effect_columns
from ablations.analysis.pairing import complete_configurations, join_factors
from ablations.analysis.scope import deflation
from ablations.analysis.statements import STATED, state_basis
from ablations.results.metadata import Level

SPLITS = 200
JACKKNIFE_SPLITS = 30
"""Splits of each turn that leaves a seed out."""
MOST_TURNS = 200
"""Turns of the jackknife; of more seeds each leaves out several."""
AT_A_TIME = 2**20
"""Most blocks of splits whose numbers are summed at a time."""
BEST_COLUMNS = [
    "naive", "held_out", "optimism", "chosen", "against", "effect", "low", "high", "change",
    "change_low", "change_high", "candidates", "seeds", *STATED,
]  # fmt: skip


@accept_table("factors", "scale", "higher_is_better", "confidence", "overlap", "split")
def best_configuration(
    design: Design, *, control: Mapping[str, Level] | None = None
) -> pd.DataFrame:
    """Select the configuration with the best mean, and take the luck out of its number.

    That it has the best mean does not say that it is the best: ``best_set`` says which others
    cannot be told from it.

    Parameters
    ----------
    control
        Factor to its level in the configuration to compare with; factors not in it must not vary.
        By default the controls of the design.

    Returns
    -------
    DataFrame
        One row: the factors' levels of the best configuration, and

        - ``naive``: its mean over all seeds, those that selected it (geometric on the log scale).
        - ``held_out``: its mean without the luck of the selection, which held-out seeds tell, over
          all ways to choose two thirds of the seeds (or 200 of them); missing with one seed.
        - ``optimism``: how much better ``naive`` is than ``held_out``: a ratio on the log scale
          (0.02: 2 %), a difference otherwise; positive where it looks better than it is.
        - ``chosen``: in what share of the splits two thirds of the seeds select this configuration.
        - ``effect, low, high``: ``held_out`` less ``against``, the control, paired by seed, and its
          interval by the jackknife of the whole procedure (Efron & Stein, 1981), widened for
          new data where seeds share the rows of one table (``scope.deflation``); ``change,
          change_low, change_high``. Missing where the control did not end well in every seed.
        - ``candidates, seeds``: how many configurations it was selected from, on how many seeds.

        Empty where no configuration ended well in every seed.
    """
    if control is not None:
        check_mapping("control", control)
    control = design.controls if control is None else control
    complete = complete_configurations(design)
    if not complete.values.size:
        return pd.DataFrame(columns=[*design.factors, *BEST_COLUMNS])
    # The same splits are drawn, whatever the order of the rows.
    merit = complete.values * (-1 if design.higher_is_better else 1)
    order = fixed_order(merit - merit.mean(axis=0))
    merit, blocks = merit[order], complete.blocks[order]
    best = int(np.argmin(merit.mean(axis=0)))
    base = find_configuration(complete.levels, control)
    against = {} if base is None else complete.levels.iloc[base]
    row = pd.DataFrame([_evaluate(design, merit, blocks, best, base)]).assign(
        against=", ".join(f"{name} {level}" for name, level in against.items()),
        candidates=merit.shape[1],
        seeds=len(merit),
        left_out=complete.left_out,
    )
    row = state_basis(row, row["seeds"], *_basis(design, len(merit)))[BEST_COLUMNS]
    return join_factors(complete.levels.iloc[[best]], row)


def _basis(design: Design, seeds: int) -> tuple[str, str]:
    """What was computed, and what that assumes."""
    block = design.unit
    procedure = (
        "best mean, less what configurations selected by two thirds of the blocks lose on the "
        f"others, over {len(selecting_blocks(seeds, SPLITS))} splits; jackknife over blocks"
    )
    assumptions = (
        f"{block}s independent of one another; luck falls with the square root of their number"
    )
    if design.overlap:
        assumptions += (
            "; held_out is of this table, whose rows may favour it, the interval of new data"
        )
    return procedure, assumptions


def _evaluate(
    design: Design, merit: Floats, blocks: Ints, best: int, base: int | None
) -> dict[str, Any]:
    sign = -1 if design.higher_is_better else 1
    luck, share = _estimate_luck(merit, best, SPLITS)
    naive = float(merit[:, best].mean())
    held_out = naive + luck
    effect = half_width = np.nan
    if base is not None:
        effect = sign * (held_out - float(merit[:, base].mean()))
        half_width = _jackknife(merit, base, design.confidence)
        factor = deflation(design, merit[:, [best]] - merit[:, [base]], blocks)
        half_width /= float(factor[0])
    is_log = design.scale == "log"
    return {
        "naive": float(np.exp(sign * naive)) if is_log else sign * naive,
        "held_out": float(np.exp(sign * held_out)) if is_log else sign * held_out,
        "optimism": float(np.expm1(luck)) if is_log else luck,
        "chosen": share,
        **effect_columns(effect, effect - half_width, effect + half_width, design.scale),
    }


def _jackknife(merit: Floats, base: int, confidence: float) -> float:
    """Half the width of the interval of the held-out effect, leaving out a seed at a time, or one
    of 200 groups.
    """
    n = min(len(merit), MOST_TURNS)
    if n < 3:
        return np.nan
    order = np.arange(n)
    if n < len(merit):
        order = np.random.default_rng(0).permutation(len(merit))
    without = []
    for first in range(n):
        rest = np.delete(merit, order[first::n], axis=0)
        means = rest.mean(axis=0)
        best = int(means.argmin())
        luck, _ = _estimate_luck(rest, best, JACKKNIFE_SPLITS)
        without.append(float(means[best] + luck - means[base]))
    error = np.sqrt((n - 1) / n * ((np.array(without) - np.mean(without)) ** 2).sum())
    return float(stats.t.ppf(0.5 + confidence / 2, n - 1) * error)


def _estimate_luck(merit: Floats, best: int, splits: int) -> tuple[float, float]:
    """Return how much too good the best mean is, and how often splits select ``best``.

    All seeds select it, so none is left that could judge it, and no estimate of its true mean is
    unbiased whatever the others are (Putter & Rubinstein, 1968).  Its mean over those seeds whose
    complement selects it too is not: of 24 equal configurations it is too good by 0.2 to 0.4 seed
    standard deviations.  So the luck is estimated, and taken from its mean: in each split two
    thirds of the seeds select a configuration, and what that loses on the other third is the luck
    of so many seeds.  It falls with the square root of their number, exactly where all are equal;
    where one is best by far it is zero; in between the estimate is rather too modest.
    """
    n = len(merit)
    if n < 2:
        return np.nan, np.nan
    selecting = selecting_blocks(n, splits)
    n_selecting = int(selecting[0].sum())
    inside = _sum_selected(selecting, merit) / n_selecting
    loss = _sum_selected(~selecting, merit) / (n - n_selecting) - inside
    pick, split = inside.argmin(axis=1), np.arange(len(selecting))
    # One configuration loses nothing over all splits, but for those that were not drawn.
    luck = float((loss[split, pick] - loss[:, best]).mean()) * np.sqrt(n_selecting / n)
    return luck, float((pick == best).mean())


def _sum_selected(selecting: Bools, merit: Floats) -> Floats:
    """Return ``selecting @ merit``, some rows at a time: the product makes numbers of them."""
    n_parts = -(-selecting.size // AT_A_TIME)
    return np.concatenate([rows @ merit for rows in np.array_split(selecting, n_parts)])


@lru_cache(maxsize=64)
def selecting_blocks(n: int, splits: int = SPLITS) -> Bools:
    """Ways to choose two thirds of n, a row each: all, or ``splits`` random ones, always the same.

    Of the others at least one remains.
    """
    size = min(max(round(2 * n / 3), 1), n - 1)
    count = comb(n, size)
    selecting = np.zeros((min(count, splits), n), dtype=bool)
    ways: Iterable[Any] = combinations(range(n), size)
    if count > splits:
        random = np.random.default_rng(0)
        ways = (random.permutation(n)[:size] for _ in selecting)
    for row, way in zip(selecting, ways, strict=True):
        row[np.asarray(way, dtype=np.intp)] = True  # one block alone is none of two thirds
    return selecting


@accept_table("factors", "scale", "higher_is_better")
def tune(design: Design, tune_over: Sequence[str], *, by_seed: bool = False) -> pd.DataFrame:
    """Report each configuration at its best level of some axes, chosen on the other half of seeds.

    The seeds, at least two, are halved at random, always the same way for the same numbers.  For
    each combination of the other factors, the level of ``tune_over`` with the best mean on one half
    is reported on the other, and the other way round; so no seed chooses the level that it is
    reported at.  A level that diverged on a seed of the half that chooses is chosen only where all
    did; among those, one that diverged least often.  All levels of a combination are compared on
    the same seeds: a seed that lacks a run of any of them is left out there, or, where that would
    cost more than half of the seeds, the levels with most runs missing.

    That another choice might have been better is in no interval; the seeds of a half share theirs,
    so where levels hardly differ a technique without effect is called certain in 7 % of studies
    rather than in 5 (over four cells), in up to 10 over one cell.

    Where each seed splits one table anew, the rows that judge one seed train and choose in others,
    and the other half of the seeds prefers what fits them by chance: on tables of noise the
    reported loss of the best of eight levels, which use other features, is 4, 1.7 and 0.5 % too low
    for 60, 150 and 500 rows, with 6 and with 20 seeds (1.6 and 0.6 % for eight weight decays).
    ``by_seed`` reports the right loss, of a choice that varies more.

    Parameters
    ----------
    tune_over
        The axes to choose from, learning rate for instance; they are among the factors.
    by_seed
        Let each seed choose for itself.  Its outcome must then be of rows, its validation rows,
        that judge no run of this seed.

    Returns
    -------
    DataFrame
        The rows of ``runs`` that are reported, one for each combination of the other factors and
        seed: as the input of any other analysis, whose factors are the others.
    """
    check_names("tune_over", tune_over)
    if missing := [axis for axis in tune_over if axis not in design.factors]:
        raise ValueError(f"{missing[0]!r} is to be tuned over, and is none of the factors")
    data = design.observations
    half = np.zeros(0) if by_seed else _assign_halves(design)
    table = pd.DataFrame(
        {
            "cell": data.cells([name for name in design.factors if name not in tune_over]),
            "block": data.block,
            "group": data.block if by_seed else half[data.block],
            "chooses_for": data.block if by_seed else 1 - half[data.block],
            "level": data.sorted_cells(tune_over),
            "diverged": data.diverged,
            "merit": (-1 if design.higher_is_better else 1) * data.value,
        }
    )
    table = _comparable(table)
    best = _choose_levels(table)
    reported = table.index[best[table["cell"], table["group"]] == table["level"]]
    # Every row of a reported configuration and block, whatever became of it.
    run = number_pairs(design.cells, design.blocks[0])[0]
    return design.runs[np.isin(run, run[data.rows[reported]])]


def describe_choices(design: Design) -> tuple[str, str]:
    """Write which levels a tuned design has (``lr 0.01 in 60%``), and how many blocks it lost."""
    parts = []
    for axis in design.tune_over:
        shares = design.runs[axis].value_counts(normalize=True, dropna=False)
        order = sorted(shares.index, key=lambda level: (-shares[level], str(level)))
        parts.append(f"{axis} " + ", ".join(f"{level} in {shares[level]:.0%}" for level in order))
    lost, block = design.untuned.n_blocks - design.n_blocks, design.unit
    left_out = f"{lost} {block}{'s' if lost > 1 else ''} without all levels to choose from"
    return "; ".join(parts), left_out if lost else ""


def _assign_halves(design: Design) -> Ints:
    """Assign a half, 0 or 1, to each block, by a hash of its ranks within each configuration, which
    neither labels, the order of rows nor the unit change, nor which block is better.
    """
    data = design.observations
    cell = data.sorted_cells(design.factors)
    blocks, block = np.unique(data.block, return_inverse=True)
    if len(blocks) < 2:
        raise ValueError(f"tuning needs at least two {design.unit}s, to choose on one half of them")
    values = np.full((len(blocks), cell.max() + 1), np.nan)
    values[block, cell] = data.value
    ranks = pd.DataFrame(values).round(12).rank(method="dense").fillna(0).astype(int).to_numpy()
    keys = [hashlib.blake2b(row.tobytes()).digest() for row in ranks]
    half = np.zeros(len(data.blocks), dtype=np.int64)
    ordered = blocks[sorted(range(len(keys)), key=keys.__getitem__)]
    # Blocks with the same split of a table stay in one half, whose choice the other half judges.
    splits = pd.factorize(design.splits[ordered])[0]
    half[ordered] = (splits if splits.max() > 0 else np.arange(len(keys))) % 2
    return half


def _comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Keep, within each cell, the same blocks for all remaining levels."""
    cells = table.groupby("cell")
    n_levels = cells["level"].transform("nunique")
    full = table.groupby(["cell", "block"])["level"].transform("size") == n_levels
    n_full = table["block"].where(full).groupby(table["cell"]).transform("nunique")
    n_runs = table.groupby(["cell", "level"])["block"].transform("size")
    has_most = n_runs == n_runs.groupby(table["cell"]).transform("max")
    return table[full.where(2 * n_full >= cells["block"].transform("nunique"), has_most)]


def _choose_levels(table: pd.DataFrame) -> Ints:
    """The level that is reported in each cell and group: the best of those that choose for it."""
    groups = table.groupby(["cell", "level", "chooses_for"])
    score = groups.agg(diverged=("diverged", "sum"), mean=("merit", "mean")).reset_index()
    score = score.sort_values(["cell", "chooses_for", "diverged", "mean", "level"], kind="stable")
    score = score.drop_duplicates(["cell", "chooses_for"])
    n_groups = int(table[["group", "chooses_for"]].max(axis=None)) + 1
    best = np.full((int(table["cell"].max()) + 1, n_groups), -1)
    best[score["cell"], score["chooses_for"]] = score["level"]
    return best
