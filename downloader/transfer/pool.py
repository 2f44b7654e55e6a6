"""Who may open a connection to a host now: one budget a host, shared by all files of a run.

A file's first connection waits for its turn; further ones are opened only where they pay off
(climb.py), and closed when they no longer do, in mid-segment where that would last. A server that
says 429 or 503, or that gives a further connection nothing, is believed: the budget falls to as
many as it was serving a moment ago, and recovers slowly.
"""

import math
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from downloader.transfer.climb import FASTEST_BYTES_PER_SECOND, NEAR_LIMIT, Climb
from downloader.transfer.segments import (
    FIRST_LENGTH_BYTES,
    FIRST_RATE,
    LEAST_SECONDS,
    Segments,
)
from downloader.transfer.steady_rate import SteadyRate, slice_seconds

ENOUGH_STREAMS = 0.75
"""What part of the wanted connections must be receiving for a measurement to tell of them all."""
MOST_PUT_OFF_SECONDS = 0.5
MOST_PUT_OFF_ROUND_TRIPS = 16
"""After so long it counts all the same: some may never come, and small files come and go."""
RECOVERY_SECONDS = 15.0
"""After so long without a refusal the budget grows by one connection."""
SEGMENT_SECONDS, SEGMENT_ROUND_TRIPS = 0.25, 20
"""So long a segment takes at least at its connection's rate: asking for it then costs little."""
LONGEST_SEGMENT_BYTES = 64 << 20
"""Many connections with long ones leave much to be hashed behind the first gap."""
SHARE_ROUND_TRIPS = 2
"""So long the rest of a segment must still take for another connection to bring a part sooner."""

Grow = Callable[[], bool]


