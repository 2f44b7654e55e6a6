"""Going on from what is there, and what a server may answer to that (rows B1, B3, B6, B7, B13)."""

import itertools

import pytest

from downloader.artifact import Artifact
from downloader.errors import AccessDenied, ConnectionLost, DigestMismatch, RemoteChanged
from downloader.progress.events import Observer
from downloader.transfer.fetch import Fetcher
from tests.servers import faults
from tests.servers.body import BytesBody
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import chunks, framing, heads, ranges, statuses, timing, validators
from tests.servers.faulty import strong_etag
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, CANARY, PATH, Desk, however_known, pinned, unpinned

SIZE = len(BODY)
HAVE = 100_000
REST = f"bytes={HAVE}-{SIZE - 1}"
OTHER = bytes(reversed(BODY))
ETAG = strong_etag(BytesBody(BODY))


@however_known
def test_an_interrupted_run_is_gone_on_with(desk: Desk, artifact: Artifact) -> None:
    """The next run asks for the missing bytes alone, of the very version it has begun."""
    desk.leave_partial(HAVE, artifact)
    fetched = desk.fetch(artifact)
    assert desk.seen[-1].headers["Range"] == REST
    assert desk.seen[-1].headers["If-Match"] == ETAG
    assert fetched.moved_bytes == SIZE - HAVE
    assert (len(desk.seen), desk.partials) == (2, [])


@however_known
def test_a_whole_file_in_reply_to_a_range_is_used_as_it_is(desk: Desk, artifact: Artifact) -> None:
    """A server that knows no ranges answers with 200: the file begins anew with that reply."""
    desk.leave_partial(HAVE, artifact)
    desk.server.always(PATH, ranges.ignored)
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert (len(desk.seen), fetched.moved_bytes) == (2, SIZE)


@however_known
def test_a_shorter_range_than_asked_is_followed_by_another(desk: Desk, artifact: Artifact) -> None:
    """A 206 may be shorter than what was asked for (RFC 9110 §15.3.7)."""
    desk.leave_partial(HAVE, artifact)
    desk.server.script(PATH, ranges.shorter(1000))
    desk.fetch(artifact)
    assert desk.asked == [None, REST, f"bytes={SIZE - 1000}-{SIZE - 1}"]


def test_a_shorter_range_of_unknown_total_is_not_the_whole_file(desk: Desk) -> None:
    """Where neither side knows the size, the end is found by asking beyond it."""
    hidden = ranges.unknown_total
    shorter = faults.combined(ranges.shorter(1000), hidden_total)
    desk.server.script(PATH, chunks.ends_at_boundary(), shorter, hidden)
    desk.fetch(unpinned())
    assert desk.target.read_bytes() == BODY
    assert [seen.status for seen in desk.seen] == [200, 206, 206, 416]


def hidden_total(_: Exchange, reply: Reply) -> Reply:
    """Say * for the size of what the reply carries."""
    said = (reply.header("Content-Range") or "").partition("/")[0]
    return reply.with_header("Content-Range", f"{said}/*")


@however_known
@pytest.mark.parametrize("content_range", ["bytes */{size}", "bytes */1", "junk", None])
def test_a_range_refused_twice_starts_over_once(
    desk: Desk, artifact: Artifact, content_range: str | None
) -> None:
    """After two 416 that explain nothing, the whole file is asked for."""
    desk.leave_partial(HAVE, artifact)
    refused = ranges.unsatisfiable(content_range)
    desk.server.script(PATH, refused, refused)
    desk.fetch(artifact)
    assert desk.asked == [None, REST, REST, None]


@however_known
@pytest.mark.parametrize("code", [412, 416])
def test_a_range_that_is_always_refused_does_not_loop(
    desk: Desk, artifact: Artifact, code: int
) -> None:
    """Refusing each attempt to go on costs one fresh start, not an endless one."""
    cut, refused = timing.drop_after(HAVE), statuses.status(code)
    desk.server.always(PATH, of_ranges(refused, cut))
    desk.refuses(RemoteChanged, artifact)
    assert desk.asked.count(None) == 2
    assert len(desk.asked) <= 8


def of_ranges(fault: Fault, other: Fault = faults.honest) -> Fault:
    """Return a fault of requests with a Range, and another one of those without."""

    def either(exchange: Exchange, reply: Reply) -> Reply:
        return (fault if "Range" in exchange.request.headers else other)(exchange, reply)

    return either


ONCE = {
    "412": statuses.status(412),
    "416": ranges.unsatisfiable(),
    "416 of another size": ranges.unsatisfiable("bytes */1"),
    "another ETag": faults.combined(validators.blind(), validators.changed),
    "no ETag": faults.combined(validators.blind(), validators.missing),
    "another total": ranges.other_total(1),
}


