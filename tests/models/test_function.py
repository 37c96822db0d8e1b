"""Networks from a user's function: its arguments, its errors and its training."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ablations import RequestError, Study, load
from ablations.cli import main
from ablations.core.random import Streams
from ablations.models.base import initialise_network
from ablations.models.function import Python
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.techniques.base import Norm, Regularizer
from ablations.training import loop
from ablations.training.engine import choose_engines
from ablations.training.fused import trainer

from ..studies import run

NUMBER = itertools.count()

HEAD = "import torch\nfrom torch import nn\n"
BLOCKS = (
    HEAD
    + """
def build(inputs, outputs, norm, drop, width=16, deep=True):
    layers = [nn.Linear(inputs, width), nn.ReLU(), norm(width), drop()]
    if deep:
        layers += [nn.Linear(width, width), nn.ReLU(), norm(width), drop()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
"""
)
IMAGES = (
    HEAD
    + """
def build(inputs, outputs, shape, norm, drop, channels=8):
    layers = [nn.Conv2d(shape[0], channels, 3), nn.ReLU(), norm(channels, 2), drop()]
    return nn.Sequential(
        nn.Unflatten(1, shape), *layers, nn.Flatten(), nn.Linear(channels * 36, outputs)
    )
"""
)
PLAIN = (
    HEAD
    + """
class Skip(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 8, bias=False), nn.Linear(8, outputs)

    def forward(self, x):
        hidden = self.first(x).tanh()
        return self.last(hidden + hidden.square())
"""
)

WriteModule = Callable[[str], str]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """Write an importable module and return its name, which is unique to the test."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        name = f"mine{next(NUMBER)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def make_study(name: str, function: str = "build", **settings: Any) -> Study:
    defaults = {"task": "notebook", "seeds": 3, "epochs": 3, "axes": {"norm": ["none"]}}
    return Study(model=f"python:{name}:{function}", **(defaults | settings))


def test_a_function_gets_its_arguments_and_further_ones_are_axes(
    write_module: WriteModule,
) -> None:
    name = write_module(BLOCKS)
    study = make_study(name, axes={"norm": ["layer"], "regularizer": ["dropout"], "width": [8, 24]})
    network = initialise_network(study.configurations[1], Streams(0))
    kinds = [type(layer).__name__ for layer in network]  # type: ignore[attr-defined]
    block = ["Linear", "ReLU", "LayerNorm", "DropoutLayer"]
    assert kinds == [*block, *block, "Linear"]
    assert study.configurations[1].model.widths(study.task) == (24, 24)
    assert study.configurations[0].columns["width"] == 8
    assert study.configurations[0].columns["model"] == f"python:{name}:build"
    again = Study(task="notebook", model={"name": f"python:{name}:build", "deep": False})
    assert again.model.parameters() == {"width": 16, "deep": False}
    assert again.plain()["model"] == {"name": f"python:{name}:build", "deep": False}


def test_the_default_init_keeps_the_weights_and_others_fill_them(
    write_module: WriteModule,
) -> None:
    name = write_module(BLOCKS)
    study = make_study(name, axes={"init": ["default", "kaiming_uniform"]})
    default, kaiming = (initialised_network(study, index) for index in (0, 1))
    torch.manual_seed(Streams(0).key("global"))
    layer = nn.Linear(10, 16)
    assert torch.equal(default[0].weight, layer.weight)
    assert torch.equal(default[0].bias, kaiming[0].bias)
    assert not torch.equal(default[0].weight, kaiming[0].weight)
    bound = (6 / 10) ** 0.5
    assert 0.9 * bound < float(kaiming[0].weight.detach().abs().max()) <= bound
    other = initialised_network(study, 0, seed=1)
    assert not torch.equal(default[0].weight, other[0].weight)


def initialised_network(study: Study, index: int, seed: int = 0) -> Any:
    streams = Streams(seed)
    with streams.isolated(torch.device("cpu")):
        return initialise_network(study.configurations[index], streams)


def test_images_get_norms_of_images_and_are_fused(write_module: WriteModule) -> None:
    axes = {"norm": ["none", "layer", "batch", "group", "rms"], "regularizer": ["dropout"]}
    study = make_study(
        write_module(IMAGES), task="digits", axes=axes, seeds=1, epochs=1, batch_size=300,
        dtype="float64",
    )  # fmt: skip
    networks = [initialise_network(c, Streams(0)) for c in study.configurations[1:3]]
    kinds = [type(network[3]).__name__ for network in networks]  # type: ignore[index]
    assert kinds == ["GroupNorm", "BatchNorm2d"]
    # The windows, and the outputs of convolution, activation, norm and twice flat.
    activations = study.configurations[0].model.activations(study.task)
    assert activations > 9 * 36 + 3 * 8 * 36
    for configuration in study.configurations:
        (result,) = trainer.train([Run(configuration, 0)], 8)
        assert result.engine == "fused"
        judge = loop.train(Run(configuration, 0))
        assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-9)


def test_norms_of_four_dimensions_are_refused(write_module: WriteModule) -> None:
    name = write_module(IMAGES.replace("norm(channels, 2)", "norm(channels, 4)"))
    study = make_study(name, task="digits")
    with pytest.raises(ValueError, match="maps of 4 dimensions; expected 1 to 3"):
        initialise_network(study.configurations[0], Streams(0))


def test_a_network_of_one_layer_is_mapped(write_module: WriteModule) -> None:
    study = make_study(
        write_module(HEAD + "def build(inputs, outputs): return nn.Linear(inputs, outputs)")
    )
    (choice,) = choose_engines(expand(study).runs)
    assert choice.engine == "vmap"


@pytest.mark.parametrize(
    ("text", "what", "engine"), [(BLOCKS, "build", "fused"), (PLAIN, "Skip", "vmap")]
)
def test_fused_trains_what_the_loop_does(
    write_module: WriteModule, text: str, what: str, engine: str
) -> None:
    axes = {"regularizer": ["none", "max_norm", "l1"], "init": ["default", "orthogonal"]}
    if what == "build":
        axes |= {"norm": ["batch", "group"]}
    study = make_study(write_module(text), what, axes=axes, seeds=2, dtype="float64")
    runs = [Run(c, seed) for c in study.configurations for seed in study.seeds]
    for training_run in runs[::3]:
        (result,) = trainer.train([training_run], 8)
        judge = loop.train(training_run)
        assert result.engine == engine
        assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-9)
        assert result.parameters == judge.parameters


