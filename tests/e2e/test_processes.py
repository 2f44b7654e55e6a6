"""`doit -n 2 -P process`: what one process does, pins or finds out is not lost to the others."""

import os
import signal

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project, Run, finish
from tests.e2e.together.projects import bot
from tests.e2e.watching import wait_until
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

NAMES = [f"{letter}.bin" for letter in "abcdefgh"]
PROCESSES = ("-n", "2", "-P", "process")


def pinned(project: Project) -> list[str]:
    """Return which files of the model have a SHA-256 in models.lock."""
    return sorted(path for path, file in project.locked("m").items() if "sha256" in file)


def hold_the_lock(project: Project) -> None:
    """Make it impossible to write models.lock, also for the superuser."""
    turn = project.folder / ".modelmake/models.lock.turn"
    turn.unlink(missing_ok=True)
    turn.mkdir(parents=True)


def test_every_file_is_pinned(project: Project, server: FaultyServer) -> None:
    """The first run pins all that its workers fetched, and counts their bytes."""
    project.declare({"m": toy(server, NAMES)})
    run = project.doit(*PROCESSES)

    assert run.status == 0, run.text
    assert pinned(project) == NAMES
    assert "8 fetched (0 B)" not in run.stdout
    assert project.doit(*PROCESSES).stdout == "Nothing to do.\n"


def test_a_failure_keeps_the_others_pins(project: Project, server: FaultyServer) -> None:
    """One file that is not there costs the exit status, and no pin."""
    project.declare({"m": toy(server, NAMES)})
    server.always("/toy/c.bin", statuses.status(404))
    run = project.doit(*PROCESSES)

    assert run.status == 1
    assert run.stderr.count("failed models/m/c.bin") == 1
    assert pinned(project) == [each for each in NAMES if each != "c.bin"]


def test_pins_that_cannot_be_written_are_no_success(project: Project, server: FaultyServer) -> None:
    """Each worker says why, and the run does not end with 0."""
    project.declare({"m": toy(server, NAMES)})
    assert project.doit("lock").status == 0
    hold_the_lock(project)
    run = project.doit(*PROCESSES)

    assert run.status == 1
    assert "models.lock.turn" in run.stderr
    assert pinned(project) == []


def test_a_lock_that_cannot_be_written_begins_no_file(
    project: Project, server: FaultyServer
) -> None:
    """Whichever process tried to write it: the others learn of it."""
    project.declare({"m": pinned_toy(server, NAMES)})
    hold_the_lock(project)
    run = project.doit(*PROCESSES)

    assert run.status == 1
    assert not project.target("m", "a.bin").exists()
    assert run.stderr.count("failed ") == 1, run.text


def test_files_that_a_provider_names_are_fetched(
    project: Project, together: TogetherServer
) -> None:
    """They are known only once a worker asked; nothing that was unpacked aside stays."""
    project.declare({"m": bot(checkpoint="all", extract=True, keep_archive=False)})
    run = project.doit(*PROCESSES)

    assert run.status == 0, run.text
    assert project.target("m", "step-10/adapter_config.json").is_file()
    assert list(project.target("m", ".modelmake/unpacking").iterdir()) == []
    assert project.doit(*PROCESSES).stdout == "Nothing to do.\n"


def test_a_provider_that_refuses_is_a_failure(project: Project, together: TogetherServer) -> None:
    """The reason is told, though another process asked than the one that has the model's task."""
    project.declare({"m": bot(), "other": bot(job="ft-99")})
    run = project.doit(*PROCESSES)

    assert run.status == 1, run.text
    assert "ft-99" in run.stderr
    assert len(pinned(project)) == 1


def test_ctrl_c_is_told_once(project: Project, server: FaultyServer) -> None:
    """All processes get it from the terminal; one speaks, and what arrived is kept."""
    project.declare({"m": toy(server, NAMES)})
    assert project.doit("lock").status == 0
    for name in NAMES:
        server.always(f"/toy/{name}", timing.stall_after(100))
    before = len(server.requests)
    project.before = ("setsid",)
    process = project.start(*PROCESSES, MODELMAKE_TIMEOUT="3")
    wait_until(lambda: len(server.requests) >= before + 2)
    os.killpg(process.pid, signal.SIGINT)
    run: Run = finish(process)

    assert run.status == 130, run.text
    assert run.stderr.count("Interrupted") == 1
    assert "Traceback" not in run.text
