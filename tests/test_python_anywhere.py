"""`ensure` where other programs run it: a coroutine, a notebook, workers, a type checker."""

import asyncio
import importlib.util
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import downloader
from downloader import ensure
from downloader.errors import NotFound
from tests.projects import declare, http, lock
from tests.servers.faulty import FaultyServer
from tests.servers.process import NotInstalled

QUIET = """
import atexit, signal, sys, threading
from pathlib import Path
import downloader

numbers = [each for each in signal.Signals if each not in (signal.SIGKILL, signal.SIGSTOP)]
def state():
    return [signal.getsignal(each) for each in numbers], threading.enumerate(), sys.excepthook
before = state()
downloader.ensure("m", folder=sys.argv[1])
assert state() == before
assert "doit" not in sys.modules
"""

FORKING = """
import os, sys
import downloader

folder = downloader.ensure("m", folder=sys.argv[1])
(folder / "a").unlink()
child = os.fork()
if not child:
    status = 1
    try:
        status = downloader.ensure("m", folder=sys.argv[1]) != folder
    finally:
        os._exit(status)
_, status = os.waitpid(child, 0)
assert not status
assert (folder / "a").read_bytes() == b"abc"
"""

CONSUMER = """
from pathlib import Path
from downloader import Progress, __version__, ensure, sync
from downloader.errors import ModelmakeError, NotFound

def show(event: Progress) -> None:
    total: int | None = event.total_bytes
    reveal_type(event.kind)

folder: Path = ensure("m", folder="x", progress=show)
folders: dict[str, Path] = sync(["m"], folder=Path("x"), progress=lambda event: print(event.path))
try:
    sync()
except NotFound as error:
    failures: dict[str, Exception] = error.failures
    hint: str = error.hint
except ModelmakeError as error:
    print(error.report(), __version__.upper())
"""

MISTAKES = """
from downloader import ensure, sync
ensure(5)
sync(progress=lambda: None)
ensure("m").nope
ensure("m", "x")
"""


@pytest.fixture
def folder(tmp_path: Path, server: FaultyServer) -> Path:
    """Give a project with the model `m` of one file, locked and not fetched."""
    server.put("/a", b"abc")
    lock(tmp_path, {"m": http(server.url("/a"))})
    return tmp_path


def python(code: str, *arguments: str) -> None:
    """Run a program, which is to succeed and to say nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(downloader.__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_running_loop_is_no_hindrance(folder: Path) -> None:
    """In a coroutine (as in any cell of a notebook) it works directly, and in a thread."""

    async def cell() -> list[Path]:
        directly = ensure("m", folder=folder)
        (directly / "a").unlink()
        return [directly, await asyncio.to_thread(ensure, "m", folder=folder)]

    assert asyncio.run(cell()) == [folder / "models/m"] * 2
    assert (folder / "models/m/a").read_bytes() == b"abc"


@pytest.mark.skipif(sys.platform == "win32", reason="it has other signals")
def test_it_leaves_its_host_as_it_was(folder: Path) -> None:
    """No signal handler, no thread, no hook, nothing printed in the run or at the end, no doit."""
    python(QUIET, str(folder))


def brought(folder: Path) -> bytes:
    """Do what a worker does: have the model, open its file."""
    return (ensure("m", folder=folder) / "a").read_bytes()


def refused(folder: Path) -> None:
    """Do what fails in a worker."""
    ensure("n", folder=folder)


def test_spawned_workers_share_one_fetch(folder: Path, server: FaultyServer) -> None:
    """Worker processes, as of torch's DataLoader, may all ask for it: one of them fetches."""
    context = multiprocessing.get_context("spawn")
    asked_before = len(server.requests)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        contents = list(pool.map(brought, [folder] * 4))

    assert contents == [b"abc"] * 4
    assert len(server.requests) == asked_before + 1


def test_a_failure_in_a_worker_reaches_its_parent(folder: Path, server: FaultyServer) -> None:
    """The error arrives whole, with its hint and what else failed."""
    declare(folder, {"n": http(server.url("/b"), server.url("/c"))})
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool, pytest.raises(NotFound) as caught:
        pool.submit(refused, folder).result()

    assert caught.value.hint
    assert sorted(caught.value.failures) == ["n/b", "n/c"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_worker_can_fetch(folder: Path) -> None:
    """After a fetch in the parent, a child that was forked fetches what is missing then."""
    python(FORKING, str(folder))


def checked(folder: Path, code: str) -> list[str]:
    """Return what mypy --strict says of a program that uses us, as its user would run it."""
    if not importlib.util.find_spec("mypy"):
        raise NotInstalled("mypy is not installed")
    (folder / "consumer.py").write_text(code)
    environment = {key: value for key, value in os.environ.items() if key != "MYPYPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", ".cache", "consumer.py"],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    return [line for line in done.stdout.splitlines() if line.startswith("consumer.py:")]


def test_a_program_that_uses_us_is_checked_by_its_types(tmp_path: Path) -> None:
    """The installed package has its types (py.typed): what is right passes, mistakes are found."""
    (noted,) = checked(tmp_path, CONSUMER)
    mistakes = checked(tmp_path, MISTAKES)

    assert "expected" in noted
    assert "note: Revealed type" in noted
    assert {line.split(":")[1] for line in mistakes} == {"3", "4", "5", "6"}, mistakes
