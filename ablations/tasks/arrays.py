"""Tasks from data in memory.

The data are stored as Parquet files, where workers, later commands and ``rerun`` read them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from ablations.core.deprecation import deprecated_function
from ablations.core.errors import RequestError
from ablations.core.files import cache_folder, digest, write_bytes
from ablations.core.registry import resolve
from ablations.tasks.base import Task

__all__ = ["from_arrays", "from_dataset"]

_ITEMS_READ_AGAIN = 256
_PAIR = ("input", "target")

TARGET, GROUP, SPLIT = "target", "group", "part"
"""Columns of the stored table beside the features."""


def from_arrays(
    x: Any, y: Any, *, groups: Any = None, folder: Path | str | None = None, **options: Any
) -> Task:
    """Return a task from features and targets.

    Parameters
    ----------
    x
        A DataFrame, or an array or tensor of shape (row, …).  Rows of more than one dimension keep
        their shape for models of images and sequences: channels first, (row, channel, step) or
        (row, channel, height, width).
    y
        Numbers or classes, shape (row,) or (row, 1); or numbers of shape (row, output), a
        DataFrame among them, for a regression with several outputs.
    groups
        Shape (row,): rows of one group stay in the same split.
    folder
        Folder for the stored data; by default in the user's cache folder.
    options
        ``kind`` (``"regression"``, ``"binary"``, ``"multiclass"``), ``validation`` and ``test``
        (shares of the rows), ``features``, ``drop``, ``loss``, ``class_weight``, ``types``,
        ``missing``, ``standardize``
        (``False`` for tokens, which must reach the network as they are), as for the task
        ``parquet``.

    Raises
    ------
    RequestError
        If the arrays do not match each other, or a column cannot be used.
    """
    frame, shape = _to_frame(x)
    targets = _to_targets(y, len(frame))
    if clashes := [name for name in (*targets, GROUP) if name in frame]:
        raise RequestError(f"a column of x is named '{clashes[0]}'; rename it", "x")
    for name, column in targets.items():
        frame[name] = column
    if groups is not None:
        frame[GROUP] = _to_column(groups, len(frame), "groups")
        options["group"] = GROUP
    return _store(frame, folder, {"target": list(targets), "shape": shape} | options)


def from_dataset(
    dataset: Any, validation: Any = None, *, folder: Path | str | None = None, **options: Any
) -> Task:
    """Return a task from a PyTorch dataset of pairs: inputs of one shape, and a number, a class,
    or several numbers.

    Parameters
    ----------
    dataset
        ``torch.utils.data.Dataset``, or any object with a length and items ``(input, target)``.
        Integer targets are classes, unless ``kind`` says otherwise.  Items are read once: a dataset
        that changes them at random each time is refused.
    validation
        A validation dataset, the same for every seed; or a share of the rows, which each seed
        draws (0.2 by default).
    folder, options
        As for ``from_arrays``.

    Raises
    ------
    RequestError
        Naming the item that does not fit.
    """
    x, y = _load_items(dataset, "dataset")
    if y.dtype.kind in "iub" and y.shape[1] == 1:
        options.setdefault("kind", "multiclass")
    if validation is None:
        return from_arrays(x, y, folder=folder, **options)
    if isinstance(validation, float):
        return from_arrays(x, y, folder=folder, validation=validation, **options)
    x_val, y_val = _load_items(validation, "validation")
    if x_val.shape[1:] != x.shape[1:]:
        message = f"its items have shape {list(x_val.shape[1:])}"
        raise RequestError(f"{message}, training items {list(x.shape[1:])}", "validation")
    if y_val.shape[1:] != y.shape[1:]:
        message = f"its items have {y_val.shape[1]} targets, training items {y.shape[1]}"
        raise RequestError(message, "validation")
    frame, shape = _to_frame(np.concatenate([x, x_val]))
    targets = _to_targets(np.concatenate([y, y_val]), len(frame))
    for name, column in targets.items():
        frame[name] = column
    options["target"] = list(targets)
    frame[SPLIT] = ["train"] * len(x) + ["validation"] * len(x_val)
    return _store(frame, folder, {"shape": shape, "split": "column", "by": SPLIT} | options)


for _function in (from_arrays, from_dataset):
    _alias = deprecated_function(_function, f"Task.{_function.__name__}")
    setattr(Task, _function.__name__, staticmethod(_alias))


def _to_frame(x: Any) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Return features as a table, and the shape of a row; () for a table."""
    if isinstance(x, pd.DataFrame):
        names = list(map(str, x.columns))
        if repeated := [name for name in names if names.count(name) > 1]:
            raise RequestError(f"two columns are named '{repeated[0]}'; rename one", "x")
        return x.reset_index(drop=True).set_axis(names, axis=1), ()
    array = _to_array(x, "x")
    if array.ndim < 2 or not array.size:
        message = f"expected features of shape (row, feature), found shape {list(array.shape)}"
        raise RequestError(message, "x")
    shape = array.shape[1:] if array.ndim > 2 else ()
    rows = array.reshape(len(array), -1)
    return pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])]), shape


