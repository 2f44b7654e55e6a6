"""Reading and writing at a place: with the system's own calls, and without them."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloader.fs import files
from downloader.fs.files import read_at, write_at

BLOCK = 4096
BLOCKS = 16


@pytest.fixture(params=["positioned calls", "seek and lock"])
def descriptor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[int]:
    """Give an open file, on a system with the calls and on one without."""
    if request.param == "seek and lock":
        monkeypatch.setattr(files, "_preadv", None)
        monkeypatch.setattr(files, "_pwrite", None)
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def read(descriptor: int, offset: int, count: int) -> bytes:
    buffer = memoryview(bytearray(count))
    return bytes(buffer[: read_at(descriptor, buffer, offset)])


def test_bytes_lie_where_they_were_written(descriptor: int) -> None:
    """A later place may be written first; the gap before it holds zeros."""
    write_at(descriptor, memoryview(b"world"), 6)
    assert read(descriptor, 0, 100) == bytes(6) + b"world"
    write_at(descriptor, memoryview(b"hello "), 0)
    assert read(descriptor, 0, 100) == b"hello world"
    assert read(descriptor, 3, 4) == b"lo w"


def test_behind_the_end_there_is_nothing(descriptor: int) -> None:
    """Fewer bytes than asked for, or none, are no error."""
    write_at(descriptor, memoryview(b"abc"), 0)
    assert read(descriptor, 1, 10) == b"bc"
    assert read(descriptor, 3, 10) == b""
    assert read(descriptor, 300, 10) == b""


def test_nothing_to_write_is_written(descriptor: int) -> None:
    """No bytes make no file longer."""
    write_at(descriptor, memoryview(b""), 100)
    assert os.fstat(descriptor).st_size == 0


def fill(descriptor: int, digit: int) -> None:
    """Write a thread's own blocks."""
    for block in range(digit, BLOCKS * 8, 8):
        write_at(descriptor, memoryview(bytes([digit]) * BLOCK), block * BLOCK)
        assert read(descriptor, block * BLOCK, BLOCK) == bytes([digit]) * BLOCK


def test_threads_do_not_disturb_each_other(descriptor: int) -> None:
    """Eight threads that write and read their own places find their own bytes there."""
    threads = [threading.Thread(target=fill, args=(descriptor, digit)) for digit in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    expected = b"".join(bytes([digit]) * BLOCK for digit in range(8)) * BLOCKS
    assert read(descriptor, 0, len(expected) + 1) == expected


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes fewer bytes than it was given is given the rest."""
    taken = bytearray(10)

    def take_three(_: int, data: memoryview, offset: int) -> int:
        some = data[:3]
        taken[offset : offset + len(some)] = some
        return len(some)

    monkeypatch.setattr(files, "_pwrite", take_three)
    write_at(0, memoryview(b"12345678"), 1)
    assert bytes(taken) == b"\x0012345678\x00"


def test_a_closed_file_is_an_error(tmp_path: Path) -> None:
    """The system's refusal is raised, not hidden."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.close(opened)
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_at(opened, memoryview(b"a"), 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read(opened, 0, 1)
