"""`ensure(progress=True)` in a notebook: a real kernel, and what it sends to the cell."""

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from tests.e2e.content import toy
from tests.e2e.project import Project
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer

manager = pytest.importorskip("jupyter_client.manager", reason="needs ipykernel")

PATIENCE_SECONDS = 60
CELL = "from downloader import ensure\nensure('one', progress=True).name"
SHOWN = ("display_data", "update_display_data")


@pytest.fixture
def kernel(project: Project) -> Iterator[Any]:
    """Give a client of a kernel that runs in the project's folder."""
    environment = project.environment({})
    started, client = manager.start_new_kernel(cwd=str(project.folder), env=environment)
    yield client
    client.stop_channels()
    started.shutdown_kernel(now=True)


def messages(kernel: Any) -> Iterator[dict[str, Any]]:
    """Yield what the kernel sends to the cell until it is done."""
    while True:
        message = kernel.get_iopub_msg(timeout=PATIENCE_SECONDS)
        yield message
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return


def test_a_cell_shows_bars_and_then_what_was_done(
    project: Project, server: FaultyServer, kernel: Any
) -> None:
    """In one output that is replaced; nothing is written to the streams."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    go_on = Event()
    server.put("/toy/a.bin", bytes(10_000))
    assert project.doit("lock").status == 0
    server.always("/toy/a.bin", timing.stall_after(5_000, go_on))
    kernel.execute(CELL)
    sent = []
    for message in messages(kernel):
        sent.append(message)
        if "50%" in str(message["content"]):
            go_on.set()
    shown = [each["content"] for each in sent if each["msg_type"] in SHOWN]
    assert len({each["transient"]["display_id"] for each in shown}) == 1
    texts = [each["data"]["text/plain"] for each in shown]
    assert any("one/a.bin" in text and "━" in text for text in texts)
    *lines, total = texts[-1].splitlines()
    assert sorted(line.partition(" (")[0] for line in lines) == [
        "fetched models/one/a.bin",
        "fetched models/one/b.bin",
    ]
    assert total.startswith("2 fetched (11.0 kB) in ")
    assert not [each for each in sent if each["msg_type"] in {"stream", "error"}]
    assert {each["parent_header"]["msg_type"] for each in sent} == {"execute_request"}
