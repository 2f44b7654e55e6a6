"""What a rate is, and since when it is one."""

import pytest

from downloader.transfer._concurrency import (
    LEAST_WAITS,
    LONGEST_SLICE_SECONDS,
    MOST_SLICES,
    SHORTEST_SLICE_SECONDS,
    STEADY,
    Sample,
    ThroughputMeter,
    slice_seconds,
)

PIECE = 1 / 16  # a clock of such steps has no rounding


class Wire:
    """One reply whose bytes arrive slice by slice, by a clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.flow = ThroughputMeter(self.now)
        self.flow.opened(1, self.now)

    def slice(self, count: int, waited_seconds: float = PIECE) -> Sample | None:
        """Let a slice's time pass, in which so many bytes arrive."""
        self.flow.moved(count, waited_seconds)
        self.now += PIECE
        return self.flow.measure(self.now, PIECE)


def test_two_like_slices_are_a_measurement() -> None:
    """A rate that stays is told after two slices."""
    wire = Wire()
    assert wire.slice(1000) is None
    seen = wire.slice(1000)
    assert seen is not None
    assert seen.rate == pytest.approx(1000 / PIECE)
    assert (seen.streams, seen.waits) == pytest.approx((1, 1))


def test_about_the_same_is_the_same() -> None:
    """A small difference is no change, a larger one is."""
    for second, is_told in ((1 - STEADY + 0.01, True), (1 - STEADY - 0.01, False)):
        wire = Wire()
        wire.slice(100_000)
        assert (wire.slice(int(100_000 * second)) is not None) is is_told


def test_a_rising_rate_is_waited_for() -> None:
    """While each slice brings twice as much nothing is told; then the rate that stays is."""
    wire = Wire()
    assert [wire.slice(1000 * 2**step) for step in range(5)] == [None] * 5
    seen = wire.slice(16_000)
    assert seen is not None
    assert seen.rate == pytest.approx(16_000 / PIECE)


def test_bursts_are_told_by_their_mean_in_the_end() -> None:
    """What never becomes steady is measured over more slices, the first half left out."""
    wire = Wire()
    found = [wire.slice(count) for count in [8000, 0] * (MOST_SLICES // 2)]
    assert found[:-1] == [None] * (MOST_SLICES - 1)
    last = found[-1]
    assert last is not None
    assert last.rate == pytest.approx(4000 / PIECE)


def test_silence_is_no_rate_so_soon() -> None:
    """Two silent slices may lie between two bursts; many are a stall."""
    wire = Wire()
    found = [wire.slice(0) for _ in range(MOST_SLICES)]
    assert found[:-1] == [None] * (MOST_SLICES - 1)
    last = found[-1]
    assert last is not None
    assert last.rate == 0


def test_replies_that_come_and_go_count_by_their_time() -> None:
    """The number of replies is a mean over the time."""
    wire = Wire()
    for change in (1, -1):
        wire.flow.opened(change, wire.now)
        seen = wire.slice(1000)
    assert seen is not None
    assert seen.streams == pytest.approx(1.5)


def test_own_work_is_told_from_waiting() -> None:
    """The part of their time in which replies waited for bytes is told beside the rate."""
    wire = Wire()
    wire.slice(1000, PIECE / 4)
    seen = wire.slice(1000, PIECE / 2)
    assert seen is not None
    assert seen.waits == pytest.approx(3 / 8)


def test_a_new_beginning_forgets() -> None:
    """What was seen before it does not count."""
    wire = Wire()
    wire.slice(1000)
    wire.flow.begin(wire.now)
    assert wire.slice(1000) is None


def test_a_look_before_the_piece_is_over_tells_nothing() -> None:
    """Who looks too often learns no more."""
    wire = Wire()
    wire.flow.moved(1000, 0)
    assert wire.flow.measure(wire.now + PIECE / 2, PIECE) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(0.0, SHORTEST_SLICE_SECONDS), (2 * PIECE, PIECE), (9.0, LONGEST_SLICE_SECONDS)],
)
def test_a_piece_is_half_an_answer_within_bounds(answer: float, expected: float) -> None:
    """Far servers are looked at more slowly; a new connection's answer takes two round trips."""
    assert slice_seconds(answer) == expected


def test_a_long_sync_is_not_the_servers_silence() -> None:
    """Slices that pass while what came is synced show no waiting, however long the sync takes."""
    wire = Wire()
    wire.slice(1000, PIECE)
    wire.flow.worked(1, wire.now)
    for _ in range(MOST_SLICES - 2):
        assert wire.slice(0, 0) is None
    wire.flow.worked(-1, wire.now)
    seen = wire.slice(1000)
    assert seen is not None
    assert seen.waits < LEAST_WAITS
