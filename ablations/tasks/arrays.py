"""Tasks from what a program holds in memory; their data are kept as Parquet files.

Workers, later commands and ``rerun`` read them there.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from ablations.core.errors import RequestError
from ablations.core.files import digest, write_bytes
from ablations.core.registry import resolve
from ablations.tasks.base import Task

__all__ = ["from_arrays", "from_dataset"]

TARGET, GROUP, PART = "target", "group", "part"


def from_arrays(
    x: Any,
    y: Any,
    *,
    groups: Any = None,
    folder: Path | str | None = None,
    **asked: Any,
) -> Task:
    """A task from features and targets.

    Parameters
    ----------
    x
        A DataFrame, or an array or tensor of shape (row, …); what has more dimensions than
        (row, feature) keeps its shape for models of pictures and sequences.
    y
        Numbers or classes, shape (row,) or (row, 1).
    groups
        Shape (row,): rows of one group stay together, on one side of the split.
    folder
        Where the data are kept; the user's cache folder by default.
    asked
        ``kind`` (``"regression"``, ``"binary"``, ``"multiclass"``), ``validation`` (share of the
        rows, 0.2 by default), ``features``, ``drop``, as a task ``parquet`` takes them.

    Raises
    ------
    RequestError
        If the arrays do not fit together, or a column cannot be used.
    """
    frame, shape = _features(x)
    taken = [name for name in (TARGET, GROUP) if name in frame]
    if taken:
        raise RequestError(f"a column of x is named '{taken[0]}'; rename it", "x")
    frame[TARGET] = _column(y, len(frame), "y")
    if groups is not None:
        frame[GROUP] = _column(groups, len(frame), "groups")
        asked["group"] = GROUP
    return _kept(frame, folder, {"shape": shape} | asked)


def from_dataset(
    dataset: Any,
    validation: Any = None,
    *,
    folder: Path | str | None = None,
    **asked: Any,
) -> Task:
    """A task from a PyTorch dataset of pairs: inputs of one shape, and a number or a class.

    Parameters
    ----------
    dataset
        ``torch.utils.data.Dataset``, or anything with a length and items ``(input, target)``;
        targets that are whole numbers are classes, unless ``kind`` says otherwise.
    validation
        A dataset to judge by, the same for every seed; or a share of the rows, drawn by each seed
        (0.2 by default).
    folder, asked
        As ``from_arrays`` takes them.

    Raises
    ------
    RequestError
        Naming the item that does not fit.
    """
    x, y = _items(dataset, "dataset")
    if y.dtype.kind in "iub":
        asked.setdefault("kind", "multiclass")
    if validation is None or isinstance(validation, float):
        share = {} if validation is None else {"validation": validation}
        return from_arrays(x, y, folder=folder, **share, **asked)
    x_val, y_val = _items(validation, "validation")
    if x_val.shape[1:] != x.shape[1:]:
        message = f"its items have shape {list(x_val.shape[1:])}, those to train on "
        raise RequestError(f"{message}{list(x.shape[1:])}", "validation")
    frame, shape = _features(np.concatenate([x, x_val]))
    frame[TARGET] = np.concatenate([y, y_val])
    frame[PART] = ["train"] * len(x) + ["validation"] * len(x_val)
    return _kept(frame, folder, {"shape": shape, "split": "column", "by": PART} | asked)


def _features(x: Any) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Features as a table, and the shape of a row; () where it is that of a table."""
    if isinstance(x, pd.DataFrame):
        return x.reset_index(drop=True).rename(columns=str), ()
    array = _array(x, "x")
    if array.ndim < 2 or not array.size:
        message = f"expected features of shape (row, feature), found shape {list(array.shape)}"
        raise RequestError(message, "x")
    shape = array.shape[1:] if array.ndim > 2 else ()
    flat = array.reshape(len(array), -1)
    return pd.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])]), shape


def _column(values: Any, rows: int, key: str) -> np.ndarray:
    array = _array(values, key)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (rows,):
        message = f"expected one value for each of {rows:,} rows, found shape {list(array.shape)}"
        raise RequestError(message, key)
    return array


def _array(values: Any, key: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    try:
        found = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise RequestError(f"is no array: {error}", key) from None
    if found.dtype == object and key == "x":
        raise RequestError("is no array of numbers; a DataFrame may hold text", key)
    return found


def _items(dataset: Any, key: str) -> tuple[np.ndarray, np.ndarray]:
    """All items, stacked."""
    inputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    try:
        count = len(dataset)
    except TypeError:
        raise RequestError("has no length; a dataset with one is needed", key) from None
    for place in range(count):
        try:
            item = dataset[place]
        except TypeError:
            message = f"{type(dataset).__name__} cannot be asked for an item by its number"
            raise RequestError(f"{message}; give the dataset itself", key) from None
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            message = f"item {place} is {type(item).__name__}; a pair (input, target) is wanted"
            raise RequestError(message, key)
        inputs.append(_array(item[0], key))
        targets.append(_array(item[1], key).reshape(-1))
        if inputs[-1].shape != inputs[0].shape:
            shapes = f"{list(inputs[-1].shape)}, item 0 has {list(inputs[0].shape)}"
            raise RequestError(f"item {place} has shape {shapes}", key)
        if targets[-1].size != 1:
            message = f"item {place} has a target of {targets[-1].size} numbers; one is wanted"
            raise RequestError(message, key)
    if not inputs:
        raise RequestError("has no items", key)
    x = np.stack(inputs)
    return (x if x.ndim > 1 else x[:, None]), np.concatenate(targets)


def _kept(frame: pd.DataFrame, folder: Path | str | None, asked: dict[str, Any]) -> Task:
    """Write the data down under the name of their content, and make a task of them."""
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer, index=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise RequestError(f"cannot be kept as a table: {error}", "x") from None
    content = buffer.getvalue()
    path = _folder(folder) / f"{digest(content)}.parquet"
    if not path.exists():
        try:
            write_bytes(path, content)
        except OSError as error:
            message = f"the data cannot be kept there: {error.strerror}; choose a folder"
            raise RequestError(message, source=str(path.parent)) from None
    spec = {"name": "parquet", "path": str(path), "target": TARGET}
    found = resolve("task", spec | {k: _plain(v) for k, v in asked.items()}, "task")
    assert isinstance(found, Task)  # noqa: S101 - what resolve gives for "task"
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _folder(folder: Path | str | None) -> Path:
    if folder is not None:
        return Path(folder).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ablations" / "data"
