"""Requests that are ended from another thread."""

import socket

import pytest

from downloader.errors import BadResponse, ConnectionLost, Interrupted
from downloader.network._connection import CancelScope, Deadline, Request
from downloader.operations import lock as locking
from tests.projects import http, project, session
from tests.servers import faults
from tests.servers.faults import framing, timing
from tests.transfer.desk import PATH, Desk


def test_a_request_after_the_end_is_not_sent(desk: Desk) -> None:
    """Who comes too late for the interrupt is interrupted all the same."""
    with desk.transport() as transport:
        transport.interrupt()
        with pytest.raises(Interrupted):
            transport.open(desk.location(), {}, is_pinned=True)
    assert desk.seen == []


def test_a_request_after_the_end_of_its_file_is_not_sent(desk: Desk) -> None:
    """A connection that begins when its file has failed already ends at once."""
    scope = CancelScope()
    scope.cancel()
    with desk.transport() as transport, pytest.raises(ConnectionLost):
        transport.open(desk.location(), {}, is_pinned=True, scope=scope)
    assert desk.seen == []


def test_an_interrupted_lock_is_none(desk: Desk) -> None:
    """Nothing is written of what could not be asked any more."""
    entry = http({"url": desk.server.url(PATH), "path": "a.bin"})
    declared = project(desk.folder, {"one": entry})
    with session(declared) as ended:
        ended.end()
        with pytest.raises(Interrupted):
            locking.lock(declared, ended, print)
    assert not declared.lock_path.exists()


def test_the_end_that_we_make_is_no_end_of_a_body(desk: Desk) -> None:
    """A body that ends with its connection is not taken for whole when we ended that."""
    desk.server.always(PATH, faults.combined(framing.unsized, timing.stall_after(100_000)))
    scope = CancelScope()
    with (
        desk.transport() as transport,
        transport.open(desk.location(), {}, is_pinned=True, scope=scope) as reply,
    ):
        assert len(reply.read_some(100_000)) == 100_000
        scope.cancel()
        with pytest.raises(ConnectionLost):
            reply.read_some(1)


def test_a_request_that_ended_is_forgotten(desk: Desk) -> None:
    """Cancelling later does no harm to the next request on the same connection."""
    scope = CancelScope()
    with desk.transport() as transport:
        with transport.open(desk.location(), {}, is_pinned=True, scope=scope) as reply:
            reply.read_some(1_000_000)
        assert len(scope) == 0
        scope.cancel()
        with transport.open(desk.location(), {}, is_pinned=True) as reply:
            assert reply.read_some(10)
    assert desk.server.connections == 1


def test_a_request_lets_go_of_its_socket() -> None:
    """The duplicate it holds is closed with it, and with the next one it takes."""
    one, other = socket.socketpair()
    with one, other:
        request = Request("/", Deadline(1.0), None)
        request.hold(one)
        request.hold(one)
        request.close()
        one.close()
        assert other.recv(1) == b"", "no duplicate keeps the connection open"


def test_a_private_address_may_be_reached_unless_it_may_not() -> None:
    """The judgement is the caller's; what is refused is raised."""
    Request("/", Deadline(1.0), None).check_address("inside.example", "10.0.0.1")
    request = Request("/", Deadline(1.0), BadResponse("no"))
    request.check_address("outside.example", "8.8.8.8", "2606:4700::1111")
    with pytest.raises(BadResponse):
        request.check_address("inside.example", "8.8.8.8", "10.0.0.1")
    with pytest.raises(BadResponse):
        request.check_address("localhost")
