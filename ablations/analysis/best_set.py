"""The configurations that cannot be told from the best, and which of them is cheapest to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.arguments import check_mapping
from ablations.analysis.coding import Bools, Column, Floats, Ints, fixed_order, rank_rows
from ablations.analysis.design import Design, accept_table
from ablations.analysis.inference import effect_columns, mean_and_sd
from ablations.analysis.pairing import complete_configurations, join_factors
from ablations.analysis.scope import MeanEffects, deflation, describe_assumptions
from ablations.analysis.signs import SignPatterns
from ablations.analysis.statements import STATED, join_statements, state_basis
from ablations.results.metadata import Level

MOST_LEADS = 1_000_000_000
"""Flips times pairs of configurations that are computed: the bound on the time, a few seconds."""
MOST_FLIPS = 2**15
FEWEST_FLIPS = 400
FEWEST_OTHERS = 100
MOST_DEFLATED = 40
"""Largest leads of a configuration that are reduced to what they say of new data."""
SAME_COST = 1.1
"""Ratio up to which costs count as equal; more where two times of one configuration differ more."""
ROUND_OFF = 1e-9
EFFECT_COLUMNS = ["effect", "low", "high", "change", "change_low", "change_high"]
BEST_SET_COLUMNS = [
    "place", "mean", *EFFECT_COLUMNS, "p", "in_set", "seconds", "seconds_ratio", "cheapest",
    "against", *(f"control_{name}" for name in EFFECT_COLUMNS), "shared", "members", "candidates",
    "is_reachable", *STATED,
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class BestTests:
    """The tests of every complete configuration against the best, in the order of ``levels``.

    Attributes
    ----------
    merit
        Seeds x configurations, lower is better, on the scale of the comparison.
    blocks
        The seeds, as positions among the labels of the design.
    p
        P that a configuration that is as good as the best falls so far behind another.
    p_first
        P of its difference from the one with the best mean, adjusted for all pairs.
    flips
        Sign flips that were counted.
    others
        Configurations that each was compared with.
    """

    merit: Floats
    levels: pd.DataFrame
    blocks: Ints
    left_out: str
    p: Floats
    p_first: Floats
    flips: int
    others: int

    @property
    def order(self) -> Ints:
        """The configurations, best mean first."""
        return np.argsort(self.merit.mean(axis=0), kind="stable")


def compare_with_best(design: Design) -> BestTests:
    """Test of every configuration that ended well in every seed whether it may be the best.

    The statistic of a configuration is the largest t, over all others, by which another is better
    in paired differences over seeds.  If none is better, the differences from it are as likely to
    have the opposite sign, all of a seed together; so p is the share of sign flips of the seeds in
    which the statistic is as large.  As Hsu's (1981) multiple comparisons with the best, but
    without his assumption of equal variances.

    Of very many configurations the others are a random part of all (``draw_others``), the same
    whatever the results are, so that p stays what it says.

    Where seeds share the rows of one table, each t is reduced to what it says of new data
    (``scope.deflation``); those of the flips are not.
    """
    complete = complete_configurations(design)
    merit = complete.values * (-1 if design.higher_is_better else 1)
    tests = partial(BestTests, merit, complete.levels, complete.blocks, complete.left_out)
    if not merit.size:
        return tests(np.zeros(0), np.zeros(0), 0, 0)
    # The same flips are drawn, whatever the order of the rows.
    order = fixed_order(merit - merit.mean(axis=0))
    first = int(np.argmin(merit.mean(axis=0)))
    most = flip_limit(merit.shape[1], design.alpha)
    others = draw_others(complete.levels, most)
    signs = SignPatterns(len(merit), most // 2, most.bit_length() - 1)
    factors = None
    if design.overlap or design.has_repeated_splits:
        factors = partial(deflation, design, blocks=complete.blocks[order])
    p, p_first = compute_best_p(merit[order], signs, first, factors, others)
    return tests(p, p_first, 2 * len(signs), len(others))


def compute_best_p(
    merit: Floats,
    signs: SignPatterns,
    first: int,
    factors: Callable[[Floats], Floats] | None = None,
    others: Ints | None = None,
) -> tuple[Floats, Floats]:
    """Return ``p`` and ``p_first`` of ``BestTests``, by these flips and their opposites.

    The largest lead of a flip over all pairs of configurations decides about ``p_first``: as if the
    best one were selected anew in every flip.  Missing with fewer than two seeds.

    Parameters
    ----------
    factors
        Returns by which factors the t of differences, seeds x contrasts, are to be reduced.
    others
        The configurations that each is compared with; by default all.  ``p_first`` is multiplied by
        the parts of this size that all consist of (Bonferroni).
    """
    n, k = merit.shape
    others = np.arange(k) if others is None else others
    rivals, n_parts = np.ascontiguousarray(merit[:, others]), k / len(others)
    if n < 2:
        return np.full(k, np.nan), np.full(k, np.nan)
    flipped = np.ascontiguousarray(signs.sums(merit).T)
    flipped_rivals = np.ascontiguousarray(flipped[others])
    sums = rivals.sum(axis=0)
    behind_first = _leads(merit - merit[:, [first]])
    largest, p = np.zeros(2 * len(signs)), np.ones(k)
    for i in range(k):
        differences = merit[:, [i]] - rivals
        norms = np.sqrt((differences**2).sum(axis=0))
        scale = np.divide(1.0, norms, out=np.zeros(len(norms)), where=norms > 0)
        # sum d / sqrt(sum d^2) is a monotone function of t.
        leads = (merit[:, i].sum() - sums) * scale
        if factors is not None:
            leads = _deflate_largest(leads, differences, factors)
        flipped_leads = flipped[i] - flipped_rivals
        flipped_leads *= scale[:, None]
        flips = np.concatenate([flipped_leads.max(axis=0), -flipped_leads.min(axis=0)])
        p[i] = (flips >= max(0.0, leads.max()) - ROUND_OFF).mean()
        np.maximum(largest, flips, out=largest)
    if factors is not None:
        behind_first = deflate(behind_first, n, factors(merit - merit[:, [first]]))
    largest.sort()
    share = 1 - np.searchsorted(largest, behind_first - ROUND_OFF) / len(largest)
    return p, np.where(np.arange(k) == first, np.nan, np.minimum(1.0, n_parts * share))


def _leads(differences: Floats) -> Floats:
    """Return ``sum d / sqrt(sum d^2)`` of each column, 0 where nothing differs."""
    norms = np.sqrt((differences**2).sum(axis=0))
    leads = np.zeros(len(norms))
    np.divide(differences.sum(axis=0), norms, out=leads, where=norms > 0)
    return leads


def _deflate_largest(
    leads: Floats, differences: Floats, factors: Callable[[Floats], Floats]
) -> Floats:
    """Reduce the largest leads; the others count as 0."""
    columns = np.argsort(-leads, kind="stable")[:MOST_DEFLATED]
    columns = columns[leads[columns] > 0]
    deflated = np.zeros_like(leads)
    if len(columns):
        share = factors(differences[:, columns])
        deflated[columns] = deflate(leads[columns], len(differences), share)
    return deflated


def deflate(leads: Floats, n: int, factors: Floats) -> Floats:
    """Return ``sum d / sqrt(sum d^2)`` of ``n`` numbers whose t is that of ``leads``, times
    ``factors``, at most 1.
    """
    # t^2 is a multiple of q / (1 - q).
    q = np.minimum(leads**2 / n, 1.0)
    return np.asarray(np.sign(leads) * np.sqrt(n * q / (q + (1 - q) / factors**2)))


def flip_limit(configurations: int, alpha: float) -> int:
    """Return how many flips are counted at most: fewer of many configurations, to bound time."""
    fewest = max(FEWEST_FLIPS, int(min(np.ceil(16 / alpha), MOST_FLIPS)))
    return max(fewest, min(MOST_FLIPS, MOST_LEADS // max(configurations, 1) ** 2))


def draw_others(levels: pd.DataFrame, flips: int) -> Ints:
    """Draw the configurations that each is compared with: all, or as many as time allows."""
    most = max(FEWEST_OTHERS, MOST_LEADS // (max(flips, 1) * max(len(levels), 1)))
    if len(levels) <= most:
        return np.arange(len(levels))
    # By names, and not by rows: tables of the same runs give the same answer.
    by_name = np.argsort(rank_rows(levels), kind="stable")
    return np.sort(by_name[np.random.default_rng(0).permutation(len(levels))[:most]])


def can_leave_out(design: Design, seeds: int) -> bool:
    """Whether so many seeds can leave out any configuration at the level of this design."""
    return 2.0**-seeds <= design.verdict_level / 2


@accept_table("factors", "scale", "higher_is_better", "alpha", "confidence", "overlap", "split")
def best_set(
    design: Design,
    *,
    control: Mapping[str, Level] | None = None,
    seconds: str = "run_seconds",
    all_candidates: bool = False,
) -> pd.DataFrame:
    """Find the configurations that cannot be told from the best.

    A configuration stays in the set unless another is surely better: unless its p is at most half
    of ``alpha``.  So the set holds a truly best configuration in at least 95 % of studies, and of
    two equal ones it leaves out one in at most 5 %.  Fewer than 6 seeds can leave out none.

    Only configurations that ended well in every seed are candidates (``left_out`` counts the
    others).

    Parameters
    ----------
    control
        Factor to its level in the configuration to compare with; factors not in it must not vary.
        By default the controls of the design.
    seconds
        Column with the cost of a run; ``train_seconds`` stands in for it.
    all_candidates
        Return all candidates, and not only those in the set.

    Returns
    -------
    DataFrame
        One row a configuration, best first: the factors, and

        - ``place``; ``mean`` of the outcome (geometric on the log scale).
        - ``effect, low, high, change, change_low, change_high``: its difference from the first, and
          its interval of the design's ``confidence``, by Tukey's studentised range instead of
          Student's t, since the first was chosen by its mean: that of each row covers, of all rows
          together about.
        - ``p``: of the hypothesis that it is as good as the best (``compare_with_best``);
          ``in_set``.
        - ``seconds``: median over seeds; ``seconds_ratio``: over that of the first; ``cheapest``:
          it takes the fewest seconds of the set, or more by a tenth or by the design's
          ``cost_noise``, which is chance; of several it is that with the fewest levels other than
          the control's, then the first by name.
        - ``control_effect`` to ``control_change_high``: its difference from ``against``, the
          control, with its t interval.  Of its mean over all seeds: that of a row chosen by
          its outcome, of the first for instance, is flattered (see ``best_configuration``).
        - the same in every row: ``shared``: the levels that all of the set have, of the factors
          that vary among the candidates; ``members, candidates``: their numbers; ``is_reachable``:
          whether the seeds are enough to leave any out.
    """
    if control is not None:
        check_mapping("control", control)
    control = design.controls if control is None else control
    seconds = seconds if seconds in design.runs else "train_seconds"
    tests: BestTests = design.compute_once(compare_with_best)
    if not tests.merit.size:
        return pd.DataFrame(columns=[*design.factors, *BEST_SET_COLUMNS])
    levels = tests.levels.iloc[tests.order]
    table = _describe_all(tests, levels, control, seconds, design)
    rows = np.ones(len(table), dtype=bool) if all_candidates else table["in_set"].to_numpy()
    return join_factors(levels[rows], table.loc[rows, BEST_SET_COLUMNS])


def _describe_all(
    tests: BestTests,
    levels: pd.DataFrame,
    control: Mapping[str, Level],
    seconds: str,
    design: Design,
) -> pd.DataFrame:
    """The columns of ``best_set`` for all candidates, best first."""
    order = tests.order
    in_set = ~(tests.p[order] <= design.verdict_level / 2)
    table = _compare_with_first(tests, order, design).assign(
        in_set=in_set,
        **_compare_with_control(tests, levels, control, design),
        **_cost(levels, in_set, control, seconds, design),
        shared=_shared_levels(levels, in_set),
        members=int(in_set.sum()),
        candidates=len(levels),
        is_reachable=can_leave_out(design, len(tests.merit)),
        left_out=tests.left_out,
    )
    return state_basis(table, [len(tests.merit)] * len(table), *_basis(tests, design))


def _compare_with_first(tests: BestTests, order: Ints, design: Design) -> pd.DataFrame:
    """Place, mean, difference from the first, and p of configurations, best first."""
    sign = -1 if design.higher_is_better else 1
    merit, n = tests.merit[:, order], len(tests.merit)
    differences = sign * (merit - merit[:, :1])
    effect, sd = mean_and_sd(differences)
    half = critical_range(len(order), n, design.confidence) * sd / np.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        half /= deflation(design, differences, tests.blocks)
    half[0] = np.nan
    means = sign * merit.mean(axis=0)
    return pd.DataFrame(
        {
            "place": np.arange(1, len(order) + 1),
            "mean": np.exp(means) if design.scale == "log" else means,
            **effect_columns(effect, effect - half, effect + half, design.scale),
            "p": tests.p[order],
        }
    )


@lru_cache
def critical_range(configurations: int, blocks: int, confidence: float = 0.95) -> float:
    """Return the standard errors of a difference in the half-width of its simultaneous interval."""
    if min(configurations, blocks) < 2:
        return np.nan
    return float(stats.studentized_range.ppf(confidence, configurations, blocks - 1) / np.sqrt(2))


def find_configuration(levels: pd.DataFrame, control: Mapping[str, Level]) -> int | None:
    """Return the position of the configuration with some levels, where exactly one has them."""
    if not control:
        return None
    names = [name for name in control if name in levels]
    at = [Column.from_values(levels[name]).at(control[name]) for name in names]
    positions = np.flatnonzero(np.broadcast_to(np.all(at, axis=0), len(levels)))
    return int(positions[0]) if len(positions) == 1 else None


def _compare_with_control(
    tests: BestTests, levels: pd.DataFrame, control: Mapping[str, Level], design: Design
) -> dict[str, Floats | str]:
    base, merit = find_configuration(levels, control), tests.merit[:, tests.order]
    if base is None:
        differences, against = np.full(merit.shape, np.nan), ""
    else:
        differences = (-1 if design.higher_is_better else 1) * (merit - merit[:, [base]])
        against = ", ".join(f"{name} {level}" for name, level in levels.iloc[base].items())
    means = MeanEffects.from_differences(design, differences, tests.blocks)
    effects = means.columns(design.scale)
    return {"against": against, **{f"control_{name}": effects[name] for name in EFFECT_COLUMNS}}


def _cost(
    levels: pd.DataFrame,
    in_set: Bools,
    control: Mapping[str, Level],
    seconds: str,
    design: Design,
) -> dict[str, Floats | Bools]:
    """The median cost of each configuration, and which of the set is the cheapest."""
    costs = np.full(len(levels), np.nan)
    if seconds in design.runs:
        data = design.observations
        cell = data.cells(design.factors)
        values = pd.Series(design.runs[seconds].to_numpy(dtype=float, na_value=np.nan)[data.rows])
        costs = values.groupby(cell).median().reindex(levels.index).to_numpy()
    changed = np.zeros(len(levels), dtype=int)
    for name, level in control.items():
        changed += ~Column.from_values(levels[name]).at(level) if name in levels else 0
    same_cost = max(SAME_COST, design.cost_noise)
    is_cheap = in_set & (costs <= same_cost * np.nanmin(costs, where=in_set, initial=np.inf))
    order = np.lexsort((rank_rows(levels), changed))
    cheapest = np.zeros(len(levels), dtype=bool)
    cheapest[order[is_cheap[order]][:1]] = True
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = costs / costs[0]
    return {"seconds": costs, "seconds_ratio": ratios, "cheapest": cheapest}


def _shared_levels(levels: pd.DataFrame, in_set: Bools) -> str:
    """Write the levels that all members have and not all candidates."""
    columns = {name: Column.from_values(levels[name]).codes for name in levels}
    names = [
        name
        for name, codes in columns.items()
        if len(set(codes[in_set])) == 1 and len(set(codes)) > 1
    ]
    return ", ".join(f"{name} {levels[name].iloc[0]}" for name in names)


def _basis(tests: BestTests, design: Design) -> tuple[str, str]:
    """What was computed, and what that assumes."""
    block, n = design.unit, len(tests.merit)
    flips = f"all {tests.flips:,}" if tests.flips == 2**n else f"{tests.flips:,} random"
    others = f"{tests.others:,} random" if tests.others < len(tests.levels) else "all"
    shared = ""
    if design.overlap or design.has_repeated_splits:
        shared = " reduced for the rows that blocks share"
    procedure = (
        f"largest t of paired differences from {others} others{shared}, {flips} sign flips of the "
        f"blocks; left out where p is at most {design.verdict_level / 2:.3g}"
    )
    few = "" if can_leave_out(design, n) else f"{n} {block}s are too few to leave any out"
    return procedure, join_statements(describe_assumptions(design), few)
