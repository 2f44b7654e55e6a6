"""One file brought up to date: looked at, hashed or fetched, and noted."""

import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import TransferError
from downloader.fs.locks import partial_path
from downloader.fs.rooted_path import RootedPath
from downloader.targets.engine import Engine
from downloader.transfer.fetch import Fetcher
from tests.projects import (
    http,
    lock,
    locked,
    project,
    sha256,
)
from tests.servers.faults import honest, statuses, timing
from tests.servers.faulty import FaultyServer
from tests.targets.one_model import BYTES, lock_pinned, put, sync_one, target, whys


def test_a_missing_file_is_fetched_and_noted(tmp_path: Path, url: str) -> None:
    """The target has the bytes, and a receipt that makes it up to date."""
    lock_pinned(tmp_path, url)
    done = sync_one(tmp_path)
    assert (done.verb, done.size, done.moved_bytes) == ("fetched", len(BYTES), len(BYTES))
    assert not done.is_first_use
    assert target(tmp_path).read_bytes() == BYTES
    assert whys(tmp_path) == [None]


def test_the_right_file_without_a_receipt_is_hashed_not_fetched(
    tmp_path: Path, url: str, server: FaultyServer
) -> None:
    """Bytes that are there are believed when their digest is right: no request is sent."""
    lock_pinned(tmp_path, url)
    put(tmp_path, BYTES)
    asked = len(server.requests)
    done = sync_one(tmp_path)
    assert (done.verb, done.moved_bytes, done.size) == ("verified", 0, len(BYTES))
    assert len(server.requests) == asked
    assert whys(tmp_path) == [None]


def test_a_touched_file_is_hashed_not_fetched(
    tmp_path: Path, url: str, server: FaultyServer
) -> None:
    """Another mtime alone costs a hash and a new receipt."""
    lock_pinned(tmp_path, url)
    sync_one(tmp_path)
    os.utime(target(tmp_path), ns=(1, 1))
    assert ["changed since" in str(why) for why in whys(tmp_path)] == [True]
    asked = len(server.requests)
    assert sync_one(tmp_path).verb == "verified"
    assert len(server.requests) == asked
    assert whys(tmp_path) == [None]


@pytest.mark.parametrize("content", [b"", b"WEIGHTS", b"more than the weights"])
def test_an_edited_file_is_fetched_again(tmp_path: Path, url: str, content: bytes) -> None:
    """Wrong bytes, of the right size or another, are replaced by the right ones."""
    lock_pinned(tmp_path, url)
    sync_one(tmp_path)
    put(tmp_path, content)
    assert sync_one(tmp_path).verb == "fetched"
    assert target(tmp_path).read_bytes() == BYTES


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path, url: str) -> None:
    """A symlink to somebody's file gives way to a file of our own; what it led to stays."""
    entry = http({"url": url, "sha256": sha256(BYTES)})
    lock(tmp_path, {"m": entry}, is_offline=True)  # so that no size tells link from file
    other = tmp_path / "other"
    other.write_bytes(BYTES)
    put(tmp_path, b"")
    target(tmp_path).unlink()
    try:
        target(tmp_path).symlink_to(other)
    except OSError:
        pytest.skip("symlinks are not allowed here")
    assert sync_one(tmp_path).verb == "fetched"
    assert not target(tmp_path).is_symlink()
    assert other.read_bytes() == BYTES


