"""One way of naming techniques, settings and intervals, wherever a person reads."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ablations.report
from ablations.analysis import EQUAL, UNDECIDED, Design
from ablations.report.caveats import describe_moderators, explain_intervals
from ablations.report.drafts import SENTENCE_WORDS, count_words
from ablations.report.effect_notes import explain_effects
from ablations.report.forest_text import draw_chart, explain_verdicts
from ablations.report.formatting import describe_intervals, name_interval
from ablations.report.strengths import name_axes, name_kind, name_level, name_within
from ablations.report.texts import describe_unpaired
from ablations.results.answer import Chart, ChartRow
from tests.report.studies import make_metadata
from tests.report.test_texts import DESIGN, ROW

TEMPLATES = Path(ablations.report.__file__).parent / "templates"


def make_effects(*changes: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([ROW | {"n": 8} | each for each in changes])


@pytest.mark.parametrize(
    ("axis", "level", "name"),
    [
        ("norm", "layer", "layer norm"),
        ("norm", "weight_norm", "weight norm"),
        ("norm", "none", "no norm"),
        ("regularizer", "none", "no regularizer"),
        ("regularizer", "label_smoothing", "label smoothing"),
        ("regularizer", "dropout(p=[0.5, 0.2])", "dropout (p 0.5, 0.2)"),
        ("init", "kaiming_uniform", "kaiming uniform init"),
        ("batch_size", 12, "batch size 12"),
        ("augmentation", "mixup", "augmentation mixup"),
    ],
)
def test_a_level_has_one_name(axis: str, level: object, name: str) -> None:
    assert name_level(axis, level) == name


def test_a_level_has_its_strength_where_the_study_knows_it() -> None:
    metadata = make_metadata(strengths={"norm": {"batch": "batch (momentum 0.1)"}})
    assert name_level("norm", "batch", metadata) == "batch norm (momentum 0.1)"
    assert name_within("norm", "batch", metadata) == "batch (momentum 0.1)"
    assert name_within("lr", "0.1") == "0.1"


def test_axes_and_what_their_levels_are_have_words() -> None:
    assert name_axes("init, batch_size") == "the init and the batch size"
    assert name_kind(["norm", "init"]) == "technique"
    assert name_kind(["lr"]) == "setting"
    assert name_kind(["norm", "lr"]) == "technique or setting"


@pytest.mark.parametrize("file", ["report.txt.j2", "headline.txt.j2"])
def test_no_sentence_has_words_of_the_program(file: str) -> None:
    text = (TEMPLATES / file).read_text(encoding="utf-8")
    text = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", "", text, flags=re.DOTALL)
    assert not re.findall(r"(?i).*\b(?:levels?|cells?|blocks?)\b.*", text)


def test_what_effects_depend_on_is_said_once_for_each_set_of_axes() -> None:
    rows = make_effects(
        {"depends_on": "init"},
        {"level": "batch", "depends_on": "init"},
        {"axis": "init", "level": "xavier_uniform", "depends_on": "norm, lr"},
    )
    assert describe_moderators(rows) == [
        "What layer norm and batch norm do depends on the init",
        "What xavier uniform init does depends on the norm and the learning rate",
    ]


def test_an_interval_without_zero_beside_an_open_verdict_has_a_reason() -> None:
    open_row = {"verdict": UNDECIDED, "p_adjusted": 0.06}
    rows = make_effects(open_row, {"level": "batch"}, {"level": "group", "low": -0.1, "high": 0.2})
    assert explain_intervals(rows, 0.05) == [
        "The interval of layer norm excludes 0, but it is of one comparison alone; "
        "the verdict is over all 3"
    ]
    assert explain_intervals(rows, 0.05, rows.iloc[0].to_dict()) == explain_intervals(rows, 0.05)
    assert explain_intervals(rows, 0.05, rows.iloc[1].to_dict()) == []
    both = make_effects(open_row, {**open_row, "level": "batch"})
    assert (
        "The intervals of layer norm and batch norm exclude 0" in explain_intervals(both, 0.05)[0]
    )
    assert explain_intervals(both.assign(reachable=False), 0.05) == []


def test_an_interval_is_named_by_what_it_keeps() -> None:
    assert name_interval(0.95) == "95 % interval"
    assert name_interval(0.968) == "interval, 95 % over all looks"
    assert "over all looks at a study" in describe_intervals(0.986)
    rows = make_effects({})
    assert explain_verdicts(rows, DESIGN) == []
    (text,) = explain_verdicts(rows, replace(DESIGN, confidence=0.968))
    assert text.startswith("Intervals keep 95 % over all looks")


def draw_rows(width: int, **changes: Any) -> list[str]:
    row = ChartRow(
        axis="norm", control="none", name="batch norm (momentum 0.1)", verdict=UNDECIDED,
        at=40.0, start=10.0, end=60.0, outside="", change="+1.0 %", interval="−1.0 to +3.0 %",
        p="0.200",
    )  # fmt: skip
    chart = Chart("validation loss", 50.0, ((50.0, "0"),), False, (row,), **changes)
    return [line.plain for line in draw_chart(chart, width)]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_names_the_intervals_and_says_how_to_read_them(width: int) -> None:
    assert "95 % interval" in draw_rows(width)[1]
    note = "The interval of batch norm excludes 0, but it is of one comparison alone. " * 2
    lines = draw_rows(width, interval="interval, 95 % over all looks", notes=(note,))
    assert lines[0].endswith("each technique against its control")
    assert "interval, 95 %" in lines[1]
    assert "over all looks" in lines[2]
    assert lines[1].index("interval, 95 %") == lines[2].index("over all looks")
    assert any("batch norm (momentum 0.1)" in line for line in lines)
    assert " ".join(lines).count("excludes 0") == 2
    assert max(map(len, lines)) <= width


def test_what_was_never_paired_is_said_with_what_always_differs() -> None:
    row = {"confounded_with": "norm × init × lr, norm × init × epochs", "left_out": "…"}
    text = "it was never run with the same norm, init and learning rate as its control"
    assert describe_unpaired(row) == text
    assert "ended with a result" in describe_unpaired({"confounded_with": ""})


def test_the_terminal_says_what_effects_rest_on_in_short_sentences() -> None:
    lost = {"left_out": "2 runs of the control without a partner"}
    rows = make_effects(
        {"verdict": EQUAL, "depends_on": "init", "more": math.nan} | lost,
        {"level": "batch", "diverged": 3, "verdict": UNDECIDED, "more": 12.0, "depends_on": ""},
        {"level": "group", "pairs": 0, "confounded_with": "init", "left_out": "…"},
    )
    design: Design = replace(DESIGN, alpha=0.032, confidence=0.968, overlap=0.25)
    text = " ".join(explain_effects(rows, design))
    for words in (
        "What layer norm does depends on the init. Its number above is an average.",
        "Each comparison is of pairs of runs that differ in one thing only",
        "so that they keep 95 % over all looks",
        "new data like this table",
        "adjusted for all 2 comparisons; a verdict needs p of at most 0.032",
        "Practically equal: two one-sided tests put the change within ±2",
        "Diverged: 3 of 8 runs with batch norm (0 of its control's).",
        "Left out with layer norm: 2 runs of the control without a partner.",
        "Group norm is not compared: it was never run with the same init as its control.",
        "about 12 more seeds would settle batch norm",
    ):
        assert words in text
    sentences = re.split(r"(?<=[.]) (?=[A-Z])", text)
    assert max(map(count_words, sentences)) <= SENTENCE_WORDS
