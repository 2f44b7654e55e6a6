"""A run that is ended in the middle, by force or politely, and the one after it."""

import json
import re
import signal
import subprocess
from threading import Event

import pytest

from tests.e2e.content import bytes_of, sha256, toy
from tests.e2e.project import Project, Run, finish
from tests.e2e.watching import wait_until
from tests.servers.exchange import Exchange
from tests.servers.faults import combined, ranges, timing
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply

MIB = 1 << 20
SIZE = 24 * MIB + 7
STALL_AT = 18 * MIB
BIG = bytes_of("big", MIB) * (SIZE // MIB) + b"the end"
"""Repeated, to be quick; one byte out of place changes the digest all the same."""
GOES_ON = "Interrupted. Run it again to resume."
NOTHING_DONE = "Interrupted: 0 of 1 file done, 1 left. Run it again to resume."
KEPT = re.compile(
    r"Interrupted: \d of \d files? done, 1 left, 1[78]\.\d MB of partial downloads kept\. "
    r"Run it again to resume\."
)
"""18 MiB, or one less: bytes are on the disk a moment before they are counted."""


def stall_in_body(exchange: Exchange, reply: Reply) -> Reply:
    """Stop in the middle of the whole file; the question for its first byte is answered."""
    is_whole = "Range" not in exchange.request.headers
    return timing.stall_after(STALL_AT)(exchange, reply) if is_whole else reply


@pytest.fixture
def stalled(project: Project, server: FaultyServer) -> subprocess.Popen[str]:
    """Give a doit that has 18 of 24 MiB of a file on disk, and a small one; no more come."""
    assert len(BIG) == SIZE
    entry = toy(server, ["small.bin", "big.bin"])
    server.put("/toy/big.bin", BIG)
    server.always("/toy/big.bin", stall_in_body)
    project.declare({"one": entry})
    assert project.doit("fetch:one/small.bin").status == 0
    process = project.start(MODELMAKE_CONNECTIONS="1")  # more would go around the stall
    partials = project.target("one", ".modelmake/partials")
    wait_until(lambda: [file.stat().st_size for file in partials.glob("*.part")] == [STALL_AT])
    return process


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "unpinned"])
def test_what_no_server_resumes_is_not_promised(
    project: Project, server: FaultyServer, is_pinned: bool
) -> None:
    """The interrupted run promises nothing, and the next one says what it downloads again."""
    server.put("/toy/big.bin", BIG)
    stall = timing.stall_after(STALL_AT)
    file = {"url": server.url("/toy/big.bin"), **({"sha256": sha256(BIG)} if is_pinned else {})}
    project.declare({"one": {"source": "http", "files": [file]}})
    server.script("/toy/big.bin", ranges.ignored, combined(ranges.ignored, stall))
    process = project.start(MODELMAKE_CONNECTIONS="1")
    partials = project.target("one", ".modelmake/partials")
    wait_until(lambda: [file.stat().st_size for file in partials.glob("*.part")] == [STALL_AT])
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert NOTHING_DONE in ended.stderr
    assert "kept" not in ended.stderr
    server.always("/toy/big.bin", ranges.ignored)
    run = project.doit(MODELMAKE_CONNECTIONS="1")
    assert run.status == 0, run.text
    assert re.search(r"one/big\.bin: cannot resume, downloads 1[78]\.\d MB again: ", run.stderr)


def assert_goes_on(project: Project, server: FaultyServer) -> None:
    """Check that the next run asks for the rest only, of the very same version."""
    before = len(server.requests)
    run = project.doit(MODELMAKE_CONNECTIONS="1")  # a slow machine could open more for the rest
    assert run.status == 0, run.text
    assert sha256(project.target("one", "big.bin").read_bytes()) == sha256(BIG)
    (request,) = [seen for seen in server.requests[before:] if seen.path == "/toy/big.bin"]
    start = int(request.headers["Range"].removeprefix("bytes=").partition("-")[0])
    # Up to 4 MiB are read at once, and noted when they are written.
    assert STALL_AT - 4 * MIB <= start <= STALL_AT, "what was there is not asked for again"
    assert request.headers["If-Match"].startswith('"')
    assert "resuming at" in run.stderr
    assert project.locked("one")["big.bin"]["sha256"] == sha256(BIG)
    assert list(project.target("one", ".modelmake/partials").iterdir()) == []
    assert project.doit().stdout == "Nothing to do.\n"


