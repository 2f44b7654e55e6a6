"""Receipts: what is known of targets, and how little it takes to lose none of it."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from downloader.errors import StoreError
from downloader.fs import files
from downloader.fs.rooted_path import READ, RootedPath
from downloader.targets import state

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER_SHA = SHA[::-1]


def lines(folder: Path) -> Path:
    return folder / ".modelmake" / "receipts"


def put(folder: Path, path: str, content: bytes = b"bytes") -> Path:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def test_a_folder_without_receipts_knows_nothing(tmp_path: Path) -> None:
    """No file and no folder is the same as no receipt."""
    assert state.load_receipts(tmp_path / "nowhere") == {}


def test_what_is_appended_is_loaded(tmp_path: Path) -> None:
    """A receipt notes size, mtime and digest, and matches the target until it is touched."""
    target = put(tmp_path, "deep/er/file")
    noted = state.append_receipt(tmp_path, "deep/er/file", SHA)
    assert state.load_receipts(tmp_path) == {"deep/er/file": noted}
    assert (noted.size, noted.sha256) == (5, SHA)
    assert noted.matches(target.stat())
    os.utime(target, ns=(noted.mtime_ns + 1, noted.mtime_ns + 1))
    assert not noted.matches(target.stat())


def test_a_target_of_another_size_does_not_match(tmp_path: Path) -> None:
    """The size counts also where the mtime was put back."""
    target = put(tmp_path, "file")
    noted = state.append_receipt(tmp_path, "file", SHA)
    target.write_bytes(b"longer bytes")
    os.utime(target, ns=(noted.mtime_ns, noted.mtime_ns))
    assert not noted.matches(target.stat())


def test_the_last_line_of_a_path_counts(tmp_path: Path) -> None:
    """A path noted twice has its last receipt, and others keep theirs."""
    for path, digest in (("a", OTHER_SHA), ("b", SHA), ("a", SHA)):
        put(tmp_path, path)
        state.append_receipt(tmp_path, path, digest)
    assert {path: each.sha256 for path, each in state.load_receipts(tmp_path).items()} == {
        "a": SHA,
        "b": SHA,
    }
    assert lines(tmp_path).read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    "foreign",
    [
        b"not json\n",
        b"\xff\xfe\x00\n",
        b'{"path": "a", "size": "large"}\n',
        b'{"path": "\xff", "size": 1, "mtime_ns": 1, "sha256": "", "verified": 1}\n',
        b'{"path": "a", "more": ' + b"[" * 100_000 + b"\n",
        b"\n\n",
        b"\0" * 4096 + b"\n",
    ],
)
def test_a_foreign_line_is_passed_over(tmp_path: Path, foreign: bytes) -> None:
    """Lines that are no receipts hide none of those before and after them."""
    for path in ("a", "b"):
        put(tmp_path, path)
        state.append_receipt(tmp_path, path, SHA)
        with lines(tmp_path).open("ab") as file:
            file.write(foreign)
    assert state.load_receipts(tmp_path).keys() == {"a", "b"}


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    """Cut at any byte, the file keeps the receipts before, and takes the next one."""
    for path in ("a", "b"):
        put(tmp_path, path)
        state.append_receipt(tmp_path, path, SHA)
    whole = lines(tmp_path).read_bytes()
    first_line = whole.index(b"\n") + 1
    for length in range(first_line, len(whole) - 1):
        lines(tmp_path).write_bytes(whole[:length])
        assert state.load_receipts(tmp_path).keys() - {"b"} == {"a"}
        state.append_receipt(tmp_path, "b", SHA)
        assert state.load_receipts(tmp_path).keys() == {"a", "b"}, length


def test_what_is_forgotten_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    """Only the named receipts are dropped; the targets are not touched."""
    for path in ("a", "b", "c"):
        put(tmp_path, path)
        state.append_receipt(tmp_path, path, SHA)
    state.forget_receipts(tmp_path, ["a", "c", "never noted"])
    assert state.load_receipts(tmp_path).keys() == {"b"}
    assert (tmp_path / "a").read_bytes() == b"bytes"


def test_forgetting_where_nothing_is_known_makes_no_file(tmp_path: Path) -> None:
    """A folder without receipts stays as it is."""
    state.forget_receipts(tmp_path, ["a"])
    assert list(tmp_path.iterdir()) == []


def test_many_threads_note_and_forget_at_once(tmp_path: Path) -> None:
    """No receipt is lost or torn when threads append while others forget."""
    paths = [f"file-{number}" for number in range(100)]
    for path in (*paths, "gone"):
        put(tmp_path, path)

    def note(path: str) -> None:
        state.append_receipt(tmp_path, path, SHA)
        state.forget_receipts(tmp_path, ["gone"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, paths))
    assert state.load_receipts(tmp_path).keys() == set(paths)


def test_lines_that_wait_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits while another writes is taken along by the next one: two writes do for nine."""
    entered, go_on, writes = threading.Event(), threading.Event(), list[RootedPath]()
    held = RootedPath.held

    def slow(file: RootedPath, *, makes: bool = False) -> RootedPath:
        writes.append(file)
        entered.set()
        assert go_on.wait(10)
        return held(file, makes=makes)

    monkeypatch.setattr(RootedPath, "held", slow)
    (tmp_path / ".modelmake").mkdir()
    paths = [f"file-{number}" for number in range(9)]
    for path in paths:
        put(tmp_path, path)
    with ThreadPoolExecutor(9) as pool:
        running = [pool.submit(state.append_receipt, tmp_path, path, SHA) for path in paths]
        assert entered.wait(10)
        queue = files._queues[RootedPath.of(lines(tmp_path))]
        while len(queue) < len(paths):
            time.sleep(0.001)
        go_on.set()
        wait(running)
    assert state.load_receipts(tmp_path).keys() == set(paths)
    assert len(writes) <= 2


