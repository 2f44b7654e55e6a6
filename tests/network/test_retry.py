"""When it is tried again, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import (
    AccessDenied,
    BadResponse,
    ConnectionLost,
    DigestMismatch,
    ModelmakeError,
    NotFound,
    ServerBusy,
    Stop,
    StoreError,
    TimedOut,
    TransferError,
)
from downloader.network.failures import Retries, RetryPolicy, backoff_seconds

POLICY = RetryPolicy(retries=5, max_wait_seconds=120.0)


@pytest.mark.parametrize("kind", [ConnectionLost, TimedOut, ServerBusy])
def test_what_is_transient_is_tried_until_the_attempts_are_used_up(
    kind: type[ModelmakeError],
) -> None:
    """The fifth attempt in a row without progress is the last of five."""
    delays = [POLICY.delay_seconds(kind("x"), failures, 0.5) for failures in range(7)]
    assert [delay is not None for delay in delays] == [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    "kind", [TransferError, BadResponse, NotFound, AccessDenied, DigestMismatch, StoreError]
)
def test_what_is_permanent_is_not_tried_again(kind: type[ModelmakeError]) -> None:
    """No patience helps against a wrong reply, a missing file or a full disk."""
    assert POLICY.delay_seconds(kind("x"), 0, 0.5) is None


@pytest.mark.parametrize("asked", [0.0, 1.0, 60.0])
def test_jobs_that_were_told_the_same_wait_come_back_apart(asked: float) -> None:
    """None comes before the time; they spread as widely as their own backoff, more at each turn."""
    spreads = []
    for failures in (1, 2, 3, 4):
        first, last = (
            POLICY.delay_seconds(ServerBusy("x", wait_seconds=asked), failures, jitter)
            for jitter in (0.0, 1.0)
        )
        assert first == asked
        assert last is not None
        spreads.append(last - asked)
    assert spreads == [pytest.approx(max(bound, asked / 10)) for bound in (0.5, 1, 2, 4)]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_a_wait_asked_for_is_kept_and_little_more(jitter: float) -> None:
    """The wait is at least what was asked for, and at most 10 % more."""
    delay = POLICY.delay_seconds(ServerBusy("x", wait_seconds=60.0), 1, jitter)
    assert delay is not None
    assert 60 <= delay <= 66


def test_a_wait_beyond_patience_is_refused_at_once() -> None:
    """Nobody waits for longer than MODELMAKE_MAX_WAIT."""
    assert POLICY.delay_seconds(ServerBusy("x", wait_seconds=120.0), 1, 0.0) == 120
    assert POLICY.delay_seconds(ServerBusy("x", wait_seconds=120.1), 1, 0.0) is None


@pytest.mark.parametrize(
    ("wait_seconds", "hint"),
    [(250.4, "set MODELMAKE_MAX_WAIT=251 to wait that long"), (0.0, "again later")],
)
def test_a_wait_that_is_too_long_says_what_allows_it(wait_seconds: float, hint: str) -> None:
    """One that was kept, and did not help, does not."""
    retries = Retries(RetryPolicy(retries=1, max_wait_seconds=120.0), Stop(), lambda *_: None)
    with pytest.raises(ServerBusy) as caught, retries:
        raise ServerBusy("x", wait_seconds=wait_seconds)
    assert hint in caught.value.hint


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_the_backoff_stays_in_its_bounds(failures: int, jitter: float) -> None:
    """It is never nothing, never longer than half a minute, and never shrinks with failures."""
    delay = backoff_seconds(failures, jitter)
    assert 0.25 <= delay <= 30
    assert backoff_seconds(failures + 1, jitter) >= delay


def test_the_backoff_doubles() -> None:
    """Each attempt without progress doubles the bound, up to the longest."""
    bounds = [backoff_seconds(failures, 1.0) for failures in range(1, 9)]
    assert bounds == [0.5, 1, 2, 4, 8, 16, 30, 30]
