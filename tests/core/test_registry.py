"""Components: labels, validation, and the same canonical text for the same thing."""

from __future__ import annotations

import pickle
from typing import Any

import pydantic
import pytest

from ablations.core.errors import RequestError
from ablations.core.registry import Component, register, registered, resolve
from ablations.techniques.norms import GroupNorm
from ablations.techniques.regularizers import Dropout

KINDS = ("regularizer", "norm", "init", "schedule", "device", "optimizer", "task", "model")
EVERY = [
    pytest.param(cls, id=f"{kind}-{name}")
    for kind in KINDS
    for name, cls in registered(kind).items()
    if name not in ("csv", "parquet", "python")  # they need a file
]


@pytest.mark.parametrize("cls", EVERY)
def test_every_component_is_frozen_captioned_and_survives_the_way_to_a_worker(
    cls: type[Component],
) -> None:
    component = cls()
    assert component.label == component.name == cls.name
    assert component.caption().endswith(".")
    assert pickle.loads(pickle.dumps(component)) == component
    assert (
        resolve(component.role, {"name": component.name, **component.parameters()}, "key")
        == component
    )
    for field in component.parameters():
        with pytest.raises((AttributeError, pydantic.ValidationError)):
            setattr(component, field, None)


def test_every_technique_names_its_source_or_is_a_control() -> None:
    for kind in ("regularizer", "norm", "init", "schedule"):
        for name, cls in registered(kind).items():
            caption = cls.caption()
            assert "control" in caption or caption.rstrip(".").endswith(")"), (kind, name)


def test_label_shows_what_is_not_default() -> None:
    assert Dropout().label == "dropout"
    assert Dropout(p=(0.3,)).label == "dropout(p=[0.3])"
    assert GroupNorm(channels=4).label == "group(channels=4)"


def test_lists_and_whole_numbers_become_what_the_field_says() -> None:
    assert resolve("regularizer", {"name": "dropout", "p": [0.5, 0]}, "k") == Dropout(p=(0.5, 0.0))
    assert isinstance(Dropout(p=(0.5, 0)).p[1], float)


@pytest.mark.parametrize(
    ("spec", "fragments"),
    [
        ("lyer", ["'lyer'", "did you mean 'layer'?"]),
        ({"groups": 4}, ["needs a 'name'"]),
        ({"name": "group", "chanels": 4}, ["'chanels'", "did you mean 'channels'?"]),
        ({"name": "layer", "width": 4}, ["'width'", "takes none"]),
        ({"name": "group", "channels": "8"}, ["valid integer", "'8'"]),
        ({"name": "group", "channels": 0}, ["greater than 0"]),
        (3, ["expected the name of a norm", "3"]),
        (Dropout(), ["expected a norm", "regularizer 'dropout'"]),
    ],
)
def test_a_wrong_spec_is_one_sentence(spec: object, fragments: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        resolve("norm", spec, "axes.norm[1]")
    assert str(caught.value).startswith("axes.norm[1]")
    assert all(fragment in str(caught.value) for fragment in fragments)


def test_two_classes_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="registered already"):

        @register
        class Impostor(Component):
            """Not the real one."""

            role = "norm"
            name = "layer"


def test_a_parameter_that_cannot_be_compared_is_refused_and_kinds_of_values_show(
    temporary_registry: None,
) -> None:
    @register
    class Mutable(Component):
        """Has a list."""

        role = "norm"
        name = "mutable"
        sizes: list[float]

    @register
    class Either(Component):
        """Takes a number or a word."""

        role = "norm"
        name = "either"
        p: float | str = 1.0

    with pytest.raises(RequestError, match=r"key: norm 'mutable' has a parameter that is no plain"):
        resolve("norm", {"name": "mutable", "sizes": [1.0]}, "key")
    with pytest.raises(RequestError, match="no plain value"):
        resolve("norm", Mutable([1.0]), "key")
    assert [Either(0.5).label, Either("0.5").label] == ["either(p=0.5)", 'either(p="0.5")']


def test_old_names_of_methods_can_be_called_for_one_more_version() -> None:
    group: Any = GroupNorm(channels=4)
    with pytest.warns(DeprecationWarning, match=r"GroupNorm.spelled' is now called 'to_spec'"):
        assert group.spelled() == ("group", {"channels": 4})
    with pytest.warns(DeprecationWarning, match="now called 'with_resolved_inputs'"):
        assert group.pinned() == group
    with pytest.warns(DeprecationWarning, match="now called 'user_modules'"):
        assert group.modules() == set()


def test_old_names_of_methods_can_be_overridden_for_one_more_version(
    temporary_registry: None,
) -> None:
    with pytest.warns(DeprecationWarning, match="Old defines 'spelled', which is now called"):

        @register
        class Old(GroupNorm):
            """A class that was written for an earlier version."""

            name = "old"

            def spelled(self) -> tuple[str, dict[str, Any]]:
                name, parameters = super().spelled()  # type: ignore[misc]
                return name, parameters | {"extra": 1}

    with pytest.warns(DeprecationWarning, match="to_spec"):
        name, parameters = Old(channels=4).to_spec()
    assert name == "old"
    assert parameters == {"channels": 4, "extra": 1}
