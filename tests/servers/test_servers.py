"""The servers of the tests, checked by clients we did not write: urllib3, requests and curl."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import requests
import urllib3

from tests.servers import faults
from tests.servers.body import ZeroBody
from tests.servers.exchange import Headers
from tests.servers.faults import (
    ranges,
    statuses,
    timing,
)
from tests.servers.faulty import FaultyServer
from tests.servers.honest import LAST_MODIFIED

BODY = bytes(range(256)) * 1000
PATH = "/model.bin"
Ask = Callable[..., urllib3.BaseHTTPResponse]


@pytest.fixture
def ask(server: FaultyServer) -> Iterator[Ask]:
    """Give a function that asks urllib3 for a path: no redirect, no retry, two seconds."""
    server.put(PATH, BODY)
    with urllib3.PoolManager(retries=False, timeout=2) as pool:

        def request(
            path: str = PATH, method: str = "GET", **headers: str
        ) -> urllib3.BaseHTTPResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return pool.request(method, server.url(path), headers=named, redirect=False)

        yield request


class TestHonest:
    """What the server answers when no fault is scripted."""

    def test_whole_file_has_validators_and_length(self, ask: Ask) -> None:
        """A GET gives the bytes, a strong quoted ETag, Last-Modified and Accept-Ranges."""
        reply = ask()
        assert (reply.status, reply.data) == (200, BODY)
        assert reply.headers["Content-Length"] == "256000"
        assert reply.headers["ETag"].startswith('"')
        assert reply.headers["Last-Modified"] == LAST_MODIFIED
        assert reply.headers["Accept-Ranges"] == "bytes"

    def test_head_gives_the_headers_without_the_body(self, ask: Ask, server: FaultyServer) -> None:
        """HEAD says the length and sends no byte of it: the connection serves the next request."""
        reply = ask(method="HEAD")
        assert (reply.status, reply.data, reply.headers["Content-Length"]) == (200, b"", "256000")
        assert ask().data == BODY
        assert [seen.body_bytes_sent for seen in server.requests] == [0, 256000]

    def test_one_connection_carries_many_requests(self, ask: Ask, server: FaultyServer) -> None:
        """Keep-alive: three requests of one pool need one connection."""
        assert [ask().status for _ in range(3)] == [200, 200, 200]
        assert server.connections == 1

    def test_seen_request_tells_what_was_asked_and_sent(
        self, ask: Ask, server: FaultyServer
    ) -> None:
        """A test can read method, path, headers in any case, status and bytes of each request."""
        ask(PATH + "?token=1", Range="bytes=1-2")
        (seen,) = server.requests
        assert (seen.method, seen.path, seen.target) == ("GET", PATH, PATH + "?token=1")
        assert seen.headers["rAnGe"] == "bytes=1-2"
        assert (seen.status, seen.body_bytes_sent) == (206, 2)

    def test_close_is_obeyed(self, ask: Ask, server: FaultyServer) -> None:
        """A client that asks for the connection to end gets that, and the next one is new."""
        assert ask(Connection="close").headers["Connection"] == "close"
        ask()
        assert server.connections == 2

    @pytest.mark.parametrize(
        ("asked", "status", "content_range", "body"),
        [
            ("bytes=0-0", 206, "bytes 0-0/256000", BODY[:1]),
            ("bytes=10-19", 206, "bytes 10-19/256000", BODY[10:20]),
            ("bytes=255990-", 206, "bytes 255990-255999/256000", BODY[-10:]),
            ("bytes=255990-999999", 206, "bytes 255990-255999/256000", BODY[-10:]),
            ("bytes=-3", 206, "bytes 255997-255999/256000", BODY[-3:]),
            ("bytes=-999999", 206, "bytes 0-255999/256000", BODY),
            ("bytes=256000-", 416, "bytes */256000", b""),
            ("bytes=256010-256020", 416, "bytes */256000", b""),
            ("bytes=5-4", 200, None, BODY),
            ("lines=1-2", 200, None, BODY),
        ],
    )
    def test_range(
        self, ask: Ask, asked: str, status: int, content_range: str | None, body: bytes
    ) -> None:
        """Single ranges are obeyed, unsatisfiable ones refused, others ignored (RFC 9110 §14)."""
        reply = ask(Range=asked)
        assert (reply.status, reply.headers.get("Content-Range")) == (status, content_range)
        assert reply.data == body

    @pytest.mark.parametrize(
        ("header", "value", "ranged", "status"),
        [
            ("If-Match", "{etag}", True, 206),
            ("If-Match", '"old", {etag}', True, 206),
            ("If-Match", "*", False, 200),
            ("If-Match", '"old"', True, 412),
            ("If-Match", "W/{etag}", False, 412),
            ("If-Range", "{etag}", True, 206),
            ("If-Range", '"old"', True, 200),
            ("If-Range", "W/{etag}", True, 200),
            ("If-Range", LAST_MODIFIED, True, 206),
            ("If-Range", "Thu, 18 Feb 2021 20:31:14 GMT", True, 200),
            ("If-None-Match", "{etag}", False, 304),
            ("If-None-Match", "W/{etag}", False, 304),
            ("If-None-Match", '"old"', False, 200),
            ("If-Modified-Since", LAST_MODIFIED, False, 304),
            ("If-Unmodified-Since", LAST_MODIFIED, False, 200),
            ("If-Unmodified-Since", "Thu, 18 Feb 2021 20:31:12 GMT", False, 412),
            ("If-Unmodified-Since", "yesterday", False, 200),
        ],
    )
    def test_precondition(
        self, ask: Ask, header: str, value: str, ranged: bool, status: int
    ) -> None:
        """Preconditions hold or refuse as RFC 9110 §13 says."""
        etag = ask().headers["ETag"]
        headers = {header: value.format(etag=etag)} | ({"Range": "bytes=1-2"} if ranged else {})
        assert ask(**headers).status == status

    def test_missing_path_and_other_methods_are_refused(self, ask: Ask) -> None:
        """404 for what was never put, 405 for what is neither GET nor HEAD."""
        assert ask("/nothing").status == 404
        assert (ask(method="POST").status, ask(method="PUT").headers["Allow"]) == (405, "GET, HEAD")

    def test_weak_etag_never_matches_strongly(self, ask: Ask, server: FaultyServer) -> None:
        """If-Match needs the strong comparison: a weak tag fails it, even the same one."""
        server.put(PATH, BODY, etag='W/"1"')
        assert ask(If_Match='W/"1"').status == 412

    def test_head_ignores_range(self, ask: Ask) -> None:
        """Range means something for GET alone (RFC 9110 §14.2)."""
        assert ask(method="HEAD", Range="bytes=1-2").status == 200

    def test_put_again_changes_the_etag(self, ask: Ask, server: FaultyServer) -> None:
        """A replaced resource has another validator, so If-Match with the old one fails."""
        old = ask().headers["ETag"]
        server.put(PATH, b"other")
        assert ask(If_Match=old).status == 412

    def test_sparse_body_of_4_gib_needs_no_memory(self, ask: Ask, server: FaultyServer) -> None:
        """A range at the end of 4 GiB of zeros carries its tail."""
        server.put("/huge", ZeroBody(2**32 + 1, tail=b"end"))
        assert ask("/huge", method="HEAD").headers["Content-Length"] == str(2**32 + 1)
        assert ask("/huge", Range="bytes=-5").data == b"\0\0end"
        assert ask("/huge", Range="bytes=-2").data == b"nd"

    def test_scripted_faults_come_in_order_then_the_server_behaves(
        self, ask: Ask, server: FaultyServer
    ) -> None:
        """One fault a request, in order; after them the honest reply."""
        server.script(PATH, statuses.busy("1"), faults.honest, statuses.status(410))
        assert [ask().status for _ in range(4)] == [503, 200, 410, 200]

    def test_always_waits_for_the_script(self, ask: Ask, server: FaultyServer) -> None:
        """A standing fault begins when the scripted ones are used."""
        server.always(PATH, statuses.status(404))
        server.script(PATH, faults.honest)
        assert [ask().status for _ in range(3)] == [200, 404, 404]


def test_repeated_headers_are_joined() -> None:
    """A field sent twice reads as one list, under its name in any case (RFC 9110 §5.3)."""
    headers = Headers([("If-Match", '"a"'), ("if-match", '"b"')])
    assert dict(headers) == {"if-match": '"a", "b"'}
    assert headers["IF-MATCH"] == '"a", "b"'


class TestEnd:
    """What is left when the server ends."""

    def test_no_thread_and_no_listener_stay(self) -> None:
        """After the block its threads are gone and the port refuses."""
        before = set(threading.enumerate())
        with FaultyServer() as server:
            idle = socket.create_connection(("127.0.0.1", server.port))
        with idle:
            assert idle.recv(1) == b""
        assert set(threading.enumerate()) == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))

    def test_stalled_reply_does_not_hold_the_end_up(self) -> None:
        """A stall without an event ends with the server."""
        with FaultyServer() as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
            server.always("/", timing.stall_before_headers())
            sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert not [thread for thread in threading.enumerate() if "faulty" in thread.name]

    def test_error_in_a_fault_fails_the_test(self) -> None:
        """A range fault on a path without a resource is raised at the end of the block."""
        with contextlib.ExitStack() as running:
            server = running.enter_context(FaultyServer())
            server.always("/", ranges.unsolicited)
            with pytest.raises(requests.ConnectionError):
                requests.get(server.url("/"), timeout=2)
            with pytest.raises(LookupError, match="nothing was put"):
                running.close()
