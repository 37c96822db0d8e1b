"""The fused engine against the plain loop, run by run, and its own promises."""

from __future__ import annotations

import platform
import random
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ablations import Study
from ablations.core.registry import registered
from ablations.models.base import Model, linear
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.tasks.base import Task
from ablations.techniques.base import Norm, PerPosition, Regularizer, Schedule
from ablations.techniques.inits import XavierUniform
from ablations.training import engine, loop
from ablations.training.cohorts import group_runs
from ablations.training.fused import compilation, initial_states, networks, trainer
from ablations.training.fused.layers import NotStackableError
from ablations.training.fused.program import program
from ablations.training.result import RunResult

SIZE = 32
AXES = ("regularizer", "norm", "init", "schedule", "optimizer")


def runs_of(**study: Any) -> list[Run]:
    return list(expand(Study(**({"task": "notebook", "seeds": 1} | study))).runs)


def trained(runs: Sequence[Run], size: int = SIZE, **options: Any) -> dict[str, RunResult]:
    """Each run's result by the fused engine, kind by kind."""
    found = [
        result
        for members in group_runs(runs)
        for start in range(0, len(members), size)
        for result in trainer.train(members[start : start + size], size, **options)
    ]
    assert len(found) == len(runs)
    return {result.run.run_id: result for result in found}


def numbers(result: RunResult) -> list[float]:
    curve = [list(vars(epoch).values()) for epoch in result.curve]
    return [number for epoch in curve for number in epoch] + [result.metric or 0.0]


def assert_equal(ours: RunResult, judge: RunResult, relative: float) -> None:
    assert ours.traceback is None, ours.traceback
    assert (ours.status, ours.reason) == (judge.status, judge.reason)
    assert ours.parameters == judge.parameters
    assert numbers(ours) == pytest.approx(numbers(judge), rel=relative, nan_ok=True)


def levels() -> Iterator[tuple[str, str, str]]:
    for task in ("notebook", "digits"):
        for axis in AXES:
            for level in registered(axis):
                if (task, level) != ("notebook", "label_smoothing"):
                    yield task, axis, level


@cache
def trained_levels(task: str, axis: str) -> list[RunResult]:
    """One run of each level, for 20 epochs; levels of one kind in one cohort."""
    axes = {axis: [level for found, of, level in levels() if (found, of) == (task, axis)]}
    batch_size = "full" if task == "notebook" else 32
    runs = runs_of(task=task, axes=axes, batch_size=batch_size, dtype="float64")
    assert len(runs) == len(axes[axis])
    return [result for members in group_runs(runs) for result in trainer.train(members, 16)]


@pytest.mark.parametrize(("task", "axis", "level"), list(levels()))
def test_each_level_is_the_loop_s_after_20_epochs(task: str, axis: str, level: str) -> None:
    (ours,) = (
        result
        for result in trained_levels(task, axis)
        if getattr(result.run.configuration, axis).name == level
    )
    assert ours.engine == "fused"
    assert ours.cohort_size == 16
    assert len(ours.curve) == 20
    assert_equal(ours, loop.train(ours.run), 1e-9)


ON_DIGITS = [name for name in registered("model") if name not in ("mlp", "python")]


@cache
def of_model(model: str, axis: str) -> dict[str, RunResult]:
    """One run of each level, for an epoch; levels of one kind in one cohort."""
    levels = list(registered(axis))
    runs = runs_of(
        task="digits", model=model, axes={axis: levels}, batch_size=240, epochs=1, dtype="float64"
    )
    found = [result for members in group_runs(runs) for result in trainer.train(members, 8)]
    return {getattr(result.run.configuration, axis).name: result for result in found}


@pytest.mark.parametrize("model", ON_DIGITS)
@pytest.mark.parametrize(
    ("axis", "level"),
    [
        (axis, level)
        for axis in ("norm", "regularizer", "init", "optimizer")
        for level in registered(axis)
    ],
)
def test_each_level_is_the_loop_s_with_other_models(model: str, axis: str, level: str) -> None:
    ours = of_model(model, axis)[level]
    assert ours.engine == "fused"
    assert_equal(ours, loop.train(ours.run), 1e-9)


