"""When a fetch tries again, and how long it waits (rows C1, C2)."""

from email.utils import formatdate

import pytest

from downloader.errors import BadResponse, Interrupted, NotFound, ServerBusy, Stop
from downloader.settings import Settings
from tests.servers import faults
from tests.servers.exchange import Exchange
from tests.servers.faults import heads, statuses, timing
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, PATH, Desk, StopsAtWait, Waits, pinned, unpinned

LONG_AGO = 1_600_000_000


@pytest.mark.parametrize("code", [429, 503])
def test_a_wait_in_seconds_is_kept(desk: Desk, code: int) -> None:
    """The next attempt comes after the time asked for, and at most 10 % later."""
    desk.server.script(PATH, statuses.busy("60", code))
    desk.fetch()
    (delay,) = desk.waits.delays
    assert 60 <= delay <= 66


def test_a_date_is_counted_from_the_servers_clock(desk: Desk) -> None:
    """A server whose clock is years off still is given the time it means."""
    busy = faults.combined(
        statuses.busy(formatdate(LONG_AGO + 60, usegmt=True)),
        heads.header("Date", formatdate(LONG_AGO, usegmt=True)),
    )
    desk.server.script(PATH, busy)
    desk.fetch()
    (delay,) = desk.waits.delays
    assert 60 <= delay <= 66


@pytest.mark.parametrize("text", ["soon", "-5", "1.5", "", "9" * 40, "Thu, 99 Foo 2021"])
def test_a_garbled_wait_is_our_own_backoff(desk: Desk, text: str) -> None:
    """What cannot be read asks for nothing."""
    desk.server.script(PATH, statuses.busy(text))
    desk.fetch()
    (delay,) = desk.waits.delays
    assert 0 < delay <= 0.5


def test_a_date_in_the_past_means_now(desk: Desk) -> None:
    """The time has come already; only the own random part is waited for."""
    desk.server.script(PATH, statuses.busy(formatdate(LONG_AGO, usegmt=True)))
    desk.fetch()
    (delay,) = desk.waits.delays
    assert 0 < delay <= 0.5


@pytest.mark.parametrize("seconds", [121, 10**9])
def test_a_wait_beyond_patience_fails_at_once(desk: Desk, seconds: int) -> None:
    """The message names the wait, and nobody waits for it."""
    desk.server.always(PATH, statuses.busy(str(seconds)))
    error = desk.refuses(ServerBusy)
    assert f"asks to wait {seconds} s" in str(error)
    assert error.wait_seconds == seconds
    assert (desk.waits.delays, len(desk.seen)) == ([], 1)


def test_the_patience_can_be_set(desk: Desk) -> None:
    """MODELMAKE_MAX_WAIT is the longest wait that is kept."""
    desk.settings = Settings(max_wait_seconds=3600)
    desk.server.script(PATH, statuses.busy("3600"))
    desk.fetch()
    assert desk.waits.delays[0] >= 3600


@pytest.mark.parametrize("retries", [1, 2, 5])
def test_attempts_without_progress_are_counted(desk: Desk, retries: int) -> None:
    """MODELMAKE_RETRIES attempts in a row bring nothing, then it ends."""
    desk.settings = Settings(retries=retries)
    desk.server.always(PATH, statuses.busy())
    desk.refuses(ServerBusy)
    assert (len(desk.seen), len(desk.waits.delays)) == (retries, retries - 1)


def test_progress_renews_the_patience(desk: Desk) -> None:
    """A line that breaks often and still moves on is never given up."""
    cut, busy = timing.drop_after(20_000), statuses.busy()
    desk.server.script(PATH, *[cut, busy, busy] * (len(BODY) // 20_000))
    desk.fetch()
    assert len(desk.seen) == 3 * (len(BODY) // 20_000) + 1


def test_waits_grow_without_progress(desk: Desk) -> None:
    """Each failure in a row doubles the bound of the wait."""
    desk.settings = Settings(retries=6)
    desk.server.always(PATH, timing.drop_before_status())
    with pytest.raises(Exception, match="failed"):
        desk.run(desk.job())
    bounds = [0.5, 1, 2, 4, 8]
    pairs = list(zip(desk.waits.delays, bounds, strict=True))
    assert all(bound / 2 <= delay <= bound for delay, bound in pairs)


def test_what_is_permanent_is_asked_once(desk: Desk) -> None:
    """A missing file is missing at the first answer."""
    desk.server.always(PATH, statuses.status(404))
    desk.refuses(NotFound)
    assert desk.waits.delays == []


def test_a_stop_during_the_wait_ends_the_run(desk: Desk) -> None:
    """Ctrl-C is not put off until the server's time has come."""
    desk.waits = StopsAtWait()
    desk.server.always(PATH, statuses.busy("100"))
    desk.refuses(Interrupted)
    assert len(desk.seen) == 1


class StopsAfter(Waits):
    """The user stops the run once the server has been seen to send so many bytes."""

    def __init__(self, desk: Desk, count: int) -> None:
        super().__init__()
        self._desk, self._count = desk, count

    def check(self) -> None:
        """Look whether it is time."""
        partials = list(self._desk.workspace.glob("partials/*.part"))
        if any(file.stat().st_size >= self._count for file in partials):
            self.set()
        super().check()


@pytest.mark.parametrize("artifact", [pinned(), unpinned()], ids=["pinned", "unpinned"])
def test_a_stop_in_the_middle_keeps_what_came(desk: Desk, artifact: object) -> None:
    """Partial and journal stay, and the next run moves the rest alone."""
    body = BODY * 10
    wanted = pinned(body) if artifact == pinned() else unpinned()
    desk.server.put(PATH, body)
    desk.waits = StopsAfter(desk, 1_500_000)
    desk.refuses(Interrupted, wanted)
    have = desk.partial.stat().st_size
    assert len(desk.partials) == 2
    desk.waits = Waits()
    fetched = desk.fetch(wanted)
    assert fetched.moved_bytes == len(body) - have
    assert desk.asked == [None, f"bytes={have}-{len(body) - 1}"]


def test_a_stop_that_came_before_writes_nothing(desk: Desk) -> None:
    """A run that is stopped already does not move a body."""
    desk.waits.set()
    desk.refuses(Interrupted)
    assert desk.partials == []


def test_the_real_wait_ends_when_the_run_is_stopped(desk: Desk) -> None:
    """With a real stop, a stop from another thread ends a long wait."""
    stop = Stop()
    desk.waits = stop  # type: ignore[assignment]

    def busy_and_stop(exchange: Exchange, reply: Reply) -> Reply:
        stop.set()
        return statuses.busy("100")(exchange, reply)

    desk.server.always(PATH, busy_and_stop)
    desk.refuses(Interrupted)


def test_a_redirect_is_asked_again_from_its_start(desk: Desk) -> None:
    """After a failure behind a redirect, the location itself is asked: a signed URL may be old."""
    desk.server.put("/signed.bin", BODY)
    desk.server.always(PATH, statuses.redirect("/signed.bin"))
    desk.server.script("/signed.bin", statuses.busy())
    desk.fetch()
    assert [seen.path for seen in desk.seen] == [PATH, "/signed.bin"] * 2


def test_a_bad_reply_is_not_asked_again(desk: Desk) -> None:
    """No patience mends a server that breaks the protocol."""
    desk.server.always(PATH, heads.header("Content-Length", "-1"))
    desk.refuses(BadResponse)
    assert len(desk.seen) == 1
