"""A thread that does something again and again, and ends when it is told to."""

import threading
from collections.abc import Callable

END_SECONDS = 1.0
"""Longer is not waited for it: a signal may have come while our own thread held what it needs."""


class Ticker:
    """Calls a function every so many seconds, in a thread of its own.

    Args:
        act: What is called; made by `begin` in that thread, so that what it imports costs nobody.
        seconds: How long it pauses in between.
    """

    def __init__(self, begin: Callable[[], Callable[[], None]], seconds: float) -> None:
        self._begin, self._seconds = begin, seconds
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelmake-progress", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait until it has ended; may be called again, and from a signal's handler."""
        self._is_over.set()
        if self._thread.ident and self._thread is not threading.current_thread():
            self._thread.join(END_SECONDS)

    def _run(self) -> None:
        act = self._begin()
        while not self._is_over.wait(self._seconds):
            act()