def noted_soon(folder: Path, path: str) -> None:
    """Note a small file that has just come."""
    put(folder, path)
    with RootedPath(folder, path).open(READ) as opened:
        state.append_receipt(folder, path, SHA, opened=opened)


def test_the_receipt_of_a_small_file_waits_for_others(tmp_path: Path) -> None:
    """It is written with the next ones, or at the end; who reads receipts sees it at once."""
    files.write_waiting()
    noted_soon(tmp_path, "one")
    noted_soon(tmp_path, "two")
    assert not lines(tmp_path).exists()
    assert state.load_receipts(tmp_path).keys() == {"one", "two"}
    assert len(lines(tmp_path).read_bytes().splitlines()) == 2


def test_no_more_receipts_wait_than_are_soon_hashed_again(tmp_path: Path) -> None:
    """A kill costs the hashing of so many small files at most."""
    files.write_waiting()
    for number in range(2 * files.MOST_WAITING_LINES + 1):
        noted_soon(tmp_path, f"file-{number}")
    written = len(lines(tmp_path).read_bytes().splitlines())
    assert written >= files.MOST_WAITING_LINES
    files.write_waiting()


def test_a_waiting_receipt_is_dropped_with_those_on_the_disk(tmp_path: Path) -> None:
    """Who forgets a file forgets what waits to be written of it."""
    files.write_waiting()
    noted_soon(tmp_path, "one")
    state.forget_receipts(tmp_path, ["one"])
    assert state.load_receipts(tmp_path) == {}


def test_a_disk_that_refuses_waiting_receipts_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the run says so; the lines are not tried for ever."""
    files.write_waiting()
    noted_soon(tmp_path, "one")

    def full(file: RootedPath, *, makes: bool = False) -> RootedPath:
        raise StoreError(f"Cannot write {file}.")

    with monkeypatch.context() as patch:
        patch.setattr(RootedPath, "held", full)
        with pytest.raises(StoreError):
            files.write_waiting()
    files.write_waiting()
    assert state.load_receipts(tmp_path) == {}


def test_a_line_that_could_not_be_written_is_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is told to whoever noted the file; no later write brings the line back."""

    def full(file: RootedPath, *, makes: bool = False) -> RootedPath:
        raise StoreError(f"Cannot write {file}.")

    for path in ("one", "two"):
        put(tmp_path, path)
    with monkeypatch.context() as patch:
        patch.setattr(RootedPath, "held", full)
        with pytest.raises(StoreError):
            state.append_receipt(tmp_path, "one", SHA)
    state.forget_receipts(tmp_path, ["one"])
    state.append_receipt(tmp_path, "two", SHA)
    assert state.load_receipts(tmp_path).keys() == {"two"}


def test_a_target_that_vanished_is_a_store_error(tmp_path: Path) -> None:
    """Noting a file that is not there names the file, without a traceback."""
    with pytest.raises(StoreError, match="file"):
        state.append_receipt(tmp_path, "file", SHA)


def test_a_file_in_the_way_is_a_store_error(tmp_path: Path) -> None:
    """Where `.modelmake` cannot be a folder, that is said in one line."""
    put(tmp_path, "file")
    put(tmp_path, ".modelmake")
    with pytest.raises(StoreError, match=r"\.modelmake"):
        state.append_receipt(tmp_path, "file", SHA)


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "/etc/passwd"},
        {"path": "../../dodo.py"},
        {"path": ".modelmake/receipts"},
        {"path": "a\0b"},
        {"path": "\x1b[2Jx"},
        {"sha256": "../../../x"},
        {"sha256": SHA.upper()},
        {"sha256": ""},
    ],
    ids=str,
)
def test_a_line_that_we_cannot_have_written_is_passed_over(
    tmp_path: Path, fields: dict[str, str]
) -> None:
    """Its path would be looked at, and its digest would name a file of the store."""
    put(tmp_path, "file")
    state.append_receipt(tmp_path, "file", SHA)
    line = {"path": "file", "size": 5, "mtime_ns": 1, "sha256": SHA, "verified": 1, **fields}
    with lines(tmp_path).open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert {path: each.sha256 for path, each in state.load_receipts(tmp_path).items()} == {
        "file": SHA
    }
    assert state.load_receipts(tmp_path)["file"].mtime_ns != 1
