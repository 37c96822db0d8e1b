"""Networks of one's own: what a function may ask for, what is refused, and how it is trained."""

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
WHOLE = (
    HEAD
    + """
def build(inputs, outputs, norm, drop, width=16, deep=True):
    layers = [nn.Linear(inputs, width), nn.ReLU(), norm(width), drop()]
    if deep:
        layers += [nn.Linear(width, width), nn.ReLU(), norm(width), drop()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
"""
)
PICTURES = (
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

Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Write a module where Python finds it, and give its name, which no other test has."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        name = f"mine{next(NUMBER)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def study(name: str, what: str = "build", **asked: Any) -> Study:
    given = {"task": "notebook", "seeds": 3, "epochs": 3, "axes": {"norm": ["none"]}} | asked
    return Study(model=f"python:{name}:{what}", **given)


def test_a_function_gets_what_it_asks_for_and_its_arguments_are_axes(written: Written) -> None:
    name = written(WHOLE)
    made = study(name, axes={"norm": ["layer"], "regularizer": ["dropout"], "width": [8, 24]})
    network = initialise_network(made.configurations[1], Streams(0))
    kinds = [type(layer).__name__ for layer in network]  # type: ignore[attr-defined]
    block = ["Linear", "ReLU", "LayerNorm", "DropoutLayer"]
    assert kinds == [*block, *block, "Linear"]
    assert made.configurations[1].model.widths(made.task) == (24, 24)
    assert made.configurations[0].columns["width"] == 8
    assert made.configurations[0].columns["model"] == f"python:{name}:build"
    again = Study(task="notebook", model={"name": f"python:{name}:build", "deep": False})
    assert again.model.parameters() == {"width": 16, "deep": False}
    assert again.plain()["model"] == {"name": f"python:{name}:build", "deep": False}


def test_the_default_init_is_the_module_s_own_and_others_fill_its_weights(
    written: Written,
) -> None:
    name = written(WHOLE)
    made = study(name, axes={"init": ["default", "kaiming_uniform"]})
    default, kaiming = (initialise_in(made, place) for place in (0, 1))
    torch.manual_seed(Streams(0).key("global"))
    own = nn.Linear(10, 16)
    assert torch.equal(default[0].weight, own.weight)
    assert torch.equal(default[0].bias, kaiming[0].bias)
    assert not torch.equal(default[0].weight, kaiming[0].weight)
    bound = (6 / 10) ** 0.5
    assert 0.9 * bound < float(kaiming[0].weight.detach().abs().max()) <= bound
    other = initialise_in(made, 0, seed=1)
    assert not torch.equal(default[0].weight, other[0].weight)


def initialise_in(made: Study, place: int, seed: int = 0) -> Any:
    streams = Streams(seed)
    with streams.isolated(torch.device("cpu")):
        return initialise_network(made.configurations[place], streams)


def test_pictures_get_norms_of_pictures_and_are_fused(written: Written) -> None:
    axes = {"norm": ["none", "layer", "batch", "group", "rms"], "regularizer": ["dropout"]}
    made = study(
        written(PICTURES), task="digits", axes=axes, seeds=1, epochs=1, batch_size=300,
        dtype="float64",
    )  # fmt: skip
    networks = [initialise_network(one, Streams(0)) for one in made.configurations[1:3]]
    kinds = [type(network[3]).__name__ for network in networks]  # type: ignore[index]
    assert kinds == ["GroupNorm", "BatchNorm2d"]
    # Its windows, and what its layers give: convolution, activation, norm, twice flat.
    kept = made.configurations[0].model.activations(made.task)
    assert kept > 9 * 36 + 3 * 8 * 36
    for one in made.configurations:
        (result,) = trainer.train([Run(one, 0)], 8)
        assert result.engine == "fused"
        judge = loop.train(Run(one, 0))
        assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-9)


def test_norms_of_four_dimensions_are_refused(written: Written) -> None:
    name = written(PICTURES.replace("norm(channels, 2)", "norm(channels, 4)"))
    made = study(name, task="digits")
    with pytest.raises(ValueError, match="pictures of 4 dimensions; 1 to 3 can be had"):
        initialise_network(made.configurations[0], Streams(0))


def test_a_network_of_one_layer_is_mapped(written: Written) -> None:
    made = study(written(HEAD + "def build(inputs, outputs): return nn.Linear(inputs, outputs)"))
    (choice,) = choose_engines(expand(made).runs)
    assert choice.engine == "vmap"


@pytest.mark.parametrize(
    ("text", "what", "engine"), [(WHOLE, "build", "fused"), (PLAIN, "Skip", "vmap")]
)
def test_fused_trains_what_the_loop_does(
    written: Written, text: str, what: str, engine: str
) -> None:
    axes = {"regularizer": ["none", "max_norm", "l1"], "init": ["default", "orthogonal"]}
    if what == "build":
        axes |= {"norm": ["batch", "group"]}
    made = study(written(text), what, axes=axes, seeds=2, dtype="float64")
    plans = [Run(one, seed) for one in made.configurations for seed in made.seeds]
    for one in plans[::3]:
        (result,) = trainer.train([one], 8)
        judge = loop.train(one)
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
def test_what_acts_beside_the_layers_is_trained_as_the_loop_trains_it(
    written: Written, tmp_path: Path, name: str
) -> None:
    line, why = UNUSUAL[name]
    text = HEAD + (
        "def build(inputs, outputs):\n"
        "    n = nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, inputs),\n"
        "                      nn.Linear(inputs, outputs))\n"
        f"    {line}\n    return n\n"
    )
    made = study(written(text), dtype="float64", seeds=2)
    (choice,) = choose_engines(expand(made).runs)
    if name != "tied":
        assert choice.engine == "loop"
        assert why in str(choice.reason)
    results = run(made, tmp_path / "out")
    assert set(results.runs["status"]) == {"ok"}
    for one in expand(made).runs:
        (row,) = results.runs[results.runs["run_id"] == one.run_id].itertuples()
        assert row.val_loss == pytest.approx(loop.train(one).curve[-1].val_loss, rel=1e-8)


def test_layers_of_another_type_than_they_build_on_are_not_taken_for_it(written: Written) -> None:
    text = HEAD + (
        "class Twice(nn.Linear):\n"
        "    def forward(self, x):\n        return 2 * super().forward(x)\n"
        "def build(inputs, outputs):\n"
        "    return nn.Sequential(Twice(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))\n"
    )
    made = study(written(text), dtype="float64", seeds=1)
    (result,) = trainer.train(expand(made).runs, 8)
    assert result.engine == "vmap"
    judge = loop.train(result.run)
    assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-8)


