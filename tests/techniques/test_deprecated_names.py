"""Techniques and models that use names of an earlier version: they train as before, and warn."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ablations import Study
from ablations.core import registry
from ablations.models import base as models
from ablations.study.configuration import Run
from ablations.tasks import files
from ablations.techniques import base as techniques
from ablations.techniques.regularizers import L1, Dropout
from ablations.testing import check
from ablations.training import loop
from ablations.training.fused import trainer

OLD = '''
from ablations.models.base import feedforward, hidden_weights, model, Model
from ablations.techniques.base import Init, RandomLayer, Regularizer, Terms, technique
from ablations.techniques.inits import DefaultInit
from ablations.techniques.regularizers import DropoutLayer


class Mask(RandomLayer):
    def __init__(self, purpose, rate):
        super().__init__(purpose)
        self.inner = DropoutLayer(purpose, rate)

    def numbers(self):
        return self.inner.numbers()

    @staticmethod
    def draw(streams, shape, purpose, step):
        return streams.lanes(shape, purpose, step)

    @staticmethod
    def prepare(drawn, *numbers):
        return (drawn >= numbers[0]) * numbers[1]

    @staticmethod
    def disturb(inputs, prepared, *numbers):
        return inputs * prepared


@technique
class OldDropout(Regularizer):
    """Dropout (somebody, 2025)."""

    name = "old_dropout"

    def layer(self, place):
        return Mask(f"dropout/{place}", 0.5) if place else None


@technique
class OldL1(Regularizer):
    """L1 (somebody, 2025)."""

    name = "old_l1"

    def terms(self):
        return Terms(l1=super().terms().l1 + 0.01)


@technique
class OldInit(Init):
    """PyTorch's (somebody, 2025)."""

    name = "old_init"
    leaves = True

    def fill(self, weight, nonlinearity, generator):
        DefaultInit().fill(weight, nonlinearity, generator)


@model
class OldModel(Model):
    """One hidden layer (somebody, 2025)."""

    name = "old_model"
    draws = True

    def build(self, task, norm, regularizer):
        return feedforward(task, (8,), "relu", "after", norm, regularizer)

    def widths(self, task):
        return (8,)

    def places(self, task):
        return 1

    def weights(self, network):
        return hidden_weights(network, "relu")
'''


@pytest.fixture(scope="module")
def old() -> Iterator[ModuleType]:
    module = ModuleType("old_names")
    with pytest.MonkeyPatch.context() as patch, registry.temporary():
        patch.setitem(sys.modules, module.__name__, module)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            exec(OLD, module.__dict__)
        module.messages = [str(warning.message) for warning in caught]  # type: ignore[attr-defined]
        yield module


def test_each_old_name_warns_with_the_new_one(old: ModuleType) -> None:
    assert old.messages == [
        "'ablations.techniques.base.Terms' is now called 'Penalties'",
        "Mask defines 'draw', which is now called 'sample'",
        "Mask defines 'prepare', which is now called 'transform'",
        "Mask defines 'disturb', which is now called 'perturb'",
        "OldL1 defines 'terms', which is now called 'penalties'",
        "OldInit defines 'leaves', which is now called 'keeps_user_weights'",
        "OldModel defines 'draws', which is now called 'has_random_build'",
        "OldModel defines 'places', which is now called 'n_regularizer_sites'",
    ]


def losses(runs: list[Run], engine: str) -> list[list[float]]:
    results = map(loop.train, runs) if engine == "loop" else trainer.train(runs, 8)
    return [[epoch.val_loss for epoch in result.curve] for result in results]


@pytest.mark.parametrize("engine", ["loop", "fused"])
@pytest.mark.parametrize(
    ("name", "current"), [("OldDropout", Dropout(p=(0.5,))), ("OldL1", L1(weight=0.01))]
)
@pytest.mark.filterwarnings("ignore:.*OldL1.terms:DeprecationWarning")  # its super().terms()
def test_a_technique_with_the_old_names_gives_the_same_numbers(
    old: ModuleType, name: str, current: Any, engine: str
) -> None:
    def runs(technique: Any) -> list[Run]:
        study = Study(task="notebook", axes={"regularizer": [technique]}, epochs=3)
        return [Run(study.configurations[0], seed) for seed in range(2)]

    assert losses(runs(getattr(old, name)()), engine) == losses(runs(current), engine)


@pytest.mark.filterwarnings("ignore:.*OldL1.terms:DeprecationWarning")
@pytest.mark.parametrize("name", ["OldDropout", "OldL1"])
def test_the_contract_suite_accepts_the_old_names(old: ModuleType, name: str) -> None:
    check(getattr(old, name)())


def test_flags_and_counts_of_old_classes_are_read_under_the_new_names(old: ModuleType) -> None:
    assert old.OldInit().keeps_user_weights
    assert old.OldModel().has_random_build
    study = Study(task="notebook", model=old.OldModel(), axes={"init": [old.OldInit()]}, epochs=1)
    assert study.model.n_regularizer_sites(study.task) == 1
    assert loop.train(Run(study.configurations[0], 0)).status == "ok"


def test_callers_may_use_the_old_names_of_current_classes() -> None:
    with pytest.warns(DeprecationWarning, match=r"L1.terms' is now called 'penalties'"):
        assert L1().terms() == techniques.Penalties(l1=0.01)  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="leaves' is now called 'keeps_user_weights'"):
        assert techniques.Init.leaves is False  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="draws' is now called 'has_random_build'"):
        assert models.Model.draws is False  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="Terms' is now called 'Penalties'"):
        assert techniques.Terms is techniques.Penalties
    with pytest.raises(AttributeError, match="has no attribute 'Turms'"):
        techniques.Turms  # noqa: B018


def test_tasks_of_files_have_their_former_module() -> None:
    with pytest.warns(DeprecationWarning, match="now called 'ablations.tasks.files'"):
        from ablations.tasks.tables import Csv
    assert Csv is files.Csv
