"""A network of your own, from a function that makes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Annotated, Any, Self

import torch
from pydantic import BeforeValidator
from torch import nn

from ablations.core.errors import RequestError, nearest
from ablations.core.plugins import PREFIX, import_object, module_hash
from ablations.core.random import Streams
from ablations.core.registry import STUDY_DIR
from ablations.core.schema import RUN_COLUMNS
from ablations.models.base import Model, NetworkContext, Weighted, model
from ablations.tasks.base import Task
from ablations.techniques.base import Init, Norm, Regularizer

_GIVEN = ("inputs", "outputs", "shape", "norm", "drop")
"""What a factory may ask for by the names of its arguments; all others are options of its own."""
_FILLED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ORDER = "_ablations_order"
_ACTIVATIONS = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Tanh: "tanh",
    nn.SELU: "selu",
    nn.Sigmoid: "sigmoid",
}

Scalar = bool | int | float | str
Options = Annotated[
    tuple[tuple[str, Scalar | tuple[Scalar, ...]], ...],
    BeforeValidator(lambda given: _pairs(given)),
]


def _pairs(given: Any) -> Any:
    """Options as sorted pairs, which can be compared."""
    pairs = given.items() if isinstance(given, dict) else given
    return tuple(
        (name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(pairs)
    )


@model
class Python(Model):
    """A network of your own, ``model = "python:my_module:build"``: a function of ``inputs`` and
    ``outputs`` that gives an ``nn.Module``.

    By the names of its arguments it may ask for more: ``norm``, a function from a width to the norm
    layer of a configuration, and with a number of dimensions to that for pictures or series;
    ``drop``, a function that gives the layer of its regularizer, one
    a call; and ``shape``, a row's as a picture or sequence.  Arguments with a default beyond those
    are parameters, which a study may set and vary.  An init fills the weights of linear and
    convolutional layers; the control level leaves them as the function made them.
    """

    name = "python"
    has_random_build = True
    target: str = ""
    options: Options = ()
    source: str = ""

    def with_resolved_inputs(self) -> Self:
        arguments = _arguments(self._factory, self.target)
        known = {name: default for name, default in arguments.items() if name not in _GIVEN}
        taken = [name for name in known if name in RUN_COLUMNS]
        if taken:
            message = (
                f"'{self.target}' has a parameter '{taken[0]}', the name of a column or setting"
            )
            raise RequestError(f"{message}; give it another", "model")
        for option, _ in self.options:
            if option not in known:
                valid = nearest(option, known) if known else "it takes none"
                raise RequestError(f"'{self.target}' has no parameter '{option}'; {valid}", "model")
        lacking = [name for name, default in known.items() if default is inspect.Parameter.empty]
        lacking = [name for name in lacking if name not in dict(self.options)]
        if lacking:
            message = f"'{self.target}' asks for '{lacking[0]}', and nothing says what it is"
            raise RequestError(f"{message}; {nearest(lacking[0], _GIVEN)}, or a default", "model")
        for name, default in known.items():
            plain = isinstance(default, (bool, int, float, str, tuple, list))
            if not plain and name not in dict(self.options):
                message = f"the parameter '{name}' of '{self.target}' is {default!r} by default"
                advice = "a number, a text, or true or false is wanted"
                raise RequestError(f"{message}; {advice}", "model")
        options = _pairs({**known, **dict(self.options)})
        return self._like(options, module_hash(self.target.partition(":")[0]))

    @property
    def title(self) -> str:
        return f"{PREFIX}{self.target}"

    @property
    def label(self) -> str:
        return self.title

    def parameters(self) -> dict[str, Any]:
        return dict(self.options)

    def with_(self, **levels: Any) -> Self:
        return self._like(_pairs(self.parameters() | levels), self.source)

    def identity(self) -> dict[str, Any]:
        return {"name": self.title, **self.parameters(), "source": self.source}

    def user_modules(self) -> set[str]:
        return {self.target.partition(":")[0]}

    def to_spec(self) -> tuple[str, dict[str, Any]]:
        known = _arguments(self._factory, self.target)
        changed = {name: value for name, value in self.options if value != known.get(name)}
        return self.title, changed

    @cached_property
    def _factory(self) -> Callable[..., Any]:
        """The function itself, which goes with the model to workers."""
        found = import_object(self.target, "model", STUDY_DIR.get())
        if not callable(found):
            message = f"'{self.target}' is {type(found).__name__}; a function is wanted"
            raise RequestError(message, "model")
        return found  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_factory": self._factory}

    def _like(self, options: Options, source: str) -> Self:
        made = type(self)(self.target, options, source)
        made.__dict__["_factory"] = self._factory
        return made

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        return self._made(task, norm, regularizer)[0]

    def _made(self, task: Task, norm: Norm, regularizer: Regularizer) -> tuple[nn.Module, _Counted]:
        """The network, and what was counted while it was made and tried."""
        widths: list[int] = []
        places: list[int] = []

        def norm_of(width: int, dims: int = 0) -> nn.Module:
            if dims not in range(4):
                message = f"norm({width}, {dims}) asks for pictures of {dims} dimensions"
                raise ValueError(f"{message}; 1 to 3 can be had, or 0 for rows")
            widths.append(width)
            layer = norm.maps(width, dims) if dims else norm.layer(width)
            return layer or nn.Identity()

        def drop() -> nn.Module:
            places.append(len(places) + 1)
            return regularizer.layer(places[-1]) or nn.Identity()

        factory = self._factory
        asked = _arguments(factory, self.target)
        given = {
            "inputs": task.inputs,
            "outputs": task.outputs,
            "shape": task.shape,
            "norm": norm_of,
            "drop": drop,
        }
        network = factory(**{k: v for k, v in given.items() if k in asked}, **dict(self.options))
        if not isinstance(network, nn.Module):
            raise TypeError(f"{self.target} gives {type(network).__name__}, and no nn.Module")
        first = regularizer.layer(0)
        whole = nn.Sequential(first, network) if first else network
        activations = _check(whole, task, self.target)
        return whole, _Counted(tuple(widths), len(places), activations)

    def widths(self, task: Task) -> tuple[int, ...]:
        return _counted(self, task).widths

    def n_regularizer_sites(self, task: Task) -> int:
        return _counted(self, task).places

    def activations(self, task: Task) -> int:
        return _counted(self, task).activations

    def skip(self, context: NetworkContext) -> str | None:
        c = context
        asked = _arguments(self._factory, self.target)
        if "norm" not in asked and c.norm.layer(8) is not None:
            return f"the model {self.target} has no place for norms: it takes no 'norm'"
        if "drop" not in asked and c.regularizer.layer(1) is not None:
            what = f"the layers of {c.regularizer.name}"
            return f"the model {self.target} has no place for {what}: it takes no 'drop'"
        return None

    def fill(self, network: nn.Module, init: Init, streams: Streams) -> None:
        if init.keeps_user_weights:
            return
        for name, layer, nonlinearity in self.weights(network):
            init.fill(layer.weight, nonlinearity, streams.generator(f"init/{name}.weight"))

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        layers = [(n, m) for n, m in network.named_modules() if isinstance(m, _FILLED)]
        order = getattr(network, _ORDER, {})  # in which the inputs came to them
        layers.sort(key=lambda pair: order.get(pair[0], len(order)))
        found = (_ACTIVATIONS.get(type(module)) for module in network.modules())
        nonlinearity = next(filter(None, found), "relu")
        for place, (name, layer) in enumerate(layers, start=1):
            last = place == len(layers)
            yield name, layer, "linear" if last else nonlinearity


@dataclass(frozen=True)
class _Counted:
    """What a network asked for, and what it keeps."""

    widths: tuple[int, ...]
    """At which it asked for a norm."""
    places: int
    """How often it asked for a layer of the regularizer."""
    activations: int
    """Numbers of each row that its layers keep for the gradient."""


@lru_cache(maxsize=64)
def _counted(own: Python, task: Task) -> _Counted:
    with Streams(0).isolated(torch.device("cpu")):
        return own._made(task, Norm(), Regularizer())[1]


def _arguments(factory: Callable[..., Any], target: str) -> dict[str, Any]:
    """Name to default of the arguments of a factory."""
    try:
        found = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        raise RequestError(f"nobody can say what '{target}' takes", "model") from None
    usual = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name: one.default for one in found if one.kind in usual}


@torch.no_grad()
def _check(network: nn.Module, task: Task, target: str) -> int:
    """Have two rows of zeros go through, without a trace: outputs of another shape would be
    compared with the targets all the same.

    Returns
    -------
    int
        How many numbers of each row its layers keep.
    """
    order: dict[str, int] = {}
    kept: list[int] = []

    def seen(name: str, layer: nn.Module, _: object, outputs: object) -> None:
        if isinstance(layer, _FILLED):
            order.setdefault(name, len(order))
        if isinstance(outputs, torch.Tensor):
            kept.append(outputs.numel() // 2)
            if isinstance(layer, _FILLED[1:]):  # a convolution's windows
                kept.append(outputs[0, 0].numel() * layer.weight[0].numel())

    hooks = [
        layer.register_forward_hook(partial(seen, name))
        for name, layer in network.named_modules()
        if isinstance(layer, _FILLED) or not any(True for _ in layer.children())
    ]
    training = network.training
    outputs = network.eval()(torch.zeros(2, task.inputs))
    network.train(training)
    for hook in hooks:
        hook.remove()
    object.__setattr__(network, _ORDER, order)
    wanted = (2, task.outputs)
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != wanted:
        message = f"{target} gives outputs of shape {shape} for inputs (2, {task.inputs})"
        raise ValueError(f"{message}; {wanted} is wanted")
    return sum(kept)
