"""Does a level help on other data sets too? Effects over data sets, each of which is one unit.

Outcomes of different data sets have different sizes, and are never averaged.  What is compared is
the effect of a level against its control within each data set, as a log ratio, or, of an outcome
that has none, as a difference over the typical size of the outcome in that data set.

Two questions are kept apart.  "On these data sets" is about the data sets that were run: the seeds
are the units, and each data set has a verdict of its own.  "On data sets like these" is about
others: the data sets are the units, as subjects are in medicine, and more seeds on the same data
sets are no evidence about it (Demsar, 2006).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.coding import Floats
from ablations.analysis.design import Design
from ablations.analysis.equality import adjusted_equivalence_p, equivalence_p, share_within
from ablations.analysis.incomplete import seed_effects
from ablations.analysis.inference import (
    max_t,
    mean_and_sd,
    min_seeds,
    sign_flip_p,
    smallest_p,
    t_interval,
)
from ablations.analysis.main_effects import main_effects
from ablations.analysis.scores import common_unit
from ablations.analysis.statements import STATED, join_statements
from ablations.analysis.verdicts import EQUAL, HELPS, HURTS, UNDECIDED, VERDICTS, verdicts

KEY = ["axis", "level"]
CHANGE = ["change", "change_low", "change_high"]
COUNTS = {HELPS: "helps", HURTS: "hurts", EQUAL: "equal", UNDECIDED: "undecided"}
OVER_COLUMNS = [
    "axis", "level", "control", "verdict", *CHANGE, "scale", "effect", "low", "high", "here_low",
    "here_high", "p", "p_adjusted", "p_floor", "reachable", "p_equivalent",
    "p_equivalent_adjusted", "within_margin", "datasets", *COUNTS.values(), "diverged",
    "control_diverged", "p_divergence", "sentence", *STATED,
]  # fmt: skip


def effects_by_dataset(designs: Mapping[str, Design]) -> pd.DataFrame:
    """Compare every level with its control within each data set, as one family.

    The family is every level on every data set: step-down sign-flip max-T, in which a seed flips
    its sign on all data sets at once, since runs of one seed share what is drawn from it.  So the
    smallest p does not grow with the number of data sets, as it does by Holm's method.  Equality
    is adjusted over the same family.  A verdict is never surer than that of a study of the data set
    alone; ``caution`` says where it is less sure.

    Parameters
    ----------
    designs
        Name of each data set to its design.

    Returns
    -------
    DataFrame
        The columns of ``main_effects`` behind ``task``, with ``p_adjusted``, ``p_divergence``,
        ``p_equivalent_adjusted`` and ``verdict`` of the family; and ``relative, relative_low,
        relative_high``: the effect and its interval on the scale that data sets share, by
        ``scale``: ``log`` ratios, or else over the typical size.  One in which more is better,
        where less is in the first, has the other sign.
    """
    tables, columns = [], []
    first = next(iter(designs.values()))
    for name, design in designs.items():
        table = main_effects(design)
        sign = 1 if design.higher_is_better == first.higher_is_better else -1
        unit = sign / common_unit(design)
        bounds = np.sort(table[["low", "high"]].to_numpy(dtype=float) * unit, axis=1)
        tables.append(
            table.assign(
                task=name,
                scale=design.scale,
                relative=table["effect"].astype(float) * unit,
                relative_low=bounds[:, 0],
                relative_high=bounds[:, 1],
                confidence=design.confidence,
                alpha=design.alpha,
                bound=design.bound,
            )
        )
        columns.append(_by_seed(design).add_prefix(f"{name}\0", axis=1))
    effects = pd.concat(tables, ignore_index=True)
    effects = _join_family(effects, pd.concat(columns, axis=1))
    names = ["task", *(name for name in effects if name != "task")]
    return effects[names].drop(columns=["alpha", "bound"])


def _by_seed(design: Design) -> pd.DataFrame:
    """Differences and excess of diverged runs: seeds x (measure, axis, level) as text."""
    points = seed_effects(design)
    keys = [f"{axis}\0{level}" for axis, level in zip(points["axis"], points["level"], strict=True)]
    wide = [
        points.assign(key=[f"{name}\0{key}" for key in keys])
        .pivot_table(index=design.unit, columns="key", values=name, sort=False, dropna=False)
        .astype(float)
        for name in ("difference", "divergence")
    ]
    return pd.concat(wide, axis=1)


def _join_family(effects: pd.DataFrame, by_seed: pd.DataFrame) -> pd.DataFrame:
    """Adjust p over all data sets, and withdraw the verdicts that do not hold then."""
    keys = list(effects[["task", *KEY]].astype(str).itertuples(index=False, name=None))
    names = {
        measure: ["\0".join((task, measure, axis, level)) for task, axis, level in keys]
        for measure in ("difference", "divergence")
    }
    d, excess = (by_seed.reindex(columns=columns).to_numpy() for columns in names.values())
    # Where nothing diverged there is no second question.
    uneven = np.where(np.nansum(np.abs(excess), axis=0) > 0, excess, np.nan)
    joint = max_t(np.asfortranarray(np.hstack([d, uneven])))
    alpha, bound = (effects[name].to_numpy(dtype=float) for name in ("alpha", "bound"))
    columns = {
        "p_adjusted": joint[: len(keys)],
        "p_divergence": joint[len(keys) :],
        "p_equivalent_adjusted": adjusted_equivalence_p(d / bound, 1.0, float(alpha.min())),
    }
    before = effects["verdict"]
    effects = effects.assign(
        **{name: np.fmax(effects[name].astype(float), p) for name, p in columns.items()}
    )
    is_sure = np.fmin(effects["p_adjusted"], effects["p_divergence"]) <= alpha
    is_equal = effects["p_equivalent_adjusted"] <= alpha
    is_withdrawn = (before.isin([HELPS, HURTS]) & ~is_sure) | ((before == EQUAL) & ~is_equal)
    note = f"p and verdict: step-down max-T over all {len(keys)} contrasts of all data sets"
    less_sure = "Sure on this data set alone, but not among the comparisons on all of them."
    return effects.assign(
        verdict=before.where(~is_withdrawn, UNDECIDED),
        caution=effects["caution"].where(~is_withdrawn, less_sure),
        procedure=[join_statements(text, note) for text in effects["procedure"]],
    )


def effects_over_datasets(
    effects: pd.DataFrame,
    *,
    higher_is_better: bool = False,
    margin: float = 0.02,
    alpha: float = 0.05,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Say what each level does on data sets like these: the data set is the unit.

    Parameters
    ----------
    effects
        Of ``effects_by_dataset``: needs ``task, axis, level, control, relative, relative_low,
        relative_high, n, diverged, control_diverged, pairs, verdict`` and, if not all are log
        ratios, ``scale``, and ``confidence`` of the intervals, where it is not 95 %.
    margin
        A fraction: of the ratio, or of the typical size.

    Returns
    -------
    DataFrame
        One row a level, in order of appearance:

        - ``effect, low, high``: mean over data sets and its t interval, of data sets like these;
          ``here_low, here_high``: the interval of the mean over these data sets, in which seeds
          are the units; ``change, change_low, change_high``: the effect as a fraction; ``scale``:
          ``log`` if all effects are log ratios, else ``difference``.
        - ``p, p_adjusted``: sign flips of data sets, before and after max-T over the levels;
          ``p_floor``: the smallest that so many data sets can give; ``reachable``: whether that is
          at most ``alpha``; ``p_equivalent, p_equivalent_adjusted, within_margin`` as in
          ``main_effects``, with data sets for seeds.
        - ``datasets``; on how many of them it ``helps``, ``hurts``, is ``equal`` or ``undecided``,
          and that in a ``sentence``.
        - ``diverged, control_diverged``: runs; ``p_divergence`` (adjusted).
        - ``verdict``: helps, hurts, practically equal, not enough evidence; always the last where
          there are too few data sets for any p to be at most ``alpha``.
    """
    index = pd.MultiIndex.from_frame(effects[KEY].drop_duplicates())
    is_log = "scale" not in effects or bool((effects["scale"] == "log").all())
    bound = float(np.log1p(margin)) if is_log else margin
    relative, excess = (_spread_tasks(values, effects, index) for values in _measures(effects))
    tests = pd.DataFrame(_test_means(relative, excess, bound, alpha, confidence), index=index)
    low, high = _interval_here(effects, index, confidence)
    counts = _count_verdicts(effects).assign(here_low=low, here_high=high)
    for change, name in zip(CHANGE, ("effect", "low", "high"), strict=True):
        counts[change] = np.expm1(tests[name]) if is_log else tests[name]
    table = tests.join(counts).reset_index()
    words = verdicts(table, alpha=alpha, higher_is_better=higher_is_better)
    table = table.assign(
        verdict=words.where(table["n"] >= min_seeds(alpha), UNDECIDED),
        scale="log" if is_log else "difference",
        sentence=[describe_counts(row) for row in table.to_dict("records")],
    )
    return _state_over(table, is_log, alpha)[OVER_COLUMNS]


