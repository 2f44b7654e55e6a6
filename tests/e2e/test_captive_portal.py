"""A captive portal, or an odd server, that answers the first question and not the download."""

from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.projects import sha256
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import pages, statuses
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply

BODY = b"weights" * 22_019
PLAIN = statuses.status(200, b"please log in first", {"Content-Type": "text/plain"})
PORTALS = {"a page": pages.captive_portal(), "a text": PLAIN, "nothing": statuses.status(200)}
portals = pytest.mark.parametrize("portal", PORTALS.values(), ids=PORTALS.keys())


@portals
@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "first use"])
def test_a_portal_before_the_first_run_costs_nothing(
    tmp_path: Path, server: FaultyServer, portal: Fault, is_declared: bool
) -> None:
    """It answers the first request alone; the run brings the file, and the next has no work."""
    server.put("/model.bin", BODY)
    server.script("/model.bin", portal)
    project = Project(tmp_path)
    file = {"url": server.url("/model.bin"), **({"sha256": sha256(BODY)} if is_declared else {})}
    project.declare({"m": {"source": "http", "files": [file]}})
    run = project.doit()
    assert run.status == 0, run.text
    assert (tmp_path / "models/m/model.bin").read_bytes() == BODY
    assert f'"size":{len(BODY)},' in project.lock.read_text()
    asked = len(server.requests)
    assert project.doit().status == 0
    assert len(server.requests) == asked


@portals
def test_a_portal_during_the_whole_first_run_is_forgotten(
    tmp_path: Path, server: FaultyServer, portal: Fault
) -> None:
    """The run after it brings the file: what the portal said is nowhere taken for a fact."""
    server.put("/model.bin", BODY)
    project = Project(tmp_path)
    project.declare({"m": {"source": "http", "files": [{"url": server.url("/model.bin")}]}})
    server.always("/model.bin", _of_probes(portal))
    assert project.doit().status != 0
    server.always("/model.bin", lambda _, reply: reply)
    run = project.doit()
    assert run.status == 0, run.text
    assert (tmp_path / "models/m/model.bin").read_bytes() == BODY


def _of_probes(portal: Fault) -> Fault:
    """Return a fault: the portal answers probes, and the download fails."""

    def answer(exchange: Exchange, reply: Reply) -> Reply:
        is_probe = exchange.request.headers.get("Range") == "bytes=0-0"
        return (portal if is_probe else statuses.status(404))(exchange, reply)

    return answer
