"""The bound on all transfers' rate, by a clock of its own: no test waits."""

import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import Interrupted, Stop
from downloader.fs.digests import BUFFER_BYTES
from downloader.transfer import _concurrency
from downloader.transfer._concurrency import CREDIT_SECONDS, SMALLEST_SLICE_BYTES, Throttle

RATE = 1000
SLICE = 5


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


class Sleeps(Stop):
    """A stop; who waits for it wakes later by the clock, at once by ours."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.until: list[float] = []

    def wait(self, seconds: float) -> None:
        """Note until when the wait would be."""
        self.until.append(self._clock.now + seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock that the throttle reads."""
    made = Clock()
    monkeypatch.setattr(_concurrency, "time", made)
    return made


def pay_all(bound: Throttle, stop: Stop, counts: Iterable[int]) -> None:
    for count in counts:
        bound.pay(count, stop)


def test_the_sum_over_all_threads_is_within_the_bound(clock: Clock) -> None:
    """Eight threads that pay at one moment are let go one after the other, at the rate."""
    bound, stop = Throttle(RATE), Sleeps(clock)
    threads = [threading.Thread(target=pay_all, args=(bound, stop, [100] * 50)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    expected = [50.0 + 100 * (index + 1) / RATE for index in range(400)]
    assert sorted(stop.until) == pytest.approx(expected)


def test_one_transfer_waits_as_long_as_its_bytes_take(clock: Clock) -> None:
    """Bytes that came at once are paid for before the next are read."""
    bound, stop = Throttle(RATE), Sleeps(clock)
    bound.pay(500, stop)
    assert stop.until == pytest.approx([50.5])
    clock.now = 50.5
    bound.pay(500, stop)
    assert stop.until[1:] == pytest.approx([51.0])


def test_time_that_was_not_used_is_hardly_saved_up(clock: Clock) -> None:
    """After a silence the rate is the same, but for the little that makes late threads good."""
    bound, stop = Throttle(RATE), Sleeps(clock)
    clock.now += 1000
    bound.pay(500, stop)
    assert stop.until == pytest.approx([clock.now + 0.5 - CREDIT_SECONDS])


def test_a_thread_that_wakes_late_is_made_good(clock: Clock) -> None:
    """Who wakes a little after the bytes are paid for waits so much less for the next ones."""
    bound, stop = Throttle(RATE), Sleeps(clock)
    bound.pay(500, stop)
    clock.now = 50.5 + CREDIT_SECONDS / 2
    bound.pay(500, stop)
    assert stop.until == pytest.approx([50.5, 51.0])


@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.5]), min_size=300, max_size=500),
    st.integers(1, 8),
)
def test_no_second_is_much_above_the_bound(late: list[float], threads: int) -> None:
    """However late threads wake, what passes in any second is the bound and a twentieth at most."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(_concurrency, "time", clock)
        bound, stop, passed = Throttle(RATE), Sleeps(clock), list[float]()
        for index in range(0, len(late), threads):
            for _ in range(threads):
                passed.append(clock.now)
                bound.pay(SLICE, stop)
            clock.now = max(clock.now, stop.until[-1] if stop.until else 0.0) + late[index]
    for index, at in enumerate(passed):
        within = [other for other in passed[index:] if other < at + 1]
        assert SLICE * (len(within) - threads) <= 1.05 * RATE


def test_no_bound_is_no_wait(clock: Clock) -> None:
    """Without the setting nothing waits, and buffers are whole."""
    bound, stop = Throttle(None), Sleeps(clock)
    bound.pay(10**12, stop)
    assert (stop.until, bound.slice_bytes) == ([], BUFFER_BYTES)


def test_a_stopped_run_does_not_wait() -> None:
    """Who waits for a day's worth of bytes is let go when the run is stopped."""
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        Throttle(1).pay(86_400, stop)


@pytest.mark.parametrize(
    ("rate", "size"),
    [(1, SMALLEST_SLICE_BYTES), (1_000_000, 2_000), (10**12, BUFFER_BYTES)],
)
def test_slices_make_the_rate_even(rate: int, size: int) -> None:
    """A few milliseconds' bytes are read at once, within bounds."""
    assert Throttle(rate).slice_bytes == size