def test_after_sigkill_the_next_run_goes_on(
    project: Project, server: FaultyServer, stalled: subprocess.Popen[str]
) -> None:
    """Of what had arrived at most the last step is moved twice; lock and database are whole."""
    stalled.kill()
    assert finish(stalled).status == -signal.SIGKILL
    assert not project.target("one", "big.bin").exists()
    assert_goes_on(project, server)
    assert "sha256" in project.locked("one")["small.bin"]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["int", "term", "hup"],
)
def test_a_polite_end_is_told_in_one_line(
    project: Project,
    server: FaultyServer,
    stalled: subprocess.Popen[str],
    number: signal.Signals,
    status: int,
) -> None:
    """Ctrl-C, `kill` and a hangup end the run at once, as shells report it; it goes on later."""
    stalled.send_signal(number)
    run = finish(stalled)
    assert run.status == status
    (line,) = [line for line in run.error_lines if not line.startswith("fetched ")]
    assert KEPT.fullmatch(line)
    assert "sha256" in project.locked("one")["small.bin"], "its pin is not lost"
    assert_goes_on(project, server)


def test_a_second_ctrl_c_says_no_more(
    project: Project, server: FaultyServer, stalled: subprocess.Popen[str]
) -> None:
    """The second one ends what the first still had to do; what is noted is not lost."""
    stalled.send_signal(signal.SIGINT)
    stalled.send_signal(signal.SIGINT)
    run = finish(stalled)
    assert run.status in (130, -signal.SIGINT)
    assert len(KEPT.findall(run.text)) <= 1
    assert "Traceback" not in run.text
    assert_goes_on(project, server)


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *rest):
        if name == "downloader.tasks._fetch":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize("mode", ["auto", "json"])
def test_ctrl_c_before_the_run_is_one_line_too(project: Project, mode: str) -> None:
    """While modules are still imported: no traceback, and the same exit status."""
    project.declare({"one": {"source": "http", "files": [{"url": "http://127.0.0.1:9/a"}]}})
    (project.folder / "sitecustomize.py").write_text(INTERRUPTED_IMPORT)
    project.variables["PYTHONPATH"] = str(project.folder)
    run = project.doit(MODELMAKE_PROGRESS=mode)
    event = json.dumps({"event": "interrupted", "text": GOES_ON})
    assert run == Run(130, "", f"{event if mode == 'json' else GOES_ON}\n")


def test_a_hangup_that_is_ignored_ends_nothing(project: Project, server: FaultyServer) -> None:
    """Under nohup the run goes on when its terminal is closed."""
    go_on = Event()
    project.before = ["sh", "-c", 'trap "" HUP; exec "$0" "$@"']
    project.declare({"one": toy(server, ["big.bin"])})
    server.always("/toy/big.bin", timing.stall_after(1, go_on))
    process = project.start()
    wait_until(lambda: len(server.requests) > 1)
    process.send_signal(signal.SIGHUP)
    go_on.set()
    run = finish(process)
    assert run.status == 0, run.text


@pytest.mark.parametrize("reporter", ["console", "zero"])
def test_a_polite_end_with_another_reporter(
    project: Project, server: FaultyServer, reporter: str
) -> None:
    """Ctrl-C is the same one line whichever reporter was chosen."""
    project.declare({"one": toy(server, ["big.bin"])})
    server.always("/toy/big.bin", timing.stall_before_headers())
    process = project.start("-r", reporter)
    wait_until(lambda: bool(server.requests))
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert run.status == 130
    assert run.stderr == f"{GOES_ON}\n"


def test_ctrl_c_with_one_task_at_a_time(project: Project, server: FaultyServer) -> None:
    """Also where doit runs its tasks in the main thread, it is one line."""
    project.declare({"one": toy(server, ["big.bin"])})
    assert project.doit("lock").status == 0
    server.always("/toy/big.bin", timing.stall_after(500))
    before = len(server.requests)
    process = project.start("-n", "0")
    wait_until(lambda: len(server.requests) > before)
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert run.status == 130
    assert run.stderr == f"{NOTHING_DONE}\n"
    assert "Traceback" not in run.text
