"""What a person would write instead: each run in plain PyTorch, all runs through joblib.

``python bench/peer.py --runs 1000`` prints how many of the notebook's runs a second that trains.
No data is drawn here, nothing is evaluated but the last training loss, and nothing is kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time

import joblib
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, lr_scheduler

REGULARIZERS = ("none", "l1", "l2", "elastic", "dropout")
NORMS = ("none", "layer", "batch", "group")
INITS = ("default", "xavier_uniform", "kaiming_uniform")
SCHEDULES = ("constant", "step", "cosine", "plateau")
EPOCHS, LR, PENALTY = 20, 1e-3, 0.01


def network(regularizer: str, norm: str, init: str) -> nn.Sequential:
    """Two hidden layers, each with its norm after the activation."""
    layers: list[nn.Module] = []
    for inputs, outputs, rate in ((10, 64, 0.5), (64, 32, 0.2)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        if norm != "none":
            kinds = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
            layers.append(
                nn.GroupNorm(outputs // 8, outputs) if norm == "group" else kinds[norm](outputs)
            )
        if regularizer == "dropout":
            layers.append(nn.Dropout(rate))
    model = nn.Sequential(*layers, nn.Linear(32, 1))
    for layer in model:
        if isinstance(layer, nn.Linear) and init == "xavier_uniform":
            nn.init.xavier_uniform_(layer.weight)
        elif isinstance(layer, nn.Linear) and init == "kaiming_uniform":
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return model


def scheduler(schedule: str, optimizer: Optimizer) -> lr_scheduler.LRScheduler | None:
    """PyTorch's own."""
    if schedule == "step":
        return lr_scheduler.StepLR(optimizer, step_size=5)
    if schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
    return lr_scheduler.ReduceLROnPlateau(optimizer) if schedule == "plateau" else None


def train(
    x: Tensor, y: Tensor, regularizer: str, norm: str, init: str, schedule: str, seed: int
) -> float:
    """One run; its last training loss."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model, loss_of = network(regularizer, norm, init), nn.MSELoss()
    decay = PENALTY if regularizer in ("l2", "elastic") else 0.0
    optimizer = Adam(model.parameters(), lr=LR, weight_decay=decay)
    moves = scheduler(schedule, optimizer)
    for _ in range(EPOCHS):
        model.train()
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        if regularizer in ("l1", "elastic"):
            loss = loss + PENALTY * sum(parameter.abs().sum() for parameter in model.parameters())
        loss.backward()
        optimizer.step()
        if isinstance(moves, lr_scheduler.ReduceLROnPlateau):
            moves.step(loss.item())
        elif moves is not None:
            moves.step()
    model.eval()
    with torch.no_grad():
        return float(loss_of(model(x), y))


def main() -> None:
    """Train some runs of the grid, on workers that are warm."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    cells = list(itertools.product(REGULARIZERS, NORMS, INITS, SCHEDULES, range(100)))
    random.Random(0).shuffle(cells)
    x, y = torch.rand(100, 10), torch.rand(100, 1)
    with joblib.Parallel(n_jobs=arguments.jobs, backend="loky", batch_size=1) as pool:
        pool(joblib.delayed(train)(x, y, *cell) for cell in cells[: 20 * arguments.jobs])
        start = time.perf_counter()
        losses = pool(joblib.delayed(train)(x, y, *cell) for cell in cells[: arguments.runs])
        seconds = time.perf_counter() - start
    sys.stdout.write(json.dumps({"runs_per_second": len(losses) / seconds}) + "\n")


if __name__ == "__main__":
    main()
