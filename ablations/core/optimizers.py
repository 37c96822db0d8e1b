"""PyTorch's optimizers, without its compiler."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch

T = TypeVar("T", bound=torch.optim.Optimizer)

_EXEMPT = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def without_compiler(optimizer: type[T]) -> type[T]:
    """Return an optimizer of PyTorch whose methods do not import ``torch._dynamo``.

    They import it to say where a compiler has to pause, whether anything is compiled or not, which
    takes 1.3 s and 90 MB in each process.  No step of an optimizer is compiled here.
    """
    subclass: type[T] = _derive(cast(Any, optimizer))
    return subclass


@lru_cache
def _derive(optimizer: type[torch.optim.Optimizer]) -> Any:
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in _EXEMPT}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), methods)
