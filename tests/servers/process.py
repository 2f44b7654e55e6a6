"""A server that is a program of its own: started, waited for, ended by its process id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

START_SECONDS = 60.0
END_SECONDS = 10.0
LOOK_SECONDS = 0.02


class NotInstalled(Exception):  # noqa: N818 - reads as what happened
    """The program is not on this machine."""


def free_port() -> int:
    """Return a port that was free a moment ago; another process may take it first."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Program:
    """A running program, its output in a file.

    Args:
        command: The program and its arguments.
        output: Where its standard output and standard error go.
        variables: Environment variables on top of our own.
    """

    def __init__(
        self, command: list[str], output: Path, variables: dict[str, str] | None = None
    ) -> None:
        self._output = output
        with output.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=output.parent,
                env={**os.environ, **(variables or {})},
                start_new_session=True,  # its own group, so that its workers end with it
            )

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self._output.read_text(errors="replace")

    def wait_until(self, is_ready: Callable[[], bool]) -> bool:
        """Wait until it is ready; return False when it ended instead.

        Raises:
            TimeoutError: Neither happened within START_SECONDS; it is ended then.
        """
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            if is_ready():
                return True
            if self._process.poll() is not None:
                return False
            time.sleep(LOOK_SECONDS)
        self.end()
        raise TimeoutError(f"not ready after {START_SECONDS} s: {self.said}")

    def kill(self) -> None:
        """End it at once, with its workers: it has nothing to keep."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(END_SECONDS)

    def end(self) -> None:
        """End it, and its workers when it does not end in time."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(END_SECONDS)


class ProgramServer:
    """A context manager around a program that serves, with a folder of its own.

    A subclass makes the folder and starts the program in its `__enter__`.
    """

    _folder: Path
    _program: Program

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program and remove what it wrote."""
        self._program.end()
        shutil.rmtree(self._folder)
