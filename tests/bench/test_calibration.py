"""Simulations of error rates, run small: a rate that is far off would fail."""

from __future__ import annotations

import pytest

from bench.calibration import datasets, scope


@pytest.mark.slow
def test_verdicts_about_new_data_are_seldom_false() -> None:
    rates = scope.measure(40).set_index("setting")
    about_new = rates[rates["quantity"].str.contains("false") & ~rates.index.str.contains("table")]
    assert (about_new["low"] <= 0.07).all()
    assert about_new["rate"].mean() <= 0.07
    about_table = rates[rates.index.str.contains("this table")]
    assert about_table["rate"].mean() > 0.15
    coverage = rates[rates["quantity"] == "coverage"]
    assert (coverage["high"] >= 0.93).all()


@pytest.mark.slow
def test_the_aggregate_over_data_sets_covers_the_pooled_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = datasets.SETTINGS[0], datasets.SETTINGS[2], datasets.SETTINGS[4]
    monkeypatch.setattr(datasets, "SETTINGS", ends)
    rates = datasets.measure(30)
    is_false = rates["quantity"].str.startswith("false")
    assert (rates.loc[is_false, "low"] <= 0.07).all()
    assert rates.loc[is_false, "rate"].mean() <= 0.1
    assert (rates.loc[~is_false, "high"] >= 0.93).all()
