"""Which ranges of a file are given to which connection: all of them, and none twice."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.network.ranges import Range, merge, total
from downloader.transfer._segments import (
    FIRST_LENGTH_BYTES,
    FIRST_RATE,
    LARGE_BYTES,
    LEAST_SECONDS,
    LONG_SECONDS,
    PRIOR_SECONDS,
    SMALLEST_SHARE_BYTES,
    Segment,
    Segments,
)

MIB = 1 << 20
SIZE = 40 * MIB
sizes = st.integers(1, SIZE)
presents = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(1, 9 * MIB)).map(lambda it: Range(it[0], sum(it))),
    max_size=5,
)


def missing(size: int, present: list[Range]) -> int:
    """Return how many bytes of the file are not present."""
    return size - total(merge(present))


def spans(segments: list[Segment]) -> list[tuple[int, int]]:
    return [(each.position, each.stop) for each in segments]


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def slow(size: int, present: list[Range]) -> Segments:
    """Return a file's segments, all of which take long enough to be shared."""
    segments = Segments(size, present)
    segments.rate = 1.0
    return segments


class Transfer:
    """Connections that receive a file, one step at a time; each byte that is wanted is noted."""

    def __init__(self, size: int, present: list[Range]) -> None:
        self.segments = Segments(size, present)
        self.held: list[Segment] = []
        self.received: list[Range] = []

    def take(self, index: int, count: int) -> None:  # noqa: ARG002
        """Open a connection, or let the first one take all that is left."""
        taken = self.segments.take_rest() if index == 0 else self.segments.take()
        if taken is not None:
            self.held.append(taken)

    def advance(self, index: int, count: int) -> None:
        """Receive some bytes, perhaps more than are still wanted."""
        if self.held:
            segment = self.held[index % len(self.held)]
            start = segment.position
            wanted = self.segments.advance(segment, count)
            assert 0 <= wanted <= count
            self.received.append(Range(start, start + wanted))

    def give_back(self, index: int, count: int) -> None:  # noqa: ARG002
        """End a connection, finished or not."""
        if self.held:
            self.segments.give_back(self.held.pop(index % len(self.held)))

    def finish(self) -> None:
        """Let one connection receive all that is left."""
        while self.held:
            self.give_back(0, 0)
        while segment := self.segments.take():
            self.held.append(segment)
            self.advance(0, segment.left)
            self.give_back(0, 0)


STEPS = (Transfer.take, Transfer.advance, Transfer.give_back)
steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(1, 9 * MIB)))


@given(sizes, presents, steps)
def test_all_that_is_missing_is_received_once(
    size: int, present: list[Range], steps: list[tuple[object, int, int]]
) -> None:
    """In whatever order connections come, receive and go, each missing byte is wanted once."""
    present = [Range(start, min(stop, size)) for start, stop in present if start < size]
    transfer = Transfer(size, present)
    for step, index, count in steps:
        step(transfer, index, count)  # type: ignore[operator]
        assert_disjoint(transfer.held)
    transfer.finish()
    lengths = sum(each.length for each in transfer.received)
    assert lengths == missing(size, present)
    assert merge([*transfer.received, *present]) == [Range(0, size)]


def assert_disjoint(held: list[Segment]) -> None:
    """Check that no byte is wanted of two connections."""
    wanted = sorted(span for span in spans(held) if span[0] < span[1])
    assert all(one[1] <= two[0] for one, two in pairwise(wanted))


def test_segments_come_from_the_front() -> None:
    """The first wanted bytes are given out first, a length at a time."""
    segments = Segments(SIZE, [Range(0, MIB)])
    taken = [segments.take(), segments.take()]
    assert spans([each for each in taken if each]) == [
        (MIB, MIB + FIRST_LENGTH_BYTES),
        (MIB + FIRST_LENGTH_BYTES, MIB + 2 * FIRST_LENGTH_BYTES),
    ]


def test_a_short_tail_is_not_left_over() -> None:
    """What would be less than the smallest share goes with the segment before it."""
    size = FIRST_LENGTH_BYTES + SMALLEST_SHARE_BYTES - 1
    first = Segments(size, []).take()
    assert first is not None
    assert spans([first]) == [(0, size)]


def test_the_rest_of_the_first_reply_is_shared_behind_one_length() -> None:
    """A first reply of the whole file keeps one length, and others get what follows."""
    segments = Segments(SIZE, [])
    first = segments.take_rest()
    second = segments.take()
    assert second is not None
    assert spans([first, second]) == [
        (0, FIRST_LENGTH_BYTES),
        (FIRST_LENGTH_BYTES, 2 * FIRST_LENGTH_BYTES),
    ]


def test_near_the_end_a_segment_is_halved() -> None:
    """When nothing is free, a connection gives half of what is to come away."""
    segments = slow(4 * MIB, [])
    first = segments.take_rest()
    second = segments.take()
    assert second is not None
    assert spans([first, second]) == [(0, 2 * MIB), (2 * MIB, 4 * MIB)]


