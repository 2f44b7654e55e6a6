"""Pieces judged while their bytes come in any order, from any thread."""

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import Interrupted, StoreError
from downloader.fs.digests import (
    BUFFER_BYTES,
    Layer,
    layer_of,
)
from downloader.fs.locks import LockWait
from downloader.fs.merkle import BLOCK_BYTES, merkle_leaves, merkle_node
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath
from downloader.network.ranges import Range
from downloader.transfer._verifier import OTHER_FILE_PIECES, PieceVerifier
from tests.transfer.desk import StopsAtWait

PIECE = 4 * BLOCK_BYTES
BODY = random.Random(8).randbytes(9 * PIECE + 2 * BLOCK_BYTES + 77)


def layer_over(body: bytes, piece_bytes: int = PIECE) -> Layer:
    """Return the layer of a file."""
    nodes = [
        merkle_node(
            merkle_leaves(memoryview(body)[at : at + piece_bytes]), piece_bytes // BLOCK_BYTES
        )
        for at in range(0, len(body), piece_bytes)
    ]
    return layer_of(b"".join(nodes), len(body), piece_bytes)


LAYER = layer_over(BODY)


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenFile]:
    """Give an open file, empty at first."""
    with RootedPath(tmp_path_factory.mktemp("pieces"), "file").open(
        os.O_RDWR | os.O_CREAT
    ) as opened:
        yield opened


@contextmanager
def checking(
    descriptor: OpenFile, *present: Range, body: bytes = BODY, lock_wait: LockWait | None = None
) -> Iterator[PieceVerifier]:
    """Give a verifier of a file that has these ranges of the body."""
    descriptor.truncate(0)
    for span in present:
        descriptor.write_at(memoryview(body)[span.start : span.stop], span.start)
    verifier = PieceVerifier(descriptor, LAYER, present, lock_wait or LockWait())
    try:
        yield verifier
    finally:
        verifier.close()


def give(verifier: PieceVerifier, descriptor: OpenFile, span: Range, body: bytes = BODY) -> None:
    """Write a range and hand it over, a buffer at a time."""
    for at in range(span.start, span.stop, BUFFER_BYTES):
        data = body[at : min(at + BUFFER_BYTES, span.stop)]
        buffer = verifier.buffer()
        buffer[: len(data)] = data
        descriptor.write_at(buffer[: len(data)], at)
        verifier.feed_block(at, buffer, len(data))


cuts = st.lists(st.integers(1, len(BODY) - 1), max_size=20, unique=True)


@given(
    cuts=cuts,
    order=st.randoms(use_true_random=False),
    wrong=st.none() | st.integers(0, len(BODY) - 1),
    old=st.integers(0, 5),
)
def test_any_order_tells_the_wrong_piece(
    descriptor: OpenFile, cuts: list[int], order: random.Random, wrong: int | None, old: int
) -> None:
    """Wherever replies begin and end, and whatever was there: the piece of a wrong bit is told."""
    spans = [Range(*pair) for pair in pairwise([0, *sorted(cuts), len(BODY)])]
    body = bytearray(BODY)
    if wrong is not None:
        body[wrong] ^= 1
    order.shuffle(spans)
    present = sorted(spans[:old])
    with checking(descriptor, *present, body=bytes(body)) as verifier:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda span: give(verifier, descriptor, span, bytes(body)), spans[old:]))
        verifier.finish()
        assert verifier.is_right == (wrong is None)
        expected = [] if wrong is None else [Range(*LAYER.span(wrong // PIECE))]
        assert verifier.pop_bad_pieces() == expected
        for span in expected:
            give(verifier, descriptor, span)
        verifier.finish()
        assert verifier.is_right
        assert verifier.pop_bad_pieces() == []


def test_a_missing_byte_is_not_right(descriptor: OpenFile) -> None:
    """A file with a gap is not right, and no piece of it is wrong."""
    with checking(descriptor) as verifier:
        give(verifier, descriptor, Range(0, len(BODY) - 1))
        verifier.finish()
        assert not verifier.is_right
        assert verifier.pop_bad_pieces() == []


def test_another_file_is_told_early(descriptor: OpenFile) -> None:
    """A few pieces show that nothing right will come."""
    other = random.Random(9).randbytes(len(BODY))
    with checking(descriptor) as verifier:
        give(verifier, descriptor, Range(0, (OTHER_FILE_PIECES - 1) * PIECE), other)
        verifier.finish()
        assert not verifier.is_other_file
        give(
            verifier,
            descriptor,
            Range((OTHER_FILE_PIECES - 1) * PIECE, OTHER_FILE_PIECES * PIECE),
            other,
        )
        verifier.finish()
        assert verifier.is_other_file


def test_what_an_earlier_run_left_does_not_tell_of_the_server(descriptor: OpenFile) -> None:
    """However much of it is wrong, what comes now may be right."""
    other = random.Random(9).randbytes(len(BODY))
    with checking(descriptor, Range(0, len(BODY)), body=other) as verifier:
        verifier.finish()
        assert len(verifier.pop_bad_pieces()) == LAYER.count
        assert not verifier.is_other_file
        give(verifier, descriptor, Range(0, len(BODY)))
        verifier.finish()
        assert verifier.is_right


def test_without_a_further_thread_the_receiving_one_hashes(
    descriptor: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that has no thread left costs time and nothing else."""

    def refuses(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuses)
    with checking(descriptor, Range(0, PIECE)) as verifier:
        give(verifier, descriptor, Range(PIECE, len(BODY)))
        verifier.finish()
        assert verifier.is_right


def test_a_stopped_run_does_not_read_on(
    descriptor: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading back what was left ends when the run is stopped."""
    monkeypatch.setattr(PieceVerifier, "_started", lambda _self, _count: [])
    stop = StopsAtWait()
    stop.set()
    whole = Range(0, len(BODY))
    with (
        checking(descriptor, whole, lock_wait=LockWait(stop)) as verifier,
        pytest.raises(Interrupted),
    ):
        verifier.finish()


def test_what_cannot_be_read_back_is_an_error(tmp_path: Path) -> None:
    """A disk that refuses to be read ends in its error, and not in a right file."""
    path = tmp_path / "write only"
    path.write_bytes(BODY)
    opened = RootedPath.of(path).open(os.O_WRONLY)
    verifier = PieceVerifier(opened, LAYER, [Range(0, len(BODY))], LockWait())
    try:
        with pytest.raises(StoreError, match="Bad file descriptor"):
            verifier.finish()
        assert not verifier.is_right
    finally:
        verifier.close()
        opened.close()
