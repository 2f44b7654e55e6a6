"""How many connections are wanted, measurement by measurement."""

import pytest

from downloader.transfer.climb import FIRST_REST, LEAST_GAIN, LONGEST_REST, Climb

ONE = 100.0


def levels(climb: Climb, *rates: float) -> list[int]:
    """Return the level after each measurement."""
    found = []
    for rate in rates:
        climb.measured(rate)
        found.append(climb.level)
    return found


@pytest.mark.parametrize(
    ("highest", "rates", "expected"),
    [
        (32, (100, 200, 800, 3200), [2, 8, 32, 32]),  # each brings its share
        (32, (100, 150, 250, 900), [2, 4, 8, 32]),  # large steps where it does, small ones before
        (6, (100, 200, 600, 600), [2, 6, 6, 6]),  # the last step is a short one
        (8, (100, 100), [2, 1]),  # one connection was enough
        (8, (100, 200, 200), [2, 8, 2]),  # two were enough
        (8, (100, 50), [2, 1]),  # a second one does harm
        (8, (0, 0, 0), [2, 8, 8]),  # a stalled one: nothing is lost by asking on others
        (1, (100, 100), [1, 1]),  # no more is allowed
        (8, (100, 100 * LEAST_GAIN), [2, 4]),  # just enough gain
        (8, (100, 100 * LEAST_GAIN - 1), [2, 1]),  # just too little
    ],
)
def test_the_climb(highest: int, rates: tuple[float, ...], expected: list[int]) -> None:
    """It climbs while that brings more, and takes the last step back when it does not."""
    assert levels(Climb(highest=highest), *rates) == expected


def rest(climb: Climb) -> int:
    """Return how many measurements it stays where it is before it tries the next step."""
    count = 0
    before = climb.level
    while climb.level == before:
        climb.measured(ONE)
        count += 1
    return count - 1


def test_the_rests_grow() -> None:
    """A step that brought nothing is tried again, each time after twice as long, to a bound."""
    climb = Climb(highest=8)
    climb.measured(ONE)
    rests = []
    for _ in range(7):
        climb.measured(ONE)
        rests.append(rest(climb))
    assert rests == [FIRST_REST * 2**step for step in range(5)] + [LONGEST_REST] * 2


def test_a_gain_makes_the_rests_short_again() -> None:
    """Where a later try brings more, the next one comes as soon as the first."""
    climb = Climb(highest=8)
    levels(climb, ONE, ONE)
    assert rest(climb) == FIRST_REST
    levels(climb, 2 * ONE, 2 * ONE)
    assert climb.level == 2
    assert rest(climb) == FIRST_REST


def test_a_limit_lowers_the_level_at_once() -> None:
    """A server that wants fewer gets fewer, and the step under way is not judged."""
    climb = Climb(highest=8)
    levels(climb, 100, 200, 400)
    climb.limit(3)
    assert (climb.level, climb.highest) == (3, 3)
    assert levels(climb, 1, 1) == [3, 3]


def test_a_limit_above_the_level_changes_nothing_yet() -> None:
    """The climb goes on to the new bound."""
    climb = Climb(highest=2)
    assert levels(climb, 100, 200, 400) == [2, 2, 2]
    climb.limit(4)
    assert levels(climb, 200, 400) == [4, 4]


@pytest.mark.parametrize("highest", [0, -3])
def test_one_connection_is_always_allowed(highest: int) -> None:
    """A limit of none would be the end of the transfer."""
    climb = Climb(highest=8)
    climb.limit(highest)
    assert (climb.level, climb.highest) == (1, 1)
