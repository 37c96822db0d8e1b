"""What of an incomplete design is compared."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ablations.analysis import Design, complete_blocks
from ablations.analysis.pairing import complete_configurations, describe_unmeasured

from .generators import FACTORS, planted

HOLES = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


def table_of(holes: set[tuple[int, int]]) -> pd.DataFrame:
    cells = [(c, s) for c in range(4) for s in range(4) if (c, s) not in holes]
    return pd.DataFrame(cells, columns=["cell", "seed"]).assign(level="new")


def crosses(table: pd.DataFrame) -> list[tuple[int, int]]:
    """The sizes of all full crosses in a table, by looking at every set of cells."""
    has = {cell: set(rows["seed"]) for cell, rows in table.groupby("cell")}
    sets = (cells for size in range(1, len(has) + 1) for cells in combinations(has, size))
    return [(len(cells), len(set.intersection(*(has[cell] for cell in cells)))) for cells in sets]


@given(HOLES)
def test_what_is_kept_is_balanced_and_something_is_where_anything_can_be(
    holes: set[tuple[int, int]],
) -> None:
    table = table_of(holes)
    complete = complete_blocks(table)
    cells, seeds = complete["cell"].nunique(), complete["seed"].nunique()
    assert len(complete) == cells * seeds
    possible = [size for size in crosses(table) if size[1] >= 2] if len(table) else []
    assert bool(possible) <= bool(len(complete))
    # One of the rules kept it: no more than half of the seeds gone, no seed gone, or the largest.
    largest = max((a * b for a, b in possible), default=0)
    n_seeds = table["seed"].nunique()
    assert 2 * seeds >= n_seeds or cells * seeds == largest or not possible


def test_blocks_go_before_cells_while_enough_are_left() -> None:
    fewer_seeds = complete_blocks(table_of({(0, 0)}))
    assert (fewer_seeds["cell"].nunique(), fewer_seeds["seed"].nunique()) == (4, 3)
    fewer_cells = complete_blocks(table_of({(0, 0), (0, 1), (0, 2)}))
    assert (fewer_cells["cell"].nunique(), fewer_cells["seed"].nunique()) == (3, 4)


def test_whole_configurations_and_what_is_said_of_the_others() -> None:
    runs = planted({}, noise=0.1)
    rare = (runs["regularizer"] == "l1") & (runs["norm"] == "layer") & (runs["seed"] > 0)
    bad = (runs["regularizer"] == "dropout") & (runs["norm"] == "layer") & (runs["seed"] == 1)
    late = (runs["seed"] == 5) & (runs["init"] == "kaiming")
    status = pd.Series("ok", index=runs.index).mask(bad, "diverged").mask(late, "failed")
    ended = runs.assign(status=status)[~rare]
    complete = complete_configurations(Design(ended, FACTORS))
    assert complete.values.shape == (5, 8)
    assert np.isfinite(complete.values).all()
    assert complete.left_out == (
        "2 configurations that diverged in some seed, 2 configurations with runs missing, "
        "1 seed with runs missing; 5 runs without a result"
    )
    assert set(complete.levels["regularizer"]) == {"none", "l1", "dropout"}


def test_nothing_is_said_where_nothing_is_left_out() -> None:
    design = Design(planted({}), FACTORS)
    assert describe_unmeasured(design) == []
    assert complete_configurations(design).left_out == ""