class Host:
    """The connections to one host; safe to share between threads."""

    def __init__(self, most: int, enough: float = FASTEST_BYTES_PER_SECOND) -> None:
        self._most = most
        changing = threading.Lock()
        self._changed = threading.Condition(changing)
        self._turn = threading.Condition(changing)
        self._budget = most
        self._active = self._firsts = self._waiting = 0
        self._climb = Climb(highest=most, enough=enough)
        self._growers: list[Grow] = []
        self._is_watched = False
        self._round_trip_seconds = math.inf
        self._refused_at = self._stepped_at = 0.0
        self._flow, self._rate = SteadyRate(time.monotonic()), FIRST_RATE
        self._served = self._served_before = 0
        """The most replies that were open at once, since the last measurement and before it."""

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
            self._firsts += is_taken
        return is_taken

    def try_enter(self) -> bool:
        """Take a further connection when one more is wanted now."""
        with self._changed:
            is_wanted = self._wanted < min(self._climb.level, self._allowed())
            self._active += is_wanted
            return is_wanted

    def leave(self) -> None:
        """Give a file's first connection back."""
        with self._changed:
            self._active -= 1
            self._firsts -= 1
            self._turn.notify()

    def leave_further(self) -> None:
        """Give a further connection back."""
        with self._changed:
            self._active -= 1
            self._turn.notify()

    def began(self, first_byte_seconds: float) -> None:
        """Note that a reply came, and how long after its request."""
        with self._changed:
            self._flow.opened(1, time.monotonic())
            self._served = max(self._served, self._flow.streams)
            self._round_trip_seconds = min(self._round_trip_seconds, first_byte_seconds)

    def ended(self) -> None:
        """Note that a reply is over."""
        with self._changed:
            self._flow.opened(-1, time.monotonic())

    def drop_surplus(self) -> bool:
        """Give a further connection back if it is one too many; returns whether it was."""
        with self._changed:
            is_surplus = self._wanted > min(self._climb.level, self._allowed())
            self._active -= is_surplus
            if is_surplus:
                self._turn.notify()
            return is_surplus

    @property
    def streams(self) -> int:
        """How many replies are open."""
        return self._flow.streams

    def advises(self, segments: Segments) -> None:
        """Tell a file how its segments are best cut, by what connections gave so far."""
        round_trip = self._known_round_trip
        wanted = int(self._rate * max(SEGMENT_SECONDS, SEGMENT_ROUND_TRIPS * round_trip))
        segments.length_bytes = min(max(wanted, FIRST_LENGTH_BYTES), LONGEST_SEGMENT_BYTES)
        segments.least_seconds = max(LEAST_SECONDS, SHARE_ROUND_TRIPS * round_trip)
        segments.rate = self._rate

    def refused(self) -> None:
        """Take in that the server wants fewer connections: as many as it was serving.

        Called for a 429 or 503, and for a further connection that failed before its first byte,
        while the one that was refused still counts.
        """
        with self._changed:
            served = max(self._served, self._served_before)
            self._budget = max(min(served, self._active - 1), 1)
            self._refused_at = time.monotonic()
            self._climb.limit(self._budget)

    def offers(self, grow: Grow) -> None:
        """Register a file that could use further connections; `grow` opens one, or says no."""
        with self._changed:
            self._growers.append(grow)
            if not self._is_watched:
                self._is_watched = self._is_watching()

    def withdraws(self, grow: Grow) -> None:
        """Take the registration back."""
        with self._changed:
            self._growers.remove(grow)
            self._changed.notify_all()

    def moved(self, count: int, waited_seconds: float) -> None:
        """Note bytes that arrived on one connection, and how long they were waited for."""
        self._flow.moved(count, waited_seconds)

    def _is_watching(self) -> bool:
        self._begin_measuring()
        try:
            threading.Thread(target=self._watch, name="modelmake-pool", daemon=True).start()
        except RuntimeError:  # the system has no thread left: each file has its first connection
            return False
        return True

    def _watch(self) -> None:
        """Measure as long as some file could use more connections; a stalled one counts too."""
        while True:
            with self._changed:
                missing = min(self._climb.level, self._allowed()) - self._active
                growers = list(self._growers)
            for index in range(missing if growers else 0):
                growers[index % len(growers)]()
            with self._changed:
                if self._changed.wait_for(lambda: not self._growers, self._look_seconds):
                    self._is_watched = False
                    return
                self._measure()

    def _measure(self) -> None:
        """Take in what the connections give, once that is known of the ones that are wanted."""
        now = time.monotonic()
        is_early = self._climb.is_judging and now - self._stepped_at < self._put_off_seconds
        if not self._flow.streams or (is_early and self._flow.streams < self._enough):
            self._flow.begin(now)
        elif seen := self._flow.look(now, self._known_round_trip):
            self._rate = max(seen.rate / max(seen.streams, 1.0), 1.0)
            before = self._climb.level = max(self._climb.level, self._firsts)
            self._climb.measured(seen, now)
            if self._climb.level != before:
                self._stepped_at = now
            self._begin_measuring()

    def _begin_measuring(self) -> None:
        self._flow.begin(time.monotonic())
        self._served_before, self._served = self._served, self._flow.streams

    @property
    def _wanted(self) -> int:
        """Connections that are there, and those that files wait for: theirs come first."""
        return self._active + self._waiting

    @property
    def _enough(self) -> float:
        return ENOUGH_STREAMS * min(self._climb.level, self._allowed())

    @property
    def _known_round_trip(self) -> float:
        return 0.0 if math.isinf(self._round_trip_seconds) else self._round_trip_seconds

    @property
    def _put_off_seconds(self) -> float:
        return max(MOST_PUT_OFF_SECONDS, MOST_PUT_OFF_ROUND_TRIPS * self._known_round_trip)

    @property
    def _look_seconds(self) -> float:
        return slice_seconds(self._known_round_trip)

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
        limit_rate: Bytes per second of all together (MODELMAKE_LIMIT_RATE); None for no bound.
    """

    def __init__(self, most: int, limit_rate: float | None = None) -> None:
        self._most = most
        self._enough = min(NEAR_LIMIT * (limit_rate or math.inf), FASTEST_BYTES_PER_SECOND)
        self._hosts: dict[str, Host] = {}
        self._finding = threading.Lock()

    def host(self, url: str) -> Host:
        """Return the host that an URL is asked of; redirects from it count to it."""
        place = urlsplit(url).netloc.rpartition("@")[2].lower()
        with self._finding:
            if place not in self._hosts:
                self._hosts[place] = Host(self._most, self._enough)
            return self._hosts[place]
