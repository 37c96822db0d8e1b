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
from torch.nn.utils.parametrize import is_parametrized

from ablations.core.errors import RequestError, nearest
from ablations.core.plugins import PREFIX, check_function, import_object, target_hash
from ablations.core.random import Streams
from ablations.core.registry import STUDY_DIR
from ablations.core.schema import BASELINE_COLUMNS, METRIC_COLUMNS, RUN_COLUMNS
from ablations.models.base import Model, NetworkContext, Weighted, model
from ablations.models.tracing import ActivationTracer
from ablations.tasks.base import Task
from ablations.techniques.base import Init, Nonlinearity, Norm, Regularizer

_ARGUMENTS = ("inputs", "outputs", "shape", "norm", "drop")
"""Arguments that the function may take; the study sets all others."""
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRIAL = "_ablations_trial"
"""The attribute of a network with the ``_Trial`` of its first call."""

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
    ``outputs`` that gives an ``nn.Module``, or the class of one with these arguments.

    The function may take more arguments: ``norm``, a function that returns the norm layer for a
    width, or with a number of dimensions for maps; ``drop``, a function that returns the next layer
    of the regularizer; and ``shape``, the shape of a row, channels first.  Further arguments with a
    default are parameters, which a study can set and vary.

    An init fills the weights of linear and convolutional layers; the control level keeps those that
    the function made.  An init with a gain takes that of the activation which really follows each
    layer in a trial call (``ablations.models.tracing`` states the rule), and is skipped where no
    gain follows from it.
    """

    name = "python"
    imports_code = True
    has_random_build = True
    resolved_fields = frozenset({"target", "options", "source"})
    target: str = ""
    options: Options = ()
    source: str = ""

    def with_resolved_inputs(self) -> Self:
        defaults = self._defaults()
        if columns := [
            n for n in defaults if n in {*RUN_COLUMNS, *METRIC_COLUMNS, *BASELINE_COLUMNS}
        ]:
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
        function = self._function
        try:
            parameters = inspect.signature(function).parameters.values()
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
        check_function(function, self.target, "", classes=(nn.Module,))
        return function  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_function": self._function}

    def _with(self, options: Options, source: str) -> Self:
        copy = type(self)(self.target, options, source)
        copy.__dict__["_function"] = self._function
        return copy

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        network, _, order = self._build(task, norm, regularizer)
        object.__setattr__(network, _TRIAL, _Trial(order, (self, task, norm, regularizer)))
        return network

    def _build(
        self, task: Task, norm: Norm, regularizer: Regularizer
    ) -> tuple[nn.Module, _Sizes, dict[str, int]]:
        """Return the network; its sizes and the order of its layers, by a trial call."""
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
        activations, order = _try_network(network, task, self.target)
        return network, _Sizes(tuple(widths), next(sites) - 1, activations), order

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
        if context.init.keeps_user_weights or not context.init.follows_activation():
            return None
        problem = _trace(self, context.task, context.norm, context.regularizer)[1]
        return problem and _explain_missing_gain(self, context.init, problem)

    def fill(self, network: nn.Module, init: Init, streams: Streams) -> None:
        if init.keeps_user_weights:
            return
        problem = _trace(*_trial(network).arguments)[1] if init.follows_activation() else None
        if problem:
            raise ValueError(_explain_missing_gain(self, init, problem))
        for name, layer, nonlinearity in self.weights(network):
            generator = streams.generator(f"init/{name}.weight")
            if is_parametrized(layer, "weight"):
                weight = layer.weight.clone()
                init.fill(weight, nonlinearity, generator)
                layer.weight = weight
            elif "weight" in layer._parameters:
                init.fill(layer.weight, nonlinearity, generator)
            else:
                message = f"the weight of '{name}' is no parameter, so that no init can fill it"
                raise ValueError(f"{message}; use torch.nn.utils.parametrizations")

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        nonlinearities, _ = _trace(*_trial(network).arguments)
        for name, layer in self._layers(network):
            yield name, layer, nonlinearities.get(name, "linear")

    def weighted_layers(self, network: nn.Module) -> list[Any]:
        return [layer for _, layer in self._layers(network)]

    def hidden_layers(self, network: nn.Module) -> list[Any]:
        return self.weighted_layers(network)[:-1]

    def _layers(self, network: nn.Module) -> list[tuple[str, Any]]:
        """Return name and layer in the order of their calls."""
        order = _trial(network).order
        pairs = _named_layers(network).items()
        return sorted(pairs, key=lambda pair: order.get(pair[0], len(order)))


class _Sizes(NamedTuple):
    """What the engines and other techniques read of a network (see ``Model``)."""

    widths: tuple[int, ...]
    regularizer_sites: int
    activations: int


class _Trial(NamedTuple):
    """What the trial call of a network shows, and how the network was built."""

    order: dict[str, int]
    """Layer to the number of its call."""
    arguments: tuple[Python, Task, Norm, Regularizer]


def _trial(network: nn.Module) -> _Trial:
    return getattr(network, _TRIAL)  # type: ignore[no-any-return]


def _named_layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in network.named_modules() if isinstance(m, _WEIGHTED)}


def _explain_missing_gain(model: Python, init: Init, problem: str) -> str:
    message = f"the init {init.label} needs the gain of the activation behind each layer"
    return f"{message}; in {model.target} {problem}"


@lru_cache(maxsize=256)
def _trace(
    model: Python, task: Task, norm: Norm, regularizer: Regularizer
) -> tuple[dict[str, Nonlinearity], str | None]:
    """Return what follows each layer, and a clause about a layer of which this is not known.

    The network is called in training mode with zeros and, for branches that depend on its inputs,
    with random rows and their opposites; layers that these calls leave out, in evaluation mode.
    """
    with Streams(0).isolated(torch.device("cpu")):
        try:
            network = model._build(task, norm, regularizer)[0]
        except Exception:
            return {}, None  # its runs fail, with this reason
        layers, kinds, problems = _named_layers(network), dict[str, Nonlinearity](), list[str]()
        random, n_calls, error_text = torch.randn(2, task.inputs), 0, ""
        for training in (True, False):
            tracer = ActivationTracer(network, layers)
            for rows in (torch.zeros(2, task.inputs), random, -random):
                try:
                    tracer.run(rows, training=training)
                    n_calls += 1
                except Exception as error:  # with negative tokens, say; one call is enough
                    error_text = f"{type(error).__name__}: {error}".splitlines()[0]
            nonlinearities, problem = tracer.nonlinearities()
            kinds |= {name: nonlinearities[name] for name in layers}
            problems += [problem] if problem else []
            called = tracer.called_layers()
            layers = {name: layer for name, layer in layers.items() if name not in called}
            if not layers:
                break
    if not n_calls:
        problems = [f"the layers cannot be followed: {error_text}"]
    return kinds, problems[0] if problems else None


@lru_cache(maxsize=64)
def _sizes(model: Python, task: Task) -> _Sizes:
    with Streams(0).isolated(torch.device("cpu")):
        return model._build(task, Norm(), Regularizer())[1]


@torch.no_grad()
def _try_network(network: nn.Module, task: Task, target: str) -> tuple[int, dict[str, int]]:
    """Call a network on two rows of zeros in evaluation mode.

    Outputs of another shape raise a ``ValueError``: a loss would broadcast them against the
    targets.  The result is how many numbers a row leaves in the layers for the gradient, and the
    order of the layers.
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
    expected = (2, task.outputs)
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != expected:
        message = f"{target} returns outputs of shape {shape} for inputs (2, {task.inputs})"
        raise ValueError(f"{message}; expected {expected}")
    return sum(sizes), order