def _count_verdicts(effects: pd.DataFrame) -> pd.DataFrame:
    """Count data sets by verdict, and runs that diverged, of each level."""
    words = {name: effects["verdict"] == word for word, name in COUNTS.items()}
    grouped = effects.assign(**words).groupby(KEY, sort=False, dropna=False)
    sums = grouped[[*words, "diverged", "control_diverged"]].sum().astype(int)
    return sums.assign(control=grouped["control"].first(), datasets=grouped["task"].nunique())


def _test_means(
    relative: Floats, excess: Floats, bound: float, alpha: float, confidence: float
) -> dict[str, Floats]:
    """The mean of each column over data sets, with its interval and tests."""
    uneven = np.where(np.nansum(np.abs(excess), axis=0) > 0, excess, np.nan)
    n, size = np.isfinite(relative).sum(axis=0), relative.shape[1]
    mean, sd = mean_and_sd(relative)
    low, high = t_interval(mean, sd, n, confidence)
    adjusted = max_t(np.asfortranarray(np.hstack([relative, uneven])))
    floor = smallest_p(n)
    return {
        **dict(zip(("effect", "low", "high"), (mean, low, high), strict=True)),
        "p": sign_flip_p(relative),
        "p_adjusted": adjusted[:size],
        "p_divergence": adjusted[size:],
        "p_floor": floor,
        "reachable": floor <= alpha,
        "p_equivalent": equivalence_p(mean, sd, n, bound),
        "p_equivalent_adjusted": adjusted_equivalence_p(relative, bound, alpha),
        "within_margin": share_within(relative, bound),
        "n": n,
    }