def test_near_the_end_the_one_that_takes_longest_is_halved() -> None:
    """Not the one with the most to come, but the one that would be there last."""
    clock = Clock()
    segments = Segments(12 * MIB, [], clock)
    segments.rate = 1.0
    fast, slowest = segments.take(), segments.take()
    assert fast is not None
    assert slowest is not None
    clock.now = 10
    segments.advance(fast, 2 * MIB)
    segments.advance(slowest, MIB // 4)
    assert fast.left > slowest.left
    third = segments.take()
    assert third is not None
    assert third.stop == 12 * MIB
    assert fast.stop == FIRST_LENGTH_BYTES


@pytest.mark.parametrize("above", [0.9, 1.1])
def test_what_is_there_soon_is_not_shared(above: float) -> None:
    """The rest of a fast connection's segment would only be sent twice."""
    clock = Clock()
    size = 32 * MIB
    segments = Segments(size, [], clock)
    segments.rate = 1.0
    first = segments.take_rest()
    segments.advance(first, size // 2)
    clock.now = LEAST_SECONDS * above - PRIOR_SECONDS
    assert segments.is_shareable is (above > 1)
    assert (segments.take() is not None) is (above > 1)


def test_a_connection_that_has_just_begun_is_taken_to_be_as_fast_as_the_others() -> None:
    """Before it is seen to be slow, nobody takes a part of its segment away."""
    size = int(FIRST_RATE * LEAST_SECONDS / 2)
    segments = Segments(size, [], Clock())
    segments.take_rest()
    assert not segments.is_shareable
    segments.rate = FIRST_RATE / 4
    assert segments.is_shareable


@pytest.mark.parametrize(("left", "expected"), [(LARGE_BYTES, True), (LARGE_BYTES - 1, False)])
def test_what_may_prove_slow_is_large(left: int, *, expected: bool) -> None:
    """Only the size tells at the beginning whether further connections may ever be of use."""
    segments = Segments(SIZE, [Range(0, SIZE - left)], Clock())
    segments.take_rest()
    assert segments.is_large is expected
    assert not segments.is_shareable


@pytest.mark.parametrize("above", [0.9, 1.1])
def test_a_long_rest_is_told_from_a_short_one(above: float) -> None:
    """What takes long is worth giving up for a connection that is one too many."""
    segments = Segments(int(FIRST_RATE * LONG_SECONDS * above), [], Clock())
    assert segments.is_long(segments.take_rest()) is (above > 1)


def test_bytes_behind_a_cut_are_not_wanted() -> None:
    """Who was cut short while more came is told how much of it counts."""
    segments = slow(4 * MIB, [])
    first = segments.take_rest()
    segments.take()
    assert segments.advance(first, 3 * MIB) == 2 * MIB
    assert segments.advance(first, 1) == 0


@pytest.mark.parametrize("left", [2 * SMALLEST_SHARE_BYTES - 1, 1, 0])
def test_too_little_is_not_shared(left: int) -> None:
    """A connection's start costs more than so few bytes."""
    segments = slow(SIZE, [Range(0, SIZE - left)])
    segments.take_rest()
    assert not segments.is_shareable
    assert segments.take() is None


def test_enough_is_shared() -> None:
    """Two smallest shares are work for two."""
    segments = slow(2 * SMALLEST_SHARE_BYTES, [])
    segments.take_rest()
    assert segments.is_shareable
    assert segments.take() is not None


def test_what_is_given_back_is_wanted_again() -> None:
    """A broken connection's rest is given to the next, at once."""
    segments = Segments(MIB, [])
    first = segments.take_rest()
    segments.advance(first, 1000)
    segments.give_back(first)
    assert segments.is_shareable
    again = segments.take()
    assert again is not None
    assert spans([again]) == [(1000, MIB)]


def test_an_empty_file_has_an_empty_rest() -> None:
    """The first reply of an empty file has a place to go as well."""
    segments = Segments(0, [])
    first = segments.take_rest()
    assert (first.left, segments.is_shareable) == (0, False)
    segments.give_back(first)
    assert segments.take() is None


def test_a_reply_that_was_read_beyond_its_cut_gets_nothing_back() -> None:
    """What follows in its stream is not what follows its position: another reply brings that."""
    segments = Segments(4 * SMALLEST_SHARE_BYTES, [], clock=lambda: 0.0)
    segments.least_seconds = 0.0
    first = segments.take_rest()
    second = segments.take()
    assert second is not None
    segments.advance(first, first.left + 1000)
    segments.give_back(second)
    segments.rejoin()
    assert first.left == 0
    again = segments.take()
    assert again is not None
    assert (again.position, again.stop) == (second.position, second.stop)
