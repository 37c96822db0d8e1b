"""Means over seeds, and what they are about: one table over its splits, or new data like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.analysis.coding import Floats, Ints
from ablations.analysis.design import Design, Scale
from ablations.analysis.equality import adjusted_equivalence_p, equivalence_p, share_within
from ablations.analysis.inference import (
    effect_columns,
    max_t,
    mean_and_sd,
    mean_intervals,
    sign_flip_p,
)
from ablations.analysis.posterior import Posterior, infer_effects
from ablations.analysis.statements import assumptions_text


@dataclass(frozen=True, eq=False)
class MeanEffects:
    """Means over blocks of differences, blocks x contrasts, with their intervals and tests.

    ``posterior`` is None where blocks share no data: then intervals are Student's and p is that of
    sign flips.  Else no p is below that of the posterior.
    """

    d: Floats
    posterior: Posterior | None
    confidence: float = 0.95

    @classmethod
    def from_differences(cls, design: Design, d: Floats, blocks: Ints) -> MeanEffects:
        """Prepare the means of differences whose rows are some blocks of a design."""
        splits = design.splits[blocks]
        if not design.overlap and len(np.unique(splits)) == len(splits):
            return cls(d, None, design.confidence)
        return cls(d, infer_effects(d, splits, design.overlap), design.confidence)

    def columns(self, scale: Scale) -> dict[str, Any]:
        """Return effects and intervals as columns, with the names of ``effect_columns``."""
        if self.posterior is None:
            return mean_intervals(self.d, scale, self.confidence)
        bounds = self.posterior.interval(self.confidence)
        # One block has no posterior, and still a difference.
        mean = np.where(
            np.isfinite(self.posterior.mean), self.posterior.mean, mean_and_sd(self.d)[0]
        )
        return effect_columns(mean, *bounds, scale)

    def p(self) -> Floats:
        """Return the p of each contrast alone."""
        p = sign_flip_p(self.d)
        return p if self.posterior is None else np.fmax(p, self.posterior.p())

    def family_p(self, others: Floats | None = None, factor: Floats | None = None) -> Floats:
        """Return p adjusted by step-down max-T over all contrasts and ``others``, which follow.

        The statistic of a contrast is its t, reduced by a ``factor`` where one is given, or the t
        whose p is that of its posterior; flips of signs only calibrate how the largest of several
        behaves.
        """
        d = self.d if others is None else np.hstack([self.d, others])
        if self.posterior is None and factor is None:
            return max_t(d)
        t, size = np.full(d.shape[1], np.nan), self.d.shape[1]
        t[:size] = (1.0 if factor is None else factor) * self.t()
        adjusted = max_t(d, t)
        adjusted[:size] = np.fmax(adjusted[:size], self.p())
        return adjusted

    def t(self) -> Floats:
        """Return the absolute t of each contrast."""
        if self.posterior is not None:
            return self.posterior.t()
        mean, sd = mean_and_sd(self.d)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.abs(mean) / (sd / np.sqrt(np.isfinite(self.d).sum(axis=0))))

    def p_equivalent(self, bound: float) -> Floats:
        """Return the p of two one-sided tests that each effect is within ``bound``."""
        if self.posterior is None:
            n = np.isfinite(self.d).sum(axis=0)
            return equivalence_p(*mean_and_sd(self.d), n, bound)
        return self.posterior.p_equivalent(bound)

    def adjusted_equivalence_p(self, bound: float, alpha: float) -> Floats:
        """Return the p that each effect is within ``bound``, adjusted over all contrasts."""
        return adjusted_equivalence_p(self.d, bound, alpha, self.posterior)

    def share_within(self, bound: float) -> Floats:
        """Return the posterior probability that each effect is within ``bound``."""
        if self.posterior is None:
            return share_within(self.d, bound)
        return self.posterior.share_within(bound)

    def lasting_error(self) -> Floats:
        """Return the standard error of each effect that no number of blocks would reduce."""
        if self.posterior is None:
            return np.where(np.isfinite(self.d).sum(axis=0) >= 2, 0.0, np.nan)
        return self.posterior.limit()


def deflation(design: Design, d: Floats, blocks: Ints) -> Floats:
    """Return the factor by which sharing rows of one table reduces the |t| of each contrast.

    ``d``: differences, some ``blocks`` of the design x contrasts.  It is 1 where blocks share no
    data, and for contrasts without a difference or with fewer than two blocks.
    """
    posterior = MeanEffects.from_differences(design, d, blocks).posterior
    if posterior is None:
        return np.ones(d.shape[1])
    mean, sd = mean_and_sd(d)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = posterior.t() / np.abs(mean / (sd / np.sqrt(np.isfinite(d).sum(axis=0))))
    return np.where(np.isfinite(factor), factor, 1.0)


def describe_interval(design: Design) -> str:
    """Write how intervals over blocks are computed, and what they are about."""
    size = f"{100 * design.confidence:.4g} %"
    looks = ", which keeps 95 % over all looks" if design.look or design.looks else ""
    if not design.overlap and not design.has_repeated_splits:
        return f"{size} t interval over blocks{looks}"
    parts = "the split's part of the variance, which blocks with the same split tell from the rest"
    if not design.overlap:
        return f"{size} interval over blocks for this table over its splits{looks}; {parts}"
    if not design.has_repeated_splits:
        parts = "all of the variance counts as the split's, since no two blocks have the same split"
    return (
        f"{size} interval over blocks for new data like this table{looks}: {parts}, and it is "
        f"widened by judging over training rows, {design.overlap:.3g} (Nadeau & Bengio, 2003)"
    )


def describe_assumptions(design: Design) -> str:
    """Write what a paired comparison of blocks assumes."""
    text = assumptions_text(design.unit)
    if design.overlap:
        text += (
            "; new data come as the rows of the table came, each row, or each group of rows that "
            "stay together, independent of the others"
        )
    return text
