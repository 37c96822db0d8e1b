"""Times of steps: paired within blocks, never pooled over machines, and the floor of noise."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import Design, cost_between, costs, noise_floor
from ablations.analysis.costs import FASTER, NO_SLOWER, SLOWER, TOO_FEW, run_costs

CONTROLS = {"norm": "none", "regularizer": "none"}
AXES = list(CONTROLS)
NORMS = {"none": 1.0, "layer": 1.4, "fast": 0.8, "same": 1.001}
REGULARIZERS = {"none": 1.0, "dropout": 1.2}


def timings(
    blocks: int = 12, noise: float = 0.01, seed: int = 0, machine: str = "here", pace: float = 1.0
) -> pd.DataFrame:
    """A machine whose pace drifts: each block is up to twice as slow as another."""
    draw = np.random.default_rng(seed)
    rows = []
    for block in range(blocks):
        drift = pace * np.exp(draw.uniform(0, 0.7))
        cells: list[tuple[str, str, str]] = [
            (norm, regularizer, "") for norm, regularizer in itertools.product(NORMS, REGULARIZERS)
        ]
        for norm, regularizer, alias in [*cells, ("none", "none", "control again")]:
            seconds = 1e-3 * drift * NORMS[norm] * REGULARIZERS[regularizer]
            rows.append(
                {
                    "environment_id": machine, "threads": 1, "block": block,
                    "cost_id": f"{norm} {regularizer}", "alias": alias, "norm": norm,
                    "regularizer": regularizer, "memory": 1000 * (1 + (norm == "layer")),
                    "seconds": seconds * np.exp(noise * draw.standard_normal()),
                    "forward_seconds": 0.2e-3, "backward_seconds": 0.3e-3,
                    "update_seconds": 0.5e-3,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_ratios_are_those_that_were_planted() -> None:
    table = costs(timings(), CONTROLS, AXES).set_index("level")
    for level, planted in {**NORMS, **REGULARIZERS}.items():
        if level != "none":
            row = table.loc[level]
            assert row["low"] < planted < row["high"]
            assert row["ratio"] == pytest.approx(planted, rel=0.02)
    verdicts = table["verdict"].to_dict()
    assert verdicts == {
        "layer": SLOWER, "fast": FASTER, "same": NO_SLOWER, "dropout": SLOWER,
    }  # fmt: skip
    assert table["blocks"].eq(12).all()
    assert table.loc["layer", "cells"] == 2
    assert table.loc["layer", "update_seconds"] == 0.5e-3
    assert table.loc["layer", "memory_ratio"] == pytest.approx(2)
    assert table.loc["fast", "memory_ratio"] == pytest.approx(1)


def test_the_control_against_itself_holds_one_and_gives_the_floor() -> None:
    table = noise_floor(timings(blocks=40, noise=0.02))
    (row,) = table.to_dict("records")
    assert row["low"] <= 1 <= row["high"]
    # 97.5 % of the means of 40 differences are within 2.24 of their standard errors.
    expected = 2.24 * 0.02 * np.sqrt(2 / 40)
    assert np.log(row["floor"]) == pytest.approx(expected, rel=0.4)


def test_one_repetition_that_was_disturbed_does_not_lift_the_floor() -> None:
    some = timings(blocks=20, noise=0.01)
    before = noise_floor(some)["floor"][0]
    hit = (some["alias"] != "") & (some["block"] == 7)
    some.loc[hit, "seconds"] *= 3
    assert noise_floor(some)["floor"][0] < 1 + 2 * (before - 1)


def test_what_is_within_the_floor_is_no_difference_however_certain() -> None:
    shifted = timings(blocks=40, noise=0.02)
    # The control against itself is noisy, the level against its control is not.
    shifted["seconds"] *= np.where((shifted["alias"] != "") & (shifted["block"] % 2 == 0), 1.1, 1.0)
    pair = shifted["norm"].isin(["none", "same"]) & (shifted["alias"] == "")
    exact = shifted[pair].assign(seconds=lambda t: np.where(t["norm"] == "same", 1.01, 1.0))
    row = costs(pd.concat([exact, shifted[~pair]]), CONTROLS, AXES).set_index("level").loc["same"]
    assert row["low"] > 1
    assert row["ratio"] < row["floor"]
    assert row["verdict"] == NO_SLOWER


def test_machines_and_threads_are_never_pooled() -> None:
    here, there = timings(), timings(machine="there", pace=20, seed=1)
    more = timings(seed=2).assign(threads=2)
    both = costs(pd.concat([there, more, here]), CONTROLS, AXES)
    alone = [costs(timed, CONTROLS, AXES) for timed in (here, more, there)]
    pd.testing.assert_frame_equal(both, pd.concat(alone, ignore_index=True))
    assert len(noise_floor(pd.concat([here, there, more]))) == 3


def test_with_few_blocks_there_is_no_interval_and_no_verdict() -> None:
    table = costs(timings(blocks=5), CONTROLS, AXES)
    assert table[["low", "high"]].isna().all(axis=None)
    assert set(table["verdict"]) == {TOO_FEW}
    assert costs(timings(blocks=6), CONTROLS, AXES)["low"].notna().all()


def test_a_block_that_lacks_something_is_left_out_and_said() -> None:
    some = timings()
    lost = (some["block"] == 3) & (some["norm"] == "layer") & (some["regularizer"] == "none")
    row = costs(some[~lost], CONTROLS, AXES).set_index("level").loc["layer"]
    assert row["blocks"] == 11
    assert row["left_out"] == "1 block without its pair"


def test_neither_order_nor_names_matter() -> None:
    some = timings()
    table = costs(some, CONTROLS, AXES)
    mixed = costs(some.sample(frac=1, random_state=3), CONTROLS, AXES)
    key = ["axis", "level"]
    pd.testing.assert_frame_equal(
        table.sort_values(key, ignore_index=True), mixed.sort_values(key, ignore_index=True)
    )
    renamed = some.rename(columns={"norm": "difference"})
    controls = {"difference": "none", "regularizer": "none"}
    other = costs(renamed, controls, ["difference", "regularizer"])
    assert other["ratio"].tolist() == table["ratio"].tolist()


def test_two_configurations_are_compared_where_both_were_timed() -> None:
    candidate = {"norm": "layer", "regularizer": "dropout"}
    (row,) = cost_between(timings(), AXES, candidate, CONTROLS).to_dict("records")
    assert row["low"] < 1.4 * 1.2 < row["high"]
    assert row["blocks"] == 12
    assert cost_between(timings(), AXES, {**candidate, "norm": "never timed"}, CONTROLS).empty


def test_nothing_timed_is_nothing_told() -> None:
    empty = timings().iloc[:0]
    assert costs(empty, CONTROLS, AXES).empty
    assert noise_floor(empty).empty
    assert "ratio" in costs(empty, CONTROLS, AXES)


def trained(engine: str = "loop") -> pd.DataFrame:
    """Runs whose training took what their techniques cost, by seed and a little noise."""
    draw, rows = np.random.default_rng(0), []
    for seed, (norm, regularizer) in itertools.product(
        range(8), itertools.product(NORMS, REGULARIZERS)
    ):
        seconds = NORMS[norm] * REGULARIZERS[regularizer] * np.exp(0.01 * draw.standard_normal())
        size = 1 if engine == "loop" else 8
        rows.append((norm, regularizer, seed, "ok", size, seconds, 0.1))
    names = ["norm", "regularizer", "seed", "status", "cohort_size", "train_seconds", "val_loss"]
    return pd.DataFrame(rows, columns=names)


def test_a_run_costs_its_steps_and_not_one_of_them() -> None:
    table = timings()
    # Smaller batches, of which a run has four times as many.
    table["run_steps"] = np.where(table["norm"] == "layer", 400, 100)
    design = Design(trained(), AXES, CONTROLS)
    by_level = run_costs(costs(table, CONTROLS, AXES), design).set_index("level")
    assert by_level.loc["layer", "ratio"] == pytest.approx(4 * NORMS["layer"], rel=0.02)
    assert by_level.loc["layer", "step_ratio"] == pytest.approx(NORMS["layer"], rel=0.02)
    assert by_level.loc["layer", "low"] < 4 * NORMS["layer"] < by_level.loc["layer", "high"]
    dropout = by_level.loc["dropout"]
    assert dropout["ratio"] == pytest.approx(dropout["step_ratio"])
    assert by_level["is_certain"].to_dict() == {
        "layer": True, "fast": True, "same": False, "dropout": True,
    }  # fmt: skip


def test_untimed_runs_of_the_plain_loop_tell_their_own_time() -> None:
    nothing = costs(timings().iloc[:0], CONTROLS, AXES)
    by_level = run_costs(nothing, Design(trained(), AXES, CONTROLS)).set_index("level")
    for level, planted in {**NORMS, **REGULARIZERS}.items():
        if level != "none":
            assert by_level.loc[level, "ratio"] == pytest.approx(planted, rel=0.02)
    assert by_level["n"].eq(8).all()
    assert by_level["step_ratio"].isna().all()
    # What a run shares with others of its cohort says nothing of itself.
    assert run_costs(nothing, Design(trained("fused"), AXES, CONTROLS)).empty
