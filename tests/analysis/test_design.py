from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.analysis import cell_codes, complete_blocks, measured, varying

from .generators import FACTORS, grid, planted

levels = st.one_of(st.none(), st.sampled_from(["a", "b"]), st.sampled_from([0.1, 1.0]))


@given(st.lists(st.tuples(levels, levels), min_size=1, max_size=30))
def test_rows_get_one_code_exactly_when_they_are_equal(rows: list[tuple[object, object]]) -> None:
    codes = cell_codes(pd.DataFrame(rows, columns=["x", "y"], dtype=object))
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            assert (codes[i] == codes[j]) == (one == other)


def test_no_factor_is_one_cell() -> None:
    assert cell_codes(grid(seeds=2)[[]]).tolist() == [0] * 24


def test_measured_keeps_what_ended() -> None:
    runs = planted({})
    runs["status"] = ["failed", "skipped", "diverged", *["ok"] * (len(runs) - 3)]
    runs.loc[3, "val_loss"] = np.nan
    table = measured(runs, FACTORS)
    assert len(table) == len(runs) - 3
    assert table["diverged"].sum() == 1
    assert np.isnan(table.loc[table["diverged"], "value"]).all()
    assert table["value"].iloc[1] == pytest.approx(np.log(runs["val_loss"].iloc[4]))


def test_varying_leaves_out_what_has_one_level() -> None:
    runs = grid().assign(device="cpu", width=[None, 64] * 36)
    assert varying(runs, ["device", "norm", "width", "absent"]) == ["norm", "width"]


def table_of(holes: set[tuple[int, int]]) -> pd.DataFrame:
    cells = [(c, s) for c in range(4) for s in range(4) if (c, s) not in holes]
    return pd.DataFrame(cells, columns=["cell", "seed"]).assign(level="new")


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=10))
def test_what_is_kept_is_balanced(holes: set[tuple[int, int]]) -> None:
    kept = complete_blocks(table_of(holes))
    assert len(kept) == kept["cell"].nunique() * kept["seed"].nunique()


def test_blocks_go_before_cells_while_enough_are_left() -> None:
    one = complete_blocks(table_of({(0, 0)}))
    assert (one["cell"].nunique(), one["seed"].nunique()) == (4, 3)
    most = complete_blocks(table_of({(0, 0), (0, 1), (0, 2)}))
    assert (most["cell"].nunique(), most["seed"].nunique()) == (3, 4)
