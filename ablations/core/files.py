"""Files that appear complete or not at all, content digests, and JSON that detects changes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ablations.core.errors import RequestError

WRITING = ".writing-"  # prefix of the name of a file that is being written
SEAL = "check"  # key of a sealed JSON object, for the digest of its other keys


def cache_folder(name: str) -> Path:
    """Return a folder in the user's cache folder; RuntimeError if the user has no home."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ablations" / name


def file_names(names: Iterable[str]) -> list[str]:
    """Make file names of ``names``: safe on every file system, and still distinct."""
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60].lower() for name in names]
    plain = [slug or "axis" for slug in plain]
    return [f"{slug}-{i}" if plain.count(slug) > 1 else slug for i, slug in enumerate(plain)]


def digest(content: bytes | memoryview, size: int = 16) -> str:
    """Return the BLAKE2b hash of ``content``: ``size`` bytes as hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=size).hexdigest()


def write_bytes(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file atomically; its content is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=WRITING)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, on systems that support it (POSIX)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # unsupported file system
            raise
    finally:
        os.close(handle)


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically, as UTF-8."""
    write_bytes(path, content.encode())


def read_parsed(path: Path, parse: Callable[[str], Any]) -> Any:
    """Parse a text file, by ``json.loads`` for instance; refuse one that cannot be read."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"cannot be read: {error}", source=str(path)) from None


def write_sealed_json(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a JSON object with a digest of its content, so that a reader detects changes."""
    sealed = {**content, SEAL: digest(json.dumps(content).encode())}
    write_text(path, json.dumps(sealed, indent=indent, ensure_ascii=False) + "\n")


def read_sealed_json(path: Path, advice: str = "") -> dict[str, Any]:
    """Read what ``write_sealed_json`` wrote; ``advice`` ends the message about a damaged file."""
    hint = f"; {advice}" if advice else ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seal = content.pop(SEAL, None)
        expected = digest(json.dumps(content).encode())
    except FileNotFoundError:
        raise RequestError(f"is missing{hint}", source=str(path)) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError(f"cannot be read: {error}{hint}", source=str(path)) from None
    if seal != expected:
        raise RequestError(f"was changed since it was written{hint}", source=str(path))
    return dict(content)