def _to_targets(y: Any, rows: int) -> dict[str, np.ndarray]:
    """Return the column of each target by its name."""
    array = _to_array(y, "y")
    if array.ndim != 2 or array.shape[1] < 2:
        return {TARGET: _to_column(y, rows, "y")}
    if len(array) != rows:
        message = f"expected values for each of {rows:,} rows, found shape {list(array.shape)}"
        raise RequestError(message, "y")
    names = [f"{TARGET}{i}" for i in range(array.shape[1])]
    if isinstance(y, pd.DataFrame):
        names = list(map(str, y.columns))
    if len(set(names)) < len(names):
        raise RequestError(f"two of its columns have the same name: {names}", "y")
    return dict(zip(names, array.T, strict=True))


def _to_column(values: Any, rows: int, key: str) -> np.ndarray:
    array = _to_array(values, key)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (rows,):
        message = f"expected one value for each of {rows:,} rows, found shape {list(array.shape)}"
        raise RequestError(message, key)
    return array


def _to_array(values: Any, key: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    if hasattr(values, "toarray"):
        raise RequestError(f"is sparse ({type(values).__name__}); give .toarray() of it", key)
    if np.ma.is_masked(values):
        is_number = values.dtype.kind in "biuf"
        values = values.astype(float if is_number else object).filled(np.nan if is_number else None)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise RequestError(f"not an array: {error}", key) from None
    if array.dtype.kind in "Vc":
        raise RequestError(f"holds {array.dtype}; expected plain numbers", key)
    is_long = array.dtype.kind == "f" and array.dtype.itemsize > 8
    array = array.astype(np.float64 if is_long else array.dtype.newbyteorder("="), copy=False)
    if array.dtype == object and key == "x":
        raise RequestError("not an array of numbers; for text use a DataFrame", key)
    return array


def _load_items(dataset: Any, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs (row, …) and targets (row, output) of all items."""
    inputs, targets = [], []
    try:
        count = len(dataset)
    except TypeError:
        raise RequestError("expected a dataset with a length", key) from None
    for index in range(count):
        try:
            item = dataset[index]
        except TypeError:
            message = f"items of {type(dataset).__name__} cannot be read by index"
            raise RequestError(f"{message}; expected a dataset", key) from None
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            message = f"item {index} is {type(item).__name__}; expected a pair (input, target)"
            raise RequestError(message, key)
        inputs.append(_to_array(item[0], key))
        targets.append(_to_array(item[1], key).reshape(-1))
        if inputs[-1].shape != inputs[0].shape:
            shapes = f"{list(inputs[-1].shape)}, item 0 has {list(inputs[0].shape)}"
            raise RequestError(f"item {index} has shape {shapes}", key)
        if not targets[-1].size or targets[-1].size != targets[0].size:
            sizes = f"{targets[-1].size} numbers, item 0 one of {targets[0].size}"
            raise RequestError(f"item {index} has a target of {sizes}", key)
    if not inputs:
        raise RequestError("has no items", key)
    _refuse_random_items(dataset, inputs, targets, key)
    x = np.stack(inputs)
    return (x if x.ndim > 1 else x[:, None]), np.stack(targets)


def _refuse_random_items(
    dataset: Any, inputs: list[np.ndarray], targets: list[np.ndarray], key: str
) -> None:
    """Refuse a dataset whose items differ when they are read again: they are read once."""
    rows = np.unique(np.linspace(0, len(inputs) - 1, _ITEMS_READ_AGAIN).astype(int)).tolist()
    for row in rows:
        pair = (_to_array(value, key) for value in dataset[row])
        for value, first, name in zip(pair, (inputs[row], targets[row]), _PAIR, strict=True):
            if not np.array_equal(
                value.reshape(first.shape), first, equal_nan=value.dtype.kind == "f"
            ):
                message = f"the {name} of item {row} is another when it is read again"
                reason = "items are read once, and a random one would stay for all seeds and epochs"
                advice = (
                    "give the data without random changes, and let the regularizer 'input_noise', "
                    "a regularizer of your own, or a layer of the model draw them in each step"
                )
                raise RequestError(f"{message}: {reason}; {advice}", key)


def _store(frame: pd.DataFrame, folder: Path | str | None, options: dict[str, Any]) -> Task:
    """Write a table to a file named by its content, and return the task of the file."""
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer, index=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        for name in [name for name, kind in frame.dtypes.items() if kind == np.dtype(object)]:
            if len(types := sorted({type(value).__name__ for value in frame[name].dropna()})) > 1:
                message = f"column '{name}' mixes {' and '.join(types)}"
                raise RequestError(f"{message}; convert it, by astype(str) say", "x") from None
        raise RequestError(f"cannot be stored as a table: {error}", "x") from None
    content = buffer.getvalue()
    if folder is None:
        folder = cache_folder("data")
    path = Path(folder).absolute() / f"{digest(content)}.parquet"
    if not path.exists():
        try:
            write_bytes(path, content)
        except OSError as error:
            message = f"cannot store the data there: {error.strerror}; give another folder"
            raise RequestError(message, source=str(path.parent)) from None
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
    spec = {"name": "parquet", "path": str(path)} | plain
    return cast(Task, resolve("task", spec, "task"))
