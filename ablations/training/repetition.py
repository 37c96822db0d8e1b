"""Whether a run of user code repeats: the first steps of training, taken twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from ablations.core.files import digest
from ablations.core.random import Draws
from ablations.core.recorder import Inputs, recorded_inputs, recording
from ablations.models.base import initialise_network
from ablations.study.configuration import Configuration, Run
from ablations.training.loop import PlainStep, batch_rows, load_data, one_thread, set_draws
from ablations.training.result import is_failure
from ablations.training.timeout import time_limit

STEPS = 2
ROWS = 32
"""Most rows of the two passes in evaluation mode."""

ELSEWHERE = (
    "the code draws from elsewhere than the global generators of torch, NumPy and random, which "
    "a run seeds: from a generator without a seed, from the system or from the time, for example"
)
_DIFFERENCES = {
    "data": "has other data when it is loaded again",
    "start": "starts from other weights when it is built again",
    "objective": "has other losses when it is trained again",
    "weights": "has other weights when it is trained again",
}
"""Stage of the first steps to what differs there."""
_PASSES = ("before", "after")
"""The passes in evaluation mode, before and after the steps."""


def select_user_runs(runs: Sequence[Run]) -> list[Run]:
    """Return one run for each combination of components among which there is user code.

    All components count, since one of them may call another.
    """
    selected: dict[object, Run] = {}
    for run in runs:
        c = run.configuration
        if c.user_modules:
            key = (*c.components, c.dtype)
            selected.setdefault(key, run)
    return list(selected.values())


def try_user_runs(
    runs: Sequence[Run], seconds: float | None = None
) -> tuple[list[str | None], Inputs]:
    """Return ``find_irreproducible``, and what the user code of the runs has read in this process
    since it began to record.
    """
    with recording():
        reasons = find_irreproducible(runs, seconds)
    return reasons, recorded_inputs(set().union(*(run.configuration.user_modules for run in runs)))


def find_irreproducible(runs: Sequence[Run], seconds: float | None = None) -> list[str | None]:
    """Say of each run why its numbers do not repeat; None if no reason is found.

    Parameters
    ----------
    seconds
        Time limit of a run.  A run that fails or takes longer has no reason: it is trained, and its
        row says what is wrong.
    """
    return [_explain(run, seconds) for run in runs]


def _explain(run: Run, seconds: float | None) -> str | None:
    try:
        with time_limit(seconds):
            first, again = (dict(_take_first_steps(run)) for _ in range(2))
    except BaseException as error:
        if not is_failure(error):
            raise
        return None
    c = run.configuration
    names = _name_user_code(c)
    passes = [(s[stage], s[f"{stage} again"]) for s in (first, again) for stage in _PASSES]
    if any(outputs != repetition for outputs, repetition in passes):
        message = f"the model {c.model.title} is random in evaluation mode"
        return f"{message}: two passes over one row give different outputs ({names})"
    # An accelerator may round a sum differently each time.
    is_exact = c.device.torch_device().type == "cpu"
    stages = _DIFFERENCES if is_exact else ("data", "start")
    for stage in stages:
        if first[stage] != again[stage]:
            return f"a run with the same seed {_DIFFERENCES[stage]} ({names}): {ELSEWHERE}"
    return None


def _name_user_code(c: Configuration) -> str:
    names = [f"{each.role} {each.to_spec()[0]}" for each in c.components if each.user_modules()]
    return ", ".join(names) or "a metric"


def _take_first_steps(run: Run) -> Iterator[tuple[str, str]]:
    """Yield stages of the first steps of training, and a hash of the numbers of each."""
    c, streams = run.configuration, run.streams
    with one_thread(), streams.isolated(c.device.torch_device()):
        data = load_data(c, c.data_streams(run.seed))
        yield "data", _hash(data.x_train, data.y_train, data.x_val, data.y_val)
        network = initialise_network(c, streams)
        yield "start", _hash(*network.state_dict().values())
        step, draws = PlainStep(c, network, c.epochs), Draws(streams)
        rows = data.x_val[:ROWS]
        yield "before", _hash(_evaluate(network, rows))
        yield "before again", _hash(_evaluate(network, rows))
        set_draws(network, draws)
        network.train()
        objectives = []
        for batch in islice(batch_rows(c, streams, 1, data.x_train.device), STEPS):
            objectives.append(step.forward(data.x_train[batch], data.y_train[batch]))
            objectives[-1].backward()  # type: ignore[no-untyped-call]
            step.update()
            draws.step += 1
        yield "objective", _hash(*objectives)
        yield "weights", _hash(*network.state_dict().values())
        yield "after", _hash(_evaluate(network, rows))
        yield "after again", _hash(_evaluate(network, rows))


@torch.no_grad()
def _evaluate(network: nn.Module, rows: Tensor) -> Tensor:
    outputs: Tensor = network.eval()(rows)
    return outputs


def _hash(*tensors: Tensor) -> str:
    arrays = [tensor.detach().cpu().contiguous() for tensor in tensors]
    return digest(b"".join(array.view(-1).view(torch.uint8).numpy().tobytes() for array in arrays))
