"""Digests of bytes on disk."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import StoreError
from downloader.fs import digests
from downloader.fs.digests import BUFFER_BYTES, feed, new_md5, new_sha256, sha256_of
from downloader.fs.rooted_path import NEW_FILE, READ, RootedPath, open_own


def fed(path: Path, start: int, length: int) -> tuple[int, str, str]:
    """Feed from a position; return the count and both digests."""
    hashes = new_sha256(), new_md5()
    with open_own(path) as opened:
        count = feed(opened, start, start + length, hashes)
    return count, hashes[0].hexdigest(), hashes[1].hexdigest()


def expected(part: bytes) -> tuple[int, str, str]:
    return len(part), hashlib.sha256(part).hexdigest(), hashlib.md5(part).hexdigest()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Give a file of a little more than two buffers, and what is in it."""
    data = bytes(number % 251 for number in range(251)) * (2 * BUFFER_BYTES // 251 + 2)
    path = tmp_path_factory.mktemp("hashing") / "file"
    path.write_bytes(data)
    return path, data


@given(start=st.integers(0, 1000), length=st.integers(0, 5000))
def test_exactly_the_bytes_asked_for_are_hashed(
    file: tuple[Path, bytes], start: int, length: int
) -> None:
    """From the current position so many bytes, and the position is after them."""
    path, data = file
    assert fed(path, start, length) == expected(data[start : start + length])


@pytest.mark.parametrize("by", [-1, 0, 1])
@pytest.mark.parametrize("buffers", [1, 2])
def test_buffers_edges_are_no_edges_of_the_digest(
    file: tuple[Path, bytes], buffers: int, by: int
) -> None:
    """Around each multiple of the buffer, no byte is lost or hashed twice."""
    path, data = file
    length = buffers * BUFFER_BYTES + by
    assert fed(path, 0, length) == expected(data[:length])


def test_a_file_that_is_shorter_is_hashed_to_its_end(file: tuple[Path, bytes]) -> None:
    """The count tells that there was less than asked for."""
    path, data = file
    assert fed(path, 0, 10 * len(data)) == expected(data)


def test_the_file_stays_open(file: tuple[Path, bytes]) -> None:
    """Whoever opened it closes it, and finds its position untouched."""
    path, data = file
    with open_own(path) as opened:
        feed(opened, 0, 10, [new_sha256()])
        assert os.read(opened.descriptor, 5) == data[:5]


def test_a_whole_file_is_hashed(file: tuple[Path, bytes], tmp_path: Path) -> None:
    """The digest is that of all its bytes; an empty file has one too."""
    path, data = file
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty") == hashlib.sha256().hexdigest()


def test_a_file_that_is_not_there_cannot_be_hashed(tmp_path: Path) -> None:
    """The caller learns why."""
    with pytest.raises(StoreError, match="No such file"):
        sha256_of(tmp_path / "gone")


@pytest.mark.parametrize("works_for", [0, 1, 9], ids=["never", "once", "always"])
def test_the_start_of_a_file_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works_for: int
) -> None:
    """Whether the system copies all of it, a part or nothing, and no byte more than was asked."""
    content = bytes(range(256)) * 5000
    (tmp_path / "source").write_bytes(content)
    calls = [0]
    copy_range = os.copy_file_range

    def some(*arguments: int) -> int:
        calls[0] += 1
        if calls[0] > works_for:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        source, copy, count, *offsets = arguments
        return copy_range(source, copy, min(count, 300_000), *offsets)

    monkeypatch.setattr(digests, "_copy_range", some)
    with (
        RootedPath(tmp_path, "source").open(READ) as source,
        RootedPath(tmp_path, "copy").open(NEW_FILE) as copy,
    ):
        assert digests.copy_start(source, copy, 1_000_001, lambda: None) == 1_000_001
        assert digests.copy_start(source, copy, 2 * len(content), lambda: None) == len(content)
        copy.truncate(1_000_001)
    assert (tmp_path / "copy").read_bytes() == content[:1_000_001]
