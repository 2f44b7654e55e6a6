"""How many connections pay off: a climb that goes on only while each further one brings its share.

A step makes the count fourfold where connections are slow, and twofold where they are fast. When
the new ones run as fast as their elders, nothing is shared, and the next step follows at once.
When the elders lose what the new ones bring, the sum is bounded: as many stay as carry it, and the
next try comes later, each time after a longer rest. So a server that limits each connection is met
with many, and soon, and one that is fast by itself, or limits its clients, with few.
"""

from dataclasses import dataclass
from math import ceil

from downloader.transfer.steady_rate import Measured

LEAST_GAIN = 1.15
"""What a step must bring: less than this is noise, or another's bandwidth."""
KEEPS_PACE = 0.8
"""What part of its elders' rate each connection of a step must add for the next one to be large."""
PAYS = 0.5
"""What part of it for all of them to stay."""
SPARED = 0.15
"""What part of a connection's rate is not worth that connection."""
LOOKS, DOUBT_SECONDS = 3, 0.15
"""How many measurements, and of what time, must show that a step does not pay: a bad moment of the
machine's looks the same, and the further connections do no harm so soon."""
STEP, LARGE_STEP = 2, 4
SLOW_BYTES_PER_SECOND = 100e6
"""A connection that gives less than this is limited by something else than this machine."""
FAST_BYTES_PER_SECOND = 400e6
"""One that gives this is limited by a machine, not by a server's rule: more of them only cost,
since both ends have to work for them."""
FASTEST_BYTES_PER_SECOND = 1e9
"""So are all together that give this: it is what one core hashes."""
NEAR_LIMIT = 0.8
"""What part of the user's own limit is as good as all of it: more connections only share it."""
LEAST_WAITS = 0.7
"""Connections that wait a smaller part of their time have found this machine's own bound, however
low it is just now: others may be at work on it."""
FIRST_REST_SECONDS = 0.25
LONGEST_REST_SECONDS = 32.0
"""How long to rest before the next try."""

NOTHING = Measured(count=0, seconds=1.0, streams=1.0)


@dataclass(slots=True)
class Climb:
    """The state of one climb.

    Attributes:
        level: How many connections are wanted now.
        highest: How many there may be.
        enough: Bytes per second of all together that are not to be raised.
    """

    highest: int
    enough: float = FASTEST_BYTES_PER_SECOND
    level: int = 1
    _before: int = 0
    _seen_before: Measured = NOTHING
    _seen_since: Measured | None = None
    _looks: int = 0
    _first_step: int = LARGE_STEP
    _rests_until: float = 0.0
    _next_rest_seconds: float = FIRST_REST_SECONDS

    @property
    def is_judging(self) -> bool:
        """Whether a step was made that is not judged yet."""
        return bool(self._before)

    def measured(self, seen: Measured, now: float) -> None:
        """Take in what the present level gave, and choose the next level.

        Args:
            seen: What arrived.
            now: Seconds on the clock of all calls.
        """
        if self._before:
            self._judge(seen, now)
        elif now >= self._rests_until:
            self._step(seen, self._first_step)

    def limit(self, highest: int) -> None:
        """Take in that the server wants no more connections than this."""
        self.highest = max(highest, 1)
        if self.level > self.highest:
            self.level, self._before = self.highest, 0

    def _judge(self, seen: Measured, now: float) -> None:
        old = self._seen_before
        self._seen_since = seen if self._seen_since is None else self._seen_since + seen
        self._looks += 1
        gain = self._seen_since.rate / old.rate if old.rate else float(LARGE_STEP)
        grown = min(self._seen_since.streams / max(old.streams, 1.0), self.level / self._before)
        pace = (gain - 1) / (grown - 1) if grown > 1 else 0.0
        if gain >= LEAST_GAIN and pace >= PAYS:
            self._next_rest_seconds = FIRST_REST_SECONDS
            self._before = 0
            self._step(self._seen_since, LARGE_STEP if pace >= KEEPS_PACE else STEP)
        elif self._looks >= LOOKS and self._seen_since.seconds >= DOUBT_SECONDS:
            self._step_back(gain, now)

    def _step_back(self, gain: float, now: float) -> None:
        """Keep as many connections as carry the sum, at the rate that they had before."""
        carrying = ceil(self._before * gain - SPARED) if gain >= LEAST_GAIN else 0
        self.level = min(max(carrying, self._before), self.level)
        self._before, self._first_step = 0, STEP
        self._rests_until = now + self._next_rest_seconds
        self._next_rest_seconds = min(2 * self._next_rest_seconds, LONGEST_REST_SECONDS)

    def _step(self, seen: Measured, factor: int) -> None:
        each = seen.rate / max(seen.streams, 1.0)
        is_fast = each >= FAST_BYTES_PER_SECOND or seen.rate >= self.enough
        if is_fast or seen.waits < LEAST_WAITS or self.level >= self.highest:
            return
        if each >= SLOW_BYTES_PER_SECOND:
            factor = STEP
        self._before, self._seen_before = self.level, seen
        self._seen_since, self._looks = None, 0
        self.level = min(factor * self.level, self.highest)