def test_buffers_that_are_replaced_are_the_loop_s_business(written: Written) -> None:
    text = HEAD + (
        "class build(nn.Module):\n"
        "    def __init__(self, inputs, outputs):\n        super().__init__()\n"
        "        self.a = nn.Linear(inputs, outputs)\n"
        "        self.register_buffer('m', torch.zeros(outputs))\n"
        "    def forward(self, x):\n        y = self.a(x)\n        if self.training:\n"
        "            self.m = 0.9 * self.m + y.mean(0).detach()\n        return y - self.m\n"
    )
    (choice,) = choose_engines(expand(study(written(text), seeds=1)).runs)
    assert "its buffer m is replaced" in str(choice.reason)


def test_what_a_function_does_not_ask_for_is_skipped_and_said(written: Written) -> None:
    name = written(PLAIN)
    axes = {
        "norm": ["none", "layer", "weight_norm"],
        "regularizer": ["none", "dropout", "l2", "input_noise"],
    }
    skipped = {reason for _, reason in expand(study(name, "Skip", axes=axes)).skipped}
    assert skipped == {
        f"the model {name}:Skip has no place for norms: it takes no 'norm'",
        f"the model {name}:Skip has no place for the layers of dropout: it takes no 'drop'",
    }
    rows = len(expand(study(name, "Skip", axes=axes)).runs)
    assert rows == 3 * 2 * 3  # seeds, norms that wrap or do nothing, and l2, noise, none


def test_a_study_of_it_is_trained_by_workers_and_found_again(
    written: Written, tmp_path: Path
) -> None:
    name = written(PLAIN)
    out = tmp_path / "results" / "mine"
    results = run(study(name, "Skip", axes={"regularizer": ["none", "l2"]}), out, jobs=2)
    assert set(results.runs["status"]) == {"ok"}
    assert load(out).runs["model"].unique().tolist() == [f"python:{name}:Skip"]
    stored = Study.from_toml(out / "study.toml")
    assert stored.model == Python(f"{name}:Skip").with_resolved_inputs()


