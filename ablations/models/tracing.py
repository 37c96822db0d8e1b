"""Find the activation that follows each weighted layer of a network, whatever its code is.

The network is called, and PyTorch's dispatcher reports each operation: those of modules, functions,
methods and operators, of scripted code, and of whichever branch the call takes.  The output of a
layer carries the layer's label.  The rule:

- The label passes through what is linear or only rescales: norms, dropout, pooling, reshapes, sums
  with other tensors, products with other tensors.  It ends at the next operation with weights.
- The first activation on each way counts.  In ``act(b(x)) * gate(x)`` the layer ``b`` is followed
  by ``act``; ``gate`` follows the layer that made ``x`` only if ``x`` is not activated itself.
- A way without an activation, such as a shortcut, does not count beside one with an activation
  of the same numbers.  A layer without any is linear: its gain is 1, like that of a sigmoid, a
  softmax and a gate.
- Activations of different gains behind one layer or in two calls of it, an operation whose gain is
  not known, and a product of an output with a function of itself leave the gain undefined.

Only what reaches a layer or the network's output counts.  A weight belongs to its layer however it
is used: by a call of the layer, by ``torch.nn.functional.linear``, or as a view.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ablations.core.random import Draws, Streams
from ablations.techniques.base import Nonlinearity, RandomLayer, calculate_gain

__all__ = ["ActivationTracer"]

_RELU, _TANH, _SIGMOID = (Nonlinearity(name) for name in ("relu", "tanh", "sigmoid"))
_NONLINEARITIES = {
    _RELU: "relu celu gelu silu mish hardswish softplus log_sigmoid_forward",
    _TANH: "tanh",
    _SIGMOID: "sigmoid hardsigmoid glu _softmax _safe_softmax _log_softmax",
}
_ACTIVATIONS = {op: kind for kind, ops in _NONLINEARITIES.items() for op in ops.split()}
"""Operation to the nonlinearity whose gain it has; activations close to a ReLU have its gain."""
_LINEAR_OPERATIONS = """
    add sub rsub neg mean sum cumsum cat stack clone copy _to_copy lift_fresh detach alias
    view _unsafe_view _reshape_alias reshape squeeze unsqueeze transpose t permute expand
    repeat repeat_interleave tile flip roll rot90
    unfold im2col col2im fold pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
    constant_pad_nd pad index select slice gather take index_select masked_select index_put
    _unsafe_index _index_put_impl scatter scatter_add scatter_reduce index_add index_copy
    index_fill masked_fill masked_scatter slice_scatter select_scatter diagonal_scatter where
    tril triu diagonal trace nan_to_num topk sort max min amax amin median kthvalue mode
    native_layer_norm native_group_norm native_batch_norm batch_norm cudnn_batch_norm
    miopen_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    _native_batch_norm_legit_functional _batch_norm_with_update _batch_norm_no_update
    _fused_rms_norm rms_norm native_dropout alpha_dropout feature_dropout dropout
    avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
    adaptive_avg_pool1d max_pool2d_with_indices max_pool3d_with_indices max_pool1d max_pool2d
    adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d mkldnn_max_pool2d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa
    upsample_bicubic2d upsample_trilinear3d grid_sampler_2d grid_sampler_3d reflection_pad1d
    reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    _fft_r2c _fft_c2r _fft_c2c view_as_real view_as_complex real imag conj _conj
    mm bmm mv dot addmm addmv addbmm baddbmm linear convolution _convolution matmul
    _sparse_addmm _sparse_mm
"""
_LINEAR = frozenset(_LINEAR_OPERATIONS.split())
"""Operations that are linear in each tensor of numbers, select among them, or only rescale them."""
_REDUCTIONS = {"mean", "sum", "amax", "amin", "avg_pool1d", "avg_pool2d", "avg_pool3d"}
_STATISTICS = {"var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm", "logsumexp"}
_WEIGHTED = {
    **dict.fromkeys(["mm", "bmm", "mv", "dot", "matmul", "linear", "convolution"], (0, 1)),
    **dict.fromkeys(["addmm", "addmv", "addbmm", "baddbmm"], (1, 2)),
    **dict.fromkeys(["_convolution", "_trilinear"], (0, 1)),
}
"""Operation to the positions of its two factors, of which one may be a weight."""
_RECURRENT = ("rnn", "lstm", "gru")
_NEW = ("empty", "zeros", "ones", "full", "rand", "normal", "bernoulli", "uniform", "fill", "zero")
"""How the names of operations begin whose result does not depend on a tensor's numbers."""
_FACTORS: dict[str, tuple[tuple[int, int], ...]] = {
    "mul": ((0, 1),),
    "div": ((0, 1),),
    "addcmul": ((1, 2),),
    "addcdiv": ((1, 2),),
    "lerp": ((0, 2), (1, 2)),
}
"""Operation to the pairs of arguments that it multiplies; the second one divides in ``…div``."""
_GATES = {"sigmoid", "hardsigmoid"}
_MAX_PATH = 4
"""How many nested slices of an output are told apart."""


