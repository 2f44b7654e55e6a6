"""A shell on a pseudo-terminal of fixed size, and what stands there (pyte interprets it)."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte
from pyte.screens import Char

Rows = list[list[Char]]
PROMPT = "$"
PATIENCE_SECONDS = 100.0
LOOK_SECONDS = 0.05
FAINT, GREY = 2, 90
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Run by a process of its own: the job control of a shell wants a terminal that is its own."""


class Shell:
    """bash, as a user has it, without anybody's settings.

    Args:
        folder: Where it starts.
        columns: The terminal's width.
        rows: Its height.
        environment: All of its environment.

    Attributes:
        command: How it is started; another shell's class says another one.
    """

    command: Sequence[str] = ("bash", "--noprofile", "--norc", "-i")

    def __init__(
        self, folder: Path, columns: int, rows: int, environment: Mapping[str, str]
    ) -> None:
        self._screen = _Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *self.command],
            cwd=folder,
            env=dict(environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        os.close(self._ours)  # a hangup, which ends the shell and what runs in it
        self._process.wait(PATIENCE_SECONDS)

    @property
    def rows(self) -> Rows:
        """What stands there now, down to the last row with something in it."""
        columns = range(self._screen.columns)
        return [
            [self._screen.buffer[row][column] for column in columns]
            for row in range(len(self.lines))
        ]

    @property
    def lines(self) -> list[str]:
        """The same as text."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def type(self, command: str, until: Callable[[Sequence[str]], bool] | None = None) -> None:
        """Type a command, and wait until it ended, or until the screen is as wanted."""
        self.press(command, lambda lines: lines[-1:] == [f"{PROMPT} {command}"])
        self.press("\n", lambda lines: lines[-1:] != [f"{PROMPT} {command}"])
        self._wait_for(until or _is_at_prompt)

    def press(self, keys: str, until: Callable[[Sequence[str]], bool]) -> None:
        """Press keys, and wait until the screen is as wanted."""
        os.write(self._ours, keys.encode())
        self._wait_for(until)

    def wait(self) -> None:
        """Wait until the command that runs has ended."""
        self._wait_for(_is_at_prompt)

    def _wait_for(self, is_so: Callable[[Sequence[str]], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not is_so(self.lines):
            if time.monotonic() > give_up:
                raise TimeoutError("\n".join(["It did not come to pass:", *self.lines]))
            if select.select([self._ours], [], [], LOOK_SECONDS)[0]:
                self._stream.feed(os.read(self._ours, 1 << 16))


def _is_at_prompt(lines: Sequence[str]) -> bool:
    return lines[-1:] == [PROMPT]


class _Screen(pyte.Screen):
    """A screen that shows faint text as grey: pyte passes over it."""

    def select_graphic_rendition(self, *attributes: int, **_: bool) -> None:
        """See pyte.Screen."""
        super().select_graphic_rendition(*(GREY if each == FAINT else each for each in attributes))
