"""Who may open a connection to a host now: one budget a host, shared by all files of a run.

A file's first connection waits for its turn; further ones are opened only where they pay off
(climb.py), and closed at the end of their segment when they no longer do. A server that says 429
or 503, or that gives a further connection nothing, is believed: the budget falls to as many as it
is serving at that moment, and recovers slowly.
"""

import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from downloader.transfer.climb import Climb

SHORTEST_WINDOW_SECONDS = 0.06
LONGEST_WINDOW_SECONDS = 2.0
WINDOW_ROUND_TRIPS = 8
MOST_WINDOWS_PUT_OFF = 4
"""For so many windows' time a change of connections begins the measuring anew; then it counts
all the same, or many small files, one ending every moment, would never let it come to an end."""
RECOVERY_SECONDS = 15.0
"""After so long without a refusal the budget grows by one connection."""

Grow = Callable[[], bool]


class Host:
    """The connections to one host; safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        changing = threading.Lock()
        self._changed = threading.Condition(changing)
        self._turn = threading.Condition(changing)
        self._budget = most
        self._active = self._waiting = 0
        self._streaming = 0
        self._climb = Climb(highest=most)
        self._growers: list[Grow] = []
        self._is_watched = False
        self._first_byte_seconds = 0.0
        self._refused_at = 0.0
        self._measured_at = 0.0
        self._begin_window()

    def enter(self, stop: threading.Event) -> bool:
        """Wait for a file's first connection.

        Returns:
            Whether it was taken, and has to be given back; not when the run was stopped instead.
        """
        with self._turn:
            self._waiting += 1
            while self._active >= self._allowed() and not stop.is_set():
                self._turn.wait(0.2)  # the budget also recovers with time
            self._waiting -= 1
            is_taken = not stop.is_set()
            self._active += is_taken
        return is_taken

    def try_enter(self) -> bool:
        """Take a further connection when one more is wanted now."""
        with self._changed:
            is_wanted = self._wanted < min(self._climb.level, self._allowed())
            self._active += is_wanted
            return is_wanted

    def leave(self) -> None:
        """Give a connection back."""
        with self._changed:
            self._active -= 1
            self._disturb_window()
            self._turn.notify()

    def began(self, first_byte_seconds: float) -> None:
        """Note that a reply came, and how long after its request."""
        with self._changed:
            self._streaming += 1
            self._first_byte_seconds = first_byte_seconds
            if self._streaming > self._window_streaming:
                self._disturb_window()  # the rate of fewer tells nothing of this many

    def ended(self) -> None:
        """Note that a reply is over."""
        with self._changed:
            self._streaming -= 1

    def is_surplus(self) -> bool:
        """Whether a further connection should end now."""
        with self._changed:
            return self._wanted > min(self._climb.level, self._allowed())

    def refused(self) -> None:
        """Take in that the server wants fewer connections: as many as it is serving now.

        Called for a 429 or 503, and for a further connection that failed before its first byte.
        """
        with self._changed:
            self._budget = max(self._streaming, 1)
            self._refused_at = time.monotonic()
            self._climb.limit(self._budget)

    def offers(self, grow: Grow) -> None:
        """Register a file that could use further connections; `grow` opens one, or says no."""
        with self._changed:
            self._growers.append(grow)
            self._disturb_window()
            if not self._is_watched:
                self._is_watched = self._is_watching()

    def withdraws(self, grow: Grow) -> None:
        """Take the registration back."""
        with self._changed:
            self._growers.remove(grow)
            self._changed.notify_all()

    def moved(self, count: int) -> None:
        """Note bytes that arrived."""
        self._window_bytes += count  # two threads may lose one count: it is a measurement

    def _is_watching(self) -> bool:
        self._measured_at = time.monotonic()
        try:
            threading.Thread(target=self._watch, name="modelmake-pool", daemon=True).start()
        except RuntimeError:  # the system has no thread left: each file has its first connection
            return False
        return True

    def _watch(self) -> None:
        """Measure as long as some file could use more connections; a stalled one counts too."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: not self._growers, self._window_seconds):
                    self._is_watched = False
                    return
                missing = self._measured()
                growers = list(self._growers)
            for index in range(missing):
                growers[index % len(growers)]()

    def _measured(self) -> int:
        """Take in the window's rate, and return how many connections to open."""
        elapsed = time.monotonic() - self._window_began
        if elapsed < self._window_seconds / 2 or not self._streaming:
            return 0
        self._climb.level = max(self._climb.level, self._active)
        self._climb.measured(self._window_bytes / elapsed)
        self._measured_at = time.monotonic()
        self._begin_window()
        return min(self._climb.level, self._allowed()) - self._active

    @property
    def _wanted(self) -> int:
        """Connections that are there, and those that files wait for: theirs come first."""
        return self._active + self._waiting

    @property
    def _window_seconds(self) -> float:
        wanted = WINDOW_ROUND_TRIPS * self._first_byte_seconds
        return min(max(wanted, SHORTEST_WINDOW_SECONDS), LONGEST_WINDOW_SECONDS)

    def _disturb_window(self) -> None:
        put_off = time.monotonic() - self._measured_at
        if put_off < MOST_WINDOWS_PUT_OFF * self._window_seconds or not self._is_watched:
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_began, self._window_bytes = time.monotonic(), 0
        self._window_streaming = self._streaming

    def _allowed(self) -> int:
        """Return the budget, grown by one for each quiet time since the last refusal."""
        quiet = time.monotonic() - self._refused_at
        if self._budget < self._most and quiet >= RECOVERY_SECONDS:
            self._budget += 1
            self._refused_at = time.monotonic()
            self._climb.limit(self._budget)
        return self._budget


class Pool:
    """The hosts of a run.

    Args:
        most: The most connections to one host (MODELMAKE_CONNECTIONS).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._hosts: dict[str, Host] = {}
        self._finding = threading.Lock()

    def host(self, url: str) -> Host:
        """Return the host that an URL is asked of; redirects from it count to it."""
        place = urlsplit(url).netloc.rpartition("@")[2].lower()
        with self._finding:
            if place not in self._hosts:
                self._hosts[place] = Host(self._most)
            return self._hosts[place]
