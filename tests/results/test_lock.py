"""One writer at a time, with locks of the system and without; and whoever wakes up too late."""

from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import pytest

from ablations import RequestError
from ablations.core.errors import WriteError
from ablations.results import lease, looks, store
from ablations.results.lock import write_lock
from ablations.results.looks import Look, add_look, load_looks

from .test_store import E1, HERE, STUDY, row

fcntl = pytest.importorskip("fcntl")
WITHOUT_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]


@pytest.fixture(params=[None, *WITHOUT_LOCKS], ids=lambda n: errno.errorcode.get(n, "flock"))
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """A file system with locks, or one whose flock fails."""
    number: int | None = request.param
    if number is not None:
        refuse_locks(monkeypatch, number)
    return number


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)


def silent(line: str) -> None:
    pass


def test_a_second_writer_waits_for_the_first(tmp_path: Path, system: int | None) -> None:
    order, lines = list[str](), list[str]()
    with write_lock(tmp_path / "out", silent):

        def wait() -> None:
            with write_lock(tmp_path / "out", lines.append):
                order.append("second")

        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 20
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "another command is writing to" in lines[0]
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_a_lock_leaves_nothing_where_nothing_was_written(
    tmp_path: Path, system: int | None
) -> None:
    with write_lock(tmp_path / "new" / "out", silent) as confirm:
        confirm()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with write_lock(tmp_path / "mine", silent):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)


def stop_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filelock.SoftFileLease, "_start_heartbeat", lambda *_: None)


@pytest.mark.usefixtures("short_lease")
def test_a_lease_whose_owner_sleeps_is_taken_over_and_the_owner_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, errno.ENOLCK)
    lines: list[str] = []
    owners_end, owner_gone = threading.Event(), threading.Event()
    with monkeypatch.context() as patch:
        stop_heartbeats(patch)
        owner = write_lock(tmp_path, silent)
        confirm = owner.__enter__()
        session = store.start(tmp_path, STUDY, {E1: HERE})
        confirm()

    def write_second() -> None:
        with write_lock(tmp_path, lines.append) as confirm_second:
            assert len(lines) == 1
            with pytest.raises(WriteError, match="another command writes here"):
                store.write_shard(tmp_path, [row("a", "failed")], [], session)
            with pytest.raises(WriteError, match="another command writes here"):
                store.require_session(tmp_path, session)
            owners_end.set()
            owner_gone.wait(20)
            confirm_second()

    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(write_second)
        assert owners_end.wait(20)
        owner.__exit__(None, None, None)  # and does not release the lock of the other
        owner_gone.set()
        second.result()
    assert store.load(tmp_path).runs.empty


@pytest.mark.usefixtures("short_lease")
def test_an_owner_at_work_keeps_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.ENOSYS)
    with write_lock(tmp_path, silent) as confirm:
        other = filelock.SoftFileLease(tmp_path / ".lock-lease", lease_duration=0.3)
        with pytest.raises(filelock.Timeout):
            other.acquire(timeout=0.8)
        confirm()


@pytest.mark.usefixtures("short_lease")
def test_a_machine_with_locks_waits_for_a_machine_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    with monkeypatch.context() as patch:
        refuse_locks(patch, errno.ENOLCK)
        stop_heartbeats(patch)
        owner = write_lock(tmp_path, silent)
        owner.__enter__()

    def write_second() -> None:
        with write_lock(tmp_path, lines.append):
            assert len(lines) == 1

    with ThreadPoolExecutor(1) as threads:
        threads.submit(write_second).result()
    owner.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EINVAL, RequestError), (errno.EIO, WriteError)]
)
def test_other_refusals_of_the_system_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    refuse_locks(monkeypatch, number)
    with pytest.raises(error, match="cannot write results here"), write_lock(tmp_path, silent):
        pass


def test_looks_recorded_at_once_are_all_recorded(
    tmp_path: Path, system: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.start(tmp_path, STUDY, {E1: HERE})
    save = looks.save_looks

    def save_slowly(folder: Path, entries: Any) -> None:
        time.sleep(0.02)
        save(folder, entries)

    monkeypatch.setattr(looks, "save_looks", save_slowly)
    threads = [
        threading.Thread(target=add_look, args=(tmp_path, Look(seeds, 0.05, 0.01)))
        for seeds in range(10, 13)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(look.seeds for look in load_looks(tmp_path)) == [10, 11, 12]
