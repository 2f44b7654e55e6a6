"""How many connections are wanted, measurement by measurement, against a model of a server."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.transfer._concurrency import (
    FAST_BYTES_PER_SECOND,
    FASTEST_BYTES_PER_SECOND,
    FIRST_REST_SECONDS,
    LEAST_WAITS,
    LONGEST_REST_SECONDS,
    SLOW_BYTES_PER_SECOND,
    VAIN_MEASUREMENTS,
    VAIN_SECONDS,
    ConcurrencyController,
    Sample,
)

MEGA = 1e6
ENDLESS = 1e12
SLICE_SECONDS = 0.05
VAIN = max(VAIN_MEASUREMENTS, round(VAIN_SECONDS / SLICE_SECONDS))
"""So many measurements show that a step was in vain."""
levels = st.integers(1, 64)
slow_rates = st.floats(0.001 * MEGA, 0.9 * SLOW_BYTES_PER_SECOND)


@dataclass
class Server:
    """A model of one: it knows no noise.

    Attributes:
        each: What a connection gives at most, in bytes per second.
        total: What all together give at most.
        bears: How many it serves; it refuses the others.
        waits: What part of their time connections wait for it.
    """

    each: float = ENDLESS
    total: float = ENDLESS
    bears: int = 1000
    waits: float = 1.0
    now: float = 0.0

    def measure(self, controller: ConcurrencyController) -> int:
        """Measure once what the wanted connections give, and return how many are wanted then."""
        if controller.level > self.bears:
            controller.limit(self.bears)
        self.now += SLICE_SECONDS
        rate = min(controller.level * self.each, self.total)
        controller.measured(
            Sample(int(rate * SLICE_SECONDS), SLICE_SECONDS, controller.level, self.waits), self.now
        )
        return controller.level

    def measure_often(self, controller: ConcurrencyController, count: int) -> list[int]:
        """Measure so often, and return how many were wanted after each."""
        return [self.measure(controller) for _ in range(count)]


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (Server(each=20 * MEGA), [4, 16, 32, 32]),
        (Server(each=150 * MEGA), [2, 4, 8, 8]),  # fast ones, until they are a machine's worth
        (Server(each=FAST_BYTES_PER_SECOND), [1, 1]),
        (Server(each=20 * MEGA, waits=LEAST_WAITS - 0.01), [1, 1]),  # it is our own doing
        (Server(each=20 * MEGA, bears=4), [4, 16, 4]),
        (Server(each=0), [4, 16, 32]),  # a stalled one: nothing is lost by asking on others
    ],
)
def test_the_ramp_up(server: Server, expected: list[int]) -> None:
    """Steps are large where connections are slow, and there are none where more only cost."""
    assert server.measure_often(ConcurrencyController(highest=32), len(expected)) == expected


def test_all_together_may_be_fast_too() -> None:
    """Where the sum is a machine's worth already, each one's rate does not matter."""
    controller = ConcurrencyController(highest=32, level=16)
    assert Server(total=FASTEST_BYTES_PER_SECOND).measure(controller) == 16


@given(highest=levels, each=slow_rates)
def test_every_connection_that_pays_is_opened_soon(highest: int, each: float) -> None:
    """A server that limits each connection is met with all that are allowed, and soon."""
    controller = ConcurrencyController(highest=highest)
    Server(each=min(each, FASTEST_BYTES_PER_SECOND / 70)).measure_often(controller, 4)
    assert controller.level == highest


@given(highest=levels, total=slow_rates)
def test_a_bounded_sum_ends_on_one(highest: int, total: float) -> None:
    """A server that limits its client is asked by one again, once the step was in vain."""
    controller = ConcurrencyController(highest=highest)
    assert Server(total=total).measure_often(controller, 1 + VAIN)[-1] == 1


@given(highest=st.integers(8, 64), fit=st.integers(2, 8), each=st.floats(0.1 * MEGA, 15 * MEGA))
def test_as_many_stay_as_carry_a_bounded_sum(highest: int, fit: int, each: float) -> None:
    """Where the sum is bounded above one's rate, about as many stay as it takes, and all of it."""
    server = Server(each=each, total=each * fit)
    controller = ConcurrencyController(highest=highest)
    server.measure_often(controller, 4 + 2 * VAIN)
    while controller.is_evaluating:
        server.measure(controller)
    assert fit <= controller.level <= 2 * fit


@given(
    highest=levels,
    each=st.floats(0, 1e10),
    total=st.floats(0, 1e10),
    bears=levels,
    waits=st.floats(0, 1),
)
def test_never_more_than_allowed_and_never_none(
    highest: int, each: float, total: float, bears: int, waits: float
) -> None:
    """Whatever the server gives, the level is between one and the most, also after refusals."""
    server = Server(each=each, total=total, bears=bears, waits=waits)
    controller = ConcurrencyController(highest=highest)
    assert all(1 <= level <= highest for level in server.measure_often(controller, 200))
    assert controller.highest <= max(highest, 1)


def glance(controller: ConcurrencyController, rate: float) -> bool:
    """Show it what one slice gave, and return whether it took the first step by that."""
    return controller.glanced(Sample(int(rate * SLICE_SECONDS) + 1, SLICE_SECONDS, 1.0))


@given(highest=levels, each=slow_rates, glanced=slow_rates)
def test_no_more_than_four_begin_by_a_glance(highest: int, each: float, glanced: float) -> None:
    """One slice opens four, whatever it was like; those are measured, and the others come soon."""
    server = Server(each=min(each, FASTEST_BYTES_PER_SECOND / 70))
    controller = ConcurrencyController(highest=highest)
    assert glance(controller, min(glanced, server.each)) == (highest > 1)
    assert controller.level == min(4, highest)
    assert server.measure(controller) <= 16
    server.measure_often(controller, 3)
    assert controller.level == highest


