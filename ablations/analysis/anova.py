"""Analysis of variance with block effects and error strata, for designs in which nothing pairs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.arguments import check_columns, check_names
from ablations.analysis.coding import Floats, Ints, varying
from ablations.analysis.design import Design, accept_table
from ablations.analysis.statements import STATED, format_counts, join_statements, state_basis
from ablations.analysis.terms import (
    Fit,
    Projector,
    Term,
    find_aliases,
    fit_terms,
    list_terms,
    mean_within,
    without_round_off,
)

ANOVA_COLUMNS = [
    "stratum", "source", "kind", "effect", "ss", "df", "ms", "error_df", "f", "p", "p_lenth",
    "confounded_with", *STATED,
]  # fmt: skip
WITHIN = "within"
ASSUMES = "numbers independent of one another within strata, about normal, and of one spread"
POOLED = "effects are alike in every {}: p is too small where they are not"


@accept_table("factors", "scale")
def analysis_of_variance(
    design: Design, *, order: int = 2, strata: Sequence[str] = ()
) -> pd.DataFrame:
    """Split the variance of a table of runs among effects, each beside its error.

    For any design: blocks that are incomplete or confounded, Latin squares, split plots, fractions.
    Least squares: an effect is adjusted for the blocks and for all effects of the same or of a
    lower order, which in an orthogonal design changes nothing.

    Parameters
    ----------
    block
        Its differences are removed first, as a fixed effect; None: there are no blocks.
    order
        Interactions of up to so many factors are effects; higher ones count as error.
    strata
        Nested units in place of the block, the largest first: ``["block"]`` compares what varies
        only between blocks with the spread of blocks; ``["field", "variety"]`` is a split plot,
        with varieties on whole plots of each field.  As ``Error(field/variety)`` of R's ``aov``.

    Returns
    -------
    DataFrame
        One row an effect, and one for the residual, in each stratum:

        - ``stratum``: the units that vary there, joined by ``:``; ``within`` for single runs.
        - ``source``: a factor, an interaction ``a × b``, ``blocks`` or ``residual``, and its
          ``kind``: factor, interaction, block or residual.
        - ``effect``: of two levels, the mean at the higher less that at the lower; of their
          interaction, half the difference of such differences.
        - ``ss, df, ms``; ``error_df, f, p``: the F test against the stratum's residual, missing
          where no degrees of freedom are left for error.
        - ``p_lenth``: p of ``effect`` where there is no residual, by Lenth's (1989) pseudo standard
          error, which takes most effects for nothing but chance.
        - ``confounded_with``: effects of the fewest factors (at most three) that cannot be told
          from this one, joined by commas, or the block. An effect without degrees of freedom is
          estimated nowhere else.
        - ``n``: numbers analysed.
    """
    check_names("strata", strata)
    check_columns(design.runs, list(strata))
    data = design.observations
    rows, columns = _varying_columns(design)
    if len(rows) < 2 or not columns:
        return pd.DataFrame(columns=ANOVA_COLUMNS)
    units = _units(design, strata, rows)
    levels = _strata(units, len(rows), is_fixed=not strata)
    table = _test(_fit_strata(data.value[rows], list_terms(columns, order), levels))
    aliases = find_aliases(columns, levels[-1].projector if not strata else _centre)
    vanishing = {name: design.unit for name, names in aliases.items() if names is None}
    table["confounded_with"] = table["source"].map({**aliases, **vanishing}).fillna("")
    has_error = bool((table["kind"] == "residual").any())
    diverged = format_counts((int(data.diverged.sum()), "run that diverged"))
    saturated = "" if has_error else "no estimate of error: as many effects as numbers"
    left_out = join_statements(diverged, saturated)
    procedure = _procedure(list(units), order, is_fixed=not strata, has_error=has_error)
    n = [len(rows)] * len(table)
    assumes = join_statements(ASSUMES, "" if strata or not units else POOLED.format(design.unit))
    return state_basis(table.assign(left_out=left_out), n, procedure, assumes)[ANOVA_COLUMNS]


SOURCE_COLUMNS = ["stratum", "source", "kind", "effect", "ss", "df"]


@dataclass(frozen=True)
class Stratum:
    """What varies between units of one size: how to project on it, and its dimensions."""

    name: str
    projector: Projector
    dimensions: int
    is_block: bool = False


def _varying_columns(design: Design) -> tuple[Ints, dict[str, pd.Series]]:
    """The runs that did not diverge, and the factors that vary among them."""
    data = design.observations
    rows = np.flatnonzero(~data.diverged)
    factors = varying(design.runs.iloc[data.rows[rows]], design.factors)
    return rows, {name: data.columns[name].values.iloc[rows] for name in factors}


def _units(design: Design, strata: Sequence[str], rows: Ints) -> dict[str, Ints]:
    """Name nested units, the largest first, with the unit of each run."""
    data = design.observations
    if not strata:
        codes = pd.factorize(data.block[rows])[0]
        return {} if design.block is None else {design.block: codes}
    units, codes = {}, np.zeros(len(rows), dtype=np.int64)
    for i, name in enumerate(strata):
        labels = design.runs[name].iloc[data.rows[rows]]
        inner = pd.factorize(labels, use_na_sentinel=False)[0]
        codes = pd.factorize(codes * (inner.max() + 1) + inner)[0]
        units[":".join(strata[: i + 1])] = codes
    return units


def _centre(x: Floats) -> Floats:
    deviations: Floats = x - x.mean(axis=0)
    return deviations


def _strata(units: Mapping[str, Ints], size: int, *, is_fixed: bool) -> list[Stratum]:
    """Divide the space of all numbers into what varies between units, and within the smallest."""
    nested = [np.zeros(size, dtype=np.int64), *units.values(), np.arange(size)]
    strata = []
    for name, outer, inner in zip([*units, WITHIN], nested[:-1], nested[1:], strict=True):

        def project(x: Floats, outer: Ints = outer, inner: Ints = inner) -> Floats:
            return mean_within(x, inner) - mean_within(x, outer)

        dimensions = len(np.unique(inner)) - len(np.unique(outer))
        strata.append(Stratum(name, project, dimensions, is_fixed and name != WITHIN))
    return strata


def _fit_strata(value: Floats, terms: Sequence[Term], strata: Sequence[Stratum]) -> pd.DataFrame:
    sources: list[tuple[object, ...]] = []
    centred = value - value.mean()
    for stratum in strata:
        projections = [term.project(stratum.projector) for term in terms]
        effects = [] if stratum.is_block else projections
        fit = fit_terms(stratum.projector(centred), effects, stratum.dimensions)
        sources += _sources(stratum, fit, [row[1] for row in sources])
    table = pd.DataFrame(sources, columns=SOURCE_COLUMNS)
    ss = without_round_off(table["ss"].to_numpy(dtype=float), value)
    return table.assign(ss=ss, effect=table["effect"].where((ss > 0) | table["effect"].isna(), 0.0))


def _sources(stratum: Stratum, fit: Fit, estimated: Sequence[object]) -> list[tuple[object, ...]]:
    """List the effects that a stratum estimates, its residual, and effects estimated nowhere."""
    name, is_last = stratum.name, stratum.name == WITHIN
    rows: list[tuple[object, ...]] = []
    for each in fit.terms:
        if each.df or (is_last and each.term.name not in estimated):
            kind = "factor" if len(each.term.factors) == 1 else "interaction"
            rows.append((name, each.term.name, kind, each.effect, each.ss, each.df))
    if fit.df > 0:
        kind = "block" if stratum.is_block else "residual"
        source = "blocks" if stratum.is_block else "residual"
        rows.append((name, source, kind, np.nan, fit.ss, fit.df))
    return rows


def _test(table: pd.DataFrame) -> pd.DataFrame:
    """Test each effect against the residual of its stratum, the blocks against that within."""
    stratum = table["stratum"].mask(table["kind"] == "block", WITHIN)
    residual = table[table["kind"] == "residual"].set_index("stratum")
    is_tested = (table["kind"] != "residual") & (table["df"] > 0)
    error_df = stratum.map(residual["df"]).where(is_tested).astype(float)
    error_ms = stratum.map(residual["ss"]).astype(float) / error_df
    ms = (table["ss"] / table["df"].where(table["df"] > 0)).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        f = ms / error_ms
    p = stats.f.sf(f, table["df"].astype(float), error_df)
    untested = ~table["stratum"].isin(residual.index)
    p_lenth = lenth_p(table["effect"].where(untested).to_numpy(dtype=float))
    return table.assign(ms=ms, error_df=error_df, f=f, p=p, p_lenth=p_lenth)


COMPONENT_COLUMNS = ["source", "variance", "sd", "share", "mean", "mean_error", *STATED]


@accept_table("factors", "scale")
def variance_components(design: Design) -> pd.DataFrame:
    """Estimate how much each source of chance contributes to the variance of a single number.

    A mixed model in which all factors are random, crossed and without interactions, fitted by
    restricted maximum likelihood (REML; ``statsmodels.MixedLM``): for plates and samples, for
    instance, or for seeds of the split and seeds of the initial weights.

    Returns
    -------
    DataFrame
        One row a factor, then the residual: ``variance``, ``sd``, ``share`` of the sum of all
        variances; ``mean`` of the numbers and its standard error ``mean_error`` in each row.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM  # takes a moment to import

    data = design.observations
    rows, factors = _varying_columns(design)
    if not factors or len(rows) <= len(factors) + 1:
        return pd.DataFrame(columns=COMPONENT_COLUMNS)
    columns = {f"x{i}": data.columns[name].codes[rows] for i, name in enumerate(factors)}
    table = pd.DataFrame({"value": data.value[rows], **columns})
    formulas = {name: f"0 + C({name})" for name in columns}
    model = MixedLM.from_formula(
        "value ~ 1", table, vc_formula=formulas, groups=np.ones(len(rows)), use_sparse=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of zero lies at the bound of its range
        fit = model.fit(reml=True, method="bfgs", gtol=1e-8)
    by_name = dict(zip(model.exog_vc.names, fit.vcomp, strict=True))
    variance = np.array([*(by_name[name] for name in columns), fit.scale])
    mean, error = float(fit.fe_params.iloc[0]), float(fit.bse_fe.iloc[0])
    components = pd.DataFrame({"source": [*factors, "residual"], "variance": variance})
    components = components.assign(
        sd=np.sqrt(variance), share=variance / variance.sum(), mean=mean, mean_error=error
    )
    components["left_out"] = format_counts((int(data.diverged.sum()), "run that diverged"))
    procedure = "mixed model of crossed random effects without interactions, by REML"
    basis = procedure, "effects of all levels independent of one another, about normal"
    n = [len(rows)] * len(components)
    return state_basis(components, n, *basis)[COMPONENT_COLUMNS]


def lenth_p(effects: Floats) -> Floats:
    """Two-sided p of effects without an estimate of error (Lenth, 1989).

    The pseudo standard error is 1.5 times the median size of the effects below 2.5 times 1.5 times
    the median size of all; t has a third as many degrees of freedom as there are effects.  Missing
    with fewer than three effects.
    """
    size = np.abs(effects[np.isfinite(effects)])
    if len(size) < 3:
        return np.full(len(effects), np.nan)
    first = 1.5 * np.median(size)
    error = 1.5 * np.median(size[size < 2.5 * first]) if first > 0 else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        p: Floats = 2 * stats.t.sf(np.abs(effects) / error, len(size) / 3)
    return p


def _procedure(units: Sequence[str], order: int, *, is_fixed: bool, has_error: bool) -> str:
    effects = "factors alone" if order == 1 else f"factors and interactions of up to {order}"
    blocks = ""
    if units:
        blocks = f", after {units[0]}s" if is_fixed else f", in strata of {', '.join(units)}"
    error = "each against the residual of its stratum" if has_error else "Lenth's p alone"
    return (
        f"analysis of variance by least squares of {effects}{blocks}; effects adjusted for all of "
        f"the same or a lower order; {error}"
    )
