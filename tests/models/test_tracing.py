"""The activation that follows each layer: by code of many kinds, and in studies."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ablations import Study
from ablations.core.random import Streams
from ablations.models.base import initialise_network
from ablations.models.cnn import CNN
from ablations.models.mlp import MLP, DeepMLP
from ablations.models.tracing import ActivationTracer
from ablations.study.expand import expand
from ablations.tasks.sklearn import Digits
from ablations.techniques.base import Norm, Regularizer, calculate_gain
from ablations.techniques.norms import BatchNorm, LayerNorm, RMSNorm

ROOT_2 = math.sqrt(2)


class Network(nn.Module):
    """A network whose forward pass is a function of itself and the inputs."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def trace(network: nn.Module, inputs: int = 8) -> tuple[dict[str, float], str]:
    """Return the gain of each layer, and the first problem."""
    types = (nn.Linear, nn.Conv1d, nn.Conv2d)
    layers = {name: m for name, m in network.named_modules() if isinstance(m, types)}
    tracer = ActivationTracer(network, layers)
    rows = torch.randn(2, inputs, generator=torch.Generator().manual_seed(0))
    for sign in (0, 1, -1):
        tracer.run(sign * rows, training=False)
    kinds, problem = tracer.nonlinearities()
    return {name: round(calculate_gain(kind), 3) for name, kind in kinds.items()}, problem


def between(function: Callable[[Tensor], Tensor]) -> Network:
    """Return a network with a function between its layers ``a`` and ``b``."""
    torch.manual_seed(0)
    layers = {"a": nn.Linear(8, 8), "b": nn.Linear(8, 3)}
    return Network(lambda self, x: self.b(function(self.a(x))), **layers)


def by_hand(h: Tensor) -> Tensor:
    return (h - h.mean(0)) / torch.sqrt(h.var(0) + 1e-5)


def into_buffer(h: Tensor) -> Tensor:
    buffer = torch.zeros(2, 8)
    buffer[:, :4] = h[:, 4:].tanh()
    buffer[:, 4:] = h[:, :4].tanh()
    return buffer


GAINS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "torch.relu": (ROOT_2, torch.relu),
    "in place": (ROOT_2, lambda h: h.relu_()),
    "clamp": (ROOT_2, lambda h: h.clamp(min=0)),
    "maximum": (ROOT_2, lambda h: torch.maximum(h, torch.zeros(()))),
    "relu6": (ROOT_2, F.relu6),
    "gelu": (ROOT_2, F.gelu),
    "silu": (ROOT_2, F.silu),
    "silu by hand": (ROOT_2, lambda h: h * torch.sigmoid(h)),
    "softplus": (ROOT_2, F.softplus),
    "elu": (ROOT_2, F.elu),
    "selu": (0.75, F.selu),
    "tanh": (5 / 3, lambda h: h.tanh()),
    "sigmoid": (1, torch.sigmoid),
    "softmax": (1, lambda h: h.softmax(-1)),
    "leaky": (math.sqrt(2 / 1.04), lambda h: F.leaky_relu(h, 0.2)),
    "prelu": (math.sqrt(2 / 1.09), lambda h: F.prelu(h, torch.tensor([0.3]))),
    "none": (1, lambda h: h),
    "layer norm": (ROOT_2, lambda h: F.layer_norm(h, (8,)).relu()),
    "rms norm": (5 / 3, lambda h: F.rms_norm(h, (8,)).tanh()),
    "norm by hand": (5 / 3, lambda h: by_hand(h).tanh()),
    "unit length": (ROOT_2, lambda h: (h / h.norm(dim=-1, keepdim=True)).relu()),
    "neighbours": (ROOT_2, lambda h: F.local_response_norm(h[..., None], 3)[..., 0].relu()),
    "dropout": (ROOT_2, lambda h: F.dropout(h, 0.5, training=True).relu()),
    "noise": (ROOT_2, lambda h: (h + torch.randn_like(h)).relu()),
    "reshape": (ROOT_2, lambda h: h.view(-1, 2, 4).permute(0, 2, 1).flatten(1).relu()),
    "max pool": (ROOT_2, lambda h: F.max_pool1d(h[:, None], 3, 1, 1)[:, 0].relu()),
    "mean pool": (5 / 3, lambda h: F.avg_pool1d(h[:, None], 3, 1, 1)[:, 0].tanh()),
    "residual": (5 / 3, lambda h: h + h.tanh()),
    "square of relu": (ROOT_2, lambda h: h.relu() ** 2),
    "glu": (1, lambda h: F.glu(h).repeat(1, 2)),
    "glu by hand": (1, lambda h: (h[:, :4] * torch.sigmoid(h[:, 4:])).repeat(1, 2)),
    "buffer": (5 / 3, into_buffer),
    "branch that is always taken": (ROOT_2, lambda h: h.relu() if h.sum() > -1e9 else h.tanh()),
    "statistic beside": (ROOT_2, lambda h: (float(h.detach().std()), h.relu())[1]),
}  # fmt: skip


