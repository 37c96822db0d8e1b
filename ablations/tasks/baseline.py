"""The constant predictor, which a network that learned something must beat."""

from __future__ import annotations

import torch

from ablations.tasks.base import Data, Task

__all__ = ["baseline"]


@torch.no_grad()
def baseline(task: Task, data: Data) -> tuple[float, float]:
    """Return loss and metric, in float64, of the constant that is best on the training rows.

    They are those on the rows that judge: test rows, or validation rows if there are none.

    Parameters
    ----------
    data
        The splits of one seed, on any device.
    """
    targets = data.y_val if data.y_test is None else data.y_test
    is_amount = targets.is_floating_point()
    targets = targets.to("cpu", torch.float64 if is_amount else targets.dtype)
    outputs = task.constant(data).expand(len(targets), -1)
    return float(task.mean_loss(outputs, targets)), float(task.metric(outputs, targets))
