"""Several places for one file (row C15), and what no error may say (row E10)."""

import hashlib

import pytest

from downloader.errors import (
    DigestMismatch,
    Interrupted,
    ModelmakeError,
    SourceError,
    StoreError,
    TransferError,
)
from downloader.fs.rooted_path import RootedPath
from downloader.transfer.fetch import Job
from downloader.urls import Location
from tests.servers.exchange import Fault
from tests.servers.faults import framing, pages, ranges, statuses, timing
from tests.servers.process import free_port
from tests.transfer.desk import BODY, CANARY, PATH, Desk, StopsAtWait, pinned, unpinned

WRONG = bytes(len(BODY))


@pytest.fixture
def mirrors(desk: Desk) -> tuple[Location, Location]:
    """Give two places: /first.bin, which a test spoils, and /second.bin, which is right."""
    desk.server.put("/first.bin", BODY)
    desk.server.put("/second.bin", BODY)
    return desk.location("/first.bin"), desk.location("/second.bin")


SPOILED: dict[str, Fault] = {
    "missing": statuses.status(404),
    "denied": statuses.status(403),
    "busy": statuses.busy(),
    "too busy": statuses.busy("1000000"),
    "portal": pages.captive_portal(),
    "always short": framing.short(1000),
    "loop": statuses.redirect_to_itself(),
    "no HTTP": timing.drop_before_status(),
}


@pytest.mark.parametrize("fault", SPOILED.values(), ids=SPOILED.keys())
def test_the_next_place_is_tried(
    desk: Desk, mirrors: tuple[Location, Location], fault: Fault
) -> None:
    """When the first place fails for good, the second gives the whole file from its first byte."""
    desk.server.always("/first.bin", fault)
    desk.fetch(pinned(), *mirrors)
    last = desk.seen[-1]
    assert (last.path, last.headers.get("Range")) == ("/second.bin", None)


def test_wrong_bytes_of_one_place_do_not_reach_the_next(
    desk: Desk, mirrors: tuple[Location, Location]
) -> None:
    """A mirror with other bytes is left behind, its bytes set aside, and none are mixed."""
    desk.server.put("/first.bin", WRONG)
    desk.fetch(pinned(), *mirrors)
    assert [seen.path for seen in desk.seen] == ["/first.bin", "/second.bin"]
    assert [file.read_bytes() for file in desk.quarantined] == [WRONG]


def test_half_a_file_of_one_place_is_not_completed_by_another(
    desk: Desk, mirrors: tuple[Location, Location]
) -> None:
    """What came from a mirror that broke off is not joined with another's bytes."""
    desk.server.script("/first.bin", timing.drop_after(1000))
    desk.server.always("/first.bin", statuses.status(404))
    desk.fetch(unpinned(), *mirrors)
    assert desk.asked == [None, f"bytes=1000-{len(BODY) - 1}", None]


def test_a_dead_host_is_passed_over(desk: Desk, mirrors: tuple[Location, Location]) -> None:
    """Nobody listens at the first place."""
    dead = Location(url=f"http://127.0.0.1:{free_port()}/first.bin")
    desk.fetch(pinned(), dead, mirrors[1])
    assert len(desk.seen) == 1


def test_a_right_first_place_is_the_only_one_asked(
    desk: Desk, mirrors: tuple[Location, Location]
) -> None:
    """Mirrors are for when they are needed."""
    desk.fetch(pinned(), *mirrors)
    assert [seen.path for seen in desk.seen] == ["/first.bin"]


def test_when_all_fail_each_is_named(desk: Desk, mirrors: tuple[Location, Location]) -> None:
    """The one error names every place with its own reason."""
    desk.server.always("/first.bin", statuses.status(404))
    desk.server.put("/second.bin", WRONG)
    error = desk.refuses(SourceError, pinned(), *mirrors)
    assert "None of 2 places gave model.bin" in str(error)
    assert str(error).count("/first.bin") == 1
    assert ".;" not in str(error)
    assert ".." not in str(error)
    for part in (
        "/first.bin: not found (404)",
        "/second.bin sent",
        hashlib.sha256(WRONG).hexdigest(),
    ):
        assert part in str(error)