UNUSUAL = {
    "frozen": ("n[0].weight.requires_grad_(False)", "the parameter 0.weight is frozen"),
    "hook": ("n[1].register_forward_hook(lambda m, i, o: 2 * o)", "a layer has a hook: ReLU"),
    "gradient": ("n[0].weight.register_hook(lambda g: 2 * g)", "the parameter 0.weight has a hook"),
    "tied": ("n[2].weight = n[0].weight", "as the loop"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_hooks_and_tied_weights_are_trained_as_in_the_loop(
    write_module: WriteModule, name: str
) -> None:
    line, why = UNUSUAL[name]
    text = HEAD + (
        "def build(inputs, outputs):\n"
        "    n = nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, inputs),\n"
        "                      nn.Linear(inputs, outputs))\n"
        f"    {line}\n    return n\n"
    )
    runs = expand(make_study(write_module(text), dtype="float64", seeds=2)).runs
    (choice,) = choose_engines(runs)
    if name != "tied":
        assert choice.engine == "loop"
        assert why in str(choice.reason)
        return
    assert choice.engine != "loop"
    for result in trainer.train(runs, 8):
        judge = loop.train(result.run)
        assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-8)


def test_a_subclass_of_a_layer_is_not_stacked_as_its_base(
    write_module: WriteModule,
) -> None:
    text = HEAD + (
        "class Twice(nn.Linear):\n"
        "    def forward(self, x):\n        return 2 * super().forward(x)\n"
        "def build(inputs, outputs):\n"
        "    return nn.Sequential(Twice(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))\n"
    )
    study = make_study(write_module(text), dtype="float64", seeds=1)
    (result,) = trainer.train(expand(study).runs, 8)
    assert result.engine == "vmap"
    judge = loop.train(result.run)
    assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-8)


