"""One file on several connections: opened where they pay off, and never a mix of two versions."""

import random
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec import structs

from downloader.artifact import Artifact
from downloader.errors import DigestMismatch, Interrupted
from downloader.network.ranges import Range, total
from downloader.transfer import _concurrency
from downloader.transfer.fetch import Fetcher
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import (
    chunks,
    combined,
    framing,
    heads,
    pages,
    ranges,
    statuses,
    timing,
    validators,
)
from tests.servers.reply import Reply, Step
from tests.transfer.child import command
from tests.transfer.desk import PATH, Desk, pinned, unpinned

BODY = random.Random(41).randbytes(40_000_000)
OTHER = random.Random(42).randbytes(40_000_000)
ETAG = '"v1"'
SLOW = timing.drip(1 << 18, 0.01)
"""Some 25 MB/s: further connections pay off, and the file would also come without them."""
BORNE = 3
NOTICE_SECONDS = 0.1
KNOWN = {"pinned": pinned(BODY), "unpinned": unpinned()}
both = pytest.mark.parametrize("artifact", KNOWN.values(), ids=KNOWN.keys())


@pytest.fixture(autouse=True)
def eight_connections(desk: Desk) -> None:
    """Put the large file there, and let a fetch open eight connections."""
    desk.settings = structs.replace(desk.settings, connections=8)
    desk.server.put(PATH, BODY, etag=ETAG)


class Door:
    """A fault that serves so many requests at once, slowly, and turns the others away.

    Attributes:
        refused: How many were turned away.
        most: The most that were served at once.
    """

    def __init__(self, borne: int, refusal: Fault) -> None:
        self._borne, self._refusal = borne, refusal
        self._inside = self.refused = self.most = 0
        self._counting = threading.Condition()

    def __call__(self, exchange: Exchange, reply: Reply) -> Reply:
        """Serve it, or turn it away."""
        with self._counting:
            # A client's end is seen at the next send; that much patience every server has.
            if not self._counting.wait_for(lambda: self._inside < self._borne, NOTICE_SECONDS):
                self.refused += 1
                return self._refusal(exchange, reply)
            self._inside += 1
            self.most = max(self.most, self._inside)
        return SLOW(exchange, reply).through(self._leaving)

    def _leaving(self, steps: Iterable[Step]) -> Iterator[Step]:
        try:
            yield from steps
        finally:
            with self._counting:
                self._inside -= 1
                self._counting.notify_all()


def spans(asked: Iterable[str | None]) -> list[tuple[int, int]]:
    """Return the half-open ranges of Range headers; requests without one are left out."""
    found = [re.fullmatch(r"bytes=(\d+)-(\d+)", each) for each in asked if each]
    assert all(found)
    return [(int(each[1]), int(each[2]) + 1) for each in found if each]


@both
def test_a_slow_first_connection_gets_help(desk: Desk, artifact: Artifact) -> None:
    """Further connections ask for the rest of the version that was begun, little of it twice."""
    desk.server.script(PATH, SLOW)
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert desk.server.connections > 1
    assert desk.asked[0] is None
    assert None not in desk.asked[1:]
    assert {seen.headers.get("If-Match") for seen in desk.seen[1:]} == {ETAG}
    assert len(BODY) <= fetched.moved_bytes <= 1.25 * len(BODY)
    assert sum(seen.body_bytes_sent for seen in desk.seen) <= 1.5 * len(BODY)
    assert desk.partials == []


@both
def test_a_stalled_first_connection_gets_help(desk: Desk, artifact: Artifact) -> None:
    """What a silent connection does not hold comes over others, the rest after its end."""
    desk.settings = structs.replace(desk.settings, timeout_seconds=1.0)
    desk.server.script(PATH, timing.stall_after(2_000_000))
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert desk.server.connections > 1
    assert desk.asked.count(None) == 1
    assert fetched.moved_bytes <= 1.05 * len(BODY)


@both
def test_never_more_connections_than_the_setting(desk: Desk, artifact: Artifact) -> None:
    """However much each one brings, there are at most MODELMAKE_CONNECTIONS at once."""
    desk.settings = structs.replace(desk.settings, connections=BORNE)
    door = Door(BORNE, statuses.busy())
    desk.server.always(PATH, door)
    desk.fetch(artifact)
    assert (door.most, door.refused) == (BORNE, 0)