@pytest.mark.parametrize("name", GAINS)
def test_the_gain_is_that_of_the_activation(name: str) -> None:
    gain, function = GAINS[name]
    gains, problem = trace(between(function))
    assert gains == {"a": pytest.approx(gain, abs=1e-3), "b": 1}
    assert problem == ""


PROBLEMS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "sin": ("sin, of unknown gain", torch.sin),
    "square": ("pow, of unknown gain", lambda h: h**2),
    "product": ("a product with itself, of unknown gain", lambda h: h * h),
    "where": ("gt, of unknown gain", lambda h: torch.where(h > 0, h, 0.1 * h)),
    "mish by hand": ("a product with itself", lambda h: h * torch.tanh(F.softplus(h))),
    "halves": (
        "relu (gain 1.41) and by tanh (gain 1.67)",
        lambda h: torch.cat([h[:, :4].relu(), h[:, 4:].tanh()], -1),
    ),
    "half": (
        "no activation (gain 1) and by silu (gain 1.41)",
        lambda h: (h[:, :4] * F.silu(h[:, 4:])).repeat(1, 2),
    ),
    "gate of itself": ("sigmoid (gain 1) and by relu", lambda h: h.relu() * h.sigmoid()),
    "branches": (
        "relu (gain 1.41) and by tanh (gain 1.67)",
        lambda h: h.relu() if h.sum() > 0 else h.tanh(),
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_undefined_gain_is_a_problem_that_names_the_layer(name: str) -> None:
    message, function = PROBLEMS[name]
    problem = trace(between(function))[1]
    assert problem.startswith("'a' is followed by ")
    assert message in problem


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.b(F.gelu(self.a(x)))))


def attention(self: Any, x: Tensor) -> Tensor:
    query, key, value = self.qkv(self.a(x.view(-1, 4, 2))).chunk(3, -1)
    weights = (query @ key.transpose(1, 2) / 8**0.5).softmax(-1)
    return self.out((weights @ value).flatten(1))  # type: ignore[no-any-return]


def recurrence(self: Any, x: Tensor) -> Tensor:
    h = torch.zeros(2, 8)
    for step in range(4):
        h = torch.tanh(self.a(x[:, step : step + 1]) + F.linear(h, self.b.weight))
    return self.out(h)  # type: ignore[no-any-return]


def network(forward: Callable[[Any, Tensor], Any], **sizes: int) -> Network:
    layers = {name: nn.Linear(8, width) for name, width in sizes.items()}
    return Network(forward, **layers, out=nn.Linear(8, 3))


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(
        nn.Unflatten(1, (4, 2)), nn.Linear(2, 8), layer, nn.Flatten(), nn.Linear(32, 3)
    )


