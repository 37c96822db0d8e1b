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
from typing import Any

import numpy as np
import pyarrow as pa

from ablations.core.errors import RequestError
from ablations.core.files import digest, memory_size, read_file

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""First bytes of a text to its encoding; UTF-32 stands before UTF-16, whose mark begins alike."""

_ARCHIVE = "is an archive; unpack it and name the file in path"
_OTHER_FORMATS = {
    b"PAR1": 'is a Parquet file; use name = "parquet"',
    b"ARROW1": 'is an Arrow (Feather) file; write it as Parquet and use name = "parquet"',
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save its sheet as CSV",
    b"\x89HDF": "is an HDF5 file; write the table as CSV or Parquet",
    b"\x93NUMPY": "is a NumPy array; write it as CSV, or give it to from_arrays",
    b"SQLite format 3": "is an SQLite database; write the table as CSV or Parquet",
    b"%PDF-": "is a PDF document; write the table as CSV",
    b"version https://git-lfs": "is a pointer of Git LFS, not the file; say git lfs pull",
    b"7z\xbc\xaf": _ARCHIVE,
    b"Rar!\x1a": _ARCHIVE,
    b"PK\x05\x06": "is an empty archive",
    b"\x1f\x9d": _ARCHIVE,
    b"\x04\x22\x4d\x18": _ARCHIVE,
}
_OTHER_TEXTS = {
    rb"(?i)\s*<(!doctype|html|\?xml)\b": "is a web page or XML; was the table not downloaded?",
    rb'\s*(\[\s*)*\{\s*"[^"\r\n]*"\s*:': "is JSON; write the table as CSV or Parquet",
    rb"(?i)(\s*|%.*\n)*@relation\b": "is an ARFF file; write the table as CSV or Parquet",
}
_TAR = slice(257, 262)
"""Where a tar archive holds the word ``ustar``."""
_WIDE_SAMPLE = 1000
"""Bytes that show an encoding of two bytes a character."""
_FREE, _RATIO = 1 << 28, 1_000
"""A file may unpack to so many bytes, and to so many times its size."""
_MAX_PACKED = 3
"""How often a file may be packed in itself."""


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
        return read_file(path)
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=path) from None


def read_text(path: str, encoding: str) -> bytes:
    """Return the text of a file, unpacked if it is compressed, in UTF-8 without a mark."""
    content = read_bytes(path)
    most = min(_FREE + _RATIO * len(content), memory_size() // 4)
    for _ in range(_MAX_PACKED):
        content = _unpack(content, path, most)
    for magic, message in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise RequestError(message, source=path)
    if content[_TAR] == b"ustar":
        raise RequestError(_ARCHIVE, source=path)
    content = _to_utf8(content, encoding, path)
    for pattern, message in _OTHER_TEXTS.items():
        if re.match(pattern, content[:1000]):
            raise RequestError(message, source=path)
    if (position := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, position) + 1
        raise RequestError(f"not text: line {line:,} holds a zero byte", source=path)
    if not re.search(rb"\S", content):
        raise RequestError("is empty", source=path)
    return content


def _unpack(content: bytes, path: str, most: int) -> bytes:
    """Return the content of a compressed file, which its first bytes show; else it unchanged.

    Refuse more than ``most`` bytes.
    """
    readers: dict[bytes, Callable[[io.BytesIO], Any]] = {
        b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
        b"BZh": bz2.BZ2File,
        b"\xfd7zXZ\0": lzma.LZMAFile,
        b"\x28\xb5\x2f\xfd": lambda packed: pa.input_stream(
            pa.BufferReader(packed.getvalue()), compression="zstd"
        ),
        b"PK\x03\x04": lambda packed: _open_zip(packed, path),
    }
    for magic, unpack in readers.items():
        if content.startswith(magic):
            try:
                with unpack(io.BytesIO(content)) as stream:
                    unpacked = bytes(stream.read(most + 1))
            except (
                OSError, EOFError, ValueError, RuntimeError, NotImplementedError,
                zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException,
            ) as error:  # fmt: skip
                if isinstance(error, RequestError):
                    raise
                message = f"is compressed and cannot be unpacked: {error}; unpack it first"
                raise RequestError(message, source=path) from None
            if len(unpacked) > most:
                message = f"its {len(content):,} bytes unpack to more than {most / 2**20:,.0f} MiB"
                raise RequestError(f"{message}; unpack it first", source=path)
            return unpacked
    return content


def _open_zip(packed: io.BytesIO, path: str) -> Any:
    archive = zipfile.ZipFile(packed)
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
    return archive.open(names[0])


def _to_utf8(content: bytes, encoding: str, path: str) -> bytes:
    marks = (name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark))
    mark = next(marks, "")
    codec = encoding or mark or "utf-8"
    if mark == "utf-8-sig" and codecs.lookup(codec).name == "utf-8":
        codec = mark
    elif mark == "utf-8-sig" and not codecs.lookup(codec).name.startswith("utf"):
        content = content.removeprefix(codecs.BOM_UTF8)  # a mark before another encoding
    if not encoding and not mark and (wide := _find_wide(content)):
        message = f"not UTF-8 text: line 1 holds zero bytes, as in UTF-16; say encoding = {wide}"
        raise RequestError(message, source=path)
    if codec == "utf-8" and content.isascii():
        return content
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}" if error.start < len(content) else "end"
        name = "UTF-8" if codec.startswith("utf-8") else codec
        message = f"not {name} text: line {line:,} holds the byte {byte}"
        guess = "cp1252" if re.search(rb"[\x80-\x9f]", content) else "latin-1"
        advice = f'save it as UTF-8, or say its encoding, such as encoding = "{guess}"'
        if mark and encoding:
            advice = f"its first bytes are the mark of {mark.removesuffix('-sig').upper()}"
            advice += ": leave out encoding"
        elif mark.startswith(("utf-16", "utf-32")):
            advice = "is it cut off?"
        raise RequestError(f"{message}; {advice}", source=path) from None
    except UnicodeError as error:
        raise RequestError(
            f"not {codec} text: {error}; say another encoding", source=path
        ) from None
    return content if codec == "utf-8" else text.encode()


def _find_wide(content: bytes) -> str:
    """Return the name of UTF-16 without a mark, in quotation marks; "" if it is something else."""
    zeros = np.frombuffer(content[:_WIDE_SAMPLE], np.uint8) == 0
    if len(zeros) < 2 or not zeros.any():
        return ""
    first, second = zeros[::2].mean(), zeros[1::2].mean()
    if max(first, second) < 0.25 or min(first, second) > 0.1:
        return ""
    return '"utf-16-be"' if first > second else '"utf-16-le"'