def _measures(effects: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Effect, and excess of diverged runs among the pairs, of each row."""
    excess = (effects["diverged"] - effects["control_diverged"]) / effects["pairs"].clip(lower=1)
    return effects["relative"].astype(float), excess.astype(float)


def _spread_tasks(values: pd.Series, effects: pd.DataFrame, index: pd.MultiIndex) -> Floats:
    """Arrange a number of each row as data sets x levels."""
    rows = pd.MultiIndex.from_frame(effects[KEY]).map({key: i for i, key in enumerate(index)})
    tasks, names = pd.factorize(effects["task"])
    wide = np.full((len(names), len(index)), np.nan)
    wide[tasks, np.asarray(rows, dtype=int)] = values.to_numpy()
    return np.asfortranarray(wide)


def _interval_here(
    effects: pd.DataFrame, index: pd.MultiIndex, confidence: float
) -> tuple[Floats, Floats]:
    """The interval of the mean over these data sets, from those of each (Satterthwaite)."""
    degrees = effects["n"].to_numpy(dtype=float) - 1
    sure = effects["confidence"].to_numpy(dtype=float) if "confidence" in effects else 0.95
    with np.errstate(invalid="ignore", divide="ignore"):
        half = (effects["relative_high"] - effects["relative_low"]).astype(float) / 2
        error = half / stats.t.ppf(0.5 + sure / 2, np.where(degrees >= 1, degrees, np.nan))
    columns = (effects["relative"].astype(float), error**2, error**4 / degrees)
    mean, variance, spread = (_spread_tasks(pd.Series(c), effects, index) for c in columns)
    n = np.isfinite(mean).sum(axis=0)
    is_complete = (np.isfinite(mean) == np.isfinite(variance)).all(axis=0) & (n > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(is_complete, np.nansum(variance, axis=0), np.nan)
        df = total**2 / np.nansum(spread, axis=0)
        df = np.where(np.isfinite(df), df, np.inf)
        width = stats.t.ppf(0.5 + confidence / 2, df) * np.sqrt(total) / n
        center = np.nansum(mean, axis=0) / n
    return center - width, center + width


def describe_counts(row: Mapping[str, object]) -> str:
    """Say on how many data sets a level does what: ``helps on 7 of 9 data sets, hurts on 1``."""
    verbs = {HELPS: "helps", HURTS: "hurts", EQUAL: "practically equal", UNDECIDED: "undecided"}
    total = int(str(row["datasets"]))
    counts = [(verbs[word], int(str(row[COUNTS[word]]))) for word in VERDICTS]
    parts = [f"{verb} on {count}" for verb, count in counts if count]
    if not parts:
        return "not compared on any data set"
    noun = "data set" if total == 1 else "data sets"
    first, _, rest = parts[0].partition(" on ")
    parts[0] = f"{first} on {rest} of {total} {noun}"
    return ", ".join(parts)


def _state_over(table: pd.DataFrame, is_log: bool, alpha: float) -> pd.DataFrame:
    """Add the columns that say what the effects over data sets rest on."""
    kind = "log ratios" if is_log else "differences over the typical size of each data set"
    family, fewest = len(table), min_seeds(alpha)
    procedure = (
        f"{kind}, mean over data sets, which weigh the same; 95 % t interval over data sets, of "
        f"this comparison alone; p by sign flips of data sets, adjusted by step-down max-T over "
        f"{family}; equivalence by two one-sided t tests over data sets and max-T"
    )
    few = f"fewer than {fewest} data sets, whose sign flips cannot give a p of {alpha:g} or less"
    lost = table["datasets"] - table["n"]
    return table.assign(
        procedure=procedure,
        assumes=(
            "the data sets are a sample of those that are meant, independent of one another; p: a "
            "level without effect is as often so much better as so much worse on a data set; "
            "interval: effects on data sets about normal"
        ),
        left_out=[
            join_statements(
                f"{int(m)} data set{'' if m == 1 else 's'} without a pair of runs" if m else "",
                f"no verdict: {few}" if n < fewest else "",
            )
            for m, n in zip(lost, table["n"], strict=True)
        ],
    )
