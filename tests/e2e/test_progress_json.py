"""MODELMAKE_PROGRESS: events for programs, and silence."""

import json
import signal
import subprocess
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.e2e.content import pinned_toy, sha256, toy, toy_content
from tests.e2e.project import Project, Run, finish
from tests.e2e.watching import injected, wait_until
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer

MIB = 1 << 20
DEAD = "http://127.0.0.1:9/toy"
NOISE = """
def task_noise():
    def act():
        import sys
        sys.stderr.write("half a line, ")
        sys.stderr.write("and the rest\\n")
    return {"actions": [act], "verbosity": 2}
"""


@pytest.fixture
def small(project: Project, server: FaultyServer) -> Project:
    """Give a project of two small files that wants events."""
    project.declare({"one": pinned_toy(server, ["a.bin", "b.bin"])})
    project.variables["MODELMAKE_PROGRESS"] = "json"
    return project


def events_of(run: Run) -> list[dict[str, Any]]:
    """Return what every line on standard error says; each has to be an event."""
    events = [json.loads(line) for line in run.error_lines]
    assert all(each["event"] for each in events)
    return events


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the events of one kind."""
    return [each for each in events if each["event"] == name]


def test_a_run_from_its_start_to_its_summary(small: Project) -> None:
    """Start knows all bytes before the first one, each file is done once, the summary is last."""
    run = small.doit()
    events = events_of(run)
    assert events[0]["text"].startswith("locked one: 2 files")
    assert events[1] == {"event": "start", "files": 2, "bytes": 2000, "unknown_sizes": 0}
    done = {each["path"]: each for each in named(events, "done")}
    assert done["a.bin"]["sha256"] == sha256(toy_content("a.bin"))
    assert done["a.bin"]["verb"] == "fetched"
    assert done["a.bin"]["target"] == "models/one/a.bin"
    assert (done["b.bin"]["bytes"], done["b.bin"]["moved_bytes"]) == (1000, 1000)
    seconds = events[-1].pop("seconds")
    assert seconds > 0
    assert events[-1] == {
        "event": "summary",
        "state": "ok",
        "fetched": 2,
        "linked": 0,
        "unpacked": 0,
        "verified": 0,
        "failed": 0,
        "not_begun": 0,
        "moved_bytes": 2000,
        "unfinished_bytes": 0,
    }
    assert run.stdout.startswith("2 fetched ")


def test_nothing_to_do(small: Project) -> None:
    """Start and summary say so; standard output has its one line."""
    assert small.doit().status == 0
    run = small.doit()
    assert [each["event"] for each in events_of(run)] == ["start", "summary"]
    assert run.stdout == "Nothing to do.\n"


def test_a_long_run_tells_how_far_it_is(small: Project, server: FaultyServer) -> None:
    """Once a second at most, for the whole run and for each file that moves."""
    entry = toy(server, ["a.bin"])
    server.put("/toy/a.bin", bytes(100_000))
    small.declare({"one": entry})
    assert small.doit("lock").status == 0
    server.always("/toy/a.bin", timing.drip(4000, 0.1))
    progress = named(events_of(small.doit()), "progress")
    assert 1 <= len(progress) <= 6
    (moving,) = progress[-1]["moving"]
    assert (moving["path"], moving["state"], moving["total_bytes"]) == ("a.bin", "moving", 100_000)
    assert [each["bytes"] for each in progress] == sorted(each["bytes"] for each in progress)
    assert all(each["total_bytes"] == 100_000 for each in progress)


def test_retry_and_failure(small: Project, server: FaultyServer) -> None:
    """A retry names its cause and the delay, a failure its kind and what to do."""
    assert small.doit("lock").status == 0
    server.always("/toy/a.bin", statuses.busy())
    server.always("/toy/b.bin", statuses.status(404))
    run = small.doit(MODELMAKE_RETRIES="2")
    assert run.status == 1
    events = events_of(run)
    (retry,) = named(events, "retry")
    assert "503" in retry["cause"]
    assert retry["delay_seconds"] > 0
    failed = {each["path"]: each for each in named(events, "failed")}
    assert failed["a.bin"]["code"] == "server-busy"
    assert failed["b.bin"]["code"] == "not-found"
    assert failed["b.bin"]["task"] == "fetch:one/b.bin"
    assert failed["b.bin"]["hint"].startswith("Check the name")
    assert events[-1]["state"] == "failed"
    assert events[-1]["failed"] == 2


def test_mistakes_are_events_too(small: Project) -> None:
    """In models.yaml, in a variable, in the name of a task that only a wildcard asks for."""
    (wildcard,) = events_of(small.doit("fetch:x*"))
    assert (wildcard["event"], wildcard["code"]) == ("failed", "no-task")
    assert "No task matches" in wildcard["error"]
    (variable,) = events_of(small.doit(MODELMAKE_TIMEOUT="soon"))
    assert (variable["event"], variable["code"]) == ("failed", "setting-error")
    small.write("version: 1\nmodels:\n  one:\n    source: http\n    fils: []\n")
    run = small.doit()
    (mistake,) = events_of(run)
    assert mistake["error"] == "models.yaml:5: models.one.fils: unknown key"
    assert run.status == 2


@pytest.fixture
def stalled(project: Project, server: FaultyServer) -> subprocess.Popen[str]:
    """Give a doit that wants events and has 2 of 3 MiB on disk; no more come."""
    project.variables |= {"MODELMAKE_PROGRESS": "json", "MODELMAKE_CONNECTIONS": "1"}
    entry = toy(server, ["big.bin"])
    server.put("/toy/big.bin", bytes(3 * MIB))
    project.declare({"one": entry})
    assert project.doit("lock").status == 0
    server.always("/toy/big.bin", timing.stall_after(2 * MIB))
    process = project.start()
    partials = project.target("one", ".modelmake/partials")
    wait_until(lambda: [each.stat().st_size for each in partials.glob("*.part")] == [2 * MIB])
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_an_interrupted_run(stalled: subprocess.Popen[str], number: signal.Signals) -> None:
    """It says so, and the summary comes all the same, with the bytes that moved."""
    stalled.send_signal(number)
    run = finish(stalled)
    assert run.status == 128 + number
    events = events_of(run)
    assert named(events, "interrupted")
    assert events[-1]["state"] == "interrupted"
    assert MIB <= events[-1]["moved_bytes"] <= 2 * MIB, "counted a moment after it was written"


def test_what_an_interrupted_run_left(
    project: Project, server: FaultyServer, stalled: subprocess.Popen[str]
) -> None:
    """The next run counts it in its first event on how far it is, before any server answered."""
    stalled.send_signal(signal.SIGINT)
    finish(stalled)
    server.always("/toy/big.bin", timing.stall_before_headers())
    process = project.start()
    assert process.stderr
    line = next(each for each in process.stderr if json.loads(each)["event"] == "progress")
    process.send_signal(signal.SIGINT)
    assert finish(process).status == 130
    first = json.loads(line)
    assert (first["bytes"], first["moved_bytes"], first["total_bytes"]) == (2 * MIB, 0, 3 * MIB)


def test_what_others_write_becomes_a_notice(small: Project) -> None:
    """A task of the user's own, and doit itself, may write to standard error as they like."""
    with (small.folder / "dodo.py").open("a") as dodo:
        dodo.write(NOISE)
    events = events_of(small.doit("noise"))
    assert {"event": "notice", "text": "half a line, and the rest"} in events
    (unknown,) = events_of(small.doit("run", "--nosuch"))[:1]
    assert "nosuch" in unknown["text"]


