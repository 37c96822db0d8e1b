"""What verdicts are about, as a table and in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ablations import Study
from ablations.analysis import Design, effects_by_scope, main_effects
from ablations.analysis.ablation import ablation_effects
from ablations.analysis.posterior import infer_effects
from ablations.execution.metadata import describe_scope, study_metadata
from ablations.report.caveats import advise_seeds
from ablations.report.scope import describe_scope as scope_sentence
from ablations.results.metadata import Judging
from ablations.tasks.base import Regression, task
from ablations.tasks.data import Data, split

from .test_posterior import CONTROLS, FACTORS, OVERLAP, as_runs, draw


def make_design(effect: float, seeds: int = 20) -> tuple[Design, np.ndarray]:
    d, splits = draw(0.9, seeds, 1, rng=3)
    d = (d - d.mean()) / d.std() + effect
    design = Design(
        as_runs(d[:, 0], splits), FACTORS, CONTROLS, scale="difference", overlap=OVERLAP,
        split="split", scope="table",
        levels={"norm": ("none", "layer"), "init": ("default", "other")},
    )  # fmt: skip
    return design, d


def test_both_scopes_stand_beside_one_another() -> None:
    design, d = make_design(0.9)
    row = effects_by_scope(design).iloc[0]
    wide = main_effects(design).iloc[0]
    narrow = main_effects(replace(design, overlap=0.0)).iloc[0]
    for name in ("verdict", "low", "high", "p_adjusted"):
        assert row[name] == wide[name]
        assert row[f"table_{name}"] == narrow[name]
    assert (row["verdict"], row["table_verdict"]) == ("not enough evidence", "hurts")
    shares = infer_effects(d, design.splits, OVERLAP).split_share()
    names = ("split_share", "split_low", "split_high")
    assert [row[name] for name in names] == pytest.approx([share[0] for share in shares])
    assert row["scope"] == "new data like this table"
    assert "this table alone: 95 % interval over blocks for this table" in row["procedure"]


def test_without_a_table_there_is_one_scope() -> None:
    design, _ = make_design(0.9)
    plain = replace(design, overlap=0.0, split=None, scope="rows")
    row = effects_by_scope(plain).iloc[0]
    assert row["scope"] == "the rows that judge here"
    assert row["verdict"] == "hurts"
    assert pd.isna(row["table_verdict"])
    assert np.isnan(row["split_share"])


@pytest.mark.parametrize("lost", ["all", "level", "control"])
def test_what_is_not_compared_has_no_share(lost: str) -> None:
    design, _ = make_design(0.9)
    runs = design.runs.assign(status="ok")
    is_lost = runs["norm"] == {"all": "-", "level": "layer", "control": "none"}[lost]
    runs.loc[is_lost | (lost == "all"), "status"] = "failed"
    table = effects_by_scope(replace(design, runs=runs))
    rows = table[table["axis"] == "norm"]
    assert rows["n"].tolist() in ([], [0])
    assert rows["split_share"].isna().all()
    assert len(table) == len(main_effects(replace(design, runs=runs)))


def test_a_table_without_axes_has_no_scopes() -> None:
    design, _ = make_design(0.9)
    single = design.runs[(design.runs["norm"] == "none") & (design.runs["init"] == "default")]
    assert effects_by_scope(replace(design, runs=single, controls={}, factors=["norm"])).empty


def sentence(design: Design, judging: Judging | None = None) -> str:
    ablation = ablation_effects(design)
    return scope_sentence(replace(ablation, scope=effects_by_scope(design)), judging)


def test_the_sentence_says_what_holds_of_this_table_alone() -> None:
    design, _ = make_design(0.9)
    assert sentence(design) == (
        "Each seed splits the same table at random, so that the verdicts are about new data like "
        "it. On this table alone layer norm hurts; whether that holds for new data is open."
    )
    clear, _ = make_design(5.0)
    assert sentence(clear).endswith("the verdicts are about new data like it.")
    judging = Judging(40, 0.25, is_fixed=True, is_likelihood=True, classification=False)
    fixed = replace(design, overlap=0.0, split=None, scope="rows")
    assert sentence(fixed, judging).startswith("All seeds are judged on the same 40 rows: the")
    assert sentence(replace(fixed, scope="generator")).endswith("from the same generator.")
    assert sentence(replace(fixed, scope="")) == ""


def test_what_more_rows_would_decide_is_said() -> None:
    design, _ = make_design(0.55, seeds=40)
    effects = ablation_effects(design).effects
    assert effects["needs_rows"].tolist()[0]
    text = advise_seeds(effects)
    assert (
        text == "For new data more seeds on this table cannot settle layer norm: more rows would."
    )
    # With ten seeds the part that lasts is not known yet: more seeds would tell.
    few, _ = make_design(0.55, seeds=10)
    row = ablation_effects(few).effects.iloc[0]
    assert not row["needs_rows"]
    assert row["more"] >= 10


@pytest.mark.parametrize(
    ("keys", "scope"),
    [
        ({"task": "notebook"}, "generator"),
        ({"task": "friedman1"}, "generator"),
        ({"task": "digits"}, "table"),
        ({"task": "digits", "vary": ["init"]}, "rows"),
        ({"task": "friedman1", "vary": ["init"]}, "rows"),
    ],
)
def test_the_scope_of_a_study(keys: dict[str, Any], scope: str) -> None:
    study = Study(**{"epochs": 1, "seeds": 2} | keys)
    assert study_metadata(study).scope == scope


@pytest.mark.parametrize(
    ("splitting", "scope"),
    [({}, "table"), ({"split": "time", "by": "t"}, "rows"), ({"group": "g"}, "table")],
)
def test_the_scope_of_a_file(splitting: dict[str, Any], scope: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=60), "t": range(60), "g": np.arange(60) % 15})
    frame.assign(y=random.normal(size=60)).to_csv(tmp_path / "table.csv", index=False)
    spec = {"name": "csv", "path": str(tmp_path / "table.csv"), "target": "y"} | splitting
    assert describe_scope(Study(task=spec, epochs=1, seeds=2)) == scope


@pytest.mark.usefixtures("temporary_registry")
def test_a_person_s_task_that_splits_one_table_is_known_by_its_rows() -> None:
    @task
    class OneTable(Regression):
        """A person's task, which splits one table and does not say so."""

        name = "one-table"
        inputs = 3
        outputs = 1
        rows = 30

        def data(self, streams: Any) -> Data:
            x = torch.linspace(-1, 1, 120).reshape(40, 3)
            return split(x, x.sum(1, keepdim=True), self.rows, streams)

    @task
    class FreshRows(OneTable):
        """A person's task that draws its rows, of which one is a function of the other."""

        name = "fresh-rows"

        def data(self, streams: Any) -> Data:
            x = streams.uniform((40, 3), "data/x").float()
            return split(x, x.sum(1, keepdim=True), self.rows, streams)

    metadata = study_metadata(Study(task=OneTable(), epochs=1, seeds=2))
    assert metadata.scope == "table"
    assert metadata.judging is not None
    assert metadata.judging.overlap == pytest.approx(10 / 30)
    assert describe_scope(Study(task=FreshRows(), epochs=1, seeds=2)) == "generator"


def test_one_seed_has_a_difference_and_no_interval() -> None:
    runs = pd.DataFrame({"norm": ["none", "layer"], "seed": 0, "val_loss": [0.2, 0.1]})
    row = main_effects(Design(runs, ("norm",), {"norm": "none"}, overlap=OVERLAP)).iloc[0]
    assert row["effect"] == pytest.approx(np.log(0.5))
    assert np.isnan(row[["low", "high", "p"]].astype(float)).all()
