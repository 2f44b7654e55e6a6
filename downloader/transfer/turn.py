"""The wait for a file that another process is fetching: patient, told once, ended by Ctrl-C."""

import os
import threading
import time
from collections.abc import Callable

from downloader.errors import Interrupted
from downloader.fs.rooted_path import RootedPath

FIRST_DELAY_SECONDS = 0.05
LONGEST_DELAY_SECONDS = 1.0
QUIET_SECONDS = 2.0
"""A wait that is over sooner is not worth a line."""
STILL_SECONDS = 900.0
"""A holder that wrote nothing for so long is not believed to be alive: some servers of network
disks keep the lock of a machine that is gone. No pause between two attempts is so long."""

_warned = threading.Lock()  # taken by the first warning of the process, and never given back


class Turn:
    """One fetch's wait for its turn.

    Args:
        stop: Set when the run is to end.
        notice: Takes one line for the user.
        doing: What the other process does with the file.
    """

    def __init__(
        self,
        stop: threading.Event | None = None,
        notice: Callable[[str], None] = lambda _text: None,
        doing: str = "fetching",
    ) -> None:
        self._stop, self._notice, self._doing = stop or threading.Event(), notice, doing
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._began = self._moved = time.monotonic()
        self._seen: tuple[int, int] | None = None
        self._is_told = False

    def wait(self, path: RootedPath) -> bool:
        """Wait a little; returns whether it is worth to look again.

        Args:
            path: What somebody else has; its growth shows that they are at work.

        Raises:
            Interrupted: The user stopped the run.
        """
        if self._stop.wait(self._delay_seconds):
            raise Interrupted(f"Interrupted while another process was {self._doing} {path}.")
        self._delay_seconds = min(1.5 * self._delay_seconds, LONGEST_DELAY_SECONDS)
        now = time.monotonic()
        if (looks := _looks(path)) != self._seen:
            self._seen, self._moved = looks, now
        if not self._is_told and now - self._began >= QUIET_SECONDS:
            self._is_told = True
            what = f"which is {self._doing} it ({path} is locked)"
            self._notice(f"waits for another process, {what}")
        return now - self._moved < STILL_SECONDS

    def check(self) -> None:
        """End what goes on where nobody waits; raises Interrupted when the user stopped the run."""
        if self._stop.is_set():
            raise Interrupted("Interrupted while bytes that are here were read.")

    def warn_of_useless_locks(self, folder: RootedPath) -> None:
        """Say once in a process that two of them would fetch the same bytes."""
        if _warned.acquire(blocking=False):
            self._notice(
                f"locks do not work in {folder}: another process that wants the same file "
                "at the same time fetches it too"
            )


def _looks(path: RootedPath) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
