"""The bytes of a table file: read, unpacked and decoded to UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from ablations.core.errors import RequestError
from ablations.core.files import digest

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""First bytes of a text to its encoding; UTF-32 stands before UTF-16, whose mark begins alike."""

_OTHER_FORMATS = {
    b"PAR1": 'is a Parquet file; use name = "parquet"',
    b"ARROW1": 'is an Arrow (Feather) file; write it as Parquet and use name = "parquet"',
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save its sheet as CSV",
    b"\x89HDF": "is an HDF5 file; write the table as CSV or Parquet",
}


def content_hash(path: str) -> str:
    """Return 80 bits of a hash of a file's bytes, in hexadecimal."""
    state = _check_regular(path)
    return _hash(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _hash(path: str, *state: int) -> str:  # noqa: ARG001 - a file with another state is read again
    return digest(read_bytes(path), 10)


def _check_regular(path: str) -> os.stat_result:
    """Refuse what is not a file: to open a pipe may wait for ever."""
    try:
        state = Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: an impossible file name
        reason = getattr(error, "strerror", error)
        raise RequestError(f"cannot be read: {reason}", source=path) from None
    if stat.S_ISDIR(state.st_mode):
        raise RequestError("cannot be read: Is a directory", source=path)
    if not stat.S_ISREG(state.st_mode):
        message = "is a pipe or a device; write its content to a file first"
        raise RequestError(message, source=path)
    return state


def read_bytes(path: str) -> bytes:
    """Return the bytes of a file."""
    _check_regular(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=path) from None


def read_text(path: str, encoding: str) -> bytes:
    """Return the text of a file, unpacked if it is compressed, in UTF-8 without a mark."""
    content = _unpack(read_bytes(path), path)
    for magic, message in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise RequestError(message, source=path)
    content = _to_utf8(content, encoding, path)
    if (position := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, position) + 1
        message = f"not text: line {line:,} holds a zero byte"
        if b"\0" in content[:2]:
            message += '; if it is UTF-16, say encoding = "utf-16-le"'
        raise RequestError(message, source=path)
    if not re.search(rb"\S", content):
        raise RequestError("is empty", source=path)
    return content


def _unpack(content: bytes, path: str) -> bytes:
    """Return the content of a compressed file, which its first bytes show; else it unchanged."""
    readers: dict[bytes, Callable[[bytes], bytes]] = {
        b"\x1f\x8b": gzip.decompress,
        b"BZh": bz2.decompress,
        b"\xfd7zXZ\0": lzma.decompress,
        b"\x28\xb5\x2f\xfd": _unpack_zstd,
        b"PK\x03\x04": lambda packed: _unpack_zip(packed, path),
    }
    for magic, unpack in readers.items():
        if content.startswith(magic):
            try:
                return unpack(content)
            except (
                OSError, EOFError, ValueError, RuntimeError, NotImplementedError,
                zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException,
            ) as error:  # fmt: skip
                if isinstance(error, RequestError):
                    raise
                message = f"is compressed and cannot be unpacked: {error}; unpack it first"
                raise RequestError(message, source=path) from None
    return content


def _unpack_zstd(content: bytes) -> bytes:
    with pa.input_stream(pa.BufferReader(content), compression="zstd") as stream:
        return bytes(stream.read())


def _unpack_zip(content: bytes, path: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [
            name
            for name in archive.namelist()
            if not name.endswith("/") and not name.startswith("__MACOSX/")
        ]
        if "xl/workbook.xml" in names:
            raise RequestError("is an Excel workbook; save its sheet as CSV", source=path)
        if len(names) != 1:
            message = f"holds {len(names)} files; expected an archive of one"
            raise RequestError(f"{message}: unpack it and name the file in path", source=path)
        return archive.read(names[0])


def _to_utf8(content: bytes, encoding: str, path: str) -> bytes:
    marks = (name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark))
    codec = encoding or next(marks, "utf-8")
    if codecs.lookup(codec).name == "utf-8" and content.startswith(codecs.BOM_UTF8):
        codec = "utf-8-sig"
    if codec == "utf-8" and content.isascii():
        return content
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}" if error.start < len(content) else "end"
        name = "UTF-8" if codec.startswith("utf-8") else codec
        message = f"not {name} text: line {line:,} holds the byte {byte}"
        advice = 'save it as UTF-8, or say its encoding, such as encoding = "latin-1"'
        raise RequestError(f"{message}; {advice}", source=path) from None
    return content if codec == "utf-8" else text.encode()