@however_known
@pytest.mark.parametrize("fault", ONCE.values(), ids=ONCE.keys())
def test_another_version_shown_once_is_asked_for_again(
    desk: Desk, artifact: Artifact, fault: Fault
) -> None:
    """One machine of many may be behind the others: the same request decides, sent once more."""
    desk.leave_partial(HAVE, artifact)
    desk.server.script(PATH, fault)
    fetched = desk.fetch(artifact)
    assert set(desk.asked[1:]) == {REST}
    assert len(desk.asked) <= 3
    assert fetched.moved_bytes == SIZE - HAVE


def test_a_file_of_unknown_size_is_complete_by_its_416(desk: Desk) -> None:
    """When all of a chunked file came but its end, the 416 says that nothing is missing."""
    desk.server.script(PATH, chunks.ends_before_last())
    desk.fetch(unpinned())
    assert desk.asked == [None, f"bytes={SIZE}-"]
    assert desk.seen[-1].status == 416


@pytest.mark.parametrize("how", ["honest", "blind"])
@pytest.mark.parametrize("artifact", [unpinned(), unpinned(SIZE)], ids=["size unknown", "sized"])
def test_a_file_that_changed_is_fetched_anew(desk: Desk, artifact: Artifact, how: str) -> None:
    """No byte of the old version is kept, whether the server heeds If-Match or not."""
    desk.leave_partial(HAVE, artifact)
    desk.server.put(PATH, OTHER)
    if how == "blind":
        desk.server.script(PATH, validators.blind(), validators.blind())
    desk.fetch(artifact)
    assert desk.target.read_bytes() == OTHER
    assert desk.asked == [None, REST, REST, None]
    assert {seen.status for seen in desk.seen[1:3]} == {412 if how == "honest" else 206}


def test_a_file_that_changed_away_from_its_pin_is_refused(desk: Desk) -> None:
    """The new version is fetched once, judged by the pin, and set aside."""
    desk.leave_partial(HAVE)
    desk.server.put(PATH, OTHER)
    desk.refuses(DigestMismatch)
    assert desk.asked == [None, REST, REST, None]
    assert [seen.headers.get("If-Match") for seen in desk.seen] == [None, ETAG, None, None]
    assert [file.read_bytes() for file in desk.quarantined] == [OTHER]


def test_nodes_that_disagree_on_the_etag_do_not_loop(desk: Desk) -> None:
    """A CDN that gives another ETag each time ends in an error that says what would help."""
    cut = timing.drop_after(HAVE)
    other = faults.combined(validators.blind(), validators.changed)
    desk.server.always(PATH, of_ranges(other, cut))
    error = desk.refuses(RemoteChanged, unpinned())
    assert "changed while it was downloaded" in str(error)
    assert "sha256" in error.hint
    assert desk.asked == [None, REST, REST, None, REST, REST]


def test_a_known_digest_outranks_the_etags_of_replicas(desk: Desk) -> None:
    """Replicas with other ETags, that refuse each other's, give one file: its digest decides."""
    served = itertools.count()

    def replica(exchange: Exchange, reply: Reply) -> Reply:
        etag = f'"replica-{next(served) % 2}"'
        if exchange.request.headers.get("If-Match", etag) != etag:
            return statuses.status(412)(exchange, reply)
        return timing.drop_after(50_000)(exchange, validators.etag(etag)(exchange, blind(exchange)))

    def blind(exchange: Exchange) -> Reply:
        return exchange.answer_without("If-Match")

    desk.server.always(PATH, replica)
    fetched = desk.fetch(pinned())
    assert (desk.target.read_bytes(), fetched.moved_bytes) == (BODY, SIZE)
    assert desk.asked.count(None) == 1


def test_another_total_is_another_version(desk: Desk) -> None:
    """A 206 of a file of another length brings no byte."""
    desk.leave_partial(HAVE, unpinned())
    desk.server.script(PATH, ranges.other_total(1), ranges.other_total(1))
    desk.fetch(unpinned())
    assert desk.asked == [None, REST, REST, None]


def test_bytes_there_outlive_a_failed_new_start(desk: Desk) -> None:
    """What an earlier run left goes only when the whole file comes in its place."""
    desk.leave_partial(HAVE)
    desk.server.always(PATH, of_ranges(ranges.without_content_range, statuses.status(403)))
    desk.refuses(AccessDenied)
    desk.server.always(PATH, faults.honest)
    assert desk.fetch().moved_bytes == SIZE - HAVE


AFRESH = {
    "whole": (ranges.ignored, "sent the whole file instead of its rest"),
    "unusable": (of_ranges(ranges.without_content_range), "Content-Range"),
    "refused": (of_ranges(statuses.status(416)), "changed while it was downloaded"),
}