def test_an_edited_module_is_another_run_once_it_is_loaded(
    written: Written, tmp_path: Path
) -> None:
    name = written(WHOLE)
    first = expand(study(name)).runs[0].run_id
    with (tmp_path / f"{name}.py").open("a") as file:
        file.write("\n# edited\n")
    assert expand(study(name)).runs[0].run_id == first
    importlib.reload(sys.modules[name])
    assert expand(study(name)).runs[0].run_id != first


def test_layers_are_taken_in_the_order_of_the_computation(written: Written) -> None:
    text = PLAIN.replace(
        "self.first, self.last = nn.Linear(inputs, 8, bias=False), nn.Linear(8, outputs)",
        "self.last, self.first = nn.Linear(8, outputs), nn.Linear(inputs, 8, bias=False)",
    )
    made = study(written(text), "Skip")
    network = made.model.build(made.task, Norm(), Regularizer())
    assert [(n, k) for n, _, k in made.model.weights(network)] == [
        ("first", "relu"),
        ("last", "linear"),
    ]


def test_another_module_of_the_same_name_is_refused(written: Written, tmp_path: Path) -> None:
    name = written(WHOLE)
    study(name)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / f"{name}.py").write_text(WHOLE)
    text = f'task = "notebook"\nmodel = "python:{name}:build"\n'
    (tmp_path / "there" / "study.toml").write_text(text)
    with pytest.raises(RequestError, match="is another; give one of them another name"):
        Study.from_toml(tmp_path / "there" / "study.toml")


BROKEN = {
    "no module": ("", "nowhere:build", "there is no module 'nowhere'"),
    "no name": (WHOLE, "{}:built", "has no 'built'; did you mean 'build'?"),
    "no colon": (WHOLE, "{}.build", "expected python:module:name, found 'python:"),
    "no function": (HEAD + "build = 3", "{}:build", "is int; expected a class of a model"),
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
    "argument": (HEAD + "def build(inputs, outputs, size): ...", "{}:build", "asks for 'size'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_module_is_one_line_and_exit_code_2(
    name: str, written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    text, target, message = BROKEN[name]
    target = target.format(written(text))
    (tmp_path / "s.toml").write_text(f'task = "notebook"\nmodel = "python:{target}"\n')
    monkeypatch.setattr("sys.argv", ["ablations", "run", "s.toml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: s.toml: model: ")
    assert message in said


def test_an_option_that_is_none_is_refused(written: Written) -> None:
    name = written(WHOLE)
    with pytest.raises(RequestError, match="has no parameter 'widht'; did you mean 'width'"):
        Study(task="notebook", model={"name": f"python:{name}:build", "widht": 3})
    with pytest.raises(RequestError, match="there is no axis 'depth' with the model"):
        study(name, axes={"depth": [1]})


FAILING = {
    "raises": ("def build(inputs, outputs):\n    return 1 / 0", "ZeroDivisionError", "line 4)"),
    "none": ("def build(inputs, outputs): ...", "TypeError", "gives NoneType, and no nn.Module"),
    "no column": (
        "class build(nn.Module):\n"
        "    def __init__(self, inputs, outputs):\n"
        "        super().__init__()\n"
        "        self.a = nn.Linear(inputs, 1)\n"
        "    def forward(self, x):\n"
        "        return self.a(x)[:, 0]",
        "ValueError", "gives outputs of shape (2,) for inputs (2, 10); (2, 1) is wanted",
    ),
    "sizes": (
        "def build(inputs, outputs):\n    return nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(),\n"
        "        nn.Linear(5, outputs))",
        "RuntimeError", "mat1 and mat2 shapes cannot be multiplied",
    ),
    "forward": (
        "class build(nn.Linear):\n"
        "    def __init__(self, inputs, outputs):\n        super().__init__(inputs, outputs)\n"
        "    def forward(self, x):\n        return self.wieght",
        "AttributeError", "line 7)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_a_network_that_cannot_be_built_is_a_failed_row_that_says_where(
    name: str, written: Written, tmp_path: Path
) -> None:
    text, kind, message = FAILING[name]
    results = run(study(written(HEAD + text), seeds=1, epochs=1), tmp_path / "out")
    (row,) = results.runs.itertuples()
    assert row.status == "failed"
    assert row.reason.startswith(f"{kind}: ")
    assert message in row.reason
