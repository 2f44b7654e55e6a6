"""A process that may open no further connection."""

import errno
import os
import random
import socket
from typing import Any

import pytest
from msgspec import structs

from downloader.errors import TooManyOpen
from downloader.network import _connection
from tests.servers.faults import timing
from tests.transfer.desk import PATH, Desk, pinned

LARGE = random.Random(5).randbytes(20_000_000)


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give how many connections may be opened, in a list that a test changes."""
    left, connect = [0], _connection._connected

    def limited(*arguments: Any) -> socket.socket:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return connect(*arguments)

    monkeypatch.setattr(_connection, "_connected", limited)
    return left


def test_no_connection_at_all_is_one_clear_error(desk: Desk, allowed: list[int]) -> None:
    """It is no matter of the network: not tried again, and the hint names the limit."""
    error = desk.refuses(TooManyOpen)
    assert str(error).endswith(f"{desk.server.url(PATH)}: Too many open files.")
    assert "ulimit -n" in error.hint
    assert desk.waits.delays == []


def test_no_further_connection_costs_speed_only(desk: Desk, allowed: list[int]) -> None:
    """The file comes on the one that is open, and no other is tried again and again."""
    allowed[0] = 1
    desk.settings = structs.replace(desk.settings, connections=8)
    desk.server.put(PATH, LARGE, etag='"v1"')
    desk.server.script(PATH, timing.drip(1 << 18, 0.01))
    desk.fetch(pinned(LARGE))
    assert desk.asked == [None]
    assert allowed[0] < 0
