"""The session with peers, and the look-ups beside it."""

import socket
import threading
from typing import Any

import pytest

from downloader.errors import Stop
from downloader.settings import Settings
from downloader.transfer import swarm
from downloader.transfer.swarm import Swarm
from tests.e2e.test_fleet import needs_libtorrent


@needs_libtorrent
def test_a_look_up_may_end_after_the_swarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is slow finds nobody to tell, which is no error."""
    asks, closed = threading.Event(), threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        if threading.current_thread().name != "modelmake-names":
            return []
        asks.set()
        closed.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 7000))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(swarm, "RESOLVE_SECONDS", 0.01)
    peers = Swarm(Settings(peers="late:7000"), Stop())
    assert asks.wait(10)
    peers.close()
    closed.set()
    for thread in peers._threads:
        thread.join(10)
        assert not thread.is_alive()
    assert peers.nodes == ["127.0.0.2:7000"]