def test_what_was_set_aside_is_named_whichever_place_fails_last(
    desk: Desk, mirrors: tuple[Location, Location]
) -> None:
    """What to do about each place is said, once."""
    desk.server.put("/first.bin", WRONG)
    desk.server.always("/second.bin", statuses.status(404))
    error = desk.refuses(SourceError, pinned(), *mirrors)
    (aside,) = desk.quarantined
    assert aside.name in error.report()


def test_when_all_break_off_it_is_a_transfer_error(
    desk: Desk, mirrors: tuple[Location, Location]
) -> None:
    """The family of the last failure tells what may help."""
    desk.server.always("/first.bin", timing.drop_before_status())
    desk.server.always("/second.bin", timing.drop_before_status())
    desk.refuses(TransferError, pinned(), *mirrors)


def test_a_stop_is_not_a_reason_for_another_place(
    desk: Desk, mirrors: tuple[Location, Location]
) -> None:
    """Who interrupts the run does not want the mirror."""
    desk.waits = StopsAtWait()
    desk.server.always("/first.bin", statuses.busy())
    desk.refuses(Interrupted, pinned(), *mirrors)
    assert len(desk.seen) == 1


def test_a_full_disk_is_not_a_reason_for_another_place(
    desk: Desk, mirrors: tuple[Location, Location]
) -> None:
    """What is wrong here is not mended there."""
    desk.target.mkdir(parents=True)
    with pytest.raises(StoreError):
        desk.run(desk.job(pinned(), *mirrors))
    assert desk.seen == []


def test_no_place_at_all_is_an_error(desk: Desk) -> None:
    """A file nobody serves is named."""
    job = Job(
        artifact=pinned(),
        locations=(),
        target=RootedPath.of(desk.target),
        workspace=RootedPath.of(desk.workspace),
    )
    with pytest.raises(SourceError, match=r"serves model\.bin"):
        desk.run(job)


LEAKS: dict[str, Fault] = {
    **SPOILED,
    "gone": statuses.status(410),
    "server error": statuses.status(500),
    "odd status": statuses.status(418),
    "bad length": framing.content_length("-1"),
    "coded": framing.content_encoding("gzip"),
    "unasked range": ranges.unsolicited,
    "redirect away": statuses.redirect(f"http://user:{CANARY}@a.invalid:99999/x?sig={CANARY}"),
    "redirect to file": statuses.redirect(f"file:///x?sig={CANARY}"),
    "redirect to a dead host": statuses.redirect(f"http://user:{CANARY}@a.invalid/x?sig={CANARY}"),
}


@pytest.mark.parametrize("fault", LEAKS.values(), ids=LEAKS.keys())
@pytest.mark.parametrize("count", [1, 2])
def test_no_error_shows_query_or_password(desk: Desk, fault: Fault, count: int) -> None:
    """Whatever fails, signed queries and user parts of URLs are in no text of the error."""
    bare = desk.location().url.partition("://")[2]
    place = Location(url=f"http://user:{CANARY}@{bare}#{CANARY}", headers={"X-Api-Key": CANARY})
    desk.server.always(PATH, fault)
    error = refused(desk, *[place] * count)
    shown = f"{error!r} {error} {error.report()}"
    assert CANARY not in shown
    assert "sig" not in shown


def refused(desk: Desk, *places: Location) -> ModelmakeError:
    with pytest.raises(ModelmakeError) as caught:
        desk.run(desk.job(pinned(), *places))
    return caught.value


def test_no_file_left_behind_holds_the_query(desk: Desk) -> None:
    """Neither journal nor name of a partial tells the signed URL."""
    desk.leave_partial(100_000)
    for file in desk.partials:
        assert CANARY not in file.name
        assert CANARY.encode() not in file.read_bytes()


def test_wrong_bytes_message_is_free_of_the_query(desk: Desk) -> None:
    """A digest mismatch names the place without its signature."""
    desk.server.put(PATH, WRONG)
    error = desk.refuses(DigestMismatch)
    assert f"{PATH} sent" in str(error)