@however_known
@pytest.mark.parametrize(("fault", "why"), AFRESH.values(), ids=AFRESH.keys())
def test_a_resumed_run_that_begins_anew_says_why(
    desk: Desk, artifact: Artifact, fault: Fault, why: str
) -> None:
    """Who was told that bytes are kept learns that they are of no use, and what is to blame."""
    desk.leave_partial(HAVE, artifact)
    desk.server.always(PATH, fault)
    (said,) = noticed(desk, artifact)
    assert said.startswith("cannot resume, downloads 100.0 kB again: ")
    assert why in said
    assert CANARY not in said


@however_known
def test_a_new_start_in_the_first_run_is_not_told(desk: Desk, artifact: Artifact) -> None:
    """Nobody was told of bytes that came a moment ago."""
    desk.server.script(PATH, timing.drop_after(HAVE))
    desk.server.always(PATH, ranges.ignored)
    assert noticed(desk, artifact) == []


PROMISES = {
    "ranges": (faults.honest, True),
    "nothing": (ranges.unannounced, False),
    "none": (heads.header("Accept-Ranges", "none"), False),
}


@pytest.mark.parametrize(("fault", "expected"), PROMISES.values(), ids=PROMISES.keys())
def test_only_a_server_that_says_so_can_resume(desk: Desk, fault: Fault, *, expected: bool) -> None:
    """What nobody promised is tried all the same, and not promised to the user."""
    told: list[bool] = []

    class Listener(Observer):
        def started(self, _have: int, _total: int | None, *, is_resumable: bool = True) -> None:
            told.append(is_resumable)

    desk.server.always(PATH, fault)
    with desk.transport() as transport:
        Fetcher(transport).fetch(desk.job(), Listener())
    assert told == [expected]


def noticed(desk: Desk, artifact: Artifact) -> list[str]:
    """Fetch, and return what was told beside the progress."""
    said: list[str] = []

    class Listener(Observer):
        def notice(self, text: str) -> None:
            said.append(text)

    with desk.transport() as transport:
        Fetcher(transport).fetch(desk.job(artifact), Listener())
    assert desk.target.read_bytes() == BODY
    return said


WEAK = {"weak": validators.weak, "missing": validators.missing, "date": validators.only_date}


@pytest.mark.parametrize("fault", WEAK.values(), ids=WEAK.keys())
def test_without_validator_and_pin_it_starts_from_the_first_byte(desk: Desk, fault: Fault) -> None:
    """Bytes that nothing vouches for are neither gone on with nor kept."""
    desk.server.always(PATH, fault)
    desk.server.script(PATH, faults.combined(fault, timing.drop_after(HAVE)))
    desk.fetch(unpinned())
    assert desk.asked == [None, None]
    assert all("If-Match" not in seen.headers for seen in desk.seen)


@pytest.mark.parametrize("fault", WEAK.values(), ids=WEAK.keys())
def test_without_validator_an_unpinned_partial_is_not_kept(desk: Desk, fault: Fault) -> None:
    """What the next run could not use is removed at once."""
    desk.server.always(PATH, faults.combined(fault, timing.drop_after(HAVE)))
    desk.refuses(ConnectionLost, unpinned())
    assert desk.partials == []


@pytest.mark.parametrize("fault", WEAK.values(), ids=WEAK.keys())
def test_without_validator_a_pin_lets_it_go_on(desk: Desk, fault: Fault) -> None:
    """The digest judges the sum of both replies; no weak tag is sent back."""
    desk.server.always(PATH, fault)
    desk.server.script(PATH, faults.combined(fault, timing.drop_after(HAVE)))
    desk.fetch(pinned())
    assert desk.asked == [None, REST]
    assert "If-Match" not in desk.seen[-1].headers


@pytest.mark.parametrize("fault", WEAK.values(), ids=WEAK.keys())
def test_without_validator_a_mix_is_fetched_anew_exactly_once(desk: Desk, fault: Fault) -> None:
    """When the joined bytes miss the pin, one unmixed download decides."""
    desk.server.put(PATH, OTHER)
    desk.server.always(PATH, fault)
    desk.server.script(PATH, faults.combined(fault, timing.drop_after(HAVE)))
    desk.refuses(DigestMismatch, pinned())
    assert desk.asked == [None, REST, None]


def test_a_mix_that_a_fresh_start_mends_ends_well(desk: Desk) -> None:
    """Half of a wrong version and half of the right one become the right file in the end."""
    desk.server.put(PATH, OTHER, etag=None)
    desk.leave_partial(HAVE)
    desk.server.put(PATH, BODY, etag=None)
    desk.fetch()
    assert desk.asked == [None, REST, None]


def test_accept_ranges_is_not_asked(desk: Desk) -> None:
    """Ranges are tried also where nobody announces them; the reply decides."""
    desk.server.always(PATH, ranges.unannounced)
    desk.server.script(PATH, faults.combined(ranges.unannounced, framing.short(1)))
    desk.fetch()
    assert desk.asked == [None, f"bytes={SIZE - 1}-{SIZE - 1}"]
