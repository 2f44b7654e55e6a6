"""A file's connections among themselves: who is refused, who waits, who goes on."""

import gc
import threading
import weakref
from collections import Counter

import pytest

from downloader.errors import ServerBusy, Stop, StoreError
from downloader.transfer._attempt import Connections
from downloader.transfer._concurrency import HostLimiter
from downloader.transfer._segments import Segment, Segments

MIB = 1 << 20
OWN = threading.main_thread


class Server:
    """Gives whole segments to helpers, and refuses the file's own thread for a while.

    Attributes:
        refusals: How often it is refused; a helper begins only after the first one.
        received: Which thread received how much.
        segments_of: Which thread received how many segments.
    """

    def __init__(self, segments: Segments, refusals: int) -> None:
        self._segments = segments
        self.wait_seconds: float | None = None
        self.refusals = refusals
        self.received: dict[str, int] = {}
        self.segments_of = Counter[threading.Thread]()
        self.is_refused = threading.Event()
        self._last = threading.Lock()

    def receive(self, segment: Segment) -> None:
        """Receive one segment, or raise."""
        thread = threading.current_thread()
        if thread is OWN():
            if self.refusals:
                self.refusals -= 1
                self.is_refused.set()
                raise ServerBusy("429", wait_seconds=self.wait_seconds)
        else:
            assert self.is_refused.wait(10)
        with self._last:
            self.segments_of[thread] += 1
            self.received[thread.name] = self.received.get(thread.name, 0) + segment.left
        self._segments.advance(segment, segment.left)


def crew_of(refusals: int, helpers: int) -> tuple[Connections, Server, HostLimiter]:
    """Return the crew of a file of 64 MiB, its own connection entered and helpers wanted."""
    host = HostLimiter(8)
    host.acquire(Stop())
    host._controller.level = 1 + helpers
    segments = Segments(64 * MIB, [])
    server = Server(segments, refusals)
    crew = Connections(host, segments, server.receive, is_open=True)
    return crew, server, host


def test_a_refused_first_connection_waits_for_a_helper() -> None:
    """A 429 to the file's own connection does not end the helpers, nor the attempt."""
    crew, server, host = crew_of(refusals=1, helpers=2)
    with crew:
        crew.open_further()
        crew.open_further()
        crew.work()
    assert sum(server.received.values()) == 64 * MIB
    assert host._budget < 8


def test_a_refused_first_connection_does_not_ask_before_it_may() -> None:
    """Helpers end the file where they can; else the whole attempt waits as long as was asked."""
    crew, server, _ = crew_of(refusals=1, helpers=2)
    server.wait_seconds = 3600.0
    with crew:
        crew.open_further()
        crew.open_further()
        with pytest.raises(ServerBusy) as caught:
            crew.work()
    assert caught.value.wait_seconds == 3600.0
    assert OWN().name not in server.received


def test_a_refused_first_connection_alone_is_the_files_failure() -> None:
    """Where nobody else receives, the refusal is told, and the attempt is over."""
    crew, server, _ = crew_of(refusals=1, helpers=0)
    with crew, pytest.raises(ServerBusy):
        crew.work()
    assert server.received == {}


def test_one_too_many_leaves_and_its_segment_is_received() -> None:
    """A helper that is one too many ends after its segment; the first connection does the rest."""
    crew, server, host = crew_of(refusals=1, helpers=3)
    with crew:
        for _ in range(3):
            crew.open_further()
        host._controller.level = 1
        crew.work()
    assert sum(server.received.values()) == 64 * MIB
    assert server.segments_of.pop(OWN())
    assert set(server.segments_of.values()) <= {1}
    assert host._active == 1


def test_a_failure_of_another_connection_leaves_no_cycle() -> None:
    """The error's traceback holds the worker's frame, and that holds the connections."""
    connections, server, _ = crew_of(refusals=1, helpers=2)

    def receive(segment: Segment) -> None:
        if threading.current_thread() is not OWN():
            raise StoreError("the disk is full")
        server.receive(segment)

    connections._receive = receive
    assert connections.open_further()
    gc.disable()
    try:
        with pytest.raises(StoreError):
            connections.work()
        found = weakref.ref(connections)
        del connections, receive
        assert found() is None
    finally:
        gc.enable()
