"""Results folders with right digests and wrong contents, as somebody can make who knows the format.

Each forgery is a function of a folder and a source of random numbers; ``forge`` applies some of
them.  Names of shards, seals and the manifest fit what they name afterwards.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablations.core.files import SEAL, digest, write_sealed_json
from ablations.results.environment import identify

ESCAPES = "\x1b[31m\x07<script>alert('x')</script>\u202e"
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 2**53, 2**62, -(2**62), 0.0, -0.5, 1e308, float("nan")),
    *(float("inf"), "", "none", "0.1", ESCAPES, "=cmd|' /C calc'!A0", "../../x", "é" * 5_000),
    *([], {}, [1], ["none"], {"none": "none"}, [[[[[]]]]], {"a": {"b": [None]}}, 2**200, "\ud800"),
]
SCALARS = [value for value in VALUES if not isinstance(value, (list, dict))]
TYPES = [
    *(pa.string(), pa.large_string(), pa.int64(), pa.int8(), pa.uint64(), pa.float64()),
    *(pa.float16(), pa.bool_(), pa.binary(), pa.null(), pa.timestamp("ns", "UTC"), pa.date32()),
    *(pa.decimal128(20, 3), pa.list_(pa.float64()), pa.struct([("x", pa.string())])),
    *(pa.dictionary(pa.int32(), pa.string()), pa.duration("s"), pa.map_(pa.string(), pa.int64())),
]


def forge(folder: Path, seed: int) -> list[str]:
    """Forge a folder in one to three ways, and return their names."""
    chance, names = random.Random(seed), []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        forgery = chance.choice(FORGERIES)
        try:
            forgery(folder, chance)
        except (pa.ArrowException, NotImplementedError, IndexError, ValueError, OverflowError):
            continue  # it cannot be written, or what it changes is not there
        except (TypeError, UnicodeError):
            continue
        names.append(forgery.__name__)
    return names


# Shards


def write_shard(path: Path, table: pa.Table) -> None:
    """Write a shard in place of another one, with all that names it."""
    folder = path.parents[1]
    path.unlink(missing_ok=True)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    name = f"{path.name[:6]}-{digest(content)}.parquet"
    (path.parent / name).write_bytes(content)
    if path.parent.name == "curves":
        for runs in sorted((folder / "runs").glob("*.parquet")):
            committing = pq.read_table(runs)
            metadata = dict(committing.schema.metadata)
            if metadata.get(b"ablations.curves") == path.name.encode():
                metadata[b"ablations.curves"] = name.encode()
                write_shard(runs, committing.replace_schema_metadata(metadata))
    tables = ("runs", "timings", "audit")
    shards = [file for each in tables for file in sorted((folder / each).glob("*.parquet"))]
    names = [f"{file.parent.name}/{file.name}" for file in shards]
    write_sealed_json(folder / "manifest.json", {"shards": names})


def pick_shard(folder: Path, chance: random.Random) -> tuple[Path, pa.Table]:
    paths = sorted(folder.glob("*/*.parquet"))
    path = chance.choice(paths)
    return path, pq.read_table(path)


def convert(column: Any, kind: pa.DataType) -> Any:
    """Return a column with another type: cast, or of values of that type."""
    try:
        return column.cast(kind)
    except (pa.ArrowException, NotImplementedError):
        values = {
            "string": "x", "binary": b"\xff\xfe", "bool": True, "list": [1.5], "struct": {"x": "y"},
        }  # fmt: skip
        name = str(kind).partition("<")[0].partition("[")[0]
        return pa.array([values.get(name)] * len(column), kind)


def retype_column(folder: Path, chance: random.Random) -> None:
    path, table = pick_shard(folder, chance)
    i = chance.randrange(table.num_columns)
    column = convert(table.column(i), chance.choice(TYPES))
    write_shard(path, table.set_column(i, table.column_names[i], column))


def drop_column(folder: Path, chance: random.Random) -> None:
    path, table = pick_shard(folder, chance)
    write_shard(path, table.drop_columns([chance.choice(table.column_names)]))


def add_column(folder: Path, chance: random.Random) -> None:
    path, table = pick_shard(folder, chance)
    name = chance.choice(
        ["", "x", "norm", "run_id", "index", "__index_level_0__", ESCAPES, "level"]
    )
    values = pa.array([chance.choice(SCALARS[1:9])] * len(table))
    write_shard(path, table.append_column(name, convert(values, chance.choice(TYPES))))


def change_values(folder: Path, chance: random.Random) -> None:
    path, table = pick_shard(folder, chance)
    name = chance.choice(table.column_names)
    values = table[name].to_pylist()
    for _ in range(chance.choice([1, 2, len(values)])):
        values[chance.randrange(len(values))] = chance.choice(SCALARS)
    column = pa.array(values, chance.choice([None, table[name].type]))
    write_shard(path, table.set_column(table.column_names.index(name), name, column))


def change_rows(folder: Path, chance: random.Random) -> None:
    path, table = pick_shard(folder, chance)
    rows = [chance.randrange(len(table)) for _ in range(chance.randrange(2 * len(table)))]
    write_shard(path, table.take(pa.array(rows, pa.int64())))


def cut_curves(folder: Path, chance: random.Random) -> None:
    path = chance.choice(sorted((folder / "curves").glob("*.parquet")))
    table = pq.read_table(path)
    rows = sorted(chance.sample(range(len(table)), chance.randrange(len(table))))
    table = table.take(pa.array(rows, pa.int64()))
    if chance.random() < 0.5:
        epochs = [chance.choice([1, 1, 2, 3, 0, -1, 10**6, 2**60]) for _ in rows]
        epochs_column = pa.array(epochs, pa.int64())
        table = table.set_column(table.column_names.index("epoch"), "epoch", epochs_column)
    write_shard(path, table)


def change_status(folder: Path, chance: random.Random) -> None:
    path = chance.choice(sorted((folder / "runs").glob("*.parquet")))
    table = pq.read_table(path)
    words = ["ok", "diverged", "failed", "skipped", "OK", "", ESCAPES]
    statuses = pa.array([chance.choice(words[: chance.choice([4, 7])]) for _ in range(len(table))])
    i = table.column_names.index("status")
    write_shard(path, table.set_column(i, "status", statuses))


def change_schema(folder: Path, chance: random.Random) -> None:
    path, table = pick_shard(folder, chance)
    metadata = dict(table.schema.metadata)
    entry = {"name": "seed", "field_name": "seed", "pandas_type": "x", "numpy_type": "evil"}
    pandas = {
        "index_columns": chance.choice([["run_id"], ["nothing"], [3], "x", [{"kind": "range"}]]),
        "columns": chance.choice([[], [entry], [3], None]),
        "column_indexes": chance.choice([[], [{"name": None, "pandas_type": "object"}], 3]),
    }
    metadata |= chance.choice(
        [
            {b"pandas": json.dumps(pandas).encode()},
            {b"pandas": b"{"},
            {b"pandas": b"\x80\x04cos\nsystem\n."},
            {b"ablations.curves": b"../../etc/passwd"},
            {b"ablations.curves": b"\xff"},
            {b"ablations.schema": chance.choice([b"1", b"2", b"99", b"\xff"])},
            {b"ablations.table": b"curves"},
        ]
    )
    if chance.random() < 0.3:
        extension = {
            "ARROW:extension:name": chance.choice(["arrow.py_extension_type", "pandas.period"]),
            "ARROW:extension:metadata": "\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
        }
        fields = [field.with_metadata(extension) for field in table.schema]
        table = table.cast(pa.schema(fields))
    write_shard(path, table.replace_schema_metadata(metadata))


def empty_shard(folder: Path, chance: random.Random) -> None:
    path, table = pick_shard(folder, chance)
    empty = table.slice(0, 0)
    write_shard(path, chance.choice([empty, table.select([]), empty.select(["run_id"])]))


# JSON and TOML


def change_tree(tree: Any, chance: random.Random) -> Any:
    """Replace, remove or add something at a random place of plain data."""
    if isinstance(tree, dict) and tree and chance.random() < 0.85:
        key = chance.choice(sorted(tree))
        if chance.random() < 0.15:
            return {name: value for name, value in tree.items() if name != key}
        if chance.random() < 0.1:
            return tree | {str(chance.choice(SCALARS)): chance.choice(VALUES)}
        return tree | {key: change_tree(tree[key], chance)}
    if isinstance(tree, list) and tree and chance.random() < 0.7:
        i = chance.randrange(len(tree))
        if chance.random() < 0.2:
            return [*tree, tree[i]]
        return [*tree[:i], change_tree(tree[i], chance), *tree[i + 1 :]]
    return chance.choice(VALUES)


def seal(path: Path, content: Any) -> None:
    """Write JSON with the right digest, even where it is none that the package would write."""
    if not isinstance(content, dict):
        path.write_text(json.dumps(content))
        return
    content.pop(SEAL, None)
    sealed = {**content, SEAL: digest(json.dumps(content).encode())}
    path.write_text(json.dumps(sealed))


def change_json(folder: Path, chance: random.Random) -> None:
    names = ["looks.json", "inputs.json", "engine.json", "manifest.json", "written.json"]
    names = [*names, "answer.json", *["metadata.json"] * 6]
    path = folder / chance.choice([name for name in names if (folder / name).exists()])
    content = json.loads(path.read_text())
    if isinstance(content, dict):  # another forgery may have put anything there
        content.pop(SEAL, None)
    seal(path, change_tree(content, chance))


def add_json(folder: Path, chance: random.Random) -> None:
    look = {"seeds": 3, "level": 0.05, "spent": 0.01, "labels": [0, 1, 2]}
    name, content = chance.choice(
        [
            ("looks.json", {"looks": [look, look]}),
            ("looks.json", {"looks": change_tree([look], chance)}),
            ("inputs.json", {str(folder / "study.toml"): "0" * 20}),
            ("inputs.json", {"/dev/zero": "x", "/nowhere/x": 3}),
            ("written.json", {"files": {"../x": ["y"], "figures/x.png": "z"}}),
            ("manifest.json", {"shards": ["runs/000001-x.parquet", "../../x"]}),
        ]
    )
    seal(folder / name, content)


def change_environment(folder: Path, chance: random.Random) -> None:
    path = folder / "environment.json"
    environments = json.loads(path.read_text())
    if chance.random() < 0.3:
        path.write_text(json.dumps(change_tree(environments, chance)))
        return
    description = change_tree(next(iter(environments.values())), chance)
    path.write_text(json.dumps({**environments, identify(description): description}))


def change_study(folder: Path, chance: random.Random) -> None:
    path = folder / "study.toml"
    lines = path.read_text().splitlines()[1:]
    i = chance.randrange(len(lines))
    key = lines[i].partition("=")[0]
    lines[i] = chance.choice(
        ["", f"{key}= 3", f'{key}= "python:os:system"', f"{key}= []", f"{key}= -1", "x = 1", "[["]
    )
    text = "\n".join([*lines, ""])
    path.write_text(f"# checked by {digest(text.encode())}\n{text}")


FORGERIES: list[Callable[[Path, random.Random], None]] = [
    *(retype_column, drop_column, add_column, change_values, change_values, change_rows),
    *(cut_curves, change_status, change_schema, empty_shard, change_json, change_json, change_json),
    *(add_json, change_environment, change_study),
]
