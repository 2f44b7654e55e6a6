"""Each scripted fault, as urllib3 and requests see it."""

import gzip
import re
from collections.abc import Callable, Iterator
from threading import Event

import pytest
import requests
import urllib3

from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import (
    chunks,
    framing,
    heads,
    pages,
    ranges,
    statuses,
    timing,
    validators,
)
from tests.servers.faulty import FaultyServer

BODY = bytes(range(256)) * 1000
PATH = "/model.bin"
Ask = Callable[..., urllib3.BaseHTTPResponse]
Curl = Callable[..., tuple[int, bytes]]

REFUSED: dict[str, tuple[Fault, str]] = {
    "short by one": (framing.short(1), r"IncompleteRead\(255999 bytes read, 1 more"),
    "short by all": (framing.short(len(BODY)), r"IncompleteRead\(0 bytes read, 256000 more"),
    "lengths differ": (framing.content_length("{n}", "5"), "multiple unmatching values"),
    "no last chunk": (chunks.ends_before_last(), "IncompleteRead|InvalidChunkLength|prematurely"),
    "ends at boundary": (chunks.ends_at_boundary(), "IncompleteRead|InvalidChunk|prematurely"),
    "ends in chunk": (chunks.ends_in_chunk(), "IncompleteRead"),
    "bad chunk size": (chunks.bad_size(), "IncompleteRead|InvalidChunkLength"),
    "dropped": (timing.drop_before_status(), "RemoteDisconnected"),
    "reset": (timing.drop_before_status(reset=True), "ConnectionReset"),
    "dropped in body": (timing.drop_after(1000), r"IncompleteRead\(1000 bytes read"),
    "stalled": (timing.stall_before_headers(), "ReadTimeout"),
    "stalled in headers": (timing.stall_in_headers(), "ReadTimeout"),
    "stalled in body": (timing.stall_after(1000), "ReadTimeout"),
    "bad status line": (heads.status_line("HTTP/1.1 2OO OK"), "BadStatusLine"),
    "no HTTP": (heads.garbage(), "BadStatusLine"),
    "HTTP/0.9": (heads.headless, "BadStatusLine|LineTooLong"),
    "flood of headers": (heads.flood(), "got more than 100 headers"),
    "only 100": (heads.only_interim(100), "RemoteDisconnected|BadStatusLine"),
}
CONTENT_RANGES: dict[str, tuple[Fault, str | None, bytes]] = {
    "honest": (faults.honest, "bytes 10-19/256000", BODY[10:20]),
    "other start": (ranges.other_start(1), "bytes 9-19/256000", BODY[9:20]),
    "whole file": (ranges.whole_file, "bytes 0-255999/256000", BODY),
    "none": (ranges.without_content_range, None, BODY[10:20]),
    "other total": (ranges.other_total(1), "bytes 10-19/256001", BODY[10:20]),
    "backwards": (ranges.backwards, "bytes 19-10/256000", BODY[10:20]),
    "unsatisfied": (ranges.unsatisfied_but_206, "bytes */256000", BODY[10:20]),
    "unknown total": (ranges.unknown_total, "bytes 10-19/*", BODY[10:20]),
    "other unit": (ranges.other_unit, "items 10-19/256000", BODY[10:20]),
    "length differs": (ranges.length_differs(1), "bytes 10-19/256000", BODY[10:19]),
    "longer": (ranges.longer(1), "bytes 10-20/256000", BODY[10:21]),
    "shorter": (ranges.shorter(1), "bytes 10-18/256000", BODY[10:19]),
}
ETAGS: dict[str, tuple[Fault, str]] = {
    "changed": (validators.changed, r'"another-version"'),
    "weak": (validators.weak, r'W/"[0-9a-f]{16}"'),
    "unquoted": (validators.unquoted, r"[0-9a-f]{16}"),
    "missing": (validators.missing, "None"),
    "only a date": (validators.only_date, "None"),
}