def test_a_name_that_means_nothing_is_an_event(small: Project) -> None:
    """As every failure is, with a code of its own."""
    (unknown,) = events_of(small.doit("nosuch"))
    assert (unknown["event"], unknown["code"]) == ("failed", "no-task")
    assert "nosuch" in unknown["error"]


def test_a_bug_is_an_event(small: Project, tmp_path: Path) -> None:
    """Its kind is another than that of all errors that were foreseen."""
    code = """
        import downloader.targets.state
        def broken(*_, **__):
            raise RuntimeError("the sky fell")
        downloader.targets.state.append_receipt = broken
    """
    run = small.doit(**injected(tmp_path / "site", code))
    assert run.status == 2
    assert {each["code"] for each in named(events_of(run), "failed")} == {"internal-error"}


def test_quiet(project: Project, server: FaultyServer) -> None:
    """Errors only, and no sum."""
    project.variables["MODELMAKE_PROGRESS"] = "quiet"
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit() == Run(0, "", "")
    assert project.doit() == Run(0, "", "")
    assert project.doit("lock").stdout == "models.lock is up to date.\n"
    entry = {"source": "http", "files": [{"url": f"{DEAD}/b.bin", "sha256": "0" * 64}]}
    project.declare({"one": entry})
    run = project.doit(MODELMAKE_RETRIES="1")
    assert run.status == 1
    assert len([line for line in run.error_lines if line.startswith("failed ")]) == 1


