"""Which engine trains what: decided once, from costs, and said before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ablations
from ablations import RequestError, Study
from ablations.execution.plan import plan_execution
from ablations.execution.progress import Silent
from ablations.results import settings
from ablations.results.repair import repair_folder
from ablations.results.settings import EngineSettings
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.techniques.base import Loss, Regularizer
from ablations.training import engine as engines
from ablations.training.engine import EngineChoice
from ablations.training.fused import compilation
from ablations.training.fused.compilation import CompileCost

LONG: dict[str, Any] = {"task": "notebook", "seeds": 100, "epochs": 2000}


class OwnObjective(Regularizer):
    """Does in the step what no number says."""

    name = "own_objective"

    def objective(self, outputs: Any, targets: Any, parameters: Any, loss: Loss) -> Any:
        return 2 * loss(outputs, targets)


def choices(**study: Any) -> list[EngineChoice]:
    return engines.choose_engines(expand(Study(**({"task": "notebook"} | study))).runs)


def refuse(*_: Any, **__: Any) -> float:
    raise AssertionError("measured where nothing had to be")


@pytest.fixture
def _compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "why_unavailable", lambda: None)


@pytest.mark.usefixtures("_compiler")
def test_what_is_asked_for_is_done_where_there_is_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices_of_study = choices(seeds=2)
    monkeypatch.setattr(engines, "eager_seconds", refuse)
    assert engines.decide_settings("auto", "always", choices_of_study, 1) == EngineSettings(
        "fused", compiled=True
    )
    assert engines.decide_settings("auto", "never", choices_of_study, 1) == EngineSettings(
        "fused", compiled=False
    )
    assert engines.decide_settings("loop", "always", choices_of_study, 1) == EngineSettings(
        "loop", compiled=False
    )
    # A short study is not worth a measurement.
    assert engines.decide_settings("auto", "auto", choices_of_study, 1) == EngineSettings(
        "fused", compiled=False
    )
    monkeypatch.setattr(compilation, "why_unavailable", lambda: "no C++ compiler is installed")
    assert engines.decide_settings("auto", "always", choices_of_study, 1) == EngineSettings(
        "fused", compiled=False
    )


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize(
    ("cost", "jobs", "worth"),
    [
        # 200,000 steps of 1 ms: 200 s, of which a gain of 2 saves half.
        (CompileCost(seconds=15, gain=2.0), 1, True),
        (CompileCost(seconds=110, gain=2.0), 1, False),
        (CompileCost(seconds=15, gain=1.05), 1, False),
        # With two jobs half of the wall time is to be saved, and each loads the program.
        (CompileCost(seconds=15, gain=2.0), 2, True),
        (CompileCost(seconds=60, gain=2.0), 2, False),
    ],
)
def test_compiling_is_worth_it_where_it_saves_more_than_it_costs(
    monkeypatch: pytest.MonkeyPatch, cost: CompileCost, jobs: int, worth: bool
) -> None:
    monkeypatch.setattr(engines, "eager_seconds", lambda choice: 1e-3)
    monkeypatch.setattr(compilation, "compile_cost", lambda identity, size, depth: cost)
    assert engines.worth_compiling(choices(**LONG), jobs) is worth


def test_the_cost_of_a_step_is_measured() -> None:
    (choice,) = choices(seeds=32)
    assert 1e-6 < engines.eager_seconds(choice) < 0.1


def test_what_was_decided_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"engine\.json: is missing; 'ablations repair"):
        settings.load_settings(tmp_path)
    for engine_settings in (
        EngineSettings("fused", compiled=True),
        EngineSettings("loop", compiled=False),
    ):
        settings.save_settings(tmp_path, engine_settings)
        assert settings.load_settings(tmp_path) == engine_settings


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"engine": "magic", "compiled": true}', "\0"])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "engine.json").write_text(text)
    with pytest.raises(RequestError, match=r"engine\.json"):
        settings.load_settings(tmp_path)


@pytest.mark.parametrize("option", ["always", "never"])
def test_a_resumed_study_keeps_its_engine(tmp_path: Path, option: Any) -> None:
    study = Study(task="notebook", seeds=1, epochs=1)
    options: dict[str, Any] = {"reporter": Silent(), "with_report": False, "jobs": 1}
    ablations.run(study, tmp_path, compile=option, **options)
    compiled = option == "always" and compilation.why_unavailable() is None
    ways = {"fused-compiled" if compiled else "fused"}
    grown = study.replace(seeds=3)
    assert plan_execution(grown, tmp_path).settings == EngineSettings("fused", compiled)
    assert set(ablations.run(grown, tmp_path, **options).runs["engine"]) == ways
    other = "never" if compiled else "always"
    with pytest.raises(RequestError, match=r"holds results of (eager|compiled) programs"):
        ablations.run(grown, tmp_path, compile=other, **options)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="holds results of the engine 'fused', not 'loop'"):
        ablations.run(grown, tmp_path, engine="loop", **options)


@pytest.mark.parametrize(
    ("engine", "compile_"), [("loop", "auto"), ("auto", "never"), ("auto", "always")]
)
def test_what_was_decided_is_known_from_the_runs(
    tmp_path: Path, engine: Any, compile_: Any
) -> None:
    study = Study(task="notebook", seeds=1, epochs=1)
    options: dict[str, Any] = {"reporter": Silent(), "with_report": False, "jobs": 1}
    ablations.run(study, tmp_path, engine=engine, compile=compile_, **options)
    engine_settings = settings.load_settings(tmp_path)
    for harm in (b"", b"{", (tmp_path / "engine.json").read_bytes()[:-3], None):
        if harm is None:
            (tmp_path / "engine.json").unlink()
        else:
            (tmp_path / "engine.json").write_bytes(harm)
        with pytest.raises(RequestError, match=r"engine\.json.*ablations repair"):
            plan_execution(study.replace(seeds=2), tmp_path)
        assert repair_folder(tmp_path)
        assert settings.load_settings(tmp_path) == engine_settings
    assert repair_folder(tmp_path) == []
    assert plan_execution(study, tmp_path).todo == 0


def test_own_code_in_the_step_goes_through_the_loop_and_the_plan_says_why() -> None:
    (choice,) = choices(seeds=3)
    technique = OwnObjective()
    own_runs = [
        Run(run.configuration.with_(regularizer=technique), run.seed) for run in choice.runs
    ]
    fused, alone = engines.choose_engines([*choice.runs, *own_runs])
    assert (fused.engine, fused.size) == ("fused", 32)
    assert (alone.engine, alone.size) == ("loop", None)
    description = engines.describe_engine(alone, EngineSettings("fused", compiled=False))
    assert description == "one by one: the regularizer 'own_objective' is more than its penalties"
    with pytest.raises(RequestError, match="3 runs cannot be trained as fused programs: the reg"):
        engines.refuse_loops([fused, alone])


@pytest.mark.usefixtures("_compiler")
def test_the_plan_says_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    (choice,) = choices()
    compiled = EngineSettings("fused", compiled=True)
    assert engines.describe_engine(choice, compiled) == "32 at a time, as compiled programs"
    monkeypatch.setattr(compilation, "why_unavailable", lambda: "no C++ compiler is installed")
    description = "32 at a time, as eager programs; no C++ compiler is installed"
    assert engines.describe_engine(choice, compiled) == description
