"""Pages and pictures in a results folder: ``written.json`` lists those that this package wrote.

Nothing else is ever replaced or removed: a file that a person put there stays, and a page that a
person changed is not this package's any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ablations.core.errors import RequestError
from ablations.core.files import (
    digest,
    read_file,
    read_sealed_json,
    refuse_link,
    write_bytes,
    write_sealed_json,
)
from ablations.results.shards import quarantine

WRITTEN_FILE = "written.json"

Digests = dict[str, list[str]]
"""Name of a file in the results folder to the digests of what this package wrote to it."""


@dataclass(frozen=True)
class Written:
    """The list of a folder."""

    files: Digests
    inherited: dict[str, str] = field(default_factory=dict)
    """Name to digest of the pages and pictures that a version without a list left, or a person."""


def write_outputs(folder: Path, files: Mapping[str, bytes], pictures: str = "") -> None:
    """Write files into a results folder, and remove what an earlier report left in ``pictures``.

    Pages and pictures of a folder whose version had no list are set aside where they are in the
    way, and not replaced.

    Parameters
    ----------
    files
        Name to content; a name has the form ``report.html`` or ``figures/time.png``.
    pictures
        The name of the folder of pictures, whose PNG and SVG files all come with this call.

    Raises
    ------
    RequestError
        If another file is in the way, or a folder is a link; nothing is written then.
    """
    for place in {(folder / name).parent for name in files} - {folder}:
        refuse_link(place)
    contents = {name: digest(content) for name, content in files.items()}
    has_list = (folder / WRITTEN_FILE).exists()
    record = load_written(folder) if has_list else Written({}, _list_inherited(folder))
    digests = record.files
    foreign = _foreign_files(folder, contents, digests)
    for name, path in foreign.items():
        if path.is_symlink() or _digest(path) != record.inherited.get(name):
            message = "is in the way: this program did not write it, or it was changed since"
            raise RequestError(f"{message}; move it, or give it another name", source=str(path))
    # Where this ends too soon, the list has what is there before and after each file.
    merged = {name: [*digests.get(name, ()), content] for name, content in contents.items()}
    _save_written(folder, Written(digests | merged, record.inherited))
    for path in foreign.values():
        quarantine(folder, path)
    for name, content in files.items():
        write_bytes(folder / name, content)
    obsolete = _obsolete_pictures(folder, pictures, digests, contents) if pictures else {}
    for path in obsolete.values():
        path.unlink(missing_ok=True)
    current = digests | {name: [content] for name, content in contents.items()}
    files_now = {name: each for name, each in current.items() if name not in obsolete}
    _save_written(folder, Written(files_now, record.inherited))


def _list_inherited(folder: Path) -> dict[str, str]:
    """Return name and digest of the pages and pictures of a folder that has a page and no list."""
    pages = list(folder.glob("report*.html"))
    pictures = [path for end in ("png", "svg") for path in folder.glob(f"figures*/*.{end}")]
    paths = [*pages, *pictures] if pages else []
    return {path.relative_to(folder).as_posix(): _digest(path) for path in paths}


def _foreign_files(folder: Path, contents: Mapping[str, str], digests: Digests) -> dict[str, Path]:
    """Return name and path of what is in the way of files with these digests, and is not listed."""
    present = {n: folder / n for n in contents if (folder / n).exists()}
    present |= {n: folder / n for n in contents if (folder / n).is_symlink()}
    return {
        name: path
        for name, path in present.items()
        if _digest(path) not in (contents[name], *digests.get(name, ()))
    }


def _obsolete_pictures(
    folder: Path, pictures: str, digests: Digests, contents: Mapping[str, str]
) -> dict[str, Path]:
    """Return name and path of pictures that an earlier report wrote, and this one did not."""
    paths = {f"{pictures}/{path.name}": path for path in (folder / pictures).glob("*.*")}
    return {
        name: path
        for name, path in paths.items()
        if name in digests.keys() - contents.keys() and _digest(path) in digests[name]
    }


def _digest(path: Path) -> str:
    """Return the digest of a file; "" for what is no file."""
    try:
        return "" if path.is_symlink() else digest(read_file(path))
    except OSError:
        return ""


def load_written(folder: Path) -> Written:
    """Read which files this package wrote; refuse a damaged list."""
    path = folder / WRITTEN_FILE
    if not path.exists() and not path.is_symlink():
        return Written({})
    advice = f"'ablations repair {folder}' sets it aside"
    try:
        return TypeAdapter(Written).validate_python(read_sealed_json(path, advice))
    except ValidationError:
        message = f"expected names and digests of files; {advice}"
        raise RequestError(message, source=str(path)) from None


def _save_written(folder: Path, record: Written) -> None:
    write_sealed_json(folder / WRITTEN_FILE, asdict(record), indent=1)
