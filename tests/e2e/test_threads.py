"""Our threads run tasks as doit's own do: side by side, in order, and no more than is said."""

from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy
from tests.e2e.project import Project
from tests.e2e.watching import injected
from tests.servers.faulty import FaultyServer

TASKS = """
import threading
from pathlib import Path

met = threading.Barrier(2)
SECONDS = 20.0

def task_meet():
    for name in "ab":
        yield {"name": name, "actions": [lambda: met.wait(SECONDS) < 2]}

def write(name):
    with Path("order").open("a") as file:
        file.write(name)

def step(name, *needs):
    return {"actions": [(write, [name])], "task_dep": list(needs)}

def task_first():
    return step("1")

def task_second():
    return step("2", "first")

def task_third():
    return step("3", "first", "second")

def task_fails():
    return {"actions": [lambda: False]}

def task_after():
    return step("after")

def stop():
    raise SystemExit(7)

def task_stops():
    return {"actions": [stop]}
"""


@pytest.fixture
def own(project: Project, server: FaultyServer) -> Project:
    """Give a project with one model of four files, and tasks of its user."""
    project.declare({"toy": pinned_toy(server, ["a.bin", "b.bin", "c.bin", "d.bin"])})
    with (project.folder / "dodo.py").open("a") as dodo:
        dodo.write(TASKS)
    return project


def test_tasks_of_the_user_run_side_by_side(own: Project) -> None:
    """Each waits for the other."""
    run = own.doit("meet")
    assert run.status == 0, run.text


def test_no_more_threads_than_said(own: Project) -> None:
    """Alone, the first waits in vain."""
    with (own.folder / "dodo.py").open("a") as dodo:
        dodo.write("SECONDS = 0.1\n")
    run = own.doit("-n", "1", "meet:a", "meet:b")
    assert run.status != 0
    assert "BrokenBarrierError" in run.text


@pytest.mark.parametrize("count", ["1", "3", "48"])
def test_a_task_waits_for_what_it_depends_on(own: Project, count: str) -> None:
    """With as many threads as there may be, idle ones are woken in time."""
    run = own.doit("-n", count, "third", "fetch", "second")
    assert run.status == 0, run.text
    assert (own.folder / "order").read_text() == "123"
    assert own.target("toy", "d.bin").exists()


def test_nothing_begins_after_a_failure_unless_that_is_wanted(own: Project) -> None:
    """Our projects go on; a user may say otherwise."""
    with (own.folder / "dodo.py").open("a") as dodo:
        dodo.write("DOIT_CONFIG = {**DOIT_CONFIG, 'continue': False}\n")
    run = own.doit("-n", "1", "fails", "after")
    assert run.status == 1
    assert not (own.folder / "order").exists()


def test_a_task_that_ends_the_program(own: Project) -> None:
    """The status is its own, as with `doit -n 0`."""
    assert own.doit("stops", "after").status == own.doit("-n", "0", "stops").status == 7


def test_a_database_for_one_thread(own: Project) -> None:
    """SQLite refuses to be used in another thread than the one that opened it."""
    with (own.folder / "dodo.py").open("a") as dodo:
        dodo.write("DOIT_CONFIG = {**DOIT_CONFIG, 'backend': 'sqlite3'}\n")
    run = own.doit("third", "fetch")
    assert run.status == 0, run.text
    assert own.target("toy", "d.bin").exists()


NO_THREAD = """
import sys
import threading

start = threading.Thread.start

def refused(thread):
    if thread.name.startswith("modelmake"):
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = refused
"""


NO_WATCH = NO_THREAD.replace('startswith("modelmake")', 'startswith("modelmake-watch")')


def test_no_thread_to_watch_the_others(own: Project, tmp_path: Path) -> None:
    """They run as they like then."""
    run = own.doit("third", "fetch", **injected(tmp_path / "site", NO_WATCH))
    assert run.status == 0, run.text
    assert (own.folder / "order").read_text() == "123"


FOREIGN = """
import threading

def task_other():
    return {"actions": [lambda: print(threading.current_thread().name)], "verbosity": 2}
"""


def test_projects_without_our_tasks_have_doits_threads(project: Project) -> None:
    """And a variable of ours that cannot be used is nothing to them."""
    (project.folder / "dodo.py").write_text(FOREIGN)
    run = project.doit("run", "-n", "2", "-P", "thread", "--db-file", "x", MODELMAKE_RETRIES="x")
    assert run.status == 0, run.text
    assert "modelmake" not in run.text


def test_a_system_without_threads(own: Project, tmp_path: Path) -> None:
    """The main thread does it all."""
    run = own.doit("third", "fetch", **injected(tmp_path / "site", NO_THREAD))
    assert run.status == 0, run.text
    assert (own.folder / "order").read_text() == "123"
    assert own.target("toy", "d.bin").exists()