def test_another_word(project: Project, server: FaultyServer) -> None:
    """It is a mistake that names the words there are."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(MODELMAKE_PROGRESS="loud")
    assert run.status == 2
    assert run.stderr.startswith(
        "ERROR: MODELMAKE_PROGRESS is 'loud', and it may be auto, json, quiet.\n"
    )


def test_one_cause_is_told_once(project: Project) -> None:
    """A dead server fails many files, and is told once, with their number and some names."""
    files = [{"url": f"{DEAD}/{n}.bin", "sha256": "0" * 64} for n in range(30)]
    project.declare({"one": {"source": "http", "files": files}})
    run = project.doit(MODELMAKE_RETRIES="1")
    assert run.status == 1
    assert "30 failed" in run.stdout
    *named, told = [line for line in run.error_lines if line.startswith("failed ")]
    assert len(named) <= 3
    assert all(line.startswith("failed models/one/") for line in named)
    assert told.startswith("failed models/one/0.bin: The connection to http://127.0.0.1")
    others = ", ".join(f"models/one/{n}.bin" for n in (1, 2, 3))
    assert run.error_lines[-1] == f"  The same for 29 more: {others}, …"


def test_a_dead_host_does_not_flood_a_log(project: Project) -> None:
    """Seven files that are tried five times each are a handful of lines, not twenty-eight."""
    files = [{"url": f"{DEAD}/{n}.bin", "sha256": "0" * 64} for n in range(7)]
    project.declare({"one": {"source": "http", "files": files}})
    run = project.doit(MODELMAKE_RETRIES="4")
    told = [line for line in run.error_lines if "retrying" in line]
    assert 3 <= len(told) <= 6
    host = "The connection to http://127.0.0.1:9 failed: Connection refused; retrying 7 files in "
    assert all(line.startswith(host) for line in told)
    attempts = [int(line.rpartition(" attempt ")[2].removesuffix(" of 4")) for line in told]
    assert attempts == sorted(set(attempts))


def test_a_failed_file_is_named_while_others_move(project: Project, server: FaultyServer) -> None:
    """In a log of hours: at once, by its place; what to do about it follows at the end."""
    entry = toy(server, ["bad.bin", "slow.bin"])
    project.declare({"one": entry})
    assert project.doit("lock").status == 0
    server.always("/toy/bad.bin", statuses.status(404))
    go_on = Event()
    server.always("/toy/slow.bin", timing.stall_after(500, go_on))
    process = project.start()
    assert process.stderr is not None
    first = process.stderr.readline()
    go_on.set()
    run = finish(process)
    assert first.startswith("failed models/one/bad.bin: ")
    assert "404" in first
    assert run.error_lines[-2].startswith("failed models/one/bad.bin: ")
    assert run.stdout.startswith("1 fetched (1.0 kB), 1 failed in ")


def test_a_list_on_a_closed_output(small: Project) -> None:
    """`doit list >&-` shows nothing, and no traceback."""
    small.variables.pop("MODELMAKE_PROGRESS")
    small.before = ["sh", "-c", 'exec "$0" "$@" >&-']
    run = small.doit("list")
    assert run == Run(0, "", "")
