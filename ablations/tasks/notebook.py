"""The teaching notebook's dummy data."""

from __future__ import annotations

import torch

from ablations.core.random import Streams
from ablations.tasks.base import Data, Regression, task


@task
class Notebook(Regression):
    """100 rows of 10 uniform inputs and one uniform target that has nothing to do with them."""

    name = "notebook"
    inputs, outputs, rows = 10, 1, 100
    default_batch_size, default_epochs = "full", 20  # those of the teaching notebook
    badge = "noise targets"
    caution = (
        "The targets of this task are random noise: they do not depend on the inputs, so there is "
        "nothing to learn but their mean. The constant 0.5 scores 1/12 = 0.0833. A training loss "
        "below that is memorisation, and every regularizer looks harmful on the training loss by "
        "construction. On validation rows nothing can beat that constant: what helps or hurts here "
        "comes nearer to it or stays farther away. That says nothing of generalisation on real "
        "data."
    )

    def data(self, streams: Streams) -> Data:
        widths = {"inputs": self.inputs, "targets": self.outputs}
        draws = [
            streams.uniform((self.rows, width), f"data/{split}/{name}").to(torch.float32)
            for split in ("train", "val")
            for name, width in widths.items()
        ]
        return Data(*draws)
