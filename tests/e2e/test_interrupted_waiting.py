"""Ctrl-C while nothing has come yet: no wait of a connection outlives it (row D10)."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.content import sha256
from tests.e2e.project import REPOSITORY, Project, finish
from tests.e2e.test_interrupted import GOES_ON, NOTHING_DONE
from tests.e2e.watching import LOOK_SECONDS, wait_until

CONNECTIONS = Path("/proc/net/tcp")
SYN_SENT = "02"
STOP_SECONDS = 5.0
"""Two are promised; a machine that does much else is given more."""


class Mute:
    """A port of this machine that takes connections, or not even those, and says nothing.

    Args:
        is_full: Whether its backlog is full, so that a connection is never made.
    """

    def __init__(self, *, is_full: bool) -> None:
        self.is_full = is_full
        self._sockets = ExitStack()
        self._listener = self._sockets.enter_context(socket.socket())
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0 if is_full else 16)
        self.port: int = self._listener.getsockname()[1]
        if is_full:
            self._fill()

    def _fill(self) -> None:
        """Connect until nobody answers any more."""
        for _ in range(8):
            sock = self._sockets.enter_context(socket.socket())
            sock.settimeout(0.2)
            try:
                sock.connect(("127.0.0.1", self.port))
            except TimeoutError:
                sock.close()
                return
        raise AssertionError("the backlog is never full")

    def is_dialled(self) -> bool:
        """Whether somebody waits here: for the connection, or for its first byte."""
        if self.is_full:
            wanted = f":{self.port:04X} {SYN_SENT} "
            return wanted in CONNECTIONS.read_text()
        self._listener.settimeout(0.01)
        try:
            self._sockets.enter_context(self._listener.accept()[0]).settimeout(5)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Close all sockets."""
        self._sockets.close()


@pytest.fixture
def mute() -> Iterator[Callable[[bool], Mute]]:
    """Give a function that makes a mute port."""
    with ExitStack() as made:

        def make(is_full: bool) -> Mute:
            port = Mute(is_full=is_full)
            made.callback(port.close)
            return port

        yield make


WAYS = {
    "before the head": ("http", False),
    "in the handshake": ("https", False),
    "while dialling": ("http", True),
    "while dialling for TLS": ("https", True),
}


def entry(url: str) -> dict[str, object]:
    """Return an entry of one pinned file."""
    return {"source": "http", "files": [{"url": url, "path": "a.bin", "sha256": sha256(b"a")}]}


def is_asleep(pid: int) -> bool:
    """Whether the main thread waits, and not just for its turn, which comes after 5 ms.

    Python runs a handler between two instructions. A signal that comes after the last one before a
    wait is noticed when that ends.
    """
    status = Path(f"/proc/{pid}/stat")
    for _ in range(5):
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] != "S":
            return False
        time.sleep(LOOK_SECONDS)
    return True


def assert_ends(process: subprocess.Popen[str], number: signal.Signals, status: int) -> None:
    """Send the signal; check that the process ends soon, with one line and that status."""
    wait_until(lambda: is_asleep(process.pid))
    began = time.monotonic()
    process.send_signal(number)
    run = finish(process)
    assert time.monotonic() - began < STOP_SECONDS
    assert (run.status, run.stderr) in {(status, f"{GOES_ON}\n"), (status, f"{NOTHING_DONE}\n")}


each_way = pytest.mark.parametrize(("scheme", "is_full"), WAYS.values(), ids=WAYS.keys())


@each_way
def test_ctrl_c_ends_a_silent_look_up(
    project: Project, mute: Callable[[bool], Mute], scheme: str, is_full: bool
) -> None:
    """Where a server is asked for sizes only, whatever it waits for, a signal ends the run."""
    port = mute(is_full)
    project.declare({"one": entry(f"{scheme}://127.0.0.1:{port.port}/a.bin")})
    process = project.start("lock")
    wait_until(port.is_dialled)
    assert_ends(process, signal.SIGINT, 130)
    assert not project.lock.exists(), "half of a lock is none"


@pytest.mark.sampled(keep=3)
@each_way
@pytest.mark.parametrize("threads", [(), ("-n", "0")], ids=["threads", "one thread"])
def test_ctrl_c_ends_a_silent_fetch(
    project: Project,
    mute: Callable[[bool], Mute],
    scheme: str,
    is_full: bool,
    threads: tuple[str, ...],
) -> None:
    """Whatever a connection for a file waits for, a signal ends the run in one line."""
    port = mute(is_full)
    project.declare({"one": entry(f"{scheme}://127.0.0.1:{port.port}/a.bin")})
    assert project.doit("lock", MODELMAKE_TIMEOUT="0.2").status == 0
    while not is_full and port.is_dialled():
        pass  # the question for its size
    process = project.start(*threads, "fetch")
    wait_until(port.is_dialled)
    assert_ends(process, signal.SIGTERM, 143)


@pytest.mark.parametrize("source", ["http", "together"])
@pytest.mark.parametrize("is_doit", [False, True], ids=["ensure", "doit"])
def test_ctrl_c_ends_a_silent_provider(
    project: Project, mute: Callable[[bool], Mute], source: str, is_doit: bool
) -> None:
    """What is not locked yet is asked for first, from Python too; a signal ends that at once."""
    port = mute(False)
    url = f"http://127.0.0.1:{port.port}"
    job = {"source": "together", "job": "ft-12345678-1234"}
    project.declare({"one": job if source == "together" else entry(f"{url}/a.bin")})
    project.variables |= {"TOGETHER_BASE_URL": url, "TOGETHER_API_KEY": "k"}
    if is_doit:
        process = project.start()
    else:
        process = subprocess.Popen(
            [sys.executable, "-c", "import downloader; downloader.ensure('one')"],
            cwd=project.folder,
            env={**os.environ, **project.variables, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    wait_until(port.is_dialled)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert finish(process).status in (130, -signal.SIGINT)
    assert time.monotonic() - began < STOP_SECONDS
