"""Metrics: the numbers of scikit-learn on the same predictions."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.preprocessing import label_binarize

from ablations.core.errors import RequestError
from ablations.core.plugins import without_imports
from ablations.tasks.metrics import compute_metrics, find_metric, score_r2, standard_metrics
from ablations.tasks.sklearn import Diabetes
from ablations.training.loop import one_thread

Array = np.ndarray
EXACT: dict[str, Any] = {"rel": 1e-12, "abs": 1e-12, "nan_ok": True}

CLASSIFICATION: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1)),
    "f1_macro": lambda y, p: sk.f1_score(y, p.argmax(1), average="macro"),
    "roc_auc": lambda y, p: (
        sk.roc_auc_score(y, p[:, 1])
        if p.shape[1] == 2
        else sk.roc_auc_score(y, p, multi_class="ovr", average="macro")
    ),
    "average_precision": lambda y, p: (
        sk.average_precision_score(y, p[:, 1])
        if p.shape[1] == 2
        else sk.average_precision_score(label_binarize(y, classes=range(p.shape[1])), p)
    ),
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=range(p.shape[1])),
    "f1_micro": lambda y, p: sk.f1_score(y, p.argmax(1), average="micro"),
    "f1_weighted": lambda y, p: sk.f1_score(y, p.argmax(1), average="weighted"),
    "precision_macro": lambda y, p: sk.precision_score(y, p.argmax(1), average="macro"),
    "recall_macro": lambda y, p: sk.recall_score(y, p.argmax(1), average="macro"),
    "matthews_corrcoef": lambda y, p: sk.matthews_corrcoef(y, p.argmax(1)),
    "cohen_kappa": lambda y, p: sk.cohen_kappa_score(y, p.argmax(1)),
    "brier_score": lambda y, p: sk.brier_score_loss(
        y,
        p[:, 1] if p.shape[1] == 2 else p,
        **({} if p.shape[1] == 2 else {"labels": [*range(p.shape[1])]}),
    ),
    "top_2_accuracy": lambda y, p: top_k(y, p, 2),
    "top_3_accuracy": lambda y, p: top_k(y, p, 3),
}
REGRESSION: dict[str, Callable[[Array, Array], float]] = {
    "r2": sk.r2_score,
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "mse": sk.mean_squared_error,
    "median_absolute_error": sk.median_absolute_error,
    "mape": sk.mean_absolute_percentage_error,
    "max_error": sk.max_error,
    "explained_variance": sk.explained_variance_score,
}


def top_k(y: Array, p: Array, k: int) -> float:
    if k >= p.shape[1]:
        return 1.0
    return float(sk.top_k_accuracy_score(y, p, k=k, labels=range(p.shape[1])))


def predictions(n_classes: int, *, ties: bool, rare: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, 3, row, class) and classes (2, 3, row) with something to find."""
    generator = np.random.default_rng(n_classes + 10 * ties + 20 * rare)
    share = np.ones(n_classes)
    share[-1] = 0.05 if rare else 1
    y = generator.choice(n_classes, (2, 3, 120), p=share / share.sum())
    y[..., :n_classes] = range(n_classes)
    logits = generator.normal(size=(2, 3, 120, n_classes)) + np.eye(n_classes)[y]
    return torch.from_numpy(logits.round(0) if ties else logits), torch.from_numpy(y)


