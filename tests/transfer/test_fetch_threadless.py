"""A system that has no thread left: a file still comes, on what there is."""

import random
import threading

import pytest

from downloader.urls import Location
from tests.servers.faults import timing
from tests.transfer.desk import PATH, Desk, pinned

BIG = random.Random(8).randbytes(9_000_000)
NAMES = ["modelmake-pool", "modelmake-hash", "modelmake-name", "modelmake-range", "modelmake-"]


@pytest.mark.parametrize("name", NAMES)
def test_a_large_file_comes_without_further_threads(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without watcher, hasher, look-up or further connections it is only slower."""
    start, refused = threading.Thread.start, list[str]()

    def refusing(self: threading.Thread) -> None:
        if self.name.startswith(name):
            refused.append(self.name)
            raise RuntimeError("can't start new thread")
        start(self)

    desk.server.put(PATH, BIG)
    desk.server.always(PATH, timing.drip(300_000, 0.02))
    monkeypatch.setattr(threading.Thread, "start", refusing)
    desk.fetch(pinned(BIG), Location(url=f"http://localhost:{desk.server.port}{PATH}"))
    assert refused
