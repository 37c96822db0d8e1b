"""Files that appear complete or not at all, content digests, and JSON that detects changes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ablations.core.errors import RequestError

MAX_TEXT = 1 << 28
"""Bytes of the largest text file (JSON, TOML) that is read."""
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
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


def read_file(path: Path | str, limit: int | None = None) -> bytes:
    """Read a file; never wait for a pipe, nor read an endless one.

    Parameters
    ----------
    limit
        Bytes that the file may hold; by default as many as the memory of this machine.

    Raises
    ------
    OSError
        If the file cannot be read, is no regular file (a pipe, a device), or is too large.
    """
    _refuse_special(path, os.stat(path).st_mode)  # noqa: PTH116
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        _refuse_special(path, status.st_mode)  # another one since
        most = memory_size() if limit is None else limit
        size = status.st_size
        parts, length = list[bytes](), 0
        # The size of a file that the system makes up, in /proc for instance, is 0.
        while max(size, length) <= most and (content := file.read(max(size, 1 << 20) + 1)):
            parts.append(content)
            length += len(content)
    if max(size, length) > most:
        limit_text = f"the {most / 2**20:,.0f} MiB that are read of such a file"
        raise OSError(errno.EFBIG, f"it holds more than {limit_text}", str(path))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _refuse_special(path: Path | str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        raise OSError(errno.EINVAL, f"it is {kind}, and only files are read", str(path))


def memory_size() -> int:
    """Bytes of memory of this machine."""
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 << 34


def read_text(path: Path | str, encoding: str = "utf-8") -> str:
    """Read a text file, by ``read_file``; ValueError if it has another encoding."""
    return read_file(path, MAX_TEXT).decode(encoding)


def refuse_link(path: Path) -> None:
    """Refuse to write into a folder, or to a lock, that is a link: it could lead anywhere."""
    if path.is_symlink():
        message = "is a link, through which nothing is written; put the folder itself there"
        raise RequestError(message, source=str(path))


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
        return parse(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"cannot be read: {_reason(error)}", source=str(path)) from None


def _reason(error: Exception) -> str:
    """Return what an error says, without the number and the file of a system's error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def write_sealed_json(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a JSON object with a digest of its content, so that a reader detects changes."""
    sealed = {**content, SEAL: digest(json.dumps(content).encode())}
    write_text(path, json.dumps(sealed, indent=indent, ensure_ascii=False) + "\n")


def read_sealed_json(path: Path, advice: str = "") -> dict[str, Any]:
    """Read what ``write_sealed_json`` wrote; ``advice`` ends the message about a damaged file."""
    hint = f"; {advice}" if advice else ""
    try:
        content = json.loads(read_text(path))
        json.dumps(content, ensure_ascii=False).encode()  # half a character is no text
        seal = content.pop(SEAL, None)
        expected = digest(json.dumps(content).encode())
    except FileNotFoundError:
        raise RequestError(f"is missing{hint}", source=str(path)) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError(f"cannot be read: {_reason(error)}{hint}", source=str(path)) from None
    if seal != expected:
        raise RequestError(f"was changed since it was written{hint}", source=str(path))
    return dict(content)
