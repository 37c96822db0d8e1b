"""Pages and pictures that are written into a results folder, and those that stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations import RequestError
from ablations.results.outputs import WRITTEN_FILE, write_outputs


def write_old_folder(folder: Path) -> None:
    """Two pages with a picture each, of a version that kept no list."""
    for name in ("report.html", "figures/time.png", "report-b.html", "figures-of-b/time.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"old")


def test_all_pages_of_a_folder_without_a_list_are_set_aside_and_written(tmp_path: Path) -> None:
    write_old_folder(tmp_path)
    for name, picture in (("report.html", "figures"), ("report-b.html", "figures-of-b")):
        write_outputs(tmp_path, {name: b"new", f"{picture}/time.png": b"new"}, picture)
    names = [path for path in tmp_path.rglob("*") if path.is_file()]
    contents = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in names}
    aside = {name: content for name, content in contents.items() if name.startswith("aside/")}
    assert list(aside.values()) == [b"old"] * 4
    assert contents["report-b.html"] == contents["figures-of-b/time.png"] == b"new"
    write_outputs(tmp_path, {"report.html": b"newer"})
    assert len(list((tmp_path / "aside").iterdir())) == 4


def test_what_a_person_put_there_later_is_in_the_way(tmp_path: Path) -> None:
    write_old_folder(tmp_path)
    write_outputs(tmp_path, {"report.html": b"new"})
    picture = tmp_path / "figures-of-b/time.png"
    picture.write_bytes(b"mine")
    with pytest.raises(RequestError, match=r"time.png: is in the way"):
        write_outputs(tmp_path, {"report-b.html": b"new", "figures-of-b/time.png": b"new"})
    assert (tmp_path / "report-b.html").read_bytes() == b"old"
    assert picture.read_bytes() == b"mine"
    (tmp_path / WRITTEN_FILE).unlink()
    (tmp_path / "report.html").unlink()
    (tmp_path / "report-b.html").unlink()
    with pytest.raises(RequestError, match=r"time.png: is in the way"):  # without a page: no report
        write_outputs(tmp_path, {"figures-of-b/time.png": b"new"})
