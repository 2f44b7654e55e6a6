"""Reading and writing at a place: with the system's own calls, and without them."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloader.errors import StoreError
from downloader.fs import open_file
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath

BLOCK = 4096
BLOCKS = 16


@pytest.fixture(params=["positioned calls", "seek and lock"])
def file(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenFile]:
    """Give an open file, on a system with the calls and on one without."""
    if request.param == "seek and lock":
        monkeypatch.setattr(open_file, "_preadv", None)
        monkeypatch.setattr(open_file, "_pwrite", None)
    with RootedPath(tmp_path, "file").open(os.O_RDWR | os.O_CREAT) as opened:
        yield opened


def read(file: OpenFile, offset: int, count: int) -> bytes:
    buffer = memoryview(bytearray(count))
    return bytes(buffer[: file.read_at(buffer, offset)])


def test_bytes_lie_where_they_were_written(file: OpenFile) -> None:
    """A later place may be written first; the gap before it holds zeros."""
    file.write_at(memoryview(b"world"), 6)
    assert read(file, 0, 100) == bytes(6) + b"world"
    file.write_at(memoryview(b"hello "), 0)
    assert read(file, 0, 100) == b"hello world"
    assert read(file, 3, 4) == b"lo w"


def test_behind_the_end_there_is_nothing(file: OpenFile) -> None:
    """Fewer bytes than asked for, or none, are no error."""
    file.write_at(memoryview(b"abc"), 0)
    assert read(file, 1, 10) == b"bc"
    assert read(file, 3, 10) == b""
    assert read(file, 300, 10) == b""


def test_nothing_to_write_is_written(file: OpenFile) -> None:
    """No bytes make no file longer."""
    file.write_at(memoryview(b""), 100)
    assert file.status().st_size == 0


def fill(file: OpenFile, digit: int) -> None:
    """Write a thread's own blocks."""
    for block in range(digit, BLOCKS * 8, 8):
        file.write_at(memoryview(bytes([digit]) * BLOCK), block * BLOCK)
        assert read(file, block * BLOCK, BLOCK) == bytes([digit]) * BLOCK


def test_threads_do_not_disturb_each_other(file: OpenFile) -> None:
    """Eight threads that write and read their own places find their own bytes there."""
    threads = [threading.Thread(target=fill, args=(file, digit)) for digit in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    expected = b"".join(bytes([digit]) * BLOCK for digit in range(8)) * BLOCKS
    assert read(file, 0, len(expected) + 1) == expected


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes fewer bytes than it was given is given the rest."""
    taken = bytearray(10)

    def take_three(_: int, data: memoryview, offset: int) -> int:
        some = data[:3]
        taken[offset : offset + len(some)] = some
        return len(some)

    monkeypatch.setattr(open_file, "_pwrite", take_three)
    OpenFile(0, RootedPath(tmp_path, "file")).write_at(memoryview(b"12345678"), 1)
    assert bytes(taken) == b"\x0012345678\x00"


def test_a_closed_file_is_an_error(tmp_path: Path) -> None:
    """The system's refusal is raised, not hidden."""
    opened = RootedPath(tmp_path, "file").open(os.O_RDWR | os.O_CREAT)
    opened.close()
    with pytest.raises(StoreError, match="Bad file descriptor"):
        opened.write_at(memoryview(b"a"), 0)
    with pytest.raises(StoreError, match="Bad file descriptor"):
        read(opened, 0, 1)
    opened.close()
