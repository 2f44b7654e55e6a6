"""How far a long reading is: a live line on a terminal, elsewhere a line now and then."""

import shutil
import sys
import threading
import time
from collections.abc import Callable

from downloader.progress import bytes_text
from downloader.streams import put, takes_events, tell

LIVE_SECONDS = 0.2
LINE_SECONDS = 30.0
LEAST_SECONDS = 0.001


class Meter:
    """Counts bytes from several threads, and tells their sum and rate.

    Args:
        doing: What is done, as the line's first word.
        clock: Tells the time in seconds.

    Attributes:
        moved_bytes: How many there were so far.
    """

    def __init__(self, doing: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._doing, self._clock = doing, clock
        self._counting = threading.Lock()
        self._is_live = _is_terminal()
        self._shown = 0
        self.moved_bytes = self._total_bytes = 0
        self._began = self._told = self._ended = clock()

    def started(self, total_bytes: int) -> None:
        """Begin anew: so many bytes are to be moved."""
        self.moved_bytes, self._total_bytes = 0, total_bytes
        self._began = self._told = self._clock()

    def moved(self, count_bytes: int) -> None:
        """So many more bytes were moved."""
        with self._counting:
            self.moved_bytes += count_bytes
            now = self._clock()
            if now - self._told >= (LIVE_SECONDS if self._is_live else LINE_SECONDS):
                self._told = now
                self._show(self._text(now))

    def notice(self, text: str) -> None:
        """Tell something in a line of its own."""
        with self._counting:
            self._clear()
            tell(text)

    def ended(self) -> None:
        """Take the live line away."""
        with self._counting:
            self._ended = self._clock()
            self._clear()

    @property
    def summary(self) -> str:
        """What was moved from the start to the end, how long that took, and how fast it was."""
        seconds = self._ended - self._began
        rate = bytes_text(int(self.moved_bytes / max(seconds, LEAST_SECONDS)))
        return f"{bytes_text(self.moved_bytes)} in {seconds:.1f} s, {rate}/s"

    def _text(self, now: float) -> str:
        rate = self.moved_bytes / max(now - self._began, LEAST_SECONDS)
        left = max(self._total_bytes - self.moved_bytes, 0) / max(rate, 1.0)
        done, total = bytes_text(self.moved_bytes), bytes_text(self._total_bytes)
        return f"{self._doing}: {done} of {total}, {bytes_text(int(rate))}/s, {left:,.0f} s left"

    def _show(self, text: str) -> None:
        if not self._is_live:
            tell(text)
            return
        # A line that wraps could not be taken back with a carriage return.
        text = text[: shutil.get_terminal_size().columns - 1]
        put(sys.stderr, f"\r{text.ljust(self._shown)}")
        self._shown = len(text)

    def _clear(self) -> None:
        if self._shown:
            put(sys.stderr, f"\r{' ' * self._shown}\r")
            self._shown = 0


def _is_terminal() -> bool:
    stream = sys.stderr
    return stream is not None and stream.isatty() and not takes_events()