@pytest.mark.parametrize("rare", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_metrics_of_classes_are_scikit_learn_s(n_classes: int, ties: bool, rare: bool) -> None:
    logits, y = predictions(n_classes, ties=ties, rare=rare)
    metrics = [find_metric(name, True) for name in CLASSIFICATION]
    values = compute_metrics(metrics, logits, y)
    probabilities = logits.softmax(-1).numpy()  # another sum would break ties by its rounding
    for name, function in CLASSIFICATION.items():
        assert (values[name].shape, values[name].dtype) == ((2, 3), torch.float64)
        scores = logits.numpy() if name.startswith("top") else probabilities
        for member in np.ndindex(2, 3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = function(y[member].numpy(), scores[member])
            assert float(values[name][member]) == pytest.approx(expected, **EXACT), name


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_metrics_of_amounts_are_scikit_learn_s_in_the_target_s_unit(n_outputs: int) -> None:
    generator = np.random.default_rng(n_outputs)
    y = generator.normal(size=(4, 90, n_outputs))
    outputs = y + generator.normal(size=y.shape)
    scale, mean = (
        generator.uniform(1, 300, (4, 1, n_outputs)),
        generator.normal(size=(4, 1, n_outputs)),
    )
    units = [torch.from_numpy(values[:, 0]) for values in (scale, mean)]
    metrics = [find_metric(name, False) for name in REGRESSION]
    values = compute_metrics(metrics, torch.from_numpy(outputs), torch.from_numpy(y), *units)
    for name, function in REGRESSION.items():
        for i in range(4):
            pair = [y[i] * scale[i] + mean[i], outputs[i] * scale[i] + mean[i]]
            if name == "max_error":
                expected = max(map(function, *(values.T for values in pair)))
            else:
                expected = function(*pair)
            assert float(values[name][i]) == pytest.approx(expected, **EXACT), name


def test_the_standard_metrics_need_no_names_and_members_may_share_targets() -> None:
    logits, y = predictions(3, ties=False, rare=False)
    values = compute_metrics(standard_metrics(True), logits.float(), y[0, 0])
    assert list(values) == list(CLASSIFICATION)[:6]
    first = compute_metrics(standard_metrics(True), logits[0, 0].float(), y[0, 0])
    assert {name: float(value) for name, value in first.items()} == {
        name: float(value[0, 0]) for name, value in values.items()
    }
    assert [metric.name for metric in standard_metrics(False)] == ["r2", "mae", "rmse"]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_class_without_rows(n_classes: int) -> None:
    logits, y = predictions(n_classes, ties=False, rare=False)
    logits, y = logits[0], y[0].clamp(max=n_classes - 2)
    values = compute_metrics(standard_metrics(True), logits, y)
    assert values["roc_auc"].isnan().all()
    assert values["average_precision"].isnan().all()
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "log_loss"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = CLASSIFICATION[name](y[1].numpy(), logits[1].softmax(-1).numpy())
        assert float(values[name][1]) == pytest.approx(expected, **EXACT)


def test_certain_and_wrong_predictions_have_a_finite_log_loss() -> None:
    logits, y = torch.tensor([[900.0, 0.0], [0.0, 900.0]]), torch.tensor([1, 1])
    expected = sk.log_loss(y, logits.double().softmax(-1).numpy(), labels=[0, 1])
    value = compute_metrics(standard_metrics(True), logits, y)["log_loss"]
    assert float(value) == pytest.approx(expected, **EXACT)


def test_constant_targets_have_the_r2_of_scikit_learn() -> None:
    y = torch.ones(4, 1)
    for outputs in (y, y + 1):
        value = compute_metrics([find_metric("r2", False)], outputs, y)["r2"]
        assert float(value) == sk.r2_score(y, outputs)


def test_r2_of_several_outputs_weights_each_alike() -> None:
    """The metric of a task, too; one of the outputs is constant."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(2, 40, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, 9, 0])
    outputs = y + torch.randn(y.shape, generator=generator, dtype=torch.float64) / 3
    outputs[1, :, 2] = 0
    expected = [sk.r2_score(y[i], outputs[i]) for i in range(2)]
    assert expected[0] != sk.r2_score(y[0], outputs[0], multioutput="variance_weighted")
    for values in (score_r2(outputs, y), Diabetes().metric(outputs, y)):
        assert values.tolist() == pytest.approx(expected, **EXACT)


def test_directions() -> None:
    lower = {"log_loss", "brier_score", "mae", "rmse", "mse", "mape"}
    lower |= {"max_error", "median_absolute_error"}
    for names, is_classification in ((CLASSIFICATION, True), (REGRESSION, False)):
        for name in names:
            assert find_metric(name, is_classification).higher_is_better == (name not in lower)


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RequestError, match=r"metric: unknown metric 'f1_makro' .* 'f1_macro'"):
        find_metric("f1_makro", True)
    with pytest.raises(RequestError, match="'r2' is a metric of regression, and the task is a cl"):
        find_metric("r2", True)
    with pytest.raises(RequestError, match="'accuracy' is a metric of classification"):
        find_metric("accuracy", False)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    text = '''
def share_within(targets, outputs):
    """Share of targets within 10 % of the output."""
    return (abs(targets - outputs) <= 0.1 * abs(targets)).mean()

def worst(targets, outputs):
    return abs(targets - outputs).max()
worst.higher_is_better = False

def text(targets, outputs):
    return "good"

number = 3
'''
    (tmp_path / "metrics_of_mine.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return "python:metrics_of_mine"


def test_a_function_of_yours_gets_the_targets_in_their_own_unit(module: str) -> None:
    share, worst = (find_metric(f"{module}:{name}", False) for name in ("share_within", "worst"))
    assert (share.higher_is_better, worst.higher_is_better) == (True, False)
    assert share.user_modules() == {"metrics_of_mine"}
    assert find_metric("mae", False).user_modules() == set()
    outputs, y = torch.zeros(2, 3, 1), torch.tensor([[-1.0], [0.0], [1.0]])
    units: list[Any] = [torch.tensor([5.0]), torch.tensor([100.0])]
    values = compute_metrics([share, worst], outputs, y, *units)
    assert values[share.name].tolist() == [1, 1]
    assert values[worst.name].tolist() == [5, 5]
    with pytest.raises(TypeError, match="python:metrics_of_mine:text returns str; expected a numb"):
        compute_metrics([find_metric(f"{module}:text", False)], outputs, y)


def test_an_own_metric_that_cannot_be_used_is_refused(module: str) -> None:
    with pytest.raises(RequestError, match="is an object of the class int; expected a function"):
        find_metric(f"{module}:number", False)
    with pytest.raises(RequestError, match=r"metric: 'metrics_of_mine' has no 'wurst'.*'worst'"):
        find_metric(f"{module}:wurst", False)
    with without_imports(), pytest.raises(RequestError, match="needs --trust"):
        find_metric(f"{module}:worst", False)


def test_the_standard_metrics_cost_little() -> None:
    logits, y = torch.randn(32, 100, 3), torch.randint(3, (32, 100))
    compute_metrics(standard_metrics(True), logits, y)
    with one_thread():
        start = time.process_time()
        for _ in range(75):
            compute_metrics(standard_metrics(True), logits, y)
    assert time.process_time() - start < 1  # seconds for 2,400 runs; 0.2 on an idle machine
