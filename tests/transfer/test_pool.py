"""How many connections a host is asked for: budget, refusals, recovery."""

import threading

import pytest

from downloader.transfer import pool
from downloader.transfer.pool import (
    RECOVERY_SECONDS,
    SHORTEST_WINDOW_SECONDS,
    Host,
    Pool,
)

MOST = 8


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
    monkeypatch.setattr(pool, "time", made)
    return made


@pytest.fixture
def host(clock: Clock) -> Host:
    """Give a host of which eight connections may be wanted."""
    return Host(MOST)


def enter(host: Host, count: int = 1) -> None:
    """Take a first connection of as many files, each with a reply."""
    for _ in range(count):
        assert host.enter(threading.Event())
        host.began(0.01)


def leave(host: Host, count: int = 1) -> None:
    for _ in range(count):
        host.ended()
        host.leave()


def free(host: Host) -> int:
    """Return how many more files may begin, by trying; they leave again."""
    stopped = threading.Event()
    count = 0
    while host._active < host._allowed():
        assert host.enter(stopped)
        count += 1
    for _ in range(count):
        host.leave()
    return count


def test_files_may_begin_up_to_the_budget(host: Host) -> None:
    """Each file's first connection counts, and what leaves makes room."""
    enter(host, 3)
    assert free(host) == MOST - 3
    leave(host, 3)
    assert free(host) == MOST


def test_a_stopped_run_does_not_wait_for_its_turn(host: Host) -> None:
    """When the run ends, who waits is let go with a no, and holds no connection."""
    enter(host, MOST)
    stop = threading.Event()
    stop.set()
    assert not host.enter(stop)
    leave(host, MOST)
    assert free(host) == MOST


def test_a_waiting_file_begins_when_another_leaves(host: Host) -> None:
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


def test_no_further_connection_before_it_is_known_to_pay_off(host: Host) -> None:
    """A file has one connection until the climb wants more."""
    enter(host)
    assert not host.try_enter()
    host._climb.level = 2
    assert host.try_enter()
    assert not host.try_enter()


def test_a_refusal_lowers_the_budget_to_what_is_served(host: Host) -> None:
    """A server that turns the fourth away gets three from then on."""
    host._climb.level = MOST
    enter(host, 3)
    assert host.try_enter()
    host.refused()
    host.leave()
    assert not host.try_enter()
    assert free(host) == 0
    leave(host)
    assert free(host) == 1


def test_a_refusal_makes_the_others_surplus(host: Host) -> None:
    """Who is connected beyond the budget is to end."""
    host._climb.level = MOST
    enter(host, 2)
    assert host.try_enter()
    assert not host.is_surplus()
    host.refused()
    assert host.is_surplus()
    host.leave()
    assert not host.is_surplus()


def test_one_connection_is_left_whatever_is_refused(host: Host) -> None:
    """A server that serves nobody just now is asked by one."""
    host.refused()
    assert free(host) == 1


def test_the_budget_recovers_by_one_each_quiet_time(host: Host, clock: Clock) -> None:
    """Time without a refusal gives one connection back, and so on up to the setting."""
    host.refused()
    clock.now += RECOVERY_SECONDS - 0.1
    assert free(host) == 1
    clock.now += 0.1
    assert free(host) == 2
    for expected in (*range(3, MOST + 1), MOST, MOST):
        clock.now += RECOVERY_SECONDS
        assert free(host) == expected


def test_another_refusal_begins_the_quiet_time_anew(host: Host, clock: Clock) -> None:
    """A budget that proved too high falls again, and waits as long again."""
    enter(host)
    host.refused()
    clock.now += RECOVERY_SECONDS - 1
    host.refused()
    clock.now += RECOVERY_SECONDS - 1
    assert free(host) == 0
    clock.now += 1
    assert free(host) == 1


def test_a_measured_gain_opens_further_connections(host: Host, clock: Clock) -> None:
    """A window that is over says how many to open; one that is not says none."""
    enter(host)
    host.moved(1000)
    assert host._measured() == 0
    clock.now += 1
    assert host._measured() == 1


def test_many_small_files_do_not_keep_a_large_one_from_being_measured(
    host: Host, clock: Clock
) -> None:
    """Files that come and go begin the window anew for a while, and then it counts all the same."""
    enter(host)
    host._is_watched = True  # as if by the thread, which the clock would race with here
    host._measured_at = clock.now
    found = []
    for _ in range(100):
        clock.now += SHORTEST_WINDOW_SECONDS / 3
        enter(host)
        leave(host)
        host.moved(1000)
        found.append(host._measured())
    assert max(found) >= 1


def test_a_growing_file_is_asked_until_it_withdraws(host: Host, clock: Clock) -> None:
    """A file that offers work is asked to grow, and no thread is left when it withdraws."""
    asked = threading.Event()

    def grow() -> bool:
        asked.set()
        return False

    enter(host)
    host.offers(grow)
    clock.now += 1
    assert asked.wait(10)
    host.withdraws(grow)


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
    hosts = Pool(MOST)
    assert (hosts.host(one) is hosts.host(two)) is is_same