def tied() -> nn.Module:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.ReLU(), nn.Linear(8, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, float]]] = {
    "residual": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 2, 2)), Block(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)
        ),
        {"1.a": ROOT_2, "1.b": ROOT_2, "4": 1},
    ),
    "gate of another": (
        lambda: network(lambda s, x: s.out(s.a(x).relu() * s.b(x).sigmoid()), a=8, b=8),
        {"a": ROOT_2, "b": 1, "out": 1},
    ),
    "gated linear": (
        lambda: network(lambda s, x: s.out(F.silu(s.a(x)) * s.b(x)), a=8, b=8),
        {"a": ROOT_2, "b": 1, "out": 1},
    ),
    "attention": (
        lambda: Network(
            attention, a=nn.Linear(2, 8), qkv=nn.Linear(8, 24), out=nn.Linear(32, 3)
        ),
        {"a": 1, "qkv": 1, "out": 1},
    ),
    "encoder": (
        encoder,
        {"1": 1, "2.self_attn.out_proj": 1, "2.linear1": ROOT_2, "2.linear2": 1, "4": 1},
    ),
    "recurrence": (
        lambda: Network(recurrence, a=nn.Linear(1, 8), b=nn.Linear(8, 8), out=nn.Linear(8, 3)),
        {"a": 5 / 3, "b": 5 / 3, "out": 1},
    ),
    "before a recurrent layer": (
        lambda: Network(
            lambda s, x: s.out(s.gru(s.a(x))[0]), a=nn.Linear(8, 8), gru=nn.GRU(8, 8),
            out=nn.Linear(8, 3),
        ),
        {"a": 1, "out": 1},
    ),
    "called twice": (
        lambda: network(lambda s, x: s.out(s.a(s.a(x).tanh()).tanh()), a=8),
        {"a": 5 / 3, "out": 1},
    ),
    "never called": (
        lambda: network(lambda s, x: s.out(s.a(x).tanh()), z=8, a=8),
        {"z": 1, "a": 5 / 3, "out": 1},
    ),
    "weights without the layer": (
        lambda: network(
            lambda s, x: s.out(torch.einsum("bi,oi->bo", x, s.a.weight).tanh() @ s.b.weight.T),
            a=8, b=8,
        ),
        {"a": 5 / 3, "b": 1, "out": 1},
    ),
    "checkpoint": (
        lambda: network(
            lambda s, x: s.out(checkpoint(lambda h: s.a(h).tanh(), x, use_reentrant=False)), a=8
        ),
        {"a": 5 / 3, "out": 1},
    ),
    "at the output": (
        lambda: network(lambda s, x: s.out(s.a(x).relu()).log_softmax(-1), a=8),
        {"a": ROOT_2, "out": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_of_a_network_has_its_gain(name: str) -> None:
    build, expected = NETWORKS[name]
    gains, problem = trace(build())
    assert gains == pytest.approx(expected, abs=1e-3)
    assert problem == ""


def test_layers_with_one_weight_have_one_gain() -> None:
    assert trace(tied())[1] == "'0' is followed by relu (gain 1.41) and by tanh (gain 1.67)"


@pytest.mark.parametrize("norm", [Norm(), LayerNorm(), BatchNorm(), RMSNorm()])
@pytest.mark.parametrize("model", [MLP(), DeepMLP(depth=3), CNN()])
def test_the_models_of_this_package_name_the_activation_of_each_layer(
    model: Any, norm: Norm
) -> None:
    for activation in ("relu", "tanh", "leaky_relu", "selu") if norm == Norm() else ("tanh",):
        task, variant = Digits(), model.with_(activation=activation)
        built = variant.build(task, norm, Regularizer())
        gains = {name: round(calculate_gain(kind), 3) for name, _, kind in variant.weights(built)}
        assert trace(built, task.inputs) == (gains, "")


NETS = """
import torch
from torch import nn

class Gated(nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.gate, self.act = nn.Sigmoid(), nn.ReLU()
        self.a, self.b = nn.Linear(inputs, width), nn.Linear(width, width)
        self.c = nn.Linear(width, outputs)
    def forward(self, x):
        x = self.act(self.a(x)); x = self.act(self.b(x)) * self.gate(x)
        return self.c(x)

class Functional(Gated):
    def forward(self, x):
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))

class Wave(Gated):
    def forward(self, x):
        return self.c(torch.sin(self.b(torch.tanh(self.a(x)))))

class Aux(Gated):
    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.c(x + torch.tanh(self.b(x)) if self.training else x)

def gated(inputs, outputs, width=160):
    return Gated(inputs, outputs, width)

def functional(inputs, outputs, width=160):
    return Functional(inputs, outputs, width)

def wave(inputs, outputs, width=8):
    return Wave(inputs, outputs, width)

def in_training(inputs, outputs, width=160):
    return Aux(inputs, outputs, width)

def tanh_relu(inputs, outputs, width=160):
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.ReLU(),
                         nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))

def relu_gate(inputs, outputs, width=160):
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                         nn.Linear(width, width), nn.Sigmoid(), nn.Linear(width, outputs))

def leaky(inputs, outputs, width=160):
    return nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.5), nn.Linear(width, outputs))

def weight_norm(inputs, outputs, width=160):
    first = nn.utils.parametrizations.weight_norm(nn.Linear(inputs, width))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(width, outputs))
"""

FILLED = {
    "gated": [ROOT_2, ROOT_2, 1],
    "functional": [5 / 3, 5 / 3, 1],
    "tanh_relu": [5 / 3, ROOT_2, ROOT_2, 1],
    "relu_gate": [ROOT_2, ROOT_2, 1, 1],
    "in_training": [ROOT_2, 5 / 3, 1],
    "leaky": [math.sqrt(2 / 1.25), 1],
    "weight_norm": [5 / 3, 1],
}


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = f"nets_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(NETS)
    return name


def test_an_init_fills_weights_with_the_gain_of_each_layer(nets: str) -> None:
    for function, gains in FILLED.items():
        for init in ("kaiming_normal", "orthogonal"):
            model = f"python:{nets}:{function}"
            study = Study(task="digits", model=model, seeds=1, epochs=1, axes={"init": [init]})
            network = initialise_network(study.configurations[0], Streams(0))
            layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
            for layer, gain in zip(layers, gains, strict=True):
                fan = max(layer.weight.shape) if init == "orthogonal" else layer.in_features
                measured = float(layer.weight.detach().square().mean()) ** 0.5 * fan**0.5
                assert measured == pytest.approx(gain, rel=0.04), (function, init)


def test_levels_whose_gain_is_undefined_are_skipped_with_the_layer_and_the_reason(
    nets: str,
) -> None:
    inits = ["default", "kaiming_normal", "xavier_normal", "orthogonal", "trunc_normal"]
    study = Study(
        task="digits", model=f"python:{nets}:wave", seeds=2, epochs=1, axes={"init": inits}
    )
    plan = expand(study)
    clause = f"in {nets}:wave 'b' is followed by sin, of unknown gain"
    assert {reason for _, reason in plan.skipped} == {
        f"the init {name} needs the gain of the activation behind each layer; {clause}"
        for name in ("kaiming_normal", "orthogonal")
    }
    assert {run.configuration.init.name for run in plan.runs} == {
        "default", "xavier_normal", "trunc_normal",
    }  # fmt: skip
    skipped = next(c for c in study.configurations if c.skip)
    with pytest.raises(ValueError, match="'b' is followed by sin"):
        initialise_network(skipped, Streams(0))


MODES = """
from torch import nn

class Modes(nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.a, self.b = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.e, self.calls = nn.Embedding(20, inputs), 0
    def forward(self, x):
        if self.which == "training":
            return self.b(self.a(x).tanh() if self.training else self.a(x).relu())
        if self.which == "tokens":
            return self.b(self.a(self.e(x.long()).mean(1)).tanh())
        self.calls += 1
        if self.calls > 2:
            raise OSError("no more")
        return self.b(self.a(x).tanh())

def build(inputs, outputs, which="training"):
    model = Modes(inputs, outputs, 8)
    model.which = which
    return model
"""


def test_calls_in_training_count_and_failed_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"modes_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODES)
    for which in ("training", "tokens", "once"):
        settings = {"name": f"python:{name}:build", "which": which}
        study = Study(task="notebook", model=settings, axes={"init": ["orthogonal"]}, seeds=1)
        network = study.model.build(study.task, Norm(), Regularizer())
        kinds = {layer: str(kind) for layer, _, kind in study.model.weights(network)}
        assert kinds == {"a": "tanh", "b": "linear"}, which
        assert study.configurations[0].skip is None
