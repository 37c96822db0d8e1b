"""A network of your own, from a function that returns it."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache, partial
from typing import Annotated, Any, NamedTuple, Self, get_args

import torch
from pydantic import BeforeValidator
from torch import nn

from ablations.core.errors import RequestError, nearest
from ablations.core.plugins import PREFIX, import_object, target_hash
from ablations.core.random import Streams
from ablations.core.registry import STUDY_DIR
from ablations.core.schema import METRIC_COLUMNS, RUN_COLUMNS
from ablations.models.base import ACTIVATIONS, Model, NetworkContext, Weighted, model
from ablations.tasks.base import Task
from ablations.techniques.base import Init, Norm, Regularizer

_ARGUMENTS = ("inputs", "outputs", "shape", "norm", "drop")
"""Arguments that the function may take; the study sets all others."""
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ORDER = "_ablations_order"
"""The attribute of a network with the order in which its layers are called."""
_NONLINEARITIES = {layer: gain for name, (layer, gain) in ACTIVATIONS.items() if name == gain}
_NONLINEARITIES[nn.Sigmoid] = "sigmoid"
"""Layer to the name of its gain in ``torch.nn.init.calculate_gain``."""

Scalar = bool | int | float | str
Options = Annotated[
    tuple[tuple[str, Scalar | tuple[Scalar, ...]], ...],
    BeforeValidator(lambda options: _sort_options(options)),
]


def _sort_options(options: Any) -> Any:
    """Return options as sorted pairs, which are hashable."""
    pairs = sorted(options.items() if isinstance(options, dict) else options)
    return tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in pairs)


@model
class Python(Model):
    """A network of your own, ``model = "python:my_module:build"``: a function of ``inputs`` and
    ``outputs`` that gives an ``nn.Module``.

    The function may take more arguments: ``norm``, a function that returns the norm layer for a
    width, or with a number of dimensions for maps; ``drop``, a function that returns the next layer
    of the regularizer; and ``shape``, the shape of a row, channels first.  Further arguments with a
    default are parameters, which a study can set and vary.  An init fills the weights of linear and
    convolutional layers; the control level keeps those that the function made.
    """

    name = "python"
    imports_code = True
    has_random_build = True
    target: str = ""
    options: Options = ()
    source: str = ""

    def with_resolved_inputs(self) -> Self:
        defaults = self._defaults()
        if columns := [n for n in defaults if n in RUN_COLUMNS or n in METRIC_COLUMNS]:
            message = f"'{self.target}' has a parameter '{columns[0]}', the name of a column"
            raise RequestError(f"{message} or setting; rename it")
        options = dict(self.options)
        if unknown := [name for name in options if name not in defaults]:
            valid = nearest(unknown[0], defaults) if defaults else "it takes none"
            raise RequestError(f"'{self.target}' has no parameter '{unknown[0]}'; {valid}")
        values = defaults | options
        for name, value in values.items():
            if value is inspect.Parameter.empty:
                message = f"'{self.target}' has an argument '{name}' without a value"
                advice = f"{nearest(name, _ARGUMENTS)}, or give it a default"
                raise RequestError(f"{message}; {advice}")
            if name in options or isinstance(value, (*get_args(Scalar), tuple, list)):
                continue
            message = f"the parameter '{name}' of '{self.target}' is {value!r} by default"
            raise RequestError(f"{message}; expected a number, a text, true or false")
        return self._with(_sort_options(values), target_hash(self.target, self._function))

    def _defaults(self) -> dict[str, Any]:
        return {name: v for name, v in self._parameters().items() if name not in _ARGUMENTS}

    def _parameters(self) -> dict[str, Any]:
        """Return name and default of all arguments of the function."""
        try:
            parameters = inspect.signature(self._function).parameters.values()
        except (TypeError, ValueError):
            raise RequestError(f"the arguments of '{self.target}' cannot be read") from None
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {p.name: p.default for p in parameters if p.kind in kinds}

    @property
    def title(self) -> str:
        return f"{PREFIX}{self.target}"

    @property
    def label(self) -> str:
        return self.title

    def parameters(self) -> dict[str, Any]:
        return dict(self.options)

    def with_(self, **levels: Any) -> Self:
        return self._with(_sort_options(self.parameters() | levels), self.source)

    def identity(self) -> dict[str, Any]:
        return {"name": self.title, **self.parameters(), "source": self.source}

    def user_modules(self) -> set[str]:
        return {self.target.partition(":")[0]}

    def to_spec(self) -> tuple[str, dict[str, Any]]:
        defaults = self._defaults()
        return self.title, {k: value for k, value in self.options if value != defaults.get(k)}

    @cached_property
    def _function(self) -> Callable[..., Any]:
        """The function itself; the model takes it along to workers."""
        function = import_object(self.target, "", STUDY_DIR.get())
        if not callable(function):
            type_name = type(function).__name__
            raise RequestError(f"'{self.target}' is {type_name}; expected a function")
        return function  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_function": self._function}

    def _with(self, options: Options, source: str) -> Self:
        copy = type(self)(self.target, options, source)
        copy.__dict__["_function"] = self._function
        return copy

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        return self._build(task, norm, regularizer)[0]

    def _build(self, task: Task, norm: Norm, regularizer: Regularizer) -> tuple[nn.Module, _Sizes]:
        """Return the network and its sizes, which a trial call measures."""
        widths: list[int] = []
        sites = itertools.count(1)

        def norm_layer(width: int, dims: int = 0) -> nn.Module:
            if dims not in range(4):
                message = f"norm({width}, {dims}) asks for maps of {dims} dimensions"
                raise ValueError(f"{message}; expected 1 to 3, or 0 for rows")
            widths.append(width)
            layer = norm.maps(width, dims) if dims else norm.layer(width)
            return layer or nn.Identity()

        def regularizer_layer() -> nn.Module:
            return regularizer.layer(next(sites)) or nn.Identity()

        values = (task.inputs, task.outputs, task.shape, norm_layer, regularizer_layer)
        names = self._parameters()
        arguments = {k: v for k, v in zip(_ARGUMENTS, values, strict=True) if k in names}
        network = self._function(**arguments, **dict(self.options))
        if not isinstance(network, nn.Module):
            message = f"{self.target} returns {type(network).__name__}; expected an nn.Module"
            raise TypeError(message)
        first = regularizer.layer(0)
        network = nn.Sequential(first, network) if first else network
        activations = _try_network(network, task, self.target)
        return network, _Sizes(tuple(widths), next(sites) - 1, activations)

    def widths(self, task: Task) -> tuple[int, ...]:
        return _sizes(self, task).widths

    def n_regularizer_sites(self, task: Task) -> int:
        return _sizes(self, task).regularizer_sites

    def activations(self, task: Task) -> int:
        return _sizes(self, task).activations

    def skip(self, context: NetworkContext) -> str | None:
        arguments = self._parameters()
        if "norm" not in arguments and context.norm.layer(8) is not None:
            return f"the model {self.target} takes no norm layers: it has no argument 'norm'"
        if "drop" not in arguments and context.regularizer.layer(1) is not None:
            layers = f"layers of {context.regularizer.name}"
            return f"the model {self.target} takes no {layers}: it has no argument 'drop'"
        return None

    def fill(self, network: nn.Module, init: Init, streams: Streams) -> None:
        if init.keeps_user_weights:
            return
        for name, layer, nonlinearity in self.weights(network):
            init.fill(layer.weight, nonlinearity, streams.generator(f"init/{name}.weight"))

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        layers = [(n, m) for n, m in network.named_modules() if isinstance(m, _WEIGHTED)]
        order = getattr(network, _ORDER, {})
        layers.sort(key=lambda pair: order.get(pair[0], len(order)))
        nonlinearities = (_NONLINEARITIES.get(type(module)) for module in network.modules())
        nonlinearity = next(filter(None, nonlinearities), "relu")
        for number, (name, layer) in enumerate(layers, start=1):
            yield name, layer, "linear" if number == len(layers) else nonlinearity


class _Sizes(NamedTuple):
    """What the engines and other techniques read of a network (see ``Model``)."""

    widths: tuple[int, ...]
    regularizer_sites: int
    activations: int


@lru_cache(maxsize=64)
def _sizes(model: Python, task: Task) -> _Sizes:
    with Streams(0).isolated(torch.device("cpu")):
        return model._build(task, Norm(), Regularizer())[1]


@torch.no_grad()
def _try_network(network: nn.Module, task: Task, target: str) -> int:
    """Call a network on two rows of zeros in evaluation mode, and note the order of its layers.

    Outputs of another shape raise a ``ValueError``: a loss would broadcast them against the
    targets.  The result is how many numbers a row leaves in the layers for the gradient.
    """
    order: dict[str, int] = {}
    sizes: list[int] = []

    def record(name: str, layer: nn.Module, _: object, outputs: object) -> None:
        if isinstance(layer, _WEIGHTED):
            order.setdefault(name, len(order))
        if isinstance(outputs, torch.Tensor):
            sizes.append(outputs.numel() // 2)
            if isinstance(layer, _WEIGHTED[1:]):  # a convolution's windows
                sizes.append(outputs[0, 0].numel() * layer.weight[0].numel())

    hooks = [
        layer.register_forward_hook(partial(record, name))
        for name, layer in network.named_modules()
        if isinstance(layer, _WEIGHTED) or not any(True for _ in layer.children())
    ]
    training = network.training
    outputs = network.eval()(torch.zeros(2, task.inputs))
    network.train(training)
    for hook in hooks:
        hook.remove()
    object.__setattr__(network, _ORDER, order)
    expected = (2, task.outputs)
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != expected:
        message = f"{target} returns outputs of shape {shape} for inputs (2, {task.inputs})"
        raise ValueError(f"{message}; expected {expected}")
    return sum(sizes)
