"""Each technique against an independent formula."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import nn, optim
from torch.nn import functional as F

from ablations.core.random import Draws, Streams
from ablations.core.registry import registered
from ablations.techniques.base import Decay, Init, Norm, RandomLayer, Schedule
from ablations.techniques.regularizers import (
    L1,
    L2,
    DecoupledWeightDecay,
    Dropout,
    DropoutLayer,
    Elastic,
    InputNoise,
    LabelSmoothing,
    MaxNorm,
)
from ablations.techniques.schedules import Exponential, Plateau, Step, share

W = torch.tensor([[3.0, -4.0], [0.3, 0.4]])


def test_penalties() -> None:
    zero = torch.zeros(2, 1)
    parameters = [W, torch.tensor([-1.0])]
    assert float(L1().objective(zero, zero, parameters, F.mse_loss)) == pytest.approx(0.087)
    assert float(Elastic().objective(zero, zero, parameters, F.mse_loss)) == pytest.approx(0.087)
    assert L1().penalties().decay == Decay()
    assert L2().penalties().decay == Elastic().penalties().decay == Decay(0.01)
    assert DecoupledWeightDecay().penalties().decay == Decay(0.01, decoupled=True)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_keeps_the_expectation(rate: float) -> None:
    layer = DropoutLayer("dropout/1", rate)
    layer.draws = Draws(Streams(5))
    outputs = layer(torch.ones(1000, 333))
    n_zero, scaled = int((outputs == 0).sum()), outputs[outputs > 0]
    assert stats.binomtest(n_zero, outputs.numel(), rate).pvalue > 1e-3 if rate else n_zero == 0
    assert float(scaled.min()) == float(scaled.max())
    assert float(scaled[0]) == pytest.approx(1 / (1 - rate), rel=1e-4)


def test_max_norm_changes_only_rows_that_are_too_long() -> None:
    factor = MaxNorm(c=1.0).shrink(W)
    assert factor is not None
    assert torch.allclose(factor * W, torch.tensor([[0.6, -0.8], [0.3, 0.4]]))


def test_label_smoothing_equals_pytorch() -> None:
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    ours = LabelSmoothing(epsilon=0.2).objective(logits, targets, [], F.cross_entropy)
    assert float(ours) == pytest.approx(
        float(F.cross_entropy(logits, targets, label_smoothing=0.2))
    )


@pytest.mark.parametrize("technique", [Dropout(), InputNoise(std=0.5)])
def test_random_layers_are_inactive_in_evaluation_and_repeat_by_step(
    technique: Dropout | InputNoise,
) -> None:
    layer = technique.layer(0 if isinstance(technique, InputNoise) else 1)
    assert isinstance(layer, RandomLayer)
    x = torch.ones(100, 64)
    with pytest.raises(RuntimeError, match="has no random streams"):
        layer(x)
    layer.draws = Draws(Streams(0))
    first = layer(x)
    assert torch.equal(first, layer(x))
    layer.draws.step = 1
    second = layer(x)
    assert not torch.equal(first, second)
    assert float(first.mean()) == pytest.approx(1, abs=0.06)
    assert float(first.std()) == pytest.approx(
        1.0 if isinstance(technique, Dropout) else 0.5, rel=0.05
    )
    layer.eval()
    assert layer(x) is x


@pytest.mark.parametrize("name", ["layer", "batch", "group", "rms"])
def test_norms_normalise(name: str) -> None:
    layer = registered("norm")[name]().layer(16)  # type: ignore[attr-defined]
    x = 3 + 2 * torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    y = layer(x)
    if name == "batch":
        assert torch.allclose(y.mean(0), torch.zeros(16), atol=1e-5)
    elif name == "rms":
        assert torch.allclose(y.square().mean(1), torch.ones(200), atol=1e-4)
    else:
        groups = y.reshape(200, -1, 8 if name == "group" else 16)
        assert torch.allclose(groups.mean(2), torch.zeros(200, groups.shape[1]), atol=1e-5)
        assert torch.allclose(groups.std(2, correction=0), torch.ones(groups.shape[:2]), atol=1e-3)


@pytest.mark.parametrize("cls", registered("norm").values())
def test_wrapping_a_layer_does_not_change_its_initial_outputs(
    cls: type[Norm],
) -> None:
    layer = nn.Linear(5, 8)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    before = layer(x)
    cls().wrap(layer)
    assert torch.allclose(layer(x), before, atol=1e-6)


STD = {
    "default": lambda i, o, relu: 1 / math.sqrt(3 * i),
    "xavier_uniform": lambda i, o, relu: math.sqrt(2 / (i + o)),
    "xavier_normal": lambda i, o, relu: math.sqrt(2 / (i + o)),
    "kaiming_uniform": lambda i, o, relu: math.sqrt((2 if relu else 1) / i),
    "kaiming_normal": lambda i, o, relu: math.sqrt((2 if relu else 1) / i),
    "orthogonal": lambda i, o, relu: math.sqrt((2 if relu else 1) / max(i, o)),
    # The deviation of a standard normal cut at two deviations.
    "trunc_normal": lambda i, o, relu: 0.02 * 0.87962566,
}


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", registered("init"))
def test_inits_have_their_variance(name: str, relu: bool) -> None:
    init = registered("init")[name]()
    assert isinstance(init, Init)
    weight = torch.empty(400, 300)
    init.fill(weight, "relu" if relu else "linear", torch.Generator().manual_seed(1))
    assert float(weight.mean()) == pytest.approx(0, abs=4 * float(weight.std()) / 346)
    assert float(weight.std()) == pytest.approx(STD[name](300, 400, relu), rel=0.02)
    if name == "trunc_normal":
        assert float(weight.abs().max()) <= 0.04
    if name == "orthogonal":
        gram = weight.T @ weight / (2 if relu else 1)
        assert torch.allclose(gram, torch.eye(300), atol=1e-4)


def rates(schedule: Schedule, epochs: int, steps: int = 1, objective: float = 1.0) -> list[float]:
    optimizer = optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.01)
    scheduler = schedule.scheduler(optimizer, epochs, steps)
    values = []
    for _ in range(epochs):
        for _ in range(steps):
            values.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            schedule.after_step(scheduler)
        schedule.after_epoch(scheduler, objective)
    return values


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("epochs", [4, 20, 33])
@pytest.mark.parametrize("name", registered("schedule"))
def test_schedules_stay_within_the_study_s_rate_and_vary(
    name: str, epochs: int, steps: int
) -> None:
    schedule = registered("schedule")[name]()
    assert isinstance(schedule, Schedule)
    values = rates(schedule, epochs, steps)
    assert len(values) == epochs * steps
    assert max(values) <= 0.01 * (1 + 1e-12)
    assert min(values) >= 0
    varies = len(set(values)) > 1
    assert varies == (name != "constant")
    if name not in ("constant", "cyclic", "plateau"):
        assert values[-1] < 0.5 * max(values)
    if name not in ("constant", "step", "exponential", "plateau") and epochs * steps >= 20:
        assert max(values) >= 0.0085  # the peak, within the resolution of the steps


def test_step_gives_the_rates_of_the_notebook() -> None:
    expected = [0.01] * 5 + [0.001] * 5 + [1e-4] * 5 + [1e-5] * 5
    assert rates(Step(), 20) == pytest.approx(expected)


def test_exponential_ends_at_a_hundredth_and_plateau_waits_a_tenth_of_the_run() -> None:
    assert rates(Exponential(), 20)[-1] == pytest.approx(1e-4)
    # The objective never improves: the first epoch sets the best, two more are the patience.
    assert rates(Plateau(), 20)[:5] == pytest.approx([0.01] * 4 + [0.001])


@pytest.mark.parametrize(("length", "expected"), [(20, 5), (5, 2), (4, 1), (3, 1), (1, 1)])
def test_share_rounds_up(length: int, expected: int) -> None:
    assert share(0.25, length) == expected
    assert share(0.1, 30) == 3


def test_optimizers_apply_the_decay_that_a_regularizer_requests() -> None:
    parameter = torch.ones(1, requires_grad=True)
    build = registered("optimizer")["adam"]().build  # type: ignore[attr-defined]
    adam = build([parameter], 0.1, Decay(0.5))
    assert isinstance(adam, optim.Adam)
    assert not isinstance(adam, optim.AdamW)
    decoupled = build([parameter], 0.1, Decay(0.5, decoupled=True))
    parameter.grad = torch.zeros(1)
    decoupled.step()
    # Without a gradient the weight shrinks by rate × decay alone.
    assert float(parameter.detach()) == pytest.approx(1 - 0.1 * 0.5)