@dataclass(frozen=True)
class _Bend:
    """A nonlinear operation on the output of a layer."""

    operation: str
    nonlinearity: Nonlinearity | None
    """None: its gain is not known."""


class _Label(NamedTuple):
    """The output of one call of a layer, or a slice of it (``path``), within a tensor."""

    layer: str
    call: int
    path: tuple[object, ...] = ()
    bend: _Bend | None = None
    """The first nonlinear operation on the way; None before any."""
    is_reduced: bool = False
    """Whether it is a statistic, such as a mean."""

    def overlaps(self, other: _Label) -> bool:
        """Return whether both come from the same numbers of one output."""
        pairs = zip(self.path, other.path, strict=False)
        return self[:2] == other[:2] and all(a == b for a, b in pairs)


@dataclass(frozen=True)
class _Flow:
    """What a tensor comes from."""

    labels: frozenset[_Label] = frozenset()
    is_data: bool = False
    """Whether it depends on the network's inputs."""
    parameters: frozenset[str] = frozenset()
    """Without data: the layers of the weights that it comes from, "" for other parameters."""


@dataclass
class ActivationTracer:
    """The activations behind the layers of a network, over all calls of ``run``.

    Parameters
    ----------
    network
        Its mode, buffers and random layers are changed.
    layers
        The weighted layers by their names.
    """

    network: nn.Module
    layers: Mapping[str, nn.Module]
    arrivals: dict[tuple[str, int], set[_Label]] = field(default_factory=dict)
    """Layer and number of its call, to the labels that reach a layer or the network's output."""

    def run(self, inputs: Tensor, *, training: bool) -> None:
        """Call the network on inputs of shape (row, feature), and follow its operations."""
        self.network.train(training)
        for module in self.network.modules():
            if isinstance(module, RandomLayer):
                module.draws = Draws(Streams(0))
        recorder = _Recorder(len(self.arrivals))
        for parameter in self.network.parameters():
            recorder.write(parameter, _Flow(parameters=frozenset([""])))
        for name, layer in self.layers.items():
            for parameter in layer.parameters():
                if parameter is not getattr(layer, "bias", None):
                    names = recorder.read(parameter).parameters - {""} | {name}
                    recorder.write(parameter, _Flow(parameters=names))
        recorder.write(inputs, _Flow(is_data=True))
        # With gradients: without, attention and transformer layers run as one fused operation.
        with torch.enable_grad(), recorder:
            outputs = self.network(inputs)
        for output in _tensors(outputs):
            recorder.arrive(recorder.read(output).labels)
        self.arrivals |= recorder.arrivals

    def called_layers(self) -> set[str]:
        """Return the layers whose weights were used."""
        return {layer for layer, _ in self.arrivals}

    def nonlinearities(self) -> tuple[dict[str, Nonlinearity], str]:
        """Return what follows each layer, and the first problem as a clause; "" without one.

        A layer that is never called is linear.
        """
        kinds, problems = dict.fromkeys(self.layers, Nonlinearity("linear")), list[str]()
        calls_by_layer: dict[str, list[set[_Label]]] = {}
        for (layer, _), labels in self.arrivals.items():
            calls_by_layer.setdefault(layer, []).append(labels)
        for layer, calls in calls_by_layer.items():
            by_gain: dict[float, _Bend] = {}
            for bend in itertools.chain.from_iterable(map(_first_bends, calls)):
                if bend.nonlinearity is None:
                    problems.append(f"'{layer}' is followed by {bend.operation}, of unknown gain")
                else:
                    gain = round(calculate_gain(bend.nonlinearity), 3)
                    kinds[layer] = by_gain.setdefault(gain, bend).nonlinearity or kinds[layer]
            if len(by_gain) > 1:
                pairs = sorted(by_gain.items(), key=lambda pair: pair[0])
                gains = [f"{bend.operation} (gain {gain:.3g})" for gain, bend in pairs]
                problems.append(f"'{layer}' is followed by {' and by '.join(gains)}")
        return kinds, problems[0] if problems else ""