@given(highest=levels, total=slow_rates)
def test_a_bounded_sum_ends_on_one_after_a_good_glance(highest: int, total: float) -> None:
    """A glance that saw the bound is as good as a measurement."""
    controller = ConcurrencyController(highest=highest)
    glance(controller, total)
    levels_seen = Server(total=total).measure_often(controller, 1 + VAIN)
    assert levels_seen[-1] == 1
    assert max(levels_seen) <= 4


@given(highest=levels, total=slow_rates, part=st.floats(0.001, 0.19))
def test_slow_start_is_no_proof_for_many(highest: int, total: float, part: float) -> None:
    """A glance into slow start makes four look good; eight are tried, and no more."""
    controller = ConcurrencyController(highest=highest)
    glance(controller, part * total)
    levels_seen = Server(total=total).measure_often(controller, 2 + VAIN)
    assert max(levels_seen) <= 8
    assert levels_seen[-1] <= 4


@given(glanced=slow_rates, each=st.floats(SLOW_BYTES_PER_SECOND, 1e10))
def test_a_fast_server_is_asked_by_one_after_a_bad_glance(glanced: float, each: float) -> None:
    """A busy moment made one connection look slow; it is measured again, alone."""
    controller = ConcurrencyController(highest=32)
    glance(controller, glanced)
    assert Server(each=each).measure(controller) == 1


@given(each=st.floats(SLOW_BYTES_PER_SECOND, FASTEST_BYTES_PER_SECOND / 4))
def test_a_fast_server_is_asked_by_one_after_it_stalled(each: float) -> None:
    """What others bring after a silence tells nothing of what one brings, and a fast one may do."""
    server, controller = Server(each=0), ConcurrencyController(highest=32)
    assert server.measure(controller) == 4
    server.each = each
    assert server.measure(controller) == 1


def test_only_the_first_look_is_a_glance() -> None:
    """Neither a fast connection nor one that was measured is taken for slow by one slice."""
    controller = ConcurrencyController(highest=32)
    assert not glance(controller, SLOW_BYTES_PER_SECOND + 1000)
    assert Server(each=FAST_BYTES_PER_SECOND).measure(controller) == 1
    assert not glance(controller, MEGA)


def test_a_refusal_does_not_make_it_swing() -> None:
    """Once a server refused, no more than it bore are tried until the limit is lifted."""
    server, controller = Server(each=20 * MEGA, bears=4), ConcurrencyController(highest=32)
    assert set(server.measure_often(controller, 100)[2:]) == {4}


def test_a_bad_moment_does_not_count() -> None:
    """One measurement at which a step seems to be in vain is not enough to take it back."""
    server, controller = Server(each=20 * MEGA), ConcurrencyController(highest=32)
    server.measure(controller)
    server.total = 20 * MEGA
    assert server.measure(controller) == 4
    server.total = ENDLESS
    assert server.measure(controller) > 4


def rest(server: Server, controller: ConcurrencyController) -> float:
    """Return for how long it stays where it is, before it tries the next step."""
    began, level = server.now, controller.level
    while server.measure(controller) == level:
        pass
    return server.now - began


def test_the_rests_grow() -> None:
    """A step that brought nothing is tried again, each time after twice as long, to a bound."""
    server, controller = Server(total=MEGA), ConcurrencyController(highest=8)
    rests = []
    for _ in range(10):
        server.measure(controller)
        server.measure_often(controller, VAIN)
        rests.append(rest(server, controller))
    expected = [min(FIRST_REST_SECONDS * 2**step, LONGEST_REST_SECONDS) for step in range(10)]
    assert rests == pytest.approx(expected, abs=1.1 * SLICE_SECONDS)


def test_a_later_try_is_a_small_step() -> None:
    """Who was bounded once asks for twice as many then, not for four times."""
    server, controller = Server(total=MEGA), ConcurrencyController(highest=8)
    server.measure_often(controller, 1 + VAIN)
    rest(server, controller)
    assert controller.level == 2


def test_a_limit_lowers_the_level_at_once() -> None:
    """A server that wants fewer gets fewer, and the step under way is not evaluated."""
    server, controller = Server(each=MEGA), ConcurrencyController(highest=8)
    server.measure_often(controller, 2)
    controller.limit(3)
    assert (controller.level, controller.highest, controller.is_evaluating) == (3, 3, False)
    assert server.measure_often(controller, 2) == [3, 3]


def test_a_limit_above_the_level_changes_nothing_yet() -> None:
    """The ramp-up goes on to the new bound."""
    server, controller = Server(each=MEGA), ConcurrencyController(highest=2)
    assert server.measure_often(controller, 3) == [2, 2, 2]
    controller.limit(4)
    assert controller.level == 2
    assert server.measure_often(controller, 2) == [4, 4]


@pytest.mark.parametrize("highest", [0, -3])
def test_one_connection_is_always_allowed(highest: int) -> None:
    """A limit of none would be the end of the transfer."""
    controller = ConcurrencyController(highest=8)
    controller.limit(highest)
    assert (controller.level, controller.highest) == (1, 1)


def test_a_rate_near_the_users_own_limit_is_left_alone() -> None:
    """Further connections would only share it, and their unread bytes come for nothing."""
    controller = ConcurrencyController(highest=32, enough=8e6)
    controller.measured(Sample(count=8_100_000, seconds=1.0, streams=1.0), 1.0)
    assert controller.level == 1
    controller.measured(Sample(count=4_000_000, seconds=1.0, streams=1.0), 2.0)
    assert controller.level > 1
