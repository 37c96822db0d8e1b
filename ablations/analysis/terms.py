"""Effects and interactions as columns of contrasts: their least squares, and which coincide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations

import numpy as np
import pandas as pd
from scipy.linalg import helmert, qr

from ablations.analysis.coding import Floats, Ints, factorize

MAX_COLUMNS = 1_500
"""Columns of all effects among which coincident ones are searched, at most."""
ALIAS_ORDER = 3
"""Interactions of up to so many factors are named as confounded."""
TOLERANCE = 1e-7
"""Share of a column's length that round-off may leave of what vanishes."""
Projector = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Term:
    """An effect of some factors: ``columns``, runs x degrees of freedom, of ``lengths`` before any
    projection.
    """

    factors: tuple[str, ...]
    columns: Floats
    lengths: Floats

    @property
    def name(self) -> str:
        """The factors, joined as an interaction."""
        return " × ".join(self.factors)

    def project(self, projector: Projector) -> Term:
        """Return the term with projected columns."""
        return replace(self, columns=projector(self.columns))


@dataclass(frozen=True)
class TermFit:
    """An effect's sum of squares, its degrees of freedom, and the difference between its levels
    where there are two.
    """

    term: Term
    ss: float
    df: int
    effect: float


@dataclass(frozen=True)
class Fit:
    """What effects explain of some numbers, and what is left."""

    terms: list[TermFit]
    ss: float
    df: int


def list_terms(factors: Mapping[str, pd.Series], order: int) -> list[Term]:
    """Return the effects of all factors and their interactions of up to ``order`` factors."""
    single = {name: _contrasts(values) for name, values in factors.items()}
    terms = []
    for size in range(1, min(order, len(single)) + 1):
        for names in combinations(single, size):
            *_, columns = accumulate((single[name] for name in names), _products)
            terms.append(Term(names, columns, np.linalg.norm(columns, axis=0)))
    return terms


def _contrasts(values: pd.Series) -> Floats:
    """Contrasts of levels in the order of their size, or text: -1 and 1, where there are two."""
    codes, levels = factorize(values)
    numeric = pd.api.types.is_numeric_dtype(values)
    order = np.argsort(np.argsort(levels if numeric else [str(level) for level in levels]))
    of_levels = np.array([[-1.0], [1.0]]) if len(levels) == 2 else helmert(len(levels)).T
    contrasts: Floats = of_levels[order[codes]]
    return contrasts


def without_round_off(ss: Floats, values: Floats) -> Floats:
    """Return sums of squares of ``values``, 0 where they are no larger than round-off leaves."""
    step = 8 * np.finfo(float).eps * np.abs(values).max(initial=0.0)
    return np.where(ss > values.size * step**2, ss, 0.0)


def _products(first: Floats, second: Floats) -> Floats:
    products: Floats = (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)
    return products


def mean_within(x: Floats, codes: Ints) -> Floats:
    """Return the means of columns (or of one column) over rows of the same code, a row each."""
    sums = np.zeros((int(codes.max()) + 1, *x.shape[1:]))
    np.add.at(sums, codes, x)
    counts = np.maximum(np.bincount(codes), 1).reshape(-1, *[1] * (x.ndim - 1))
    means: Floats = (sums / counts)[codes]
    return means


def fit_terms(value: Floats, terms: Sequence[Term], dimensions: int) -> Fit:
    """Explain projected numbers by projected terms, lower orders first.

    Each is adjusted for all terms of the same or of a lower order.  Of terms that coincide, the
    first has the degrees of freedom.

    Parameters
    ----------
    dimensions
        Of the space that the numbers and terms are projected on.
    """
    fits: list[TermFit] = []
    lower: list[Floats] = []
    basis = np.zeros((len(value), 0))
    orders = sorted({len(term.factors) for term in terms})
    for order in orders:
        group = [term for term in terms if len(term.factors) == order]
        selections, start = [], sum(columns.shape[1] for columns in lower)
        for term in group:
            rest = _remove(term.columns, basis)
            new = _independent(rest, term.lengths)
            basis = np.hstack([basis, _orthonormal(rest[:, new])])
            selections.append(term.columns[:, new])
        lower += selections
        fits += _adjusted(value, group, selections, np.hstack(lower), start)
    residual = value - basis @ (basis.T @ value)
    return Fit(fits, float(residual @ residual), dimensions - basis.shape[1])