def test_a_repair_does_not_believe_the_receipt(tmp_path: Path, url: str) -> None:
    """Bytes that rotted with size and mtime unchanged are found by repair, which fetches."""
    lock_pinned(tmp_path, url)
    sync_one(tmp_path)
    status = target(tmp_path).stat()
    put(tmp_path, BYTES[::-1])
    os.utime(target(tmp_path), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert whys(tmp_path) == [None]
    syncer = Engine(project(tmp_path))
    assert syncer.sync("m", "a.bin").verb == "verified"
    assert syncer.repair("m", "a.bin").verb == "fetched"
    syncer.close()
    assert target(tmp_path).read_bytes() == BYTES
    assert whys(tmp_path) == [None]


def test_a_file_that_broke_off_is_gone_on_with_by_the_same_engine(
    tmp_path: Path, server: FaultyServer
) -> None:
    """Though a model's partials are listed once: a failure may have left one more."""
    content = BYTES * 3000
    server.put("/a.bin", content)
    lock(tmp_path, {"m": http({"url": server.url("/a.bin"), "sha256": sha256(content)})})
    syncer = Engine(project(tmp_path, store=str(tmp_path / "store"), retries=0))
    server.always("/a.bin", timing.drop_after(15_000))
    with pytest.raises(TransferError):
        syncer.sync("m", "a.bin")
    server.always("/a.bin", honest)
    assert syncer.sync("m", "a.bin").moved_bytes == len(content) - 15_000
    syncer.close()


def test_the_partials_of_a_model_are_listed_once(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files it has; none of them is looked for."""
    names = [f"{number}.bin" for number in range(5)]
    for name in names:
        server.put(f"/{name}", name.encode())
    lock(tmp_path, {"m": http(*(server.url(f"/{name}") for name in names))})
    looked, lstat, listed, listdir = list[str](), os.lstat, list[Any](), os.listdir

    def look(path: Any) -> os.stat_result:
        looked.append(os.fspath(path))
        return lstat(path)

    def names_in(path: Any) -> list[str]:
        listed.append(path)
        return listdir(path)

    syncer = Engine(project(tmp_path, store="off"))
    syncer.sync("m", names[0])
    monkeypatch.setattr(os, "lstat", look)
    monkeypatch.setattr(os, "listdir", names_in)
    for name in names[1:]:
        syncer.sync("m", name)
    monkeypatch.undo()
    syncer.close()
    assert not [path for path in looked if path.endswith(".part")]
    assert listed == []


def test_two_threads_sync_different_files_of_a_model(tmp_path: Path, server: FaultyServer) -> None:
    """One syncer serves many threads: every file is right, noted and pinned."""
    names = [f"{number}.bin" for number in range(40)]
    for name in names:
        server.put(f"/{name}", name.encode())
    lock(tmp_path, {"m": http(*(server.url(f"/{name}") for name in names))})
    syncer = Engine(project(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: syncer.sync("m", name), names))
    syncer.close()
    assert whys(tmp_path) == [None] * 40
    assert all(each.sha256 == sha256(each.path.encode()) for each in locked(tmp_path).files)


def test_offline_fails_at_once_and_names_the_variable(
    tmp_path: Path, url: str, server: FaultyServer
) -> None:
    """What is missing fails without a request where MODELMAKE_OFFLINE is set."""
    lock_pinned(tmp_path, url)
    asked = len(server.requests)
    with pytest.raises(TransferError, match="MODELMAKE_OFFLINE"):
        sync_one(tmp_path, is_offline=True)
    assert len(server.requests) == asked


def test_a_busy_server_is_asked_again(tmp_path: Path, url: str, server: FaultyServer) -> None:
    """A passing 503 is no failure of the file."""
    lock_pinned(tmp_path, url)
    server.script("/a.bin", statuses.busy("0"))
    assert sync_one(tmp_path, retries=2).verb == "fetched"


@pytest.mark.parametrize("left", [[".part", ".journal"], [".journal"]], ids=["both", "journal"])
def test_what_a_killed_run_left_of_a_file_that_is_right_goes(
    tmp_path: Path, url: str, left: list[str]
) -> None:
    """A kill after the rename, or bytes that came another way meanwhile, leave nothing for ever."""
    lock_pinned(tmp_path, url)
    put(tmp_path, BYTES)
    partial = partial_path(RootedPath(tmp_path / "models" / "m", ".modelmake"), "a.bin")
    partial.parent.path.mkdir(parents=True)
    for suffix in left:
        partial.with_suffix(suffix).path.write_bytes(b"half")
    assert sync_one(tmp_path).verb == "verified"
    assert list(partial.parent.path.iterdir()) == []


def test_few_functions_lie_between_a_task_and_a_download(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `Engine.sync` to `Fetcher.fetch`, both counted: a layer that only passes on is seen."""
    fetch, passed = Fetcher.fetch, list[str]()

    def noted(*args: Any) -> Any:
        frames = traceback.extract_stack()
        passed.extend(
            each.name for each in frames if f"{os.sep}downloader{os.sep}" in each.filename
        )
        return fetch(*args)

    monkeypatch.setattr(Fetcher, "fetch", noted)
    lock_pinned(tmp_path, url)
    sync_one(tmp_path)
    assert passed[0] == "sync"
    assert len([*passed, "fetch"]) <= 4
