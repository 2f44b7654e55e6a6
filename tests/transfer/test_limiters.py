"""How many connections a host is asked for: budget, refusals, recovery."""

import threading

import pytest

from downloader.errors import Interrupted, Stop
from downloader.transfer import _concurrency
from downloader.transfer._concurrency import (
    LONGEST_SEGMENT_BYTES,
    MOST_PUT_OFF_SECONDS,
    MOST_SLICES,
    RECOVERY_SECONDS,
    SEGMENT_ROUND_TRIPS,
    SEGMENT_SECONDS,
    SHARE_ROUND_TRIPS,
    SLOW_BYTES_PER_SECOND,
    HostLimiter,
    Limiters,
    Throttle,
)
from downloader.transfer._segments import FIRST_LENGTH_BYTES, LEAST_SECONDS, Segments

MOST = 8
LOOK = 1 / 16


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock that the pool reads."""
    made = Clock()
    monkeypatch.setattr(_concurrency, "time", made)
    return made


@pytest.fixture
def host(clock: Clock) -> HostLimiter:
    """Give a host of which eight connections may be wanted."""
    return HostLimiter(MOST)


def enter(host: HostLimiter, count: int = 1) -> None:
    """Take a first connection of as many files, each with a reply."""
    for _ in range(count):
        host.acquire(Stop())
        host.answered(0.01)
        host.began()


def leave(host: HostLimiter, count: int = 1) -> None:
    for _ in range(count):
        host.ended()
        host.release()


def look(host: HostLimiter, clock: Clock, count: int = 1) -> int:
    """Let some time pass, in which bytes arrive, and return how many connections are wanted."""
    clock.now += LOOK
    host.moved(count, LOOK * host._flow.streams)
    host._measure()
    return host._controller.level


def free(host: HostLimiter) -> int:
    """Return how many more files may begin, by trying; they leave again."""
    count = 0
    while host._active < host._allowed():
        host.acquire(Stop())
        count += 1
    for _ in range(count):
        host.release()
    return count


def test_files_may_begin_up_to_the_budget(host: HostLimiter) -> None:
    """Each file's first connection counts, and what leaves makes room."""
    enter(host, 3)
    assert free(host) == MOST - 3
    leave(host, 3)
    assert free(host) == MOST


def test_a_stopped_run_does_not_wait_for_its_turn(host: HostLimiter) -> None:
    """When the run ends, who waits is let go, and holds no connection."""
    enter(host, MOST)
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        host.acquire(stop)
    leave(host, MOST)
    assert free(host) == MOST


def test_a_waiting_file_begins_when_another_leaves(host: HostLimiter) -> None:
    """The turn comes with the connection that is given back."""
    enter(host, MOST)
    waiting = threading.Thread(target=enter, args=(host,))
    waiting.start()
    assert waiting.is_alive()
    leave(host)
    waiting.join(10)
    assert not waiting.is_alive()
    leave(host, MOST)
    assert free(host) == MOST