@pytest.fixture
def ask(server: FaultyServer) -> Iterator[Ask]:
    """Give a function that asks urllib3 for a path: no redirect, no retry, bounded."""
    server.put(PATH, BODY)
    with urllib3.PoolManager(retries=False, timeout=1) as pool:

        def request(method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return pool.request(
                method, server.url(PATH), headers=named, redirect=False, decode_content=False
            )

        yield request


@pytest.mark.parametrize("name", REFUSED)
def test_broken_reply_is_refused_by_urllib3(ask: Ask, server: FaultyServer, name: str) -> None:
    """What breaks HTTP raises, and the request after it is answered honestly."""
    fault, says = REFUSED[name]
    server.script(PATH, fault)
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        ask()
    assert re.search(says, f"{type(caught.value).__name__}: {caught.value}")
    assert ask().data == BODY


@pytest.mark.parametrize("name", CONTENT_RANGES)
def test_content_range_and_bytes_are_as_the_fault_says(
    ask: Ask, server: FaultyServer, name: str
) -> None:
    """Each 206 to `bytes=10-19` carries the Content-Range and the bytes it promises to a test."""
    fault, content_range, body = CONTENT_RANGES[name]
    server.script(PATH, fault)
    reply = ask(Range="bytes=10-19")
    assert (reply.status, reply.headers.get("Content-Range")) == (206, content_range)
    assert reply.data == body


@pytest.mark.parametrize("name", ETAGS)
def test_etag_is_as_the_fault_says(ask: Ask, server: FaultyServer, name: str) -> None:
    """The validator is changed, weakened, bared or taken away."""
    fault, pattern = ETAGS[name]
    server.script(PATH, fault)
    assert re.fullmatch(pattern, str(ask().headers.get("ETag")))


def test_range_ignored_gives_the_whole_file(ask: Ask, server: FaultyServer) -> None:
    """A server that knows no ranges answers 200 with all bytes, and does not claim ranges."""
    server.script(PATH, ranges.ignored)
    reply = ask(Range="bytes=10-19")
    assert (reply.status, reply.data, reply.headers.get("Accept-Ranges")) == (200, BODY, None)


def test_unsolicited_206(ask: Ask, server: FaultyServer) -> None:
    """A plain GET is answered with 206 and the whole file."""
    server.script(PATH, ranges.unsolicited)
    assert (ask().status, ask().status) == (206, 200)


def test_unsatisfiable(ask: Ask, server: FaultyServer) -> None:
    """416 comes with the true total, a false one, or none."""
    server.script(PATH, ranges.unsatisfiable(), ranges.unsatisfiable("bytes */7", b"no"))
    server.script(PATH, ranges.unsatisfiable(None))
    replies = [ask(Range="bytes=0-1") for _ in range(3)]
    assert {reply.status for reply in replies} == {416}
    told = [reply.headers.get("Content-Range") for reply in replies]
    assert told == ["bytes */256000", "bytes */7", None]


def test_multipart_wraps_the_range(ask: Ask, server: FaultyServer) -> None:
    """multipart/byteranges carries the delimiter in its body."""
    server.script(PATH, ranges.multipart)
    reply = ask(Range="bytes=10-19")
    assert reply.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert BODY[10:20] in reply.data
    assert reply.data.startswith(b"--THIS_STRING_SEPARATES\r\nContent-Range: bytes 10-19/256000")


def test_blind_store_splices_versions(ask: Ask, server: FaultyServer) -> None:
    """A store that looks at no precondition answers 206 where 412 was due."""
    server.script(PATH, faults.honest, validators.blind())
    assert [ask(Range="bytes=1-2", If_Match='"old"').status for _ in range(2)] == [412, 206]


@pytest.mark.parametrize(
    ("fault", "starts"),
    [
        (pages.captive_portal(), b"<!DOCTYPE html>"),
        (pages.s3_error("SlowDown", 200), b"<?xml"),
        (pages.lfs_pointer(), b"version https://git-lfs.github.com/spec/v1\n"),
        (pages.json_error(), b'{"error"'),
    ],
)
def test_page_comes_in_place_of_the_file(
    ask: Ask, server: FaultyServer, fault: Fault, starts: bytes
) -> None:
    """A page is a well-formed 200 that holds something else than the file."""
    server.script(PATH, fault)
    reply = ask()
    assert reply.status == 200
    assert reply.data.startswith(starts)


@pytest.mark.parametrize("code", [204, 304, 302, 401, 403, 410, 429, 503, 999])
def test_any_status(ask: Ask, server: FaultyServer, code: int) -> None:
    """Any three digits are sent, with the headers given, and the connection stays usable."""
    server.script(PATH, statuses.status(code, headers={"Retry-After": "7"}))
    reply = ask()
    assert (reply.status, reply.headers["Retry-After"], reply.data) == (code, "7", b"")
    assert (ask().data, server.connections) == (BODY, 1)


def test_304_with_a_body_ends_the_connection(ask: Ask, server: FaultyServer) -> None:
    """The forbidden body does not run into the next reply."""
    server.script(PATH, statuses.status(304, b"forbidden"))
    assert [ask().status for _ in range(2)] == [304, 200]
    assert server.connections == 2


def test_redirects_are_followed_or_found_to_loop(server: FaultyServer) -> None:
    """Requests follows a relative redirect, and gives a loop up."""
    server.put(PATH, BODY)
    server.always("/relative", statuses.redirect(PATH, 307))
    server.always("/loop", statuses.redirect_to_itself(301))
    with requests.Session() as session:
        assert session.get(server.url("/relative"), timeout=2).content == BODY
        with pytest.raises(requests.TooManyRedirects):
            session.get(server.url("/loop"), timeout=2)
        server.script("/relative", statuses.redirect(None))
        assert "Location" not in session.get(server.url("/relative"), timeout=2).headers


def test_gzip_nobody_asked_for_is_real(ask: Ask, server: FaultyServer) -> None:
    """The body is coded, and Content-Length counts the coded bytes."""
    server.script(PATH, framing.content_encoding("gzip"))
    reply = ask()
    assert reply.headers["Content-Encoding"] == "gzip"
    assert int(reply.headers["Content-Length"]) == len(reply.data) < len(BODY)
    assert gzip.decompress(reply.data) == BODY


def test_stall_ends_when_the_test_says(server: FaultyServer) -> None:
    """Nothing more than asked for comes before the event is set, the rest comes after it."""
    go_on = Event()
    server.put(PATH, BODY)
    server.script(PATH, timing.stall_after(1000, go_on))
    with (
        requests.Session() as session,
        session.get(server.url(PATH), stream=True, timeout=5) as reply,
    ):
        assert reply.raw.read(1000) == BODY[:1000]
        assert server.requests[0].body_bytes_sent == 1000
        go_on.set()
        assert reply.raw.read() == BODY[1000:]
