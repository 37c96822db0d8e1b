"""Groups that stay together: each split has rows of every class where that is possible."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations import RequestError, Study
from ablations.core.random import Streams
from ablations.execution.metadata import study_metadata
from ablations.tasks.tabular.options import TableOptions
from ablations.tasks.tabular.splits import SplitPlan, plan_split
from tests.tasks.test_files import classify, shuffler


def write_patients(path: Path) -> str:
    """20 patients of 10 rows; two of them alone have the class "rare"."""
    draw = random.Random(5)
    lines = ["a,b,patient,state"]
    for patient in range(20):
        for row in range(10):
            code = 2 if patient in (4, 11) else (patient + row) % 2
            x, y = 2 * code + draw.gauss(0, 0.3), draw.gauss(0, 1)
            lines.append(f"{x:.4f},{y:.4f},p{patient:02d},{['well', 'ill', 'rare'][code]}")
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("test", [0.0, 0.2])
def test_all_seeds_train_on_each_class_and_are_judged_on_it(tmp_path: Path, test: float) -> None:
    path = write_patients(tmp_path / "patients.csv")
    task = {"name": "csv", "path": path, "target": "state", "group": "patient", "test": test}
    study = Study(task=task, seeds=40, judge="best" if test else "last")
    for seed in study.seeds:
        data = study.task.splits(Streams(seed))
        judging = data.y_val if data.y_test is None else data.y_test
        assert set(data.y_train.tolist()) == set(judging.tolist()) == {0, 1, 2}
    cautions = " ".join(study_metadata(study).cautions)
    missing = "No validation row of any seed has the class 'rare', which has 2 groups."
    assert (missing in cautions) == bool(test)


def spread(n_groups: int, n_rows: int, n_rare: int, groups_of: int) -> pd.DataFrame:
    """Groups of two classes, and rare classes of a row in each of some groups."""
    frame = pd.DataFrame(
        [(g, "ab"[(g + r) % 2]) for g in range(n_groups) for r in range(n_rows)],
        columns=["group", "target"],
    )
    for i in range(n_rare * groups_of):
        frame.loc[i % n_groups * n_rows + i // n_groups, "target"] = f"rare {i // groups_of}"
    return frame.assign(x=np.arange(len(frame)) % 17)


def plan(frame: pd.DataFrame, **options: float) -> tuple[SplitPlan, np.ndarray]:
    columns = classify(frame, group="group")
    table = TableOptions("a table", "target", group="group", **options)  # type: ignore[arg-type]
    return plan_split(columns, table), columns.targets


@pytest.mark.parametrize(
    ("shape", "test"),
    [((60, 1, 3, 3), 0.2), ((40, 10, 4, 2), 0.0), ((12, 10, 1, 2), 0.0), ((90, 4, 9, 3), 0.15)],
)
def test_rare_classes_are_in_each_split_if_they_are_in_groups_enough(
    shape: tuple[int, int, int, int], test: float
) -> None:
    frame = spread(*shape)
    split, classes = plan(frame, test=test)
    for seed in range(20):
        rows = split.draw(shuffler(seed))
        assert tuple(map(len, rows)) == (split.n_train, split.n_validation, split.n_test)
        groups = [set(frame["group"].iloc[positions]) for positions in rows]
        assert not groups[0] & (groups[1] | groups[2])
        assert not groups[1] & groups[2]
        for positions in rows[: 3 if test else 2]:
            assert len(set(classes[positions])) == len(set(classes))


def test_a_draw_with_all_classes_stays_the_first_draw() -> None:
    frame = spread(20, 10, 1, 4)
    split, classes = plan(frame)
    first_draws = 0
    for seed in range(30):
        shuffle, split_of, room = shuffler(seed), np.zeros(20, dtype=int), 40
        for group in shuffle(20, "split/groups"):
            if room >= 10:
                split_of[group], room = 1, room - 10
        order = shuffle(200, "split")
        held_out = split_of[frame["group"].to_numpy()[order]] == 1
        rows = order[~held_out][:160], order[held_out][:31]
        is_complete = all(len(set(classes[positions])) == 3 for positions in rows)
        train, validation, _ = split.draw(shuffle)
        if is_complete:
            first_draws += 1
            np.testing.assert_array_equal(train, rows[0])
            np.testing.assert_array_equal(validation, rows[1])
        assert 2 in classes[train]
        assert 2 in classes[validation]
    assert 5 < first_draws < 30


def test_a_class_in_a_single_group_is_refused() -> None:
    frame = spread(20, 10, 0, 1)
    frame.loc[:4, "target"] = "rare"
    with pytest.raises(RequestError, match="'rare' is in a single group of 'group': no split can"):
        plan(frame)


def test_a_class_that_some_seeds_lack_is_a_caution() -> None:
    frame = spread(12, 10, 12, 2)  # twelve classes in pairs of groups, two of which are held out
    columns = classify(frame, group="group")
    split = plan_split(columns, TableOptions("a table", "target", group="group"))
    sentences = list(split.describe_missing(columns, {s: shuffler(s) for s in range(3)}))
    assert sentences
    assert all(" row of " in text and "seed" in text and "2 groups." in text for text in sentences)
    rare = [f"c{i % 2}" if i > 1 else "rare" for i in range(40)]
    columns = classify(pd.DataFrame({"x": range(40), "target": rare}))
    split = plan_split(columns, TableOptions("a table", "target", test=0.2))
    sentences = list(split.describe_missing(columns, {0: shuffler(0), 1: shuffler(1)}))
    assert sentences == ["No test row has the class 'rare', which has 2 rows."]
