"""Bodies that are too short, too long, or do not come (rows A1, A2, A13)."""

import time

import pytest

from downloader.artifact import Artifact
from downloader.errors import BadResponse, ConnectionLost, ModelmakeError, SizeMismatch, TimedOut
from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import chunks, framing, statuses, timing, validators
from tests.transfer.desk import BODY, PATH, Desk, however_known, pinned, unpinned

SIZE = len(BODY)


@however_known
@pytest.mark.parametrize("by", [1, SIZE // 2])
def test_a_short_body_is_completed_from_where_it_ended(
    desk: Desk, artifact: Artifact, by: int
) -> None:
    """After a body that ends early, only the missing bytes are asked for."""
    desk.server.script(PATH, framing.short(by))
    fetched = desk.fetch(artifact)
    assert desk.asked == [None, f"bytes={SIZE - by}-{SIZE - 1}"]
    assert fetched.moved_bytes == SIZE


@however_known
def test_a_body_of_no_bytes_is_asked_for_again(desk: Desk, artifact: Artifact) -> None:
    """A reply that breaks off before its first byte leaves nothing to go on from."""
    desk.server.script(PATH, framing.short(SIZE))
    desk.fetch(artifact)
    assert desk.asked == [None, None]


@however_known
@pytest.mark.parametrize("by", [1, SIZE // 2, SIZE])
def test_a_body_that_is_always_short_fails_and_keeps_what_came(
    desk: Desk, artifact: Artifact, by: int
) -> None:
    """Where the same byte never comes, patience ends, and the next run goes on from the others."""
    have = SIZE - by
    stuck = timing.drop_before_status()
    desk.server.script(PATH, framing.short(by))
    desk.server.always(PATH, stuck)
    desk.refuses(ConnectionLost, artifact)
    assert len(desk.seen) == desk.settings.retries + (have > 0)
    if not have:
        assert desk.partials == []
        return
    assert desk.partial.read_bytes() == BODY[:have]
    desk.server.always(PATH, faults.honest)
    assert desk.fetch(artifact).moved_bytes == by
    assert desk.partials == []


def test_a_short_body_says_how_much_came(desk: Desk) -> None:
    """The message names both numbers."""
    desk.server.always(PATH, faults.combined(validators.missing, framing.short(1)))
    error = desk.refuses(ConnectionLost, unpinned())
    assert f"after {SIZE - 1:,} of {SIZE:,} bytes" in str(error)


@pytest.mark.parametrize("artifact", [pinned(), unpinned()], ids=["pinned", "unpinned"])
def test_bytes_thrown_away_are_no_progress(desk: Desk, artifact: Artifact) -> None:
    """A server that knows neither ranges nor versions, and always breaks off, is given up."""
    blind = validators.blind("Range", "If-Match")
    desk.server.always(PATH, faults.combined(blind, validators.missing, framing.short(1)))
    desk.refuses(ConnectionLost, artifact)
    assert len(desk.seen) == desk.settings.retries + 1


@pytest.mark.parametrize("chunk", [framing.unsized, chunks.chunked()], ids=["unsized", "chunked"])
@pytest.mark.parametrize("artifact", [pinned(), unpinned(SIZE)], ids=["pinned", "unpinned"])
def test_an_endless_body_stops_at_the_locked_size(
    desk: Desk, artifact: Artifact, chunk: Fault
) -> None:
    """Where the size is known, not a byte more is written, and it ends quickly."""
    desk.server.always(PATH, faults.combined(framing.endless(), chunk))
    began = time.monotonic()
    error = desk.refuses(SizeMismatch, artifact)
    assert time.monotonic() - began < 2
    assert f"instead of {SIZE:,}" in str(error)
    assert sum(file.stat().st_size for file in desk.workspace.rglob("*")) < SIZE + 100_000
    assert len(desk.seen) == 1


def test_an_announced_length_beyond_the_lock_is_refused_unread(desk: Desk) -> None:
    """Another length than the locked one is an error before anything is written."""
    desk.server.put(PATH, BODY + b"x")
    error = desk.refuses(SizeMismatch, pinned())
    assert f"sent {SIZE + 1:,} bytes or more instead of {SIZE:,}" in str(error)
    assert (desk.partials, desk.quarantined) == ([], [])


@however_known
def test_bytes_after_the_announced_length_are_not_read(desk: Desk, artifact: Artifact) -> None:
    """What follows the body on the wire is no part of the file, nor of the next reply."""
    desk.server.put("/next.bin", b"next")
    desk.server.script(PATH, framing.long())
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY


@pytest.mark.parametrize("size", [1, SIZE - 1])
def test_a_complete_body_shorter_than_the_lock_is_asked_for_once(desk: Desk, size: int) -> None:
    """A chunked body that ends properly and too early is the wrong file, not a broken line."""
    desk.server.put(PATH, BODY[:size])
    desk.server.always(PATH, chunks.chunked())
    error = desk.refuses(SizeMismatch, pinned())
    assert f"sent {size:,} bytes instead of {SIZE:,}" in str(error)
    assert len(desk.seen) == 1


KNOWN_SIZE = {"pinned": pinned(), "unpinned": unpinned(SIZE)}


@pytest.mark.parametrize("artifact", KNOWN_SIZE.values(), ids=KNOWN_SIZE.keys())
@pytest.mark.parametrize("count", [0, 100_000, SIZE - 1])
def test_an_unsized_body_that_is_cut_is_gone_on_with(
    desk: Desk, artifact: Artifact, count: int
) -> None:
    """Where the lock knows the size, the end of the connection is no end of a shorter file."""
    cut = faults.combined(framing.unsized, timing.drop_after(count))
    desk.server.script(PATH, cut)
    desk.fetch(artifact)
    assert desk.asked == [None, f"bytes={count}-{SIZE - 1}" if count else None]
    assert (desk.quarantined, len(desk.waits.delays)) == ([], 1)


STALLS: dict[str, tuple[Fault, type[ModelmakeError]]] = {
    "before the head": (timing.stall_before_headers(), TimedOut),
    "in the head": (timing.stall_in_headers(), TimedOut),
    "in the body": (faults.combined(validators.missing, timing.stall_after(1000)), TimedOut),
    "head cut": (timing.drop_in_headers(), ConnectionLost),
    "head reset": (timing.drop_in_headers(reset=True), ConnectionLost),
    "no reply": (timing.drop_before_status(), ConnectionLost),
}


@pytest.mark.parametrize(("fault", "kind"), STALLS.values(), ids=STALLS.keys())
def test_a_silent_server_is_given_up(desk: Desk, fault: Fault, kind: type[ModelmakeError]) -> None:
    """Silence and broken heads end each attempt in time, and all attempts in the end."""
    desk.settings = type(desk.settings)(timeout_seconds=0.2, retries=2)
    desk.server.always(PATH, fault)
    error = desk.refuses(kind, unpinned())
    assert len(desk.waits.delays) == len(desk.seen) - 1
    assert error.retryable


def test_a_kept_open_body_without_length_needs_no_second_request(desk: Desk) -> None:
    """A close-delimited body that has all bytes and does not end is taken after the patience."""
    desk.settings = type(desk.settings)(timeout_seconds=0.2, retries=2)
    stalls_at_end = faults.combined(framing.unsized, timing.stall_after(SIZE))
    desk.server.always(PATH, stalls_at_end)
    desk.fetch(pinned())
    assert len(desk.seen) == 1


def test_a_status_without_body_is_not_waited_for(desk: Desk) -> None:
    """A 204 on a connection that stays open is refused at once, not after the patience."""
    desk.server.always(PATH, statuses.status(204))
    began = time.monotonic()
    desk.refuses(BadResponse)
    assert time.monotonic() - began < desk.settings.timeout_seconds
