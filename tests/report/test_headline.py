"""The first screen in words: each pattern is reached, short, and has the numbers of the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations.analysis.results import Results
from ablations.report.answer_drafts import draft_headline
from ablations.report.comparison import compare
from ablations.report.comparison import write_sentences as write_comparison
from ablations.report.data import build_report_data
from ablations.report.datasets import write_sentences
from ablations.report.datasets_drafts import draft_datasets
from ablations.report.drafts import (
    HEADLINE_WORDS,
    HEADLINES,
    SENTENCE_WORDS,
    Subject,
    count_words,
    draft,
)
from ablations.report.forest import build_forest
from ablations.report.headline import write_first_screen, write_headline
from ablations.report.phrases import describe_conditions, describe_rest
from ablations.report.strengths import name_level
from ablations.report.summary import list_cautions, summarise
from ablations.report.support_drafts import draft_sentences
from ablations.report.texts import load_templates
from ablations.results.metadata import Judging, Published, Question, StudyMetadata
from ablations.results.store import StoredResults

from .studies import curves_of, end_runs, make_metadata, make_results, several_tasks

Runs = Mapping[str, Any]
Change = Callable[[StoredResults], StoredResults]
DROPOUT = "dropout(p=[0.5, 0.2])"
TWO = {"regularizer": ("none", "l1", DROPOUT), "norm": ("none", "layer", "batch")}
INITS = {
    "norm": ("none", "layer", "batch"),
    "init": ("default", "xavier_uniform", "kaiming_uniform"),
}
SIZES = {"norm": ("none", "batch", "group"), "batch_size": (96, 48, 24, 12, 6, 3)}
ONE = {"norm": ("none", "layer")}
STRENGTHS = {"regularizer": {"l1": "l1 (weight 1e-4)", DROPOUT: "dropout (p 0.5, 0.2)"}}
WHETHER = Question("Does batch norm keep its lead?", "norm", "batch", "batch_size")
WHICH = Question("Does a norm help, whatever the init?", "norm", None, "init")


def gains(**levels: float) -> Callable[[Runs], float]:
    """The log ratio of the loss that each level of a run makes."""
    return lambda run: sum(levels.get(str(level).split("(")[0], 0.0) for level in run.values())


@dataclass(frozen=True)
class Case:
    """A generated study, its headline and the patterns of its first screen."""

    headline: str
    patterns: tuple[str, ...]
    axes: Mapping[str, Sequence[object]] = field(default_factory=lambda: TWO)
    gain: Callable[[Runs], float] | None = None
    seeds: int = 8
    noise: float = 0.03
    fall: float = 0.0
    """How far curves fall over the last epochs; by default they are flat."""
    change: Change | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def diverge(column: str, level: str = "", *, status: str = "diverged") -> Change:
    def change(results: StoredResults) -> StoredResults:
        selection = results.runs[column] == level if level else results.runs[column] >= 0
        return end_runs(results, selection, status, "loss is nan")

    return change


def with_constant(factor: float) -> Change:
    """Give the runs a constant whose loss is a multiple of that of the control."""

    def change(results: StoredResults) -> StoredResults:
        runs = results.runs
        is_control = (runs["norm"] == "none") & (runs["regularizer"] == "none")
        control = runs[is_control].set_index("seed")["val_loss"]
        return replace(results, runs=runs.assign(baseline=runs["seed"].map(control * factor)))

    return change


def with_lucky_constant(results: StoredResults) -> StoredResults:
    """Give the runs a constant that is far worse, by an amount that differs between seeds."""
    luck = np.exp(np.random.default_rng(5).normal(0, 1.2, 2))[results.runs["seed"]]
    return replace(results, runs=results.runs.assign(baseline=4 * luck * results.runs["val_loss"]))


def overfit(results: StoredResults) -> StoredResults:
    curves = results.curves
    low = curves["val_loss"].where(curves["epoch"] != 2, curves["val_loss"] * 0.5)
    return replace(results, curves=curves.assign(val_loss=low))


def oppose(results: StoredResults) -> StoredResults:
    runs = results.runs
    return replace(results, runs=runs.assign(metric=0.4 + runs["val_loss"]))


def time_runs(results: StoredResults) -> StoredResults:
    """Time a step of each configuration alone."""
    configurations = results.runs.drop_duplicates(["regularizer", "norm"])
    rows = [
        {
            "environment_id": "e1", "threads": 1, "block": block, "alias": "",
            "cost_id": f"{run['regularizer']} {run['norm']}", "regularizer": run["regularizer"],
            "norm": run["norm"], "run_steps": 10, "memory": 1.0, "parameters": 1,
            "seconds": 0.01 * (2 if run["norm"] == "layer" else 1),
        }
        for block in range(8) for run in configurations.to_dict("records")
    ]  # fmt: skip
    timings = pd.DataFrame(rows)
    for name in ("forward_seconds", "backward_seconds", "update_seconds"):
        timings[name] = timings["seconds"] / 3
    return replace(results, timings=timings)


REVERSED = "Use xavier uniform init only without a norm (validation loss −"
CASES = {
    "helps": Case("Use dropout (p 0.5, 0.2): it cuts the validation loss by 16.9 %.",
        ("use", "helped", "use_any", "open"), gain=gains(dropout=-0.2, layer=0.3)),
    "helps most": Case("Use layer norm: it cuts the validation loss by 24.5 %, more than anything",
        ("use", "helped", "use_configuration", "open"),
        gain=gains(l1=-0.1, layer=-0.3, batch=-0.2)),
    "timed": Case("Use layer norm: it cuts the validation loss by 24.5 %, more than anything",
        ("use", "helped", "use_configuration", "open"), gain=gains(l1=-0.1, layer=-0.3, batch=-0.2),
        change=time_runs),
    "timed alone": Case("Use layer norm: it cuts the validation loss by 24.5 %.", ("use", "helped",
        "use_cost", "open"), gain=gains(layer=-0.3, l1=0.2, dropout=0.2), change=time_runs),
    "reversed": Case(REVERSED, ("use_if", "helped_if", "open", "caution_average"), axes=INITS,
        gain=lambda r: (-0.2 if r["norm"] == "none" else 0.8) * (r["init"] == "xavier_uniform")
        + 0.1 * (r["norm"] == "layer")),
    "with every init": Case("Use batch norm: it cuts the validation loss to 0.083 times the con",
        ("use", "helped", "use_any", "caution_average"), axes=INITS,
        gain=lambda r: (-1.5 if r["init"] == "default" else -3) * (r["norm"] == "batch")),
    "partly": Case("Use batch norm only with the default init (validation loss −31.4 %): elsewhere",
        ("use_if", "helped_if", "open"), axes=INITS,
        gain=lambda r: -0.4 * (r["init"] == "default") * (r["norm"] == "batch")),
    "hurts": Case("Change nothing: none of 4 changes surely helps, and layer norm hurts most (v",
        ("keep", "hurt", "use_any", "open"), gain=gains(layer=0.3)),
    "all hurt": Case("Change nothing: all 4 changes hurt, and layer norm hurts most (validation l",
        ("keep", "hurt"), gain=gains(layer=0.3, batch=0.2, l1=0.1, dropout=0.1)),
    "one hurts": Case("Change nothing: layer norm hurts (validation loss +39.4 %).",
        ("keep", "hurt"), axes=ONE, gain=gains(layer=0.3)),
    "noise": Case("Nothing is decided yet: none of 4 changes surely helps or hurts after 8 seeds.",
        ("none_helps", "use_any", "open"), noise=0.3),
    "equal": Case("It makes no difference: with all 4 changes the validation loss stays within 2 %",
        ("all_equal", "use_any"), noise=0.002),
    "one equal": Case("Layer norm makes no difference: the validation loss stays within 2 % of t",
        ("all_equal",), axes=ONE, noise=0.001),
    "some equal": Case("Nothing surely helps: 3 of 4 changes make no difference, the other is und",
        ("none_helps", "use_any", "open", "equal"), noise=0.002, seeds=10, gain=lambda r:
        (r["norm"] == "layer") * np.random.default_rng(r["seed"]).normal(0, 0.2)),
    "two seeds": Case("2 seeds cannot show what helps: run at least 6.",
        ("too_few_seeds", "so_far"), seeds=2, gain=gains(layer=-0.3)),
    "no look": Case("No verdict at 8 seeds: looks were planned at 6 and 12 seeds only.",
        ("no_look", "so_far"), metadata={"looks": (6, 12), "alpha": 0.025}),
    "one configuration": Case("Only one configuration was run, so nothing is compared: its valida",
        ("one_configuration",), axes={"norm": ("none",)}),
    "nothing compared": Case("Nothing can be compared: no two configurations differ in one thing",
        ("nothing_compared",), seeds=1, change=lambda s: replace(
            s, runs=s.runs[(s.runs["norm"] == "layer") & (s.runs["regularizer"] == "l1")
                           | (s.runs["norm"] == "batch") & (s.runs["regularizer"] == DROPOUT)])),
    "no run": Case("No run has ended yet, so there is nothing to say.", ("no_run",),
        change=lambda s: replace(s, runs=s.runs.iloc[:0], curves=s.curves.iloc[:0])),
    "all diverged": Case("All 72 runs diverged: lower the learning rate and run again.",
        ("all_diverged", "reason"), change=diverge("seed")),
    "all failed": Case("All 72 runs failed: the reasons are listed under the endings.",
        ("all_failed", "reason"), change=diverge("seed", status="failed")),
    "diverged and skipped": Case("No run ended with a loss: 48 diverged and 24 skipped.",
        ("none_ended_well", "reason"), change=lambda s: diverge("norm", "layer", status="skipped")(
            diverge("seed")(s))),
    "a level diverged": Case("Change nothing: none of 4 changes surely helps, and layer norm hurts",
        ("keep", "diverges", "use_any", "caution_diverged"), change=diverge("norm", "layer")),
    "nothing learned": Case("Nothing was learned here: none of 9 configurations surely beats a con",
        ("nothing_learned", "unlearned"), change=with_constant(0.5)),
    "maybe learned": Case("Add seeds first: whether any of 9 configurations learned anything can",
        ("maybe_learned", "unlearned"), seeds=2, change=with_lucky_constant),
    "control learned nothing": Case("Use layer norm: it cuts the validation loss by ", ("use",
        "helped", "use_any", "caution_repair"), gain=gains(layer=-0.5), change=with_constant(1.0)),
    "unfinished": Case("Use layer norm: it cuts the validation loss by ", ("use", "helped",
        "use_any", "caution_unfinished"), gain=gains(layer=-0.5), fall=1.0),
    "overfitted": Case("Use layer norm: it cuts the validation loss by ", ("use", "helped",
        "use_any", "caution_overfitted"), gain=gains(layer=-0.5), change=overfit),
    "opposite": Case("Use layer norm: it cuts the validation loss by ", ("use", "helped",
        "use_any", "caution_opposite"), gain=gains(layer=-0.5), change=oppose),
    "same rows": Case("Use layer norm: it cuts the validation loss by ", ("use", "helped",
        "use_any", "caution_rows"), gain=gains(layer=-0.5), metadata={"scope": "rows",
        "judging": Judging(40, 0.25, is_fixed=True, is_likelihood=True, classification=False)}),
    "data": Case("Use layer norm: it cuts the validation loss by ", ("use", "helped", "use_any",
        "caution_data"), gain=gains(layer=-0.5), metadata={"cautions": ("Noise. And more.",)}),
    "yes": Case("Yes: batch norm helps at every batch size, most at batch size ",
        ("answer_everywhere", "helped", "use_any", "open"), axes=SIZES,
        gain=gains(batch=-0.4, group=-0.1), metadata={"question": WHETHER}),
    "no": Case("No: batch norm hurts at every batch size, most at batch size 96 (validation loss +",
        ("answer_nowhere", "estimated", "use_any", "open"), axes=SIZES, gain=gains(batch=0.4),
        metadata={"question": WHETHER}),
    "in part": Case("Only in part: batch norm helps at batch sizes of 12 and more but hurts at sm",
        ("answer_partly", "helped_if", "use_any", "caution_average"), axes=SIZES, metadata={
            "question": WHETHER},
        gain=lambda r: (-0.4 if r["batch_size"] > 6 else 0.3) * (r["norm"] == "batch")),
    "not surely": Case("Only in part: batch norm helps at batch sizes of 12 and more but not sure",
        ("answer_partly", "helped_if", "use_any", "open"), axes=SIZES, metadata={
            "question": WHETHER},
        gain=lambda r: -0.4 * (r["batch_size"] > 6) * (r["norm"] == "batch")),
    "harm": Case("No: batch norm hurts at batch sizes of 6 and less (validation loss +33",
        ("answer_harm", "helped_if", "use_any", "open"), axes=SIZES, metadata={
            "question": WHETHER},
        gain=lambda r: 0.3 * (r["batch_size"] < 7) * (r["norm"] == "batch")),
    "no difference": Case("No: batch norm makes no difference at any batch size: the validation lo",
        ("answer_equal", "estimated", "use_any"), axes=SIZES, noise=0.002,
        metadata={"question": WHETHER}),
    "open": Case("That is open: batch norm neither surely helps nor surely hurts",
        ("answer_open", "estimated", "use_any", "open"), axes=SIZES, noise=0.3,
        metadata={"question": WHETHER}),
    "which": Case("Yes, with every init: batch norm cuts the validation loss to 0.083 times the",
        ("answer_best", "helped", "use_any", "caution_average"), axes=INITS,
        metadata={"question": WHICH},
        gain=lambda r: (-1.5 if r["init"] == "default" else -3) * (r["norm"] == "batch")),
    "which in part": Case("Only in part: batch norm surely helps with the default init (validatio",
        ("answer_best_if", "helped_if", "open", "caution_average"), axes=INITS,
        metadata={"question": WHICH},
        gain=lambda r: (-0.4 if r["init"] == "default" else 0.2) * (r["norm"] == "batch")),
    "none of them": Case("No norm surely helps, and batch norm hurts most (validation loss +51.4 %",
        ("answer_none", "hurt", "use_any", "open"), axes=INITS, gain=gains(batch=0.4),
        metadata={"question": WHICH}),
}  # fmt: skip


def make(case: Case) -> tuple[StoredResults, StudyMetadata]:
    """Generate the results of a case, and its metadata."""
    results = make_results(Path("generated"), case.axes, seeds=case.seeds)
    runs, random = results.runs, np.random.default_rng(0)
    logs = np.log(0.1) + random.normal(0, 0.1, case.seeds)[runs["seed"]]
    logs = logs + random.normal(0, case.noise, len(runs))
    columns, gain = [*case.axes, "seed"], case.gain or gains()
    logs = logs + np.array([gain(run) for run in runs[columns].to_dict("records")])
    runs = runs.assign(val_loss=np.exp(logs), metric=1 - np.exp(logs))
    curves = curves_of(runs, 5)
    if not case.fall:
        last = curves.groupby("run_id")["val_loss"].transform("last")
        curves = curves.assign(val_loss=last)
    results = replace(results, runs=runs, curves=curves)
    fields = {"cautions": (), "strengths": STRENGTHS} | dict(case.metadata)
    results = case.change(results) if case.change else results
    return results, make_metadata(case.axes, **fields)


@cache
def make_subject(name: str) -> Subject:
    results, metadata = make(CASES[name])
    return Subject(Results.from_stored(results, metadata).ablation, metadata)


@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_headline_and_its_patterns(name: str) -> None:
    case, subject = CASES[name], make_subject(name)
    headline, sentences = draft_headline(subject), draft_sentences(subject)
    text = plain(headline.write(HEADLINE_WORDS))
    assert text.startswith(case.headline)
    assert (headline.pattern, *(each.pattern for each in sentences)) == case.patterns[:4]
    assert len(sentences) <= 3
    check_text(headline.write(HEADLINE_WORDS), HEADLINE_WORDS)
    for each in sentences:
        check_text(each.write(SENTENCE_WORDS), SENTENCE_WORDS)
    for caution in list_cautions(subject.ablation, subject.metadata):
        for text in re.split(r"(?<=[.!?]) (?=[A-Z“\d])", caution):
            assert count_words(text) <= SENTENCE_WORDS, text


@pytest.mark.parametrize("alone", [-1.6, -0.6])
def test_the_most_helpful_level_is_compared_with_those_that_help_in_part_too(alone: float) -> None:
    def gain(run: Runs) -> float:
        inits = {"kaiming_uniform": -0.3, "xavier_uniform": alone if run["norm"] == "none" else 0.1}
        return inits.get(run["init"], 0.0)

    results, metadata = make(Case("", (), INITS, gain))
    subject = Subject(Results.from_stored(results, metadata).ablation, metadata)
    headline = plain(draft_headline(subject).write(HEADLINE_WORDS))
    assert headline.startswith("Use kaiming uniform init: it cuts the validation loss by ")
    assert ("more than anything else here" in headline) == (alone > -1)


def test_costs_are_stated_only_beyond_the_noise_of_times() -> None:
    """Two timings of the control, of which one or the other takes longer."""
    case = replace(CASES["timed alone"], change=None)
    results, metadata = make(case)
    timed = time_runs(results)
    texts = {}
    for noise in (1.0, 1.3, 1.9, 9.0):
        timings = timed.timings.assign(seconds=np.minimum(timed.timings["seconds"], 0.015))
        again = timings[timings["cost_id"] == "none none"].assign(alias="control again")
        factors = np.where(again["block"] % 2, noise, 1 / noise)
        again = again.assign(seconds=again["seconds"] * factors)
        noisy = replace(timed, timings=pd.concat([timings, again], ignore_index=True))
        subject = Subject(Results.from_stored(noisy, metadata).ablation, metadata)
        sentences = [plain(each.write(SENTENCE_WORDS)) for each in draft_sentences(subject)]
        texts[noise] = " ".join(sentences)
    assert "Layer norm takes 0.15 s a run, 1.5 times the control's." in texts[1.0]
    assert "Layer norm takes 0.15 s a run, 1.5 times the control's." in texts[1.3]
    assert "Layer norm takes 0.15 s a run." in texts[1.9]
    assert " a run" not in texts[9.0]


def plain(text: str) -> str:
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "−")


def check_text(text: str, most_words: int) -> None:
    """A sentence is short and whole, and its numbers, plurals and lists are well formed."""
    assert count_words(text) <= most_words, text
    assert text[0].isupper() or text[0].isdigit() or "_" in text.split()[0], text
    assert text.endswith(".")
    assert "  " not in text
    assert " ," not in text
    assert "None" not in text.removeprefix("None of ")
    assert "nan" not in text.replace("loss is nan", "")
    assert not re.search(r"\b1 (seeds|runs|changes|verdicts|configurations|data sets)\b", text)
    assert not re.search(r"and and|, and,|\(\)|: \.", text)
    assert not re.search(r"\bcells?\b|all controls together|P\(better\)|\blevels?\b", text)


def test_every_pattern_is_reached() -> None:
    """By a case above, or by a test below of several data sets, two folders or printed curves."""
    reached = {pattern for case in CASES.values() for pattern in case.patterns}
    assert reached | ELSEWHERE == set(load_templates().get_template(HEADLINES).blocks)


ELSEWHERE = {
    "reproduced", "not_reproduced", "printed",
    "datasets_most", "datasets_none", "datasets_use", "datasets_keep", "datasets_equal",
    "datasets_open", "datasets_estimate", "datasets_counts", "datasets_others",
    "datasets_unlearned", "same_runs", "no_outcome", "compared", "diverges_more", "confined",
    "most_changed", "flipped", "ended", "meaning",
}  # fmt: skip


@pytest.mark.parametrize("name", ["helps", "with every init", "hurts", "yes"])
def test_headline_row_and_terminal_say_the_same_numbers(name: str) -> None:
    results, metadata = make(CASES[name])
    data = build_report_data(results, metadata)
    screen, answer = write_first_screen(data), summarise(data.ablation, metadata)
    assert screen.question == answer.question == (WHETHER.text if name == "yes" else "")
    assert screen.headline.text == answer.headline == write_headline(data.ablation, metadata)
    assert tuple(each.text for each in screen.sentences) == answer.sentences
    forest = build_forest(data)
    assert forest is not None
    rows = {f"#{row.id}": row for row in forest.rows}
    row = rows[screen.headline.href]
    texts = [strip.change.by(forest.unit) for strip in row.strips.values()]
    texts += [note.text.by(forest.unit) for note in row.notes]
    numbers = re.findall(r"[+−×\N{MINUS SIGN}]\d[\d.,]*", screen.sentences[0].text)
    assert numbers
    assert any(numbers[0] in text for text in texts)


def test_badges_have_titles_and_lead_to_the_cautions() -> None:
    results, metadata = make(CASES["a level diverged"])
    data = build_report_data(results, replace(metadata, badges=("noise",), cautions=("Noise.",)))
    screen = write_first_screen(data)
    texts = [badge.text for badge in screen.badges]
    assert texts[0] == "noise"
    assert "diverged runs" in texts
    assert all(badge.title and badge.href.startswith("#evidence-") for badge in screen.badges)


@pytest.mark.parametrize(
    ("shift", "pattern", "begins"),
    [
        (
            0.0,
            "reproduced",
            "The printed losses are reproduced: 5 of 5 lie within the range of 99 % of",
        ),
        (
            9.0,
            "not_reproduced",
            "Not all printed losses are reproduced: only 0 of 5 lie within the",
        ),
    ],
)
def test_printed_curves_come_first(shift: float, pattern: str, begins: str) -> None:
    results, _ = make(CASES["one configuration"])
    printed = results.curves.groupby("epoch")["objective"].median() + shift
    curve = Published("layer", {"norm": "none"}, tuple(printed))
    metadata = make_metadata({"norm": ("none",)}, published=(curve,), cautions=())
    subject = Subject(Results.from_stored(results, metadata).ablation, metadata)
    headline, (sentence, *_) = draft_headline(subject), draft_sentences(subject)
    assert (headline.pattern, sentence.pattern) == (pattern, "printed")
    assert plain(headline.write(HEADLINE_WORDS)).startswith(begins)
    assert sentence.write(SENTENCE_WORDS).startswith("Each printed loss is compared with 8 runs of")


DATASETS = {
    "datasets_use": (7, "Use l1: on data sets like these it cuts the validation loss by 4.9 %."),
    "datasets_keep": (7, "Change nothing: on data sets like these nothing surely helps, and layer"),
    "datasets_open": (7, "Nothing is decided yet: on data sets like these nothing surely helps"),
    "datasets_equal": (7, "It makes no difference: on data sets like these the validation loss s"),
    "datasets_most": (5, "On these 5 data sets layer norm hurts most often: on all 5."),
    "datasets_none": (5, "On these 5 data sets nothing surely helps or hurts."),
}


@pytest.mark.parametrize("pattern", DATASETS)
def test_data_sets_have_a_headline(pattern: str) -> None:
    n, begins = DATASETS[pattern]
    stored, metadata = several_tasks(Path("generated"), list("abcdefg")[:n])
    runs, random = stored.runs, np.random.default_rng(0)
    if pattern == "datasets_keep":
        is_l1 = runs["regularizer"] == "l1"
        runs = runs.assign(val_loss=runs["val_loss"] * np.where(is_l1, 1.05, 1.0))
    if pattern in ("datasets_open", "datasets_none", "datasets_equal"):
        size = 0.002 if pattern == "datasets_equal" else 0.6
        runs = runs.assign(val_loss=np.exp(random.normal(0, size, len(runs))))
    results = Results.from_stored(replace(stored, runs=runs), metadata)
    table, effects = results.datasets(), results.dataset_effects()
    first, *others = draft_datasets(results, table, effects)
    assert first.pattern == pattern
    assert {each.pattern for each in others} <= ELSEWHERE
    headline, *sentences = write_sentences(results, table, effects)
    assert plain(headline.text).startswith(begins)
    check_text(headline.text, HEADLINE_WORDS)
    for sentence in sentences:
        check_text(sentence.text, SENTENCE_WORDS)


def test_data_sets_on_which_nothing_was_learned_are_named() -> None:
    stored, metadata = several_tasks(Path("generated"), ["a", "b"])
    constant = stored.runs["val_loss"] * np.where(stored.runs["task"] == "a", 0.5, 2.0)
    results = Results.from_stored(
        replace(stored, runs=stored.runs.assign(baseline=constant)), metadata
    )
    texts = [each.text for each in write_sentences(results, results.datasets())]
    assert texts[-1] == "Nothing was learned on a, so that it cannot show what helps."
    assert "2 data sets are too few to tell what holds on others: at least 6 are needed." in texts


def compare_with(change: Change) -> list[str]:
    results, metadata = make(CASES["helps"])
    names = ("before", "after")
    comparison = compare(results, change(results), (metadata, metadata), names)
    texts = [sentence.text for sentence in write_comparison(comparison)]
    for i, text in enumerate(texts):
        assert count_words(text) <= (SENTENCE_WORDS if i else HEADLINE_WORDS)
    return [plain(text) for text in texts]


def test_two_folders_have_a_headline() -> None:
    assert compare_with(lambda results: results) == [
        "Nothing changed: all 72 pairs of runs of after and before are the same to the bit."
    ]

    def worsen(results: StoredResults) -> StoredResults:
        runs = results.runs
        factor = np.where(runs["regularizer"] == DROPOUT, 1.5 + 0.01 * runs["seed"], 1.0)
        return replace(results, runs=runs.assign(val_loss=runs["val_loss"] * factor))

    first, *others = compare_with(worsen)
    assert first.startswith("after is worse: validation loss +15.")
    assert first.endswith("] against before, over 72 pairs of runs and 8 seeds.")
    assert others[0] == f"All that changed is in runs with {name_level('regularizer', DROPOUT)}."
    assert others[1] == "1 verdict changed: dropout (p 0.5, 0.2) from “helps” to “hurts”."
    first, second, *others = compare_with(diverge("norm", "layer"))
    assert first == "after is worse: 24 runs diverged, 0 before."
    assert second.startswith("Where both survived it is practically equal: validation loss 0")
    assert others[-1] == "Ended otherwise: 24 runs ok before and diverged now."
    assert compare_with(diverge("seed"))[0].startswith("No pair of runs has a validation loss in")


def test_levels_and_conditions_have_names() -> None:
    metadata = make_metadata(TWO, strengths=STRENGTHS)
    names = [
        name_level("norm", "layer"),
        name_level("norm", "weight_norm"),
        name_level("init", "xavier_uniform"),
        name_level("schedule", "one_cycle"),
        name_level("regularizer", DROPOUT, metadata),
        name_level("lr", 0.01),
        name_level("batch_size", 64),
        name_level("depth", 3),
    ]
    assert names == [
        "layer norm", "weight norm", "xavier uniform init", "one cycle schedule",
        "dropout (p 0.5, 0.2)", "learning rate 0.01", "batch size 64", "depth 3",
    ]  # fmt: skip
    norms, sizes = ["none", "layer", "batch", "group"], ["96", "24", "6", "3"]
    cases = {
        "without a norm": ("norm", ["none"], norms),
        "with layer norm": ("norm", ["layer"], norms),
        "with layer and batch norm": ("norm", ["layer", "batch"], norms),
        "with any norm": ("norm", ["layer", "batch", "group"], norms),
        "with every norm": ("norm", norms, norms),
        "without a norm or with layer norm": ("norm", ["none", "layer"], norms),
        "with the default init": ("init", ["default"], ["default", "orthogonal"]),
        "at batch sizes of 24 and more": ("batch_size", ["96", "24"], sizes),
        "at batch sizes of 6 and less": ("batch_size", ["6", "3"], sizes),
        "at batch size 24": ("batch_size", ["24"], sizes),
        "at every batch size": ("batch_size", sizes, sizes),
        "with optimizer sgd": ("optimizer", ["sgd"], ["adam", "sgd"]),
        "on cuda": ("device", ["cuda"], ["cpu", "cuda"]),
    }
    for expected, (axis, levels, all_levels) in cases.items():
        control = "none" if axis in ("norm", "regularizer") else ""
        assert describe_conditions(axis, levels, all_levels, control) == expected
    assert describe_rest(["6", "3"], sizes) == "at smaller ones"
    assert describe_rest(["96", "24"], sizes) == "at larger ones"
    assert describe_rest(["96", "3"], sizes) == ""


def test_a_sentence_leaves_out_what_does_not_fit() -> None:
    long = draft("datasets_unlearned", "", {"names": ["a b c d e"] * 9}, {"names": ["a"]})
    assert long.write(SENTENCE_WORDS).startswith("Nothing was learned on a, so that it")
    assert long.write(99).startswith("Nothing was learned on a b c d e, a b")
    assert count_words("+12.3\N{NARROW NO-BREAK SPACE}% [1, 2]") == 3
