"""Digests that follow a file's first bytes, in whatever order its bytes come."""

import hashlib
import os
import random
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import StoreError
from downloader.fs.digests import BUFFER_BYTES, new_md5, new_sha256
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath
from downloader.network.ranges import Range, merge, prefix
from downloader.transfer._verifier import (
    INLINE_BUFFER_BYTES,
    MOST_WAITING,
    SMALLEST_BUFFER_BYTES,
    THREADED_BYTES,
    InlineVerifier,
    ThreadedVerifier,
    whole_verifier,
)

BODY = random.Random(3).randbytes(3 * BUFFER_BYTES + 17)
KINDS = [InlineVerifier, ThreadedVerifier]
Kind = type[InlineVerifier] | type[ThreadedVerifier]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenFile]:
    """Give an open file, empty at first."""
    path = tmp_path_factory.mktemp("hasher") / "file"
    with RootedPath.of(path).open(os.O_RDWR | os.O_CREAT) as opened:
        yield opened


cuts = st.lists(st.integers(1, len(BODY) - 1), max_size=12, unique=True)


@each_kind
@given(cuts=cuts, order=st.randoms(use_true_random=False), data=st.data())
def test_any_order_gives_the_digests(
    descriptor: OpenFile, kind: Kind, cuts: list[int], order: random.Random, data: st.DataObject
) -> None:
    """Pieces written in any order, handed over or not, give the digests of the whole."""
    descriptor.truncate(0)
    edges = [0, *sorted(cuts), len(BODY)]
    pieces = [Range(*pair) for pair in pairwise(edges)]
    order.shuffle(pieces)
    written: list[Range] = []
    sha256, md5 = new_sha256(), new_md5()
    verifier = kind(descriptor, {"sha256": sha256, "md5": md5})
    try:
        for piece in pieces:
            give(verifier, descriptor, piece)
            written = merge([*written, piece])
            if data.draw(st.booleans()):
                verifier.advance(prefix(written))
        verifier.advance(len(BODY))
        verifier.finish()
    finally:
        verifier.close()
    assert sha256.hexdigest() == hashlib.sha256(BODY).hexdigest()
    assert md5.hexdigest() == hashlib.md5(BODY).hexdigest()


def give(verifier: InlineVerifier | ThreadedVerifier, descriptor: OpenFile, piece: Range) -> None:
    """Write a piece a buffer at a time, and hand each one over."""
    for start in range(piece.start, piece.stop, BUFFER_BYTES):
        buffer = verifier.buffer()
        count = min(len(buffer), piece.stop - start, BUFFER_BYTES)
        for at in range(start, min(start + BUFFER_BYTES, piece.stop), count):
            size = min(count, piece.stop - at)
            buffer[:size] = BODY[at : at + size]
            descriptor.write_at(buffer[:size], at)
            if verifier.feed_block(at, buffer, size):
                buffer = verifier.buffer()