@pytest.mark.parametrize("code", [429, 503])
@both
def test_a_server_that_bears_few_is_believed(
    desk: Desk, artifact: Artifact, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection lowers the budget to what is served; the file comes over the others."""
    monkeypatch.setattr(
        _concurrency, "LEAST_GAIN", 0.0
    )  # a busy machine's rates are not in question
    desk.settings = structs.replace(desk.settings, retries=50)  # none of them waits here
    door = Door(BORNE, statuses.busy(code=code))
    desk.server.always(PATH, door)
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert 1 < door.most <= BORNE
    assert 1 <= door.refused <= 8 - BORNE
    assert fetched.moved_bytes <= 1.05 * len(BODY)
    assert desk.asked.count(None) == 1


EMPTY = ranges.length_differs(len(BODY))
OTHERS: dict[str, Fault] = {
    "200": ranges.ignored,
    "an empty 200": statuses.status(200),
    "403": statuses.status(403),
    "404": statuses.status(404),
    "412": statuses.status(412),
    "416": ranges.unsatisfiable(),
    "another ETag": validators.etag('"v2"'),
    "a weak ETag": validators.weak,
    "no ETag": validators.missing,
    "another start": ranges.other_start(),
    "another total": ranges.other_total(),
    "no Content-Range": ranges.without_content_range,
    "a whole 206": ranges.whole_file,
    "multipart": ranges.multipart,
    "an empty body": EMPTY,
    "an empty body in chunks": combined(EMPTY, chunks.chunked()),
    "a short body": ranges.length_differs(1000),
    "a body that breaks off at once": timing.drop_after(0),
    "an end before the head": timing.drop_before_status(),
    "a page": pages.captive_portal(),
    "a coded body": framing.content_encoding("x-gzip"),
    "no HTTP": heads.garbage(),
}
TAKEN = {"another ETag", "a weak ETag", "no ETag", "a coded body"}
"""What a known digest lets pass."""


@pytest.mark.sampled(keep=8)
@pytest.mark.parametrize("name", OTHERS)
@both
def test_an_answer_that_only_further_connections_get_ends_sharing_alone(
    desk: Desk, artifact: Artifact, name: str
) -> None:
    """The first connection goes on, nobody speaks of a change, and the host's limit stays."""
    fault = OTHERS[name]

    def answer(exchange: Exchange, reply: Reply) -> Reply:
        return (fault if "Range" in exchange.request.headers else SLOW)(exchange, reply)

    desk.server.always(PATH, answer)
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        fetched = fetcher.fetch(desk.job(artifact))
        limiter = fetcher._limiters.of(desk.server.url(PATH))
    assert desk.target.read_bytes() == BODY
    assert spans(desk.asked)
    assert desk.asked.count(None) == 1
    assert desk.quarantined == []
    assert fetched.moved_bytes <= 1.05 * len(BODY)
    assert limiter._budget == 8
    if not (artifact.is_pinned and name in TAKEN):
        assert len(desk.asked) <= 8


@both
def test_a_server_without_ranges_gives_the_file_all_the_same(
    desk: Desk, artifact: Artifact
) -> None:
    """Where every range is answered with the whole file, the slow first reply has to do."""
    desk.server.always(PATH, combined(ranges.ignored, SLOW))
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY


@both
def test_a_refused_helper_does_not_end_the_file(desk: Desk, artifact: Artifact) -> None:
    """A 403 to a further connection is no reason to give up the one that is served."""
    desk.server.script(PATH, SLOW, statuses.status(403))
    desk.fetch(artifact)


@both
def test_a_helper_that_breaks_off_keeps_what_it_brought(desk: Desk, artifact: Artifact) -> None:
    """What came before the end of a connection is not asked for again."""
    desk.server.script(PATH, SLOW, timing.drop_after(1_000_000))
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    (start, _), *later = spans(desk.asked)
    assert start + 1_000_000 in {each for each, _ in later}
    assert fetched.moved_bytes <= 1.05 * len(BODY)


def test_a_file_replaced_meanwhile_comes_whole(desk: Desk) -> None:
    """A new version that a further connection meets is left to the next run: never a mix."""

    def replaced(exchange: Exchange, reply: Reply) -> Reply:
        desk.server.put(PATH, OTHER, etag='"v2"')
        return statuses.status(412)(exchange, reply)

    desk.server.script(PATH, SLOW, replaced)
    desk.fetch(unpinned())
    assert desk.target.read_bytes() == BODY
    assert desk.asked.count(None) == 1


def zeros(_: Exchange, reply: Reply) -> Reply:
    """Send as many wrong bytes, under the right names."""
    return reply.with_body(bytes(len(reply.body)))


def test_wrong_bytes_of_a_helper_start_over_once(desk: Desk) -> None:
    """A digest that fails after several replies is tried once more, over one connection."""
    desk.server.always(PATH, lambda exchange, reply: SLOW(exchange, of_range(exchange, reply)))
    desk.fetch(pinned(BODY))
    assert desk.target.read_bytes() == BODY
    assert desk.asked.count(None) == 2
    assert desk.asked[-1] is None
    assert desk.quarantined == []


def of_range(exchange: Exchange, reply: Reply) -> Reply:
    """Give the file whole and right, and its ranges wrong."""
    return zeros(exchange, reply) if "Range" in exchange.request.headers else reply


def test_wrong_bytes_again_and_again_are_refused(desk: Desk) -> None:
    """The second mismatch is final: the old file stands, and the bytes are set aside."""
    desk.server.always(PATH, lambda _, reply: SLOW(_, zeros(_, reply)))
    desk.refuses(DigestMismatch, pinned(BODY))
    assert desk.asked.count(None) == 2
    assert len(desk.quarantined) == 1


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_validator_and_pin_there_is_one_connection(desk: Desk, etag: str | None) -> None:
    """Where nothing could tell two versions apart, no second reply is mixed in."""
    desk.server.put(PATH, BODY, etag=etag)
    desk.server.always(PATH, SLOW)
    desk.fetch(unpinned())
    assert (desk.asked, desk.server.connections) == ([None], 1)


@both
def test_one_connection_when_one_is_wished(desk: Desk, artifact: Artifact) -> None:
    """MODELMAKE_CONNECTIONS=1 is one connection, however slow."""
    desk.settings = structs.replace(desk.settings, connections=1)
    desk.server.always(PATH, SLOW)
    desk.fetch(artifact)
    assert (desk.asked, desk.server.connections) == ([None], 1)


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for a condition, at most ten seconds."""
    never = threading.Event()
    for _ in range(2000):
        if is_true():
            return
        never.wait(0.005)
    raise AssertionError("it did not come to be")


SILENCES = [
    pytest.param(timing.stall_after(100_000), id="in the body"),
    pytest.param(timing.stall_before_headers(), id="before the head"),
]


@pytest.mark.parametrize("silence", SILENCES)
def test_an_interrupt_ends_every_connection(desk: Desk, silence: Fault) -> None:
    """All of them end within two seconds, whatever they wait for; what came is kept."""
    desk.settings = structs.replace(desk.settings, timeout_seconds=6.0)
    desk.server.script(PATH, timing.stall_after(2_000_000))
    desk.server.always(PATH, silence)
    with desk.transport() as transport, ThreadPoolExecutor(1) as executor:
        fetcher = Fetcher(transport)
        fetch = executor.submit(fetcher.fetch, desk.job(pinned(BODY)))
        wait_until(lambda: len(desk.seen) >= 4)
        transport.interrupt()
        with pytest.raises(Interrupted):
            fetch.result(timeout=2.0)
    assert not [one for one in threading.enumerate() if one.name == "modelmake-range"]
    assert desk.partial.stat().st_size >= 1_000_000


def kill_with_several_ranges(desk: Desk, artifact: Artifact) -> list[Range]:
    """Let a process receive the starts of several segments, kill it, and return what it noted."""
    desk.server.always(PATH, timing.stall_after(3_000_000))
    process = subprocess.Popen(command(desk.job(artifact), connections=8))
    try:
        wait_until(lambda: len(desk.noted) >= 3)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(10)
    return desk.noted


@both
def test_a_killed_run_is_gone_on_with_at_its_gaps(desk: Desk, artifact: Artifact) -> None:
    """After SIGKILL with several ranges on disk only what lies between them is asked for."""
    desk.server.put(PATH, BODY, etag=ETAG)
    present = kill_with_several_ranges(desk, structs.replace(artifact, size=None))
    before = len(desk.seen)
    desk.server.always(PATH, SLOW)
    fetched = desk.fetch(structs.replace(artifact, size=None))
    assert desk.target.read_bytes() == BODY
    asked = spans(desk.asked[before:])
    assert len(asked) == len(desk.seen) - before
    assert not [
        one for one in asked for other in present if one[0] < other.stop and other.start < one[1]
    ]
    assert fetched.moved_bytes <= len(BODY) - total(present) + 0.05 * len(BODY)