@pytest.mark.parametrize(
    ("model", "norm"), [("mlp", "none"), ("cnn", "batch"), ({"name": "gru", "width": 4}, "layer")]
)
def test_series_are_the_loop_s(model: Any, norm: str) -> None:
    axes = {"norm": [norm], "regularizer": ["dropout"]}
    (run,) = runs_of(
        task="mnist1d", model=model, axes=axes, batch_size=1500, epochs=1, dtype="float64"
    )
    assert_equal(trained([run], 8)[run.run_id], loop.train(run), 1e-9)


LEVELS: dict[str, list[Any]] = {
    "regularizer": [
        *("none", "l1", "l2", "elastic", "decoupled_weight_decay"),
        *("dropout", {"name": "dropout", "p": [0.1]}, {"name": "dropout", "p": [0.0, 0.9]}),
        *("input_noise", {"name": "input_noise", "std": 1.0}),
        *("max_norm", {"name": "max_norm", "c": 0.3}),
    ],
    "norm": ["none", "layer", "batch", "group", "rms", "weight_norm"],
    "init": ["default", "orthogonal", "kaiming_normal"],
    "schedule": ["constant", "plateau", "one_cycle", {"name": "step", "every": 0.1}],
    "optimizer": ["adam", "sgd", "adamw", {"name": "sgd", "momentum": 0.5}],
    "batch_size": ["full", 32, 100],
    "lr": [1e-4, 1e-3],  # with larger ones rounding grows within a few hundred steps
}
MODELS: list[dict[str, Any]] = [
    *({"name": "mlp", "hidden": hidden} for hidden in ([64, 32], [7], [5, 33, 16])),
    {"name": "mlp", "activation": "tanh"},
    {"name": "deep_mlp", "depth": 5, "width": 8},
]
WITH_SHAPE: list[dict[str, Any]] = [
    {"name": "cnn"},
    {"name": "cnn", "channels": [8], "kernel": 5, "stride": 3, "norm_position": "after"},
    {"name": "cnn", "channels": [3, 5, 4], "kernel": 1, "stride": 1, "activation": "tanh"},
    *({"name": "gru", "width": width} for width in (8, 16, 5)),
]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_mixture_in_any_order_is_the_loop_s(data: st.DataObject) -> None:
    draw = data.draw
    axes = {
        axis: draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique_by=str))
        for axis, known in LEVELS.items()
        if axis not in ("batch_size", "norm")
    }
    axes |= {axis: [draw(st.sampled_from(LEVELS[axis]))] for axis in ("batch_size", "norm")}
    task = draw(st.sampled_from(["notebook", "digits"]))
    model = draw(st.sampled_from(MODELS if task == "notebook" else MODELS + WITH_SHAPE))
    whole = runs_of(task=task, model=model, axes=axes, dtype="float64", seeds=3, epochs=2)
    assume(whole)  # a group norm needs a width of whole groups
    count = draw(st.integers(1, min(len(whole), 40)))
    chance = random.Random(draw(st.integers(0, 99)))
    runs = chance.sample(whole, count)
    size = draw(st.sampled_from([8, 16, 32]))
    found = trained(runs, size)
    for run in runs[:2]:
        assert_equal(found[run.run_id], loop.train(run), 1e-8)
    # The same to the last bit in other company.
    for run_id, result in trained(chance.sample(runs, min(3, count)), size).items():
        assert numbers(result) == pytest.approx(numbers(found[run_id]), rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("hidden", "batch_size"),
    [([64, 32], 50), ([33, 5], 32), ([7], 7), ([3, 9, 1], "full"), ([6], 100), ([12, 20], 40)],
)
@pytest.mark.parametrize("norm", ["none", "batch", "weight_norm"])
def test_bit_for_bit_in_any_company(
    hidden: list[int], batch_size: Any, norm: str, dtype: str
) -> None:
    runs = runs_of(
        task="digits",
        axes={"norm": [norm], "hidden": [hidden], "init": ["default", "orthogonal"]},
        batch_size=batch_size,
        dtype=dtype,
        seeds=20,
        epochs=1,
    )
    first = {r.run.run_id: numbers(r) for r in trainer.train(runs[:SIZE], SIZE)}
    for part in (runs[7:8], runs[20:3:-1], runs[40 - SIZE :]):
        for result in trainer.train(part, SIZE):
            if result.run.run_id in first:
                assert numbers(result) == first[result.run.run_id]