def test_a_waiting_file_begins_when_one_too_many_is_dropped(
    host: HostLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and need not look again by itself."""
    told: list[int] = []
    monkeypatch.setattr(host._freed, "notify", lambda: told.append(1))
    host.acquire(Stop())
    host._controller.level = 2
    assert host.try_acquire()
    assert not host.drop_surplus()
    host._controller.level = 1
    assert host.drop_surplus()
    assert told == [1]


def test_no_further_connection_before_it_is_known_to_pay_off(host: HostLimiter) -> None:
    """A file has one connection until the climb wants more."""
    enter(host)
    assert not host.try_acquire()
    host._controller.level = 2
    assert host.try_acquire()
    assert not host.try_acquire()


def test_a_refusal_lowers_the_budget_to_what_is_served(host: HostLimiter) -> None:
    """A server that turns the fourth away gets three from then on."""
    host._controller.level = MOST
    enter(host, 3)
    assert host.try_acquire()
    host.refused()
    host.release(is_further=True)
    assert not host.try_acquire()
    assert free(host) == 0
    leave(host)
    assert free(host) == 1


def test_who_is_between_two_replies_is_served(host: HostLimiter) -> None:
    """A refusal at the moment in which another one's reply is over does not cost its place."""
    host._controller.level = MOST
    enter(host, 3)
    host.ended()
    assert host.try_acquire()
    host.refused()
    host.release(is_further=True)
    leave(host)
    assert free(host) == 1


def test_many_refusals_at_once_are_one(host: HostLimiter) -> None:
    """Of a large step that is refused, each refusal tells the same."""
    host._controller.level = MOST
    enter(host, 3)
    while host.try_acquire():
        pass
    for _ in range(MOST - 3):
        host.refused()
        host.release(is_further=True)
    assert host._allowed() == 3


def test_a_refusal_lowers_the_budget_even_where_more_were_served(host: HostLimiter) -> None:
    """A server that bears fewer than it did before is believed as well."""
    enter(host, 3)
    host.ended()
    host.refused()
    assert host._allowed() == 2


def test_a_refusal_makes_the_others_surplus(host: HostLimiter) -> None:
    """Who is connected beyond the budget is to end: as many as there are too many, and no more."""
    host._controller.level = MOST
    enter(host, 2)
    assert host.try_acquire()
    assert not host.drop_surplus()
    host.refused()
    assert host.drop_surplus()
    assert not host.drop_surplus()


def test_one_connection_is_left_whatever_is_refused(host: HostLimiter) -> None:
    """A server that serves nobody just now is asked by one."""
    host.refused()
    assert free(host) == 1


def test_the_budget_recovers_by_one_each_quiet_time(host: HostLimiter, clock: Clock) -> None:
    """Time without a refusal gives one connection back, and so on up to the setting."""
    host.refused()
    clock.now += RECOVERY_SECONDS - 0.1
    assert free(host) == 1
    clock.now += 0.1
    assert free(host) == 2
    for expected in (*range(3, MOST + 1), MOST, MOST):
        clock.now += RECOVERY_SECONDS
        assert free(host) == expected


def test_another_refusal_begins_the_quiet_time_anew(host: HostLimiter, clock: Clock) -> None:
    """A budget that proved too high falls again, and waits as long again."""
    enter(host)
    host.refused()
    clock.now += RECOVERY_SECONDS - 1
    host.refused()
    clock.now += RECOVERY_SECONDS - 1
    assert free(host) == 0
    clock.now += 1
    assert free(host) == 1


def test_a_measured_rate_opens_further_connections(host: HostLimiter, clock: Clock) -> None:
    """A glance opens a few; only a rate that is known opens more."""
    enter(host)
    host._begin_measuring()
    assert look(host, clock) == 4
    while host.try_acquire():
        host.began()
    assert look(host, clock, 4) == 4
    assert look(host, clock, 4) > 4


def test_a_fast_connection_is_measured_before_further_ones(host: HostLimiter, clock: Clock) -> None:
    """What looks fast at a glance is not met with more before that is known."""
    enter(host)
    host._begin_measuring()
    fast = int(SLOW_BYTES_PER_SECOND * LOOK) + 1000
    assert look(host, clock, fast) == 1
    assert look(host, clock, fast) == 2


def test_nothing_is_measured_where_nobody_receives(host: HostLimiter, clock: Clock) -> None:
    """The time before the first reply is no rate."""
    host.acquire(Stop())
    assert [look(host, clock, 0) for _ in range(2 * MOST_SLICES)] == [1] * 2 * MOST_SLICES


def test_a_step_is_not_judged_before_it_was_made(host: HostLimiter, clock: Clock) -> None:
    """As long as most of the new connections wait for their replies, they are waited for."""
    enter(host)
    host._begin_measuring()
    level = max(look(host, clock) for _ in range(2))
    while host.try_acquire():
        pass
    assert {look(host, clock) for _ in range(7)} == {level}
    for _ in range(level - 1):
        host.answered(0.01)
        host.began()
    assert max(look(host, clock, 1000) for _ in range(2)) > level


def test_a_step_that_never_comes_is_judged_all_the_same(host: HostLimiter, clock: Clock) -> None:
    """Connections that are not answered do not keep the others from being measured for ever."""
    enter(host)
    host._begin_measuring()
    assert max(look(host, clock) for _ in range(2)) > 1
    clock.now += MOST_PUT_OFF_SECONDS
    assert look(host, clock) > 1
    assert min(look(host, clock) for _ in range(8)) == 1


def test_many_small_files_do_not_keep_a_large_one_from_being_measured(
    host: HostLimiter, clock: Clock
) -> None:
    """Files that come and go meanwhile are counted by their time."""
    enter(host)
    host._begin_measuring()
    found = []
    for _ in range(4):
        enter(host)
        leave(host)
        found.append(look(host, clock))
    assert max(found) > 1


def test_first_connections_are_never_too_many(host: HostLimiter, clock: Clock) -> None:
    """As many as there are files are wanted in any case; a step goes on from there."""
    enter(host, 5)
    host._begin_measuring()
    assert look(host, clock) == 1
    assert look(host, clock) == MOST


@pytest.mark.parametrize(
    ("rate", "round_trip", "expected"),
    [
        (1e6, 0.01, FIRST_LENGTH_BYTES),
        (100e6, 0.001, int(100e6 * SEGMENT_SECONDS)),
        (20e6, 0.05, int(20e6 * SEGMENT_ROUND_TRIPS * 0.05)),
        (900e6, 0.5, LONGEST_SEGMENT_BYTES),
    ],
)
def test_segments_are_long_enough(
    host: HostLimiter, clock: Clock, rate: float, round_trip: float, expected: int
) -> None:
    """Asking for a segment costs little beside what it brings, also of a far server."""
    host.acquire(Stop())
    host.answered(round_trip)
    host.began()
    host._begin_measuring()
    for _ in range(2):
        clock.now += 1
        host.moved(int(rate), 1)
        host._measure()
    segments = Segments(1, [])
    host.size_segments(segments)
    assert segments.length_bytes == pytest.approx(expected, rel=1e-6)
    assert segments.least_seconds == max(LEAST_SECONDS, SHARE_ROUND_TRIPS * round_trip)
    assert segments.rate == pytest.approx(rate)


def test_a_growing_file_is_asked_until_it_withdraws(host: HostLimiter) -> None:
    """A file that offers work is asked at once to grow, and no thread is left when it withdraws."""
    asked = threading.Event()

    def grow() -> bool:
        asked.set()
        return False

    host._controller.level = 2
    enter(host)
    host.register(grow)
    assert asked.wait(10)
    host.unregister(grow)


@pytest.mark.parametrize(
    ("one", "two", "is_same"),
    [
        ("http://a.example/x", "http://a.example/y?z", True),
        ("http://A.example/x", "http://a.EXAMPLE/x", True),
        ("http://user:word@a.example/x", "http://a.example/x", True),
        ("http://a.example:81/x", "http://a.example/x", False),
        ("http://a.example/x", "http://b.example/x", False),
    ],
)
def test_a_host_is_a_name_and_a_port(one: str, two: str, is_same: bool) -> None:
    """Files of one host share its budget, whatever their paths and users."""
    hosts = Limiters(MOST, Throttle(None))
    assert (hosts.of(one) is hosts.of(two)) is is_same