def test_a_file_that_cannot_be_read_is_told_at_the_end(
    descriptor: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading thread's error is raised where the digest is wanted."""

    def broken(*_: object) -> int:
        raise OSError(5, "the disk is broken")

    monkeypatch.setattr("downloader.fs.open_file._preadv", broken)
    verifier = ThreadedVerifier(descriptor, {"sha256": new_sha256()})
    verifier.advance(1000)
    with pytest.raises(StoreError, match="the disk is broken"):
        verifier.finish()


def test_a_file_that_became_shorter_is_told_at_the_end(descriptor: OpenFile) -> None:
    """A file that somebody cut has no digest of what was there."""
    descriptor.truncate(10)
    verifier = ThreadedVerifier(descriptor, {"sha256": new_sha256()})
    verifier.advance(1000)
    with pytest.raises(StoreError, match="became shorter"):
        verifier.finish()


class Held:
    """A digest that takes in nothing until it is let go.

    Attributes:
        started: Set when the first bytes came.
    """

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()

    def update(self, data: memoryview, /) -> None:  # noqa: ARG002
        """Wait."""
        self.started.set()
        self.go_on.wait(10)

    def hexdigest(self) -> str:
        """Return nothing of worth."""
        return ""


def hand_over_many(verifier: ThreadedVerifier, count: int) -> None:
    for index in range(count):
        assert verifier.feed_block(index, memoryview(bytearray(1)), 1)


def sending_to(slow: Held, descriptor: OpenFile) -> tuple[ThreadedVerifier, threading.Thread]:
    """Return a verifier whose digest is held, and the thread that hands buffers over to it."""
    verifier = ThreadedVerifier(descriptor, {"sha256": slow})
    hand_over_many(verifier, 1)
    assert slow.started.wait(10)
    sender = threading.Thread(target=hand_over_rest, args=(verifier,))
    sender.start()
    return verifier, sender


def test_the_sender_waits_for_a_slow_digest(descriptor: OpenFile) -> None:
    """So many buffers wait and no more: then whoever hands over waits, until there is room."""
    slow = Held()
    verifier, sender = sending_to(slow, descriptor)
    with verifier._changed:
        is_full = verifier._changed.wait_for(lambda: len(verifier._waiting) == MOST_WAITING, 10)
    assert is_full
    sender.join(0.05)
    assert sender.is_alive()
    assert len(verifier._waiting) == MOST_WAITING
    slow.go_on.set()
    sender.join(10)
    verifier.finish()
    assert verifier._hashed == MOST_WAITING + 2
    assert len(verifier._spare) <= MOST_WAITING


def hand_over_rest(verifier: ThreadedVerifier) -> None:
    for index in range(1, MOST_WAITING + 2):
        verifier.feed_block(index, memoryview(bytearray(1)), 1)


def test_large_buffers_wait_in_smaller_number(
    descriptor: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by bytes too: a queue is full before it has many large buffers."""
    monkeypatch.setattr("downloader.transfer._verifier.MOST_WAITING_BYTES", 3)
    slow = Held()
    verifier, sender = sending_to(slow, descriptor)
    with verifier._changed:
        assert verifier._changed.wait_for(lambda: len(verifier._waiting) == 3, 10)
    sender.join(0.05)
    assert len(verifier._waiting) == 3
    slow.go_on.set()
    sender.join(10)
    verifier.finish()
    assert verifier._hashed == MOST_WAITING + 2


def test_closing_lets_a_waiting_sender_go(descriptor: OpenFile) -> None:
    """Who waits for room is told that the buffer was not taken, when all ends."""
    slow = Held()
    verifier, sender = sending_to(slow, descriptor)
    closer = threading.Thread(target=verifier.close)
    closer.start()
    sender.join(10)
    assert not sender.is_alive()
    slow.go_on.set()
    closer.join(10)
    assert not verifier.feed_block(MOST_WAITING + 1, memoryview(bytearray(1)), 1)


def test_bytes_out_of_turn_are_not_kept(descriptor: OpenFile) -> None:
    """A buffer that comes before its turn stays with the sender: it is read back later."""
    verifier = ThreadedVerifier(descriptor, {"sha256": new_sha256()})
    assert not verifier.feed_block(5, verifier.buffer(), 1)
    verifier.close()


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        (None, InlineVerifier),
        (0, InlineVerifier),
        (THREADED_BYTES - 1, InlineVerifier),
        (THREADED_BYTES, ThreadedVerifier),
    ],
)
def test_only_large_files_get_a_thread(descriptor: OpenFile, size: int | None, kind: Kind) -> None:
    """A small file, or one of unknown length, is hashed by who receives it."""
    verifier = whole_verifier(descriptor, {"sha256": new_sha256()}, size)
    verifier.close()
    assert type(verifier) is kind


def test_without_a_thread_it_is_hashed_all_the_same(
    descriptor: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that has no thread left costs speed, not the file."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert (
        type(whole_verifier(descriptor, {"sha256": new_sha256()}, THREADED_BYTES)) is InlineVerifier
    )


def test_without_a_second_thread_both_digests_are_right(
    descriptor: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that hashes has the last one that the system gives."""
    hashes = {"sha256": new_sha256(), "md5": new_md5()}
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name != "modelmake-hash":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    descriptor.truncate(0)
    verifier = ThreadedVerifier(descriptor, hashes)
    give(verifier, descriptor, Range(0, len(BODY)))
    verifier.advance(len(BODY))
    verifier.finish()

    assert verifier.sha256 == hashlib.sha256(BODY).hexdigest()
    assert verifier.other_digest("md5") == hashlib.md5(BODY, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("size", "buffer_bytes"),
    [
        (0, SMALLEST_BUFFER_BYTES),
        (20_000, 20_000),
        (THREADED_BYTES - 1, INLINE_BUFFER_BYTES),
        (None, INLINE_BUFFER_BYTES),
    ],
)
def test_a_small_file_gets_a_small_buffer(
    descriptor: OpenFile, size: int | None, buffer_bytes: int
) -> None:
    """Memory that nothing is received into is not even zeroed."""
    verifier = whole_verifier(descriptor, {"sha256": new_sha256()}, size)
    assert len(verifier.buffer()) == buffer_bytes