@pytest.mark.parametrize("norm", ["none", "layer", "batch", "group", "rms", "weight_norm"])
@pytest.mark.parametrize(
    "model",
    [
        {"name": "cnn", "channels": [8, 16]},
        {"name": "cnn", "channels": [3, 5], "kernel": 5},
        {"name": "gru", "width": 8},
        {"name": "gru", "width": 5},
    ],
    ids=str,
)
def test_other_models_bit_for_bit_in_any_company(model: dict[str, Any], norm: str) -> None:
    axes = {"norm": [norm], "init": ["default", "orthogonal"]}
    runs = runs_of(task="digits", model=model, axes=axes, batch_size=150, seeds=10, epochs=1)
    if not runs:
        pytest.skip("no whole groups")
    first = {r.run.run_id: numbers(r) for r in trainer.train(runs[:16], 16)}
    for part in (runs[7:8], runs[15:3:-1], runs[4:]):
        for result in trainer.train(part, 16):
            if result.run.run_id in first:
                assert numbers(result) == first[result.run.run_id]


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "WHOLE", 0)
    monkeypatch.setattr(trainer, "CHUNK", 0)
    monkeypatch.setattr(trainer, "FEWEST_ROWS", 42)


def test_losses_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"norm": ["batch", "layer"]}
    runs = runs_of(axes=axes, batch_size=30, seeds=3, epochs=2, dtype="float64")
    whole = trained(runs)
    in_parts(monkeypatch)
    for run_id, result in trained(runs).items():
        assert numbers(result) == pytest.approx(numbers(whole[run_id]), rel=1e-12)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_losses_in_parts_are_bit_for_bit_in_any_company(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 353 rows of 10 features: were its parts views, every other member would begin elsewhere.
    in_parts(monkeypatch)
    runs = runs_of(task="diabetes", axes={"norm": [norm]}, batch_size=32, seeds=20, epochs=1)
    first = {r.run.run_id: numbers(r) for r in trainer.train(runs, SIZE)}
    for part in (runs[7:8], runs[::-1], runs[5:]):
        for result in trainer.train(part, SIZE):
            assert numbers(result) == first[result.run.run_id]


# --------------------------------------------------------------------- members that go wrong


def test_a_member_that_explodes_harms_no_other_and_ends_as_in_the_loop() -> None:
    runs = runs_of(axes={"optimizer": ["sgd"], "lr": [1e-3, 1e6]}, seeds=4)
    found = trained(runs)
    calm = {run.run_id: run for run in runs if run.configuration.lr < 1}
    alone = trained(list(calm.values()))
    for run in runs:
        result = found[run.run_id]
        if run.run_id in calm:
            assert result.status == "ok"
            assert numbers(result) == numbers(alone[run.run_id])
        else:
            judge = loop.train(run)
            assert (result.status, result.reason) == ("diverged", judge.reason)
            assert len(result.curve) == len(judge.curve) < 20
            assert result.metric is None


def test_a_cohort_without_a_finite_member_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    original = trainer._Training._call

    def counted(self: Any, *arguments: Any) -> Any:
        taken.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(trainer._Training, "_call", counted)
    runs = runs_of(axes={"optimizer": ["sgd"]}, lr=1e6, seeds=3, epochs=500)
    assert {result.status for result in trained(runs).values()} == {"diverged"}
    assert len(taken) < 10


@dataclass(frozen=True)
class Breaks(Schedule):
    """Raises in the third step."""

    name = "breaks"

    def scheduler(self, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> Any:
        return iter(range(2))

    def after_step(self, scheduler: Any) -> None:
        if next(scheduler, None) is None:
            raise ArithmeticError("no third step")

    def after_epoch(self, scheduler: Any, objective: float) -> None:
        pass


class NoInit(XavierUniform):
    """Raises while a member is prepared."""

    name = "no_init"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        raise ArithmeticError("no weights today")


@pytest.mark.parametrize(
    ("guilty", "reason"),
    [({"schedule": Breaks()}, "no third step"), ({"init": NoInit()}, "no weights today")],
)
def test_an_exception_is_one_row_and_the_others_are_as_without_it(
    guilty: dict[str, Any], reason: str
) -> None:
    runs = runs_of(seeds=6)
    other = runs[3]
    bad = Run(other.configuration.with_(**guilty), other.seed)
    # As in a worker that sees the guilty one before all others.
    initial_states._KEPT.origins.clear()
    found = trainer.train([bad, *runs], SIZE)
    assert len(found) == 7
    failed = [result for result in found if result.run is bad]
    assert [(r.status, r.engine, r.cohort_size) for r in failed] == [("failed", "fused", SIZE)]
    assert str(failed[0].reason).startswith(f"ArithmeticError: {reason} (test_fused.py, line ")
    assert "Traceback" in (failed[0].traceback or "")
    without = trained(runs)
    for result in found:
        if result.run is not bad:
            assert numbers(result) == numbers(without[result.run.run_id])


# ------------------------------------------------------------------------------- compiled


def cannot_compile() -> str:
    return compilation.why_unavailable() or ""


@pytest.mark.skipif(bool(cannot_compile()), reason=cannot_compile())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_compiled_run_stopped_early_has_the_same_bits(dtype: str) -> None:
    """In steady programs the last loss of training comes from a step that is thrown away."""
    runs = runs_of(dtype=dtype, seeds=9, epochs=6)
    whole = {r.run.run_id: r.curve for r in trainer.train(runs, SIZE, compiled=True)}
    for result in trainer.train(runs[::-2], SIZE, compiled=True, stop=3):
        assert result.curve == whole[result.run.run_id][:3]


@pytest.mark.skipif(bool(cannot_compile()), reason=cannot_compile())
def test_compiled_programs_are_the_loop_s_and_bit_for_bit_in_any_company() -> None:
    axes = {"regularizer": ["dropout"], "norm": ["batch"], "schedule": ["constant", "plateau"]}
    runs = runs_of(axes=axes, dtype="float64", batch_size=30, seeds=20, epochs=3)
    first = {r.run.run_id: r for r in trainer.train(runs[:SIZE], SIZE, compiled=True)}
    assert {result.engine for result in first.values()} == {"fused-compiled"}
    for run in runs[:2]:
        assert_equal(first[run.run_id], loop.train(run), 1e-9)
    for part in (runs[7:8], runs[20:3:-1], runs[40 - SIZE :]):
        for result in trainer.train(part, SIZE, compiled=True):
            if result.run.run_id in first:
                assert numbers(result) == numbers(first[result.run.run_id])


@pytest.mark.skipif(bool(cannot_compile()), reason=cannot_compile())
def test_compiled_convolutions_are_the_loop_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "WHOLE", 0)
    model = {"name": "cnn", "channels": [4]}
    (run,) = runs_of(
        task="digits", model=model, batch_size=400, dtype="float64", axes={"norm": ["batch"]},
        epochs=1,
    )  # fmt: skip
    (ours,) = trainer.train([run], 8, compiled=True)
    assert ours.engine == "fused-compiled"
    assert_equal(ours, loop.train(run), 1e-9)


def test_freed_memory_is_kept_where_the_c_library_can_be_told() -> None:
    assert trainer.keep() == (platform.libc_ver()[0] == "glibc")


def test_where_the_compiler_fails_programs_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def broken(*arguments: Any) -> Any:
        tried.append(1)
        raise OSError("no room for the compiler's files")

    monkeypatch.setattr(compilation, "_Compiled", broken)
    monkeypatch.setattr(compilation, "_REFUSED", set())
    runs = runs_of(seeds=5, epochs=2, model={"name": "mlp", "hidden": [12]})
    eager = trained(runs)
    for _ in range(2):
        for run_id, result in trained(runs, compiled=True).items():
            assert result.engine == "fused"
            assert numbers(result) == numbers(eager[run_id])
    assert tried == [1]


# ------------------------------------------------------------------- networks of other people


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: Norm, regularizer: Regularizer) -> None:
        super().__init__()
        self.first, self.second = linear(inputs, 9), linear(9, 9)
        self.norm = norm.layer(9) or nn.Identity()
        self.drop = regularizer.layer(1) or nn.Identity()
        self.last = linear(9, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = x + self.drop(self.norm(torch.relu(self.second(x))))
        return self.last(x)  # type: ignore[no-any-return]


class Branching(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


@dataclass(frozen=True)
class Foreign(Model):
    """A network that is no sequence of layers."""

    network: type[Residual] = Residual

    name = "foreign"

    def parameters(self) -> dict[str, Any]:
        return {"network": self.network.__name__}

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        return self.network(task.inputs, task.outputs, norm, regularizer)

    def widths(self, task: Task) -> tuple[int, ...]:
        return (9,)

    def weights(self, network: nn.Module) -> Iterator[tuple[str, nn.Linear, str]]:
        for name in ("first", "second"):
            yield name, getattr(network, name), "relu"
        yield "last", network.last, "linear"  # type: ignore[misc]


def foreign(network: type[Residual], **study: Any) -> list[Run]:
    return [
        Run(run.configuration.with_(model=Foreign(network)), run.seed) for run in runs_of(**study)
    ]


@pytest.mark.parametrize(
    ("axis", "level"),
    [
        *(("norm", name) for name in ("none", "layer", "batch", "rms", "weight_norm")),
        *(("regularizer", name) for name in ("elastic", "dropout", "max_norm")),
    ],
)
def test_any_module_runs_mapped(axis: str, level: str) -> None:
    runs = foreign(Residual, axes={axis: [level]}, batch_size=30, dtype="float64", seeds=5)
    found = trained(runs)
    for run in runs[:2]:
        assert found[run.run_id].engine == "vmap"
        # PyTorch's own batch norm sums otherwise where it is mapped.
        assert_equal(found[run.run_id], loop.train(run), 1e-7 if level == "batch" else 1e-9)
    few = trained(runs[2:4])
    for run_id, result in few.items():
        assert numbers(result) == numbers(found[run_id])


class Twice(Residual):
    """Asks for one place of the regularizer two times."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, regularizer: Regularizer) -> None:
        super().__init__(inputs, outputs, norm, regularizer)
        self.again = regularizer.layer(1) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.again(x))


class Deeper(Residual):
    """Asks for a place behind the last layer that a norm acts on."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, regularizer: Regularizer) -> None:
        super().__init__(inputs, outputs, norm, regularizer)
        self.drop = regularizer.layer(2) or nn.Identity()


def test_layers_that_share_a_purpose_draw_as_in_the_loop() -> None:
    runs = foreign(Twice, axes={"regularizer": ["dropout"]}, batch_size=30, dtype="float64")
    for run_id, result in trained(runs).items():
        assert result.engine == "vmap"
        (run,) = (run for run in runs if run.run_id == run_id)
        assert_equal(result, loop.train(run), 1e-9)


def test_a_layer_whose_rate_no_cohort_knows_goes_through_the_loop() -> None:
    (run,) = foreign(Deeper, axes={"regularizer": ["dropout"]})
    with pytest.raises(NotStackableError, match="'dropout/2' stands where"):
        program(run.configuration)


def test_a_task_without_a_loss_of_each_row_goes_through_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (run,) = runs_of()
    task = type(run.configuration.task)
    monkeypatch.setattr(task, "loss", lambda self, outputs, targets: outputs.mean())
    with pytest.raises(NotStackableError, match="'notebook' has no loss of each row"):
        program(run.configuration)


def test_a_layer_that_comes_again_is_not_left_out() -> None:
    shared = nn.ReLU()
    module = nn.Sequential(nn.Linear(3, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 2))
    network = networks.sequence(module, torch.zeros(1, 3))
    x = torch.randn(5, 3)
    parameters = networks.split(network, networks.flatten(network, module)[None])
    outputs, _ = network.forward(parameters, {}, x[None], (), training=False)
    torch.testing.assert_close(outputs[0], module(x))
    twice = nn.Linear(4, 4)
    with pytest.raises(NotStackableError, match="in two places"):
        networks.sequence(nn.Sequential(twice, nn.ReLU(), twice), torch.zeros(1, 4))


def unflattened(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Unflatten(1, (1, 4, 4)), *layers)


@pytest.mark.parametrize(
    "module",
    [
        unflattened(nn.Conv2d(1, 2, 2, dilation=2)),
        unflattened(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")),
        unflattened(nn.Conv2d(1, 2, 3, padding="same")),
        unflattened(nn.Conv2d(1, 2, 3, bias=False)),
        unflattened(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2)),
        unflattened(nn.LayerNorm(4)),
        unflattened(nn.LayerNorm((1, 4, 4))),
        unflattened(nn.Linear(4, 4)),
        unflattened(nn.Flatten(1, 2)),
        unflattened(nn.MaxPool2d(2)),
        nn.Sequential(weight_norm(nn.Linear(16, 16), dim=1)),
        nn.Linear(16, 2),
    ],
    ids=str,
)
def test_what_has_no_stacked_form_is_refused(module: nn.Module) -> None:
    with pytest.raises(NotStackableError):
        networks.sequence(module, torch.zeros(1, 16))


@pytest.mark.parametrize(
    "module",
    [
        unflattened(nn.Conv2d(1, 3, (3, 2), (2, 1), (1, 0)), nn.ReLU(), nn.Flatten()),
        unflattened(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 3)),
        unflattened(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(16)),
        unflattened(PerPosition(nn.LayerNorm(1)), nn.Flatten()),
        nn.Sequential(nn.Unflatten(1, (4, 4)), PerPosition(nn.BatchNorm1d(4)), nn.Flatten()),
        nn.Sequential(nn.Unflatten(1, (2, 8)), nn.Conv1d(2, 3, 3, 2), nn.Tanh(), nn.Flatten()),
        nn.Sequential(nn.Unflatten(1, (2, 2, 2, 2)), nn.Conv3d(2, 3, 2, padding=1), nn.Flatten()),
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_pictures_and_series_are_what_the_layers_make_of_them(
    module: nn.Module, training: bool
) -> None:
    module = module.double()
    x = torch.randn(6, 16, dtype=torch.float64)
    network = networks.sequence(module, x[:1])
    parameters = networks.split(network, networks.flatten(network, module)[None])
    state = {name: tensor[None] for name, tensor in network.state(module).items()}
    outputs, _ = network.forward(parameters, state, x[None], (), training=training)
    torch.testing.assert_close(outputs[0], module.train(training)(x))


def test_a_module_that_cannot_be_mapped_says_why() -> None:
    (run,) = foreign(Branching)
    with pytest.raises(NotStackableError, match=r"torch\.func\.vmap cannot run its network"):
        program(run.configuration)


def test_threads_train_what_one_thread_trains() -> None:
    runs = [*runs_of(axes={"regularizer": ["dropout"]}, seeds=4), *foreign(Residual, seeds=4)]
    parts = [[run] for run in runs] * 3
    alone = {run.run_id: numbers(trainer.train([run], SIZE)[0]) for run in runs}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: trainer.train(part, SIZE), parts))
    for (run,), (result,) in zip(parts, found, strict=True):
        assert numbers(result) == alone[run.run_id]


DIGITS = {"task": "digits", "batch_size": 32}


@pytest.mark.parametrize(
    ("study", "size"),
    [
        ({}, 32),
        (DIGITS, 32),
        (DIGITS | {"batch_size": 512}, 8),
        (DIGITS | {"model": {"name": "mlp", "hidden": [128, 64]}}, 16),
        (DIGITS | {"model": {"name": "mlp", "hidden": [256, 256]}}, 8),
        (DIGITS | {"model": {"name": "mlp", "hidden": [512, 512]}}, None),
    ],
)
def test_the_size_of_a_program_follows_the_cache(study: dict[str, Any], size: int | None) -> None:
    for seeds in (1, 50):
        (choice,) = engine.choose_engines(runs_of(**study, seeds=seeds))
        assert choice.size == size
        assert choice.engine == ("loop" if size is None else "fused")


# --------------------------------------------------------------------------------- devices


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("axis", AXES)
def test_cuda_is_the_cpu_s(axis: str) -> None:
    axes = {axis: list(registered(axis)), "device": ["cuda"]}
    runs = runs_of(task="digits", batch_size=32, axes=axes, dtype="float64", epochs=3)
    for run_id, result in trained(runs).items():
        assert result.traceback is None, result.traceback
        (run,) = (run for run in runs if run.run_id == run_id)
        assert_equal(result, loop.train(run), 1e-8)


def test_an_accelerator_is_looked_at_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of another device, on this one: fewer looks, the same numbers."""
    runs = runs_of(axes={"lr": [1e-3, 1e6], "optimizer": ["sgd"]}, seeds=2)
    usual = trained(runs)
    monkeypatch.setattr(trainer, "_LOOK", types.MappingProxyType({}))
    for run_id, result in trained(runs).items():
        assert numbers(result) == numbers(usual[run_id])
        assert result.status == usual[run_id].status
