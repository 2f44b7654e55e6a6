"""`doit` on a pseudo-terminal, and what stands on its screen.

with Terminal(project, columns=80) as terminal:
    terminal.wait_for("of 7 files")
    status = terminal.finish()
assert terminal.lines == [...]
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte

from tests.e2e.project import REPOSITORY, Project

PATIENCE_SECONDS = 40.0
LOOK_SECONDS = 0.05
TAKE_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
RUN_DOIT = "from doit.__main__ import main; main()"


class Terminal:
    """A run of doit whose three streams are one terminal.

    Args:
        project: Where it runs.
        arguments: Of the command line.
        program: What Python runs; doit by default.
        columns: The terminal's width.
        rows: Its height.
        variables: The environment on top of the project's.

    Attributes:
        raw: All that was written.
        frames: The screen after each thing that was read.
    """

    def __init__(
        self,
        project: Project,
        *arguments: str,
        program: str = RUN_DOIT,
        columns: int = 80,
        rows: int = 24,
        **variables: str,
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=1000, ratio=0.01)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        self._resize(columns, rows)
        own = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **project.variables}
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{TAKE_TERMINAL}{program}", *arguments],
            cwd=project.cwd,
            env={**own, "PYTHONPATH": str(REPOSITORY), **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.raw = b""
        self.frames: list[list[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without empty rows."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def is_cursor_shown(self) -> bool:
        """Whether one sees where one types."""
        return not self._screen.cursor.hidden

    def wait_for(self, is_so: Callable[[list[str]], bool]) -> list[str]:
        """Read until the screen is as it should be, and return its lines."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not is_so(self.lines):
            assert time.monotonic() < give_up, f"it did not come to pass: {self.lines}"
            assert self._read(), f"it ended before: {self.lines}"
        return self.lines

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal wider or narrower; the kernel sends SIGWINCH."""
        self._screen.resize(rows, columns)
        self._resize(columns, rows)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal as the terminal would."""
        self.process.send_signal(number)

    def type(self, keys: bytes) -> None:
        """Press keys; the terminal shows them, and makes a signal of Ctrl-C."""
        os.write(self._ours, keys)

    def finish(self) -> int:
        """Read to the end, and return the exit status."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while self._read():
            assert time.monotonic() < give_up, f"it hangs: {self.lines}"
        return self.process.wait(PATIENCE_SECONDS)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], LOOK_SECONDS)[0]:
            return True
        try:
            text = os.read(self._ours, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.raw += text
        self._stream.feed(text)
        self.frames.append(self.lines)
        return bool(text)

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