def test_a_network_that_replaces_buffers_is_trained_by_the_loop(write_module: WriteModule) -> None:
    text = HEAD + (
        "class build(nn.Module):\n"
        "    def __init__(self, inputs, outputs):\n        super().__init__()\n"
        "        self.a = nn.Linear(inputs, outputs)\n"
        "        self.register_buffer('m', torch.zeros(outputs))\n"
        "    def forward(self, x):\n        y = self.a(x)\n        if self.training:\n"
        "            self.m = 0.9 * self.m + y.mean(0).detach()\n        return y - self.m\n"
    )
    (choice,) = choose_engines(expand(make_study(write_module(text), seeds=1)).runs)
    assert "its buffer m is replaced" in str(choice.reason)


def test_techniques_without_an_argument_are_skipped_with_the_reason(
    write_module: WriteModule,
) -> None:
    name = write_module(PLAIN)
    axes = {
        "norm": ["none", "layer", "weight_norm"],
        "regularizer": ["none", "dropout", "l2", "input_noise"],
    }
    skipped = {reason for _, reason in expand(make_study(name, "Skip", axes=axes)).skipped}
    assert skipped == {
        f"the model {name}:Skip takes no norm layers: it has no argument 'norm'",
        f"the model {name}:Skip takes no layers of dropout: it has no argument 'drop'",
    }
    rows = len(expand(make_study(name, "Skip", axes=axes)).runs)
    assert rows == 3 * 2 * 3  # seeds, norms that wrap or do nothing, and l2, noise, none


@pytest.mark.slow
def test_workers_train_it_and_the_stored_study_loads_it(
    write_module: WriteModule, tmp_path: Path
) -> None:
    name = write_module(PLAIN)
    out = tmp_path / "results" / "mine"
    results = run(make_study(name, "Skip", axes={"regularizer": ["none", "l2"]}), out, jobs=2)
    assert set(results.runs["status"]) == {"ok"}
    assert load(out).runs["model"].unique().tolist() == [f"python:{name}:Skip"]
    stored = Study.from_toml(out / "study.toml", trust=True)
    assert stored.model == Python(f"{name}:Skip").with_resolved_inputs()


def test_an_edited_module_gives_another_run_id_after_it_is_reloaded(
    write_module: WriteModule, tmp_path: Path
) -> None:
    name = write_module(BLOCKS)
    first = expand(make_study(name)).runs[0].run_id
    with (tmp_path / f"{name}.py").open("a") as file:
        file.write("\n# edited\n")
    assert expand(make_study(name)).runs[0].run_id == first
    importlib.reload(sys.modules[name])
    assert expand(make_study(name)).runs[0].run_id != first


def test_layers_come_in_the_order_of_the_computation(write_module: WriteModule) -> None:
    text = PLAIN.replace(
        "self.first, self.last = nn.Linear(inputs, 8, bias=False), nn.Linear(8, outputs)",
        "self.last, self.first = nn.Linear(8, outputs), nn.Linear(inputs, 8, bias=False)",
    )
    study = make_study(write_module(text), "Skip")
    network = study.model.build(study.task, Norm(), Regularizer())
    assert [(n, k) for n, _, k in study.model.weights(network)] == [
        ("first", "tanh"),
        ("last", "linear"),
    ]


def test_another_module_of_the_same_name_is_refused(
    write_module: WriteModule, tmp_path: Path
) -> None:
    name = write_module(BLOCKS)
    make_study(name)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / f"{name}.py").write_text(BLOCKS)
    text = f'task = "notebook"\nmodel = "python:{name}:build"\n'
    (tmp_path / "there" / "study.toml").write_text(text)
    with pytest.raises(RequestError, match="is another; give one of them another name"):
        Study.from_toml(tmp_path / "there" / "study.toml")