def _first_bends(labels: set[_Label]) -> list[_Bend]:
    """Return what follows one call of a layer.

    Labels without an activation count where no other label of the same numbers has one.
    """
    bent = [label for label in labels if label.bend is not None]
    is_linear = not bent or any(
        label.bend is None and not any(label.overlaps(other) for other in bent) for label in labels
    )
    bends = dict.fromkeys(label.bend for label in bent if label.bend is not None)
    linear = _Bend("no activation", Nonlinearity("linear"))
    return sorted([*bends, *([linear] if is_linear else [])], key=lambda bend: bend.operation)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the labels through one call of a network.

    Labels belong to storages: a view has those of its base, and an operation in place changes
    those of all views.
    """

    def __init__(self, first_call: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arrivals: dict[tuple[str, int], set[_Label]] = {}
        self._first_call = first_call
        self._flows: dict[int, _Flow] = {}
        self._references: list[Tensor] = []  # so that no address is used twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = _tensors((args, kwargs))
        operation = func.overloadpacket.__name__
        is_in_place = operation.endswith("_") and not operation.endswith("__")
        storages = {_storage(tensor) for tensor in inputs}
        outputs = func(*args, **kwargs)
        results = [t for t in _tensors(outputs) if _storage(t) not in storages]
        if results or is_in_place:
            flow = self._combine(operation.removesuffix("_"), args, inputs)
            if is_in_place:
                results.append(inputs[0])
            for tensor in results:
                self.write(tensor, flow)
        return outputs

    def read(self, tensor: Tensor) -> _Flow:
        """Return the flow of a tensor; that of a slice has labels of its own."""
        flow = self._flows.get(_storage(tensor), _Flow())
        if not flow.labels or _fills_storage(tensor):
            return flow
        region = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        labels = [label._replace(path=(*label.path, region)[:_MAX_PATH]) for label in flow.labels]
        return _Flow(frozenset(labels), flow.is_data)

    def write(self, tensor: Tensor, flow: _Flow) -> None:
        """Set the flow of a tensor; one that shares its storage adds to it."""
        is_number = tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
        labels = flow.labels if is_number else frozenset()
        is_data, parameters = flow.is_data, flow.parameters
        before = self._flows.get(_storage(tensor))
        if before is not None and not _fills_storage(tensor):
            labels, is_data = labels | before.labels, is_data or before.is_data
            parameters = parameters | before.parameters
        self._flows[_storage(tensor)] = _Flow(labels, is_data, parameters)
        self._references.append(tensor)

    def _combine(self, operation: str, args: tuple[Any, ...], inputs: list[Tensor]) -> _Flow:
        """Return the flow of an operation's results."""
        if operation.startswith(_NEW) or operation.startswith("new_"):
            return _Flow()
        flows = [self.read(tensor) for tensor in inputs]
        if not any(flow.is_data for flow in flows):
            return _Flow(parameters=frozenset().union(*(flow.parameters for flow in flows)))
        labels = frozenset().union(*(flow.labels for flow in flows))
        if operation in _WEIGHTED:
            factors = [self.read(args[position]) for position in _WEIGHTED[operation]]
            weights = frozenset().union(*(f.parameters for f in factors if not f.is_data))
            if weights:
                self.arrive(labels)
                return _Flow(frozenset(map(self._call, sorted(weights - {""}))), is_data=True)
        if any(kind in operation for kind in _RECURRENT) or operation == "embedding":
            self.arrive(labels)
            return _Flow(is_data=True)
        return _Flow(frozenset(self._follow(operation, args, labels)), is_data=True)

    def _call(self, layer: str) -> _Label:
        call = self._first_call + len(self.arrivals)
        self.arrivals[layer, call] = set()
        return _Label(layer, call)

    def arrive(self, labels: Iterable[_Label]) -> None:
        """Note that these labels reach a layer or the network's output."""
        for label in labels:
            self.arrivals[label.layer, label.call].add(label)

    def _follow(
        self, operation: str, args: tuple[Any, ...], labels: frozenset[_Label]
    ) -> Iterable[_Label]:
        """Return the labels behind an operation on data without weights."""
        nonlinearity = self._nonlinearity(operation, args)
        if nonlinearity is not None:
            return self._bend(labels, operation.strip("_"), nonlinearity)
        if operation.startswith("_scaled_dot_product"):
            query, key, value, *_ = (self.read(tensor).labels for tensor in _tensors(args))
            return {*self._bend(query | key, "softmax", _SIGMOID), *value}
        if operation in _FACTORS:
            return self._multiply(operation, args, labels)
        if operation in _STATISTICS or operation in _REDUCTIONS:
            if operation in _STATISTICS:
                labels = frozenset(self._bend(labels, operation, None))
            return [label._replace(is_reduced=True) for label in labels]
        return labels if operation in _LINEAR else self._bend(labels, operation, None)

    def _bend(
        self, labels: Iterable[_Label], operation: str, nonlinearity: Nonlinearity | None
    ) -> Iterator[_Label]:
        """Yield the labels behind a nonlinear operation; only the first one counts."""
        for label in labels:
            yield label._replace(bend=label.bend or _Bend(operation, nonlinearity))

    def _nonlinearity(self, operation: str, args: tuple[Any, ...]) -> Nonlinearity | None:
        """Return the nonlinearity of an operation; None if it is none, or of unknown gain."""
        numbers = [value for value in args[1:] if isinstance(value, (int, float))]
        if operation == "elu":
            return Nonlinearity("selu") if numbers[1:] and numbers[1] != 1 else _RELU
        if operation == "leaky_relu":
            return Nonlinearity("leaky_relu", numbers[0] if numbers else 0.01)
        if operation == "_prelu_kernel":
            return Nonlinearity("leaky_relu", float(args[1].detach().mean()))
        if operation == "rrelu_with_noise":
            low, high = numbers[:2] if len(numbers) > 1 else (1 / 8, 1 / 3)
            return Nonlinearity("leaky_relu", (low + high) / 2)
        if operation in ("clamp", "clamp_min", "hardtanh", "threshold"):
            low = args[1] if len(args) > 1 else -1
            if operation == "threshold":
                return _RELU if numbers == [0, 0] else None
            high = args[2] if len(args) > 2 else (1 if operation == "hardtanh" else math.inf)
            is_bounded = isinstance(low, (int, float)) and isinstance(high, (int, float))
            return _RELU if is_bounded and low == 0 else None
        if operation == "maximum":
            others = [t for t in args if not self.read(t).is_data]
            return _RELU if others and not others[0].any() else None
        return _ACTIVATIONS.get(operation)

    def _multiply(
        self, operation: str, args: tuple[Any, ...], labels: frozenset[_Label]
    ) -> Iterable[_Label]:
        """Return the labels behind a product: of other outputs it is a gate or a scale, of the
        same output a nonlinear operation, of an output and its own statistic a norm.
        """
        result = set(labels)
        for pair in _FACTORS[operation]:
            factors = [args[i] for i in pair if i < len(args) and isinstance(args[i], Tensor)]
            if len(factors) < 2:
                continue
            first, second = (self.read(factor).labels for factor in factors)
            if operation.endswith("div"):
                bare = {b for b in second if b.bend is None and not b.is_reduced}
                result = result - bare | set(self._bend(bare, "a division by it", None))
            for a, b in itertools.product(first, second):
                if a.overlaps(b):
                    self._multiply_same(a, b, result)
        return result

    def _multiply_same(self, a: _Label, b: _Label, result: set[_Label]) -> None:
        """Replace the labels ``a`` and ``b`` of one output by those of their product."""
        if a.is_reduced or b.is_reduced:
            statistics = {label for label in (a, b) if label.is_reduced and label.bend}
            result -= {s for s in statistics if s.bend and s.bend.nonlinearity is None}
            return
        straight = [label for label in (a, b) if label.bend is None]
        if not straight:
            return
        bend = next((label.bend for label in (a, b) if label.bend), None)
        is_swish = bend is not None and bend.operation in _GATES and a.path == b.path
        product = ("silu", _RELU) if is_swish else ("a product with itself", None)
        result -= {a, b}
        result |= set(self._bend(straight[:1], *product))


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _storage(tensor: Tensor) -> int:
    """Return the address of the storage, or of a tensor without one, such as a sparse one."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return id(tensor)


def _fills_storage(tensor: Tensor) -> bool:
    try:
        return tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes()
    except (NotImplementedError, RuntimeError):
        return True
