from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.analysis import Design, cell_codes, to_observations, varying
from ablations.analysis.design import accept_table

from .generators import FACTORS, grid, planted

levels = st.one_of(st.none(), st.sampled_from(["a", "b"]), st.sampled_from([0.1, 1.0]))


@given(st.lists(st.tuples(levels, levels), min_size=1, max_size=30))
def test_rows_get_one_code_exactly_when_they_are_equal(rows: list[tuple[object, object]]) -> None:
    codes = cell_codes(pd.DataFrame(rows, columns=["x", "y"], dtype=object))
    for i, first in enumerate(rows):
        for j, other in enumerate(rows):
            assert (codes[i] == codes[j]) == (first == other)


def test_no_factor_is_one_cell() -> None:
    assert cell_codes(grid(seeds=2)[[]]).tolist() == [0] * 24


def test_measured_keeps_what_ended() -> None:
    runs = planted({})
    runs["status"] = ["failed", "skipped", "diverged", *["ok"] * (len(runs) - 3)]
    runs.loc[3, "val_loss"] = np.nan
    table = to_observations(runs, FACTORS)
    assert len(table) == len(runs) - 3
    assert table["diverged"].sum() == 1
    assert np.isnan(table.loc[table["diverged"], "value"]).all()
    assert table["value"].iloc[1] == pytest.approx(np.log(runs["val_loss"].iloc[4]))


def test_varying_leaves_out_what_has_one_level() -> None:
    runs = grid().assign(device="cpu", width=[None, 64] * 36)
    assert varying(runs, ["device", "norm", "width", "absent"]) == ["norm", "width"]


def test_a_question_of_a_design_is_answered_once_and_its_answer_is_not_shared() -> None:
    designs = []

    @accept_table("factors", "alpha")
    def count_runs(design: Design) -> pd.DataFrame:
        designs.append(design)
        return pd.DataFrame({"runs": [len(design.runs)]})

    design = Design(planted({}), FACTORS)
    answer = count_runs(design)
    answer["runs"] = 0
    assert count_runs(design)["runs"].tolist() == [72]
    assert len(designs) == 1
    count_runs(design, alpha=0.1)
    count_runs(design.runs, FACTORS)
    assert [used.alpha for used in designs] == [0.05, 0.1, 0.05]
    with pytest.raises(TypeError, match="margin"):
        count_runs(design.runs, FACTORS, margin=0.1)
