"""Fifty and more ways to make a results folder, a study, a data file or a name do harm.

Each is a function of the folder, which it changes.  The canary of ``CODE`` is a file that appears
beside the folder if any of it runs.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablations.core.files import SEAL, digest
from ablations.results.environment import identify

from .forging import ESCAPES, seal, write_shard

Attack = Callable[[Path], None]
CANARY = "canary"


class Payload:
    """Runs a shell command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def command(folder: Path) -> str:
    return f"touch {folder.parent / CANARY}"


def code(folder: Path) -> str:
    return (
        f"import os\nos.system({command(folder)!r})\n"
        "def build(inputs, outputs): ...\ndef score(a, b): ...\nclass Task: ...\nclass Norm: ...\n"
    )


# Studies that name code


def write_study(folder: Path, text: str) -> None:
    (folder / "study.toml").write_text(f"# checked by {digest(text.encode())}\n{text}")
    for place in (folder, folder.parent):
        (place / "evil.py").write_text(code(folder))


def study_with(old: str, new: str, *, is_old_version: bool = False) -> Attack:
    def attack(folder: Path) -> None:
        text = (folder / "study.toml").read_text().partition("\n")[2]
        assert old in text
        line = new.replace("COMMAND", command(folder)).replace("FOLDER", str(folder))
        write_study(folder, text.replace(old, line, 1))
        if is_old_version:
            (folder / "metadata.json").unlink()

    return attack


MODEL, TASK = 'model = "mlp"', 'task = "notebook"'
STUDIES: dict[str, Attack] = {
    "shell": study_with(MODEL, 'model = {name = "python:os:system", command = "COMMAND"}'),
    "exec": study_with(MODEL, 'model = {name = "python:builtins:exec", source = "COMMAND"}'),
    "model": study_with(MODEL, 'model = "python:evil:build"'),
    "wrapper": study_with(MODEL, 'model = {name = "python", target = "evil:build"}'),
    "submodule": study_with(MODEL, 'model = "python:evil.sub:build"'),
    "package": study_with(MODEL, 'model = "python:torch.hub:load"'),
    "unpickler": study_with(MODEL, 'model = {name = "python:torch:load", f = "FOLDER/x.pt"}'),
    "optimizer": study_with('optimizer = "adam"', 'optimizer = "python:evil:build"'),
    "norm": study_with('"batch"', '"python:evil:Norm"'),
    "norm table": study_with('"batch"', '{name = "python:evil:Norm"}'),
    "dropout": study_with('"dropout"', '"python:evil:Norm"'),
    "task": study_with(TASK, 'task = "python:evil:Task"'),
    "loss": study_with(TASK, 'task = {name = "notebook", loss = "python:evil:score"}'),
    "metric": study_with(TASK, f'{TASK}\nmetric = "python:evil:score"'),
    "tasks": study_with(TASK, 'tasks = ["notebook", "python:evil:Task"]'),
    "path in target": study_with(MODEL, 'model = "python:../evil:build"'),
    "old shell": study_with(
        MODEL, 'model = {name = "python:os:system", command = "COMMAND"}', is_old_version=True
    ),
    "old task": study_with(TASK, 'task = "python:evil:Task"', is_old_version=True),
    "old data": study_with(
        TASK, 'task = {name = "csv", path = "/dev/zero", target = "x"}', is_old_version=True
    ),
    "data": study_with(TASK, 'task = {name = "csv", path = "/dev/zero", target = "x"}'),
    "parquet data": study_with(TASK, 'task = {name = "parquet", path = "/dev/tty", target = "x"}'),
    "other study": study_with(TASK, 'tasks = ["/dev/zero.toml", "notebook"]'),
    "no trusted word": study_with(TASK, f'{TASK}\ndescription = "python:os:system"'),
}


# Names and texts


def metadata_with(change: Callable[[Any], object]) -> Attack:
    def attack(folder: Path) -> None:
        content = json.loads((folder / "metadata.json").read_text())
        content.pop(SEAL)
        change(content)
        seal(folder / "metadata.json", content)

    return attack


def texts(word: str) -> Attack:
    """Put a text wherever metadata hold one."""

    def change(content: Any) -> None:
        content |= dict.fromkeys(("study", "description", "metric_name", "command"), word)
        content |= {"cautions": [word], "badges": [word], "training": word}
        content["captions"] = {
            axis: dict.fromkeys(levels, word) for axis, levels in content["captions"].items()
        }

    return metadata_with(change)


NAMES: dict[str, Attack] = {
    "script": texts("<script>alert(1)</script><img src=x onerror=alert(1)>"),
    "template": texts("{{ cycler.__init__.__globals__.os.system('COMMAND') }}{% import 'os' %}"),
    "format": texts("{0.__class__.__init__.__globals__}%(x)s%n"),
    "formula": texts("=cmd|' /C calc'!A0"),
    "tex": texts("\\input{/etc/passwd}\\write18{touch canary}$\\frac{"),
    "shell text": texts("$(touch canary)`touch canary`; touch canary"),
    "terminal": texts(ESCAPES),
    "zero": texts("a\x00b\x0bc\x1b]0;x\x07"),
    "long": texts("x" * 100_000),
    "half a character": texts("\ud800"),
    "up": texts("../../canary"),
    "outcome": metadata_with(lambda content: content.update(outcome="../../canary")),
    "axes": metadata_with(lambda content: content.update(axes=["__class__", "../x"])),
    "looks": metadata_with(lambda content: content.update(looks=[10**30])),
    "tasks of metadata": metadata_with(
        lambda content: content.update(tasks={"../../canary": dict(content), "/x": dict(content)})
    ),
    "deep": lambda folder: put_bytes(folder / "metadata.json", b'{"a":' * 50_000),
    "not UTF-8": lambda folder: put_bytes(folder / "metadata.json", b'{"schema": "\xff"}'),
    "long number": lambda folder: put_bytes(folder / "metadata.json", b'{"a": ' + b"9" * 10_000),
}


