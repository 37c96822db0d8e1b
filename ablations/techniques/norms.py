"""Normalisation of activations or weights in the hidden layers."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from ablations.core.strengths import format_plain
from ablations.techniques.base import Norm, TrainingContext, technique


@technique
class NoNorm(Norm):
    """No normalisation: the control."""

    name = "none"


@technique
class LayerNorm(Norm):
    """Normalise each example over its features (Ba, Kiros & Hinton, 2016)."""

    name = "layer"

    def layer(self, width: int) -> nn.Module:
        return nn.LayerNorm(width)

    def maps(self, width: int, dims: int) -> nn.Module:
        return nn.GroupNorm(1, width)  # over all channels and positions (Wu & He, 2018)


@technique
class BatchNorm(Norm):
    """Normalise each feature over the batch, in evaluation by running statistics of this momentum
    or by the statistics of all training rows (Ioffe & Szegedy, 2015).

    ``momentum`` is the share of each batch in the running statistics, as in PyTorch.  With
    ``statistics = "training rows"`` every evaluation uses those of all training rows under the
    present weights, as after ``torch.optim.swa_utils.update_bn``.
    """

    name = "batch"
    later_fields = frozenset({"momentum", "statistics"})
    lag_advice = 'train longer, or give momentum or statistics = "training rows"'
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    statistics: Literal["running", "training rows"] = "running"

    def describe_strength(self) -> str:
        if self.recomputes_statistics():
            return "statistics of all training rows"
        return f"momentum {format_plain(self.momentum)}"

    def layer(self, width: int) -> nn.Module:
        return nn.BatchNorm1d(width, momentum=self.momentum)

    def maps(self, width: int, dims: int) -> nn.Module:
        layer = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
        return layer(width, momentum=self.momentum)

    def recomputes_statistics(self) -> bool:
        return self.statistics == "training rows"

    def skip(self, context: TrainingContext) -> str | None:
        rows, size = context.task.rows, context.rows_per_batch
        last = rows % size or size
        if last > 1:
            return None
        return f"batch norm cannot train on a last batch of one row ({rows} rows by {size})"


@technique
class GroupNorm(Norm):
    """Normalise each example over groups of channels (Wu & He, 2018)."""

    name = "group"
    channels: Annotated[int, Field(gt=0)] = 8

    def describe_strength(self) -> str:
        return f"groups of {self.channels}"

    def layer(self, width: int) -> nn.Module:
        return nn.GroupNorm(width // self.channels, width)

    def maps(self, width: int, dims: int) -> nn.Module:
        return self.layer(width)

    def skip(self, context: TrainingContext) -> str | None:
        if self.channels == 1:
            return "group norm sets a group of one channel to zero: the channel is its own mean"
        for width in context.model.widths(context.task):
            if width % self.channels:
                return f"a layer of {width} units cannot be divided into groups of {self.channels}"
        return None


@technique
class RMSNorm(Norm):
    """Divide each example, or each place of a picture, by the root mean square of its features
    (Zhang & Sennrich, 2019).
    """

    name = "rms"

    def layer(self, width: int) -> nn.Module:
        return nn.RMSNorm(width)


@technique
class WeightNorm(Norm):
    """Learn length and direction of each hidden unit's weights apart (Salimans & Kingma, 2016)."""

    name = "weight_norm"

    def wrap(self, linear: nn.Linear) -> None:
        weight_norm(linear)

    def lengths(self, linear: nn.Linear) -> Tensor:
        if not is_parametrized(linear, "weight"):
            return linear.weight  # the output layer is not normalised
        lengths = linear.parametrizations.weight.original0  # type: ignore[union-attr]
        return cast(Tensor, lengths)
