"""Replies to a Range that are not what was asked for (rows B2, B4, B5)."""

import pytest

from downloader.artifact import Artifact
from downloader.errors import BadResponse, ConnectionLost
from downloader.transfer._expected import UnusableRange
from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import chunks, framing, ranges, statuses, timing
from tests.transfer.desk import BODY, PATH, Desk, pinned, unpinned

SIZE = len(BODY)
HAVE = 100_000
REST = f"bytes={HAVE}-{SIZE - 1}"
ARTIFACTS = {"pinned": pinned(), "unpinned": unpinned()}
both = pytest.mark.parametrize("artifact", ARTIFACTS.values(), ids=ARTIFACTS.keys())

WRONG: dict[str, Fault] = {
    "begins too early": ranges.other_start(1),
    "begins too late": ranges.other_start(-1),
    "the whole file": ranges.whole_file,
    "says another start": ranges.claims("bytes 0-{last}/{size}"),
    "no Content-Range": ranges.without_content_range,
    "backwards": ranges.backwards,
    "beyond the end": ranges.claims("bytes {start}-{size}/{size}"),
    "unsatisfied": ranges.unsatisfied_but_206,
    "another unit": ranges.other_unit,
    "another length": ranges.length_differs(1),
    "no numbers": ranges.claims("bytes a-b/c"),
    "multipart": ranges.multipart,
    "beyond the known size": faults.combined(
        ranges.claims("bytes {start}-{size}/*"), chunks.chunked()
    ),
}
wrong = pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG.keys())


@both
@wrong
def test_a_wrong_range_brings_no_byte_and_the_whole_file_is_asked_for(
    desk: Desk, artifact: Artifact, fault: Fault
) -> None:
    """A 206 that is not what was asked for is dropped whole, and it begins anew without ranges."""
    desk.leave_partial(HAVE, artifact)
    desk.server.script(PATH, fault)
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert desk.asked == [None, REST, None]
    assert fetched.moved_bytes == SIZE


@both
@wrong
def test_ranges_that_are_always_wrong_end_in_an_error(
    desk: Desk, artifact: Artifact, fault: Fault
) -> None:
    """One fresh start is made, not an endless number."""
    cut = timing.drop_after(HAVE)
    desk.server.script(PATH, cut, fault, cut, fault)
    desk.refuses(UnusableRange, artifact)
    assert desk.asked == [None, REST, None, REST]
    assert desk.partial.read_bytes() == BODY[:HAVE]
    assert desk.quarantined == []


def test_a_coded_range_is_taken_only_with_a_digest(desk: Desk) -> None:
    """Some servers call a stored .gz file coded: the digest tells, and else caution stays."""
    coded = faults.combined(ranges.unsolicited, framing.content_encoding("x-gzip"))
    for artifact, asked in (
        (unpinned(), [None, REST, None]),
        (pinned(), [None, REST]),
    ):
        before = len(desk.seen)
        desk.leave_partial(HAVE, artifact)
        desk.server.script(PATH, coded)
        desk.fetch(artifact)
        assert desk.asked[before:] == asked


def test_an_unusable_range_is_a_bad_response() -> None:
    """Whoever handles errors by their family finds it there, and it is not tried in a loop."""
    assert issubclass(UnusableRange, BadResponse)
    assert not UnusableRange.retryable


@both
@pytest.mark.parametrize("extra", [b"x", b"x" * 5000])
def test_a_206_of_more_bytes_than_it_names_is_not_taken(
    desk: Desk, artifact: Artifact, extra: bytes
) -> None:
    """Chunks beyond the Content-Range never reach the file, even where it has room for them."""
    shorter = ranges.shorter(100_000)
    long = faults.combined(shorter, framing.long(extra), chunks.chunked())
    desk.leave_partial(HAVE, artifact)
    desk.server.script(PATH, long)
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert desk.asked == [None, REST, None]


@both
def test_a_206_of_fewer_bytes_than_it_names_is_gone_on_with(desk: Desk, artifact: Artifact) -> None:
    """Chunks that end properly before the Content-Range does are a broken line."""
    less = faults.combined(ranges.length_differs(1000), chunks.chunked())
    desk.leave_partial(HAVE, artifact)
    desk.server.script(PATH, less)
    desk.fetch(artifact)
    assert desk.asked == [None, REST, f"bytes={SIZE - 1000}-{SIZE - 1}"]


@both
def test_empty_206_replies_do_not_loop(desk: Desk, artifact: Artifact) -> None:
    """Replies that bring nothing are no progress, however well they are framed."""
    empty = faults.combined(ranges.length_differs(SIZE), chunks.chunked())
    desk.leave_partial(HAVE, artifact)
    desk.server.script(PATH, *[empty] * 20)
    before = len(desk.seen)
    desk.refuses(ConnectionLost, artifact)
    assert len(desk.seen) - before == desk.settings.retries


@both
def test_a_206_of_unknown_total_is_taken(desk: Desk, artifact: Artifact) -> None:
    """A server need not say the total (RFC 9110 §14.4); the start and the end still must fit."""
    desk.leave_partial(HAVE, artifact)
    desk.server.script(PATH, ranges.unknown_total)
    desk.fetch(artifact)
    assert desk.asked == [None, REST]


@both
@pytest.mark.parametrize(
    "fault",
    [ranges.unsolicited, ranges.multipart, ranges.whole_file],
    ids=["206", "multi", "0-n/n"],
)
def test_a_206_nobody_asked_for_is_an_error(desk: Desk, artifact: Artifact, fault: Fault) -> None:
    """To a plain GET only a 200 is the file (curl tests 12, 1058)."""
    desk.server.always(PATH, fault)
    error = desk.refuses(BadResponse, artifact)
    assert "206" in str(error)
    assert (desk.partials, len(desk.seen)) == ([], 1)


def test_never_are_several_ranges_asked_for(desk: Desk) -> None:
    """One request asks for one range, whatever happened before."""
    cut = timing.drop_after(10_000)
    desk.server.script(PATH, cut, cut, statuses.busy(), cut)
    desk.fetch(unpinned())
    assert [asked for asked in desk.asked if asked and "," in asked] == []
    assert desk.asked[-1] == f"bytes=30000-{SIZE - 1}"