def _adjusted(
    value: Floats, group: Sequence[Term], selections: Sequence[Floats], columns: Floats, start: int
) -> list[TermFit]:
    """Fit the terms of one order together, after ``start`` columns of lower orders."""
    q, r = np.linalg.qr(columns)
    inverse = np.linalg.inv(r) if r.size else r
    coefficients, covariance = inverse @ (q.T @ value), inverse @ inverse.T
    fits = []
    for term, selection in zip(group, selections, strict=True):
        df = selection.shape[1]
        at = slice(start, start + df)
        b = coefficients[at]
        ss = float(b @ np.linalg.solve(covariance[at, at], b)) if df else 0.0
        is_two_level = term.columns.shape[1] == 1
        fits.append(TermFit(term, ss, df, 2 * float(b[0]) if is_two_level and df else np.nan))
        start += df
    return fits


def _remove(columns: Floats, basis: Floats) -> Floats:
    for _ in range(2):  # once more, for what round-off leaves
        columns = columns - basis @ (basis.T @ columns)
    return columns


def _independent(columns: Floats, lengths: Floats) -> Ints:
    """Positions of linearly independent columns, judged by their lengths before projection."""
    if not columns.size:
        return np.zeros(0, dtype=np.int64)
    _, r, pivots = qr(columns / lengths, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r)) > TOLERANCE).sum())
    return np.sort(pivots[:rank])


def _orthonormal(columns: Floats) -> Floats:
    basis: Floats = np.linalg.qr(columns)[0]
    return basis


def overlap(terms: Sequence[Term]) -> tuple[Floats, Ints]:
    """Return how many dimensions each pair of projected terms shares (0 where they are orthogonal),
    and the dimensions of each.
    """
    bases = []
    for term in terms:
        new = _independent(term.columns, term.lengths)
        bases.append(_orthonormal(term.columns[:, new]))
    sizes = np.array([basis.shape[1] for basis in bases], dtype=np.int64)
    owner = np.repeat(np.arange(len(terms)), sizes)
    directions = np.hstack(bases)
    shared = np.zeros((len(terms), len(terms)))
    np.add.at(shared, (owner[:, None], owner[None, :]), (directions.T @ directions) ** 2)
    return shared, sizes


def find_aliases(factors: Mapping[str, pd.Series], projector: Projector) -> dict[str, str | None]:
    """Name what each effect is confounded with, as far as interactions of three factors.

    Returns
    -------
    dict
        Effect to the effects of the fewest factors that cannot be told from it, joined by commas;
        None where nothing is left of it by the projection (within blocks).
    """
    order = ALIAS_ORDER
    while (terms := list_terms(factors, order)) and order > 1:
        if sum(term.columns.shape[1] for term in terms) <= MAX_COLUMNS:
            break
        order -= 1
    shared, sizes = overlap([term.project(projector) for term in terms])
    smaller = np.minimum(sizes[:, None], sizes[None, :])
    same = (shared > smaller - TOLERANCE) & (smaller > 0)
    np.fill_diagonal(same, False)
    aliases: dict[str, str | None] = {}
    for i, term in enumerate(terms):
        others = [terms[j] for j in np.flatnonzero(same[i])]
        fewest = min((len(other.factors) for other in others), default=0)
        names = [other.name for other in others if len(other.factors) == fewest]
        aliases[term.name] = ", ".join(names) if sizes[i] else None
    return aliases