BROKEN = {
    "no module": ("", "nowhere:build", "no module 'nowhere'"),
    "no name": (BLOCKS, "{}:built", "has no 'built'; did you mean 'build'?"),
    "no colon": (BLOCKS, "{}.build", "expected python:module:name, found 'python:"),
    "no function": (
        HEAD + "build = 3",
        "{}:build",
        "is an object of the class int; expected a function or a class of Module",
    ),
    "syntax": (HEAD + "def build(:\n", "{}:build", ".py, line 3: invalid syntax"),
    "missing": (HEAD + "import nowhere_at_all", "{}:build", "needs 'nowhere_at_all', which is not"),
    "raises": (HEAD + "\nraise OSError('no')", "{}:build", "OSError: no (mine"),
    "exits": (HEAD + "\nraise SystemExit(3)", "{}:build", "cannot be imported: SystemExit: 3"),
    "column": (HEAD + "def build(inputs, outputs, lr=3): ...", "{}:build", "a parameter 'lr', the"),
    "default": (
        HEAD + "def build(inputs, outputs, hidden=None): ...",
        "{}:build",
        "is None by def",
    ),
    "no part": (HEAD + "build = 3.0", "{}:build.x", "has no 'build.x'"),
    "argument": (
        HEAD + "def build(inputs, outputs, size): ...",
        "{}:build",
        "has an argument 'size' without a value",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_module_is_one_line_and_exit_code_2(
    name: str, write_module: WriteModule, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    text, target, message = BROKEN[name]
    target = target.format(write_module(text))
    (tmp_path / "s.toml").write_text(f'task = "notebook"\nmodel = "python:{target}"\n')
    monkeypatch.setattr("sys.argv", ["ablations", "run", "s.toml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    error_output = capsys.readouterr().err
    assert error_output.count("\n") == 1
    assert error_output.startswith("error: s.toml: model: ")
    assert message in error_output


def test_an_unknown_option_is_refused(write_module: WriteModule) -> None:
    name = write_module(BLOCKS)
    with pytest.raises(RequestError, match="has no parameter 'widht'; did you mean 'width'"):
        Study(task="notebook", model={"name": f"python:{name}:build", "widht": 3})
    with pytest.raises(RequestError, match="unknown axis 'depth' for the model"):
        make_study(name, axes={"depth": [1]})


FAULTS = (
    HEAD
    + """
class NoColumn(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.a = nn.Linear(inputs, 1)

    def forward(self, x):
        return self.a(x)[:, 0]

class Misspelled(nn.Linear):
    def forward(self, x):
        return self.wieght

def build(inputs, outputs, fault):
    if fault == "raises":
        return 1 / 0
    if fault == "no column":
        return NoColumn(inputs, outputs)
    if fault == "sizes":
        return nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(), nn.Linear(5, outputs))
    if fault == "forward":
        return Misspelled(inputs, outputs)
"""
)
FAULT_REASONS = {
    "raises": ("ZeroDivisionError", "line 18)"),
    "none": ("TypeError", "returns NoneType; expected an nn.Module"),
    "no column": (
        "ValueError", "returns outputs of shape (2,) for inputs (2, 10); expected (2, 1)",
    ),
    "sizes": ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"),
    "forward": ("AttributeError", "line 14)"),
}  # fmt: skip


def test_a_network_that_cannot_be_built_is_a_failed_row_that_says_where(
    write_module: WriteModule, tmp_path: Path
) -> None:
    model = {"name": f"python:{write_module(FAULTS)}:build", "fault": "none"}
    axes = {"fault": list(FAULT_REASONS)}
    study = Study(task="notebook", model=model, seeds=1, epochs=1, axes=axes)
    rows = run(study, tmp_path / "out").runs.set_index("fault")
    assert set(rows["status"]) == {"failed"}
    for fault, (kind, message) in FAULT_REASONS.items():
        reason = rows.loc[fault, "reason"]
        assert reason.startswith(f"{kind}: ")
        assert message in reason
