"""Several runs of doit on one project at once (row D5)."""

import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.content import bytes_of, pinned_toy, sha256, toy
from tests.e2e.project import Project, finish
from tests.e2e.watching import wait_until
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer

if TYPE_CHECKING:
    import subprocess

RUNS = 8
BIG = bytes_of("big", 1 << 20) * 6


def declare(project: Project, server: FaultyServer, *, is_pinned: bool) -> None:
    entry = (pinned_toy if is_pinned else toy)(server, ["big.bin", "small.bin"])
    server.put("/toy/big.bin", BIG)
    if is_pinned:
        entry["files"][0]["sha256"] = sha256(BIG)
    project.declare({"one": entry})


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "unpinned"])
def test_eight_runs_cost_one_download(
    project: Project, server: FaultyServer, is_pinned: bool
) -> None:
    """All end well, with the right files, and the server sent them once."""
    declare(project, server, is_pinned=is_pinned)
    # On one connection: of a reply that another one takes over, more is sent than is received.
    processes = [project.start(MODELMAKE_CONNECTIONS="1") for _ in range(RUNS)]
    runs = [finish(process) for process in processes]
    assert [run.status for run in runs] == [0] * RUNS, [run.text for run in runs]
    assert project.target("one", "big.bin").read_bytes() == BIG
    moved = sum(seen.body_bytes_sent for seen in server.requests)
    assert moved <= 1.05 * (len(BIG) + 1000)
    assert list(project.target("one", ".modelmake/partials").iterdir()) == []
    assert project.doit().stdout == "Nothing to do.\n"


def start_holding(project: Project, server: FaultyServer) -> "subprocess.Popen[str]":
    """Start a run that holds the partial of a file which does not come on."""
    declare(project, server, is_pinned=True)
    assert project.doit("lock").status == 0
    server.script("/toy/big.bin", timing.stall_after(3 << 20))
    process = project.start("fetch:one/big.bin", MODELMAKE_CONNECTIONS="1")
    partials = project.target("one", ".modelmake/partials")
    wait_until(lambda: any(file.stat().st_size == 3 << 20 for file in partials.glob("*.part")))
    return process


def test_a_run_says_what_it_waits_for_and_follows_a_killed_one(
    project: Project, server: FaultyServer
) -> None:
    """One line names the file; with the holder's end it goes on from what is there."""
    holder = start_holding(project, server)
    waiter = project.start("fetch:one/big.bin", MODELMAKE_CONNECTIONS="1")
    assert waiter.stderr is not None
    line = waiter.stderr.readline()
    holder.kill()
    finish(holder)
    run = finish(waiter)
    assert line == "one/big.bin: waiting for another process that is downloading it\n"
    assert run.status == 0
    assert "waiting for" not in run.stderr
    assert project.target("one", "big.bin").read_bytes() == BIG
    assert "Range" in server.requests[-1].headers


def test_ctrl_c_ends_the_wait(project: Project, server: FaultyServer) -> None:
    """Who waits for another run ends at once, in one line."""
    holder = start_holding(project, server)
    waiter = project.start("fetch:one/big.bin")
    assert waiter.stderr is not None
    waiter.stderr.readline()
    waiter.send_signal(signal.SIGINT)
    run = finish(waiter)
    holder.kill()
    finish(holder)
    assert run.status == 130
    assert run.stderr == "Interrupted: 0 of 1 file done, 1 left. Run it again to resume.\n"
