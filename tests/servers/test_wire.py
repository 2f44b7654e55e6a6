"""Faults that clients differ about, compared byte by byte as they come off the socket."""

import gzip
import re
import socket

import pytest
import requests

from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import (
    chunks,
    framing,
    heads,
    statuses,
    timing,
)
from tests.servers.faulty import FaultyServer

BODY = bytes(range(256)) * 1000
PATH = "/model.bin"


def on_the_wire(server: FaultyServer, connection: str = "close") -> bytes:
    """Return every byte of a reply, until the server ends the connection.

    Args:
        server: It has something at PATH.
        connection: The client's Connection header.

    Raises:
        TimeoutError: The connection goes on.
    """
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        head = f"GET {PATH} HTTP/1.1\r\nHost: h\r\nConnection: {connection}\r\n\r\n"
        sock.sendall(head.encode())
        with sock.makefile("rb") as stream:
            return stream.read()


def test_transfer_coding_gzip_chunked_is_real(server: FaultyServer) -> None:
    """De-chunked, the body is still gzip: a client that stops there stores coded bytes."""
    server.put(PATH, b"hi")
    server.script(PATH, framing.transfer_encoding("gzip, chunked"))
    chunk = on_the_wire(server).partition(b"\r\n\r\n")[2]
    size, _, rest = chunk.partition(b"\r\n")
    assert gzip.decompress(rest[: int(size, 16)]) == b"hi"
    assert rest[int(size, 16) :] == b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("value", ["identity", "x-unknown"])
def test_other_transfer_codings_leave_the_bytes(server: FaultyServer, value: str) -> None:
    """The header names a coding, the body is as it was, its end is the connection's."""
    server.put(PATH, BODY)
    server.script(PATH, framing.transfer_encoding(value))
    head, _, body = on_the_wire(server).partition(b"\r\n\r\n")
    assert f"Transfer-Encoding: {value}".encode() in head
    assert (body, b"Content-Length" in head) == (BODY, False)


@pytest.mark.parametrize(
    ("fault", "pattern"),
    [
        (framing.long(b"EXTRA"), rb"(?s:.*)Content-Length: 2\r\n(?s:.*)\r\n\r\nhiEXTRA"),
        (heads.interim(102, 103), rb"HTTP/1.1 102 .*\r\n\r\nHTTP/1.1 103 .*\r\n\r\n(?s:.*)hi"),
        (chunks.nul_in_trailer(), rb"(?s:.*)\r\n2\r\nhi\r\n0\r\nX-Trailer: a\0b\r\n\r\n"),
        (chunks.bare_line_feeds(), rb"(?s:.*)\r\n\r\n2\nhi\n0\n\n"),
        (chunks.with_length("5"), rb"(?s:.*)Content-Length: 5\r\n(?s:.*)2\r\nhi\r\n0\r\n\r\n"),
        (framing.content_length("{n}, {n}"), rb"(?s:.*)Content-Length: 2, 2\r\n(?s:.*)hi"),
        (statuses.status(304, b"body"), rb"HTTP/1.1 304 (?s:.*)\r\n\r\nbody"),
        (timing.drop_in_headers(), rb"HTTP/1.1 200 OK\r\n(?s:.{23})"),
        (timing.drip(1, 0.001), rb"HTTP/1.1 200 OK\r\n(?s:.*)\r\n\r\nhi"),
        (timing.drip_headers(9, 0.001), rb"HTTP/1.1 200 OK\r\n(?s:.*)\r\n\r\nhi"),
    ],
)
def test_bytes_on_the_wire(server: FaultyServer, fault: Fault, pattern: bytes) -> None:
    """What clients differ about is compared byte by byte."""
    server.put(PATH, b"hi")
    server.script(PATH, fault)
    assert re.fullmatch(pattern, on_the_wire(server))


@pytest.mark.parametrize(
    "fault",
    [timing.drop_after(len(BODY) + 1), framing.unsized, framing.long(b"")],
)
def test_connection_ends_after_the_whole_body(server: FaultyServer, fault: Fault) -> None:
    """A client that would keep the connection gets all bytes, and the end of it."""
    server.put(PATH, BODY)
    server.script(PATH, fault)
    assert on_the_wire(server, "keep-alive").endswith(BODY)


@pytest.mark.parametrize(
    "fault",
    [
        faults.combined(framing.unsized, framing.endless()),
        faults.combined(framing.endless(), chunks.chunked()),
    ],
)
def test_endless_body_goes_on(server: FaultyServer, fault: Fault) -> None:
    """A client can read far more than the file holds; leaving ends the reply."""
    server.put(PATH, b"hi")
    server.script(PATH, fault)
    with (
        requests.Session() as session,
        session.get(server.url(PATH), stream=True, timeout=2) as reply,
    ):
        assert len(reply.raw.read(10_000_000)) == 10_000_000