# Files


def put_bytes(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def put_pipe(name: str) -> Attack:
    def attack(folder: Path) -> None:
        path = next(folder.glob(name), folder / name)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return attack


def put_link(name: str, target: str) -> Attack:
    """Put a link in place of a file, or of a folder, whose files move to what it leads to."""

    def attack(folder: Path) -> None:
        path = next(folder.glob(name), folder / name)
        goal = folder.parent / target
        if path.is_dir():
            goal.mkdir(exist_ok=True)
            for file in path.iterdir():
                file.rename(goal / file.name)
            path.rmdir()
        path.unlink(missing_ok=True)
        path.symlink_to(goal)

    return attack


def put_sparse(name: str) -> Attack:
    def attack(folder: Path) -> None:
        path = next(folder.glob(name), folder / name)
        with path.open("wb") as file:
            file.truncate(1 << 42)

    return attack


def put_socket(folder: Path) -> None:
    (folder / "metadata.json").unlink()
    server, before = socket.socket(socket.AF_UNIX), Path.cwd()
    os.chdir(folder)  # the name of a socket is short
    server.bind("metadata.json")
    os.chdir(before)
    server.close()


def put_code_beside(folder: Path) -> None:
    for name in ("torch", "pandas", "pyarrow", "sitecustomize", "conftest", "ablations", "json"):
        (folder / f"{name}.py").write_text(code(folder))
    info = folder / "evil-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ablations.techniques]\nx = sitecustomize\n")


def put_pickle(folder: Path) -> None:
    payload = pickle.dumps(Payload(command(folder)))
    put_bytes(next(folder.glob("runs/*.parquet")), payload)
    put_bytes(folder / "answer.json", payload)


def put_pickle_in_rows(folder: Path) -> None:
    path = next(folder.glob("runs/*.parquet"))
    table = pq.read_table(path)
    values = pa.array([pickle.dumps(Payload(command(folder)))] * len(table), pa.binary())
    extension = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Payload(command(folder)), 0).decode("latin-1"),
    }
    field = pa.field("reason", pa.binary(), metadata=extension)
    write_shard(path, table.set_column(table.column_names.index("reason"), field, values))


def put_pandas_metadata(folder: Path) -> None:
    path = next(folder.glob("runs/*.parquet"))
    table = pq.read_table(path)
    column: dict[str, Any] = {"name": "seed", "field_name": "seed", "pandas_type": "object"}
    column |= {"numpy_type": "category", "metadata": {"num_categories": -1}}
    content = {"index_columns": ["seed", 3], "columns": [column], "column_indexes": [{"name": 1}]}
    metadata = {**table.schema.metadata, b"pandas": json.dumps(content).encode()}
    write_shard(path, table.replace_schema_metadata(metadata))


def put_bomb(folder: Path) -> None:
    """Write a few kilobytes of Parquet that unpack to far more than the memory."""
    path = next(folder.glob("curves/*.parquet"))
    table = pq.read_table(path)
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * 2**20])
    columns = {name: pa.nulls(len(repeated), table[name].type) for name in table.column_names}
    bomb = pa.table({**columns, "run_id": repeated}, metadata=table.schema.metadata)
    write_shard(path, bomb)


def forge_list(folder: Path) -> None:
    """Claim that files outside the folder are pictures of an earlier report."""
    victim = folder.parent / "outside" / "victim.png"
    name = f"figures/../../outside/{victim.name}"
    content = {"files": {name: [digest(victim.read_bytes())]}}
    seal(folder / "written.json", content)


def put_odd_names(folder: Path) -> None:
    for name in (
        f"{ESCAPES.replace('/', '')}.parquet",
        "000001-[*]?.parquet",
        "é" * 120 + ".parquet",
    ):
        (folder / "runs" / name).write_bytes(b"x")


def put_environment(folder: Path) -> None:
    path = folder / "environment.json"
    environments = json.loads(path.read_text())
    description = {"packages": {"torch": ESCAPES}, ESCAPES: "<script>alert(1)</script>"}
    path.write_text(json.dumps({**environments, identify(description): description}))


FILES: dict[str, Attack] = {
    "code beside": put_code_beside,
    "pickle": put_pickle,
    "pickle in rows": put_pickle_in_rows,
    "pandas metadata": put_pandas_metadata,
    "bomb": put_bomb,
    "list": forge_list,
    "names": put_odd_names,
    "environment": put_environment,
    "socket": put_socket,
    **{
        f"pipe {name}": put_pipe(name)
        for name in ("metadata.json", "study.toml", "runs/*.parquet", "curves/x.parquet")
    },
    **{
        f"pipe {name}": put_pipe(name) for name in ("looks.json", "environment.json", "answer.json")
    },
    **{
        f"link {name}": put_link(name, "outside")
        for name in ("figures", "runs", "curves", "audit", "aside")
    },
    "link .lock": put_link(".lock", "outside/victim.png"),
    "link page": put_link("report.html", "outside/victim.png"),
    "link leftover": put_link(".writing-x", "outside/victim.png"),
    "endless metadata": put_link("metadata.json", "/dev/zero"),
    "endless shard": put_link("runs/*.parquet", "/dev/zero"),
    "sparse metadata": put_sparse("metadata.json"),
    "sparse shard": put_sparse("curves/*.parquet"),
}
ATTACKS = {**STUDIES, **NAMES, **FILES}
