"""Choose the number of connections: a budget per host, shared by all files of a run.

The rate at which a host's bytes arrive is measured until it is steady. Time is cut into slices,
each at least half of the time that an answer takes. Two slices in a row with about the same rate
are a measurement; a rate that still rises (TCP's slow start doubles it every round trip, RFC 5681)
or comes in bursts is measured longer, and then by its later half. Only the very first step follows
a single slice, if that looks slow: it asks for 4 connections at most, and what it brings counts for
less.

The number of connections is ramped up only while each further one brings its share. A step makes
it fourfold if connections are slow, and twofold if they are fast. If the new ones run as fast as
the existing ones, nothing is shared, and the next step follows at once. If the existing ones slow
down by as much as the new ones add, the total is capped: as many stay as sustain it, and the next
try comes later, each time after a longer rest. So a server that limits each connection is met with
many, and soon, and one that is fast by itself, or limits its clients, with few.

A file's first connection waits for its place; further ones are opened only if they pay off, and
closed when they no longer do, in mid-segment if the rest would take long. A server that says 429 or
503, or that gives a further connection nothing, is believed: the budget falls to as many as it was
serving a moment ago, and recovers slowly. MODELMAKE_LIMIT_RATE limits the sum of all rates.
"""

import math
import threading
import time
from collections.abc import Callable
from math import ceil
from urllib.parse import urlsplit

import msgspec

from downloader.errors import Stop
from downloader.fs.digests import BUFFER_BYTES
from downloader.fs.run_token import released, step_aside
from downloader.transfer._segments import FIRST_LENGTH_BYTES, FIRST_RATE, LEAST_SECONDS, Segments

SHORTEST_SLICE_SECONDS = 0.01
LONGEST_SLICE_SECONDS = 0.25
MOST_SLICES = 8
STEADY = 0.15
"""By which part of the larger of two rates they may differ and be about the same."""


class Sample(msgspec.Struct, frozen=True):
    """Bytes that arrived over some time.

    Attributes:
        count: How many bytes.
        seconds: How long it took.
        streams: How many replies were open meanwhile, on average.
        waits: What part of the time they waited for bytes: the rest is this machine's own work.
    """

    count: int
    seconds: float
    streams: float
    waits: float = 1.0

    @property
    def rate(self) -> float:
        """Bytes per second, of all replies together."""
        return self.count / self.seconds

    def __add__(self, other: "Sample") -> "Sample":
        """Return both as one."""
        seconds = self.seconds + other.seconds
        mine, others = self.seconds / seconds, other.seconds / seconds
        return Sample(
            count=self.count + other.count,
            seconds=seconds,
            streams=mine * self.streams + others * other.streams,
            waits=mine * self.waits + others * other.waits,
        )


class ThroughputMeter:
    """Measures again from `begin` on."""

    def __init__(self, now: float) -> None:
        self._streams = self._busy = 0
        self._noted_at = now
        self.begin(now)

    def begin(self, now: float) -> None:
        """Forget what was seen so far."""
        self._slices: list[Sample] = []
        self._begin_slice(now)

    def moved(self, count: int, waited_seconds: float) -> None:
        """Note bytes that arrived, and how long that took."""
        self._count += count  # two threads may lose one count: it is a measurement
        self._waited_seconds += waited_seconds

    def opened(self, change: int, now: float) -> None:
        """Note that so many replies more are open, or fewer."""
        self._pass(now)
        self._streams += change

    def worked(self, change: int, now: float) -> None:
        """Note that so many more are not read because what came is written and synced, or fewer.

        A sync may outlast many slices. They are silent, and it is not the server's silence.
        """
        self._pass(now)
        self._busy += change

    def _pass(self, now: float) -> None:
        self._streamed_seconds += self._streams * (now - self._noted_at)
        self._busy_seconds += self._busy * (now - self._noted_at)
        self._noted_at = now

    @property
    def streams(self) -> int:
        """How many replies are open."""
        return self._streams

    @property
    def glance(self) -> Sample | None:
        """The last slice, if it brought anything and is no measurement yet."""
        last = self._slices[-1] if self._slices else None
        return last if last is not None and last.count else None

    def measure(self, now: float, round_trip_seconds: float) -> Sample | None:
        """Return what is measured now; None when it has to go on.

        Args:
            now: Seconds on the clock of all calls.
            round_trip_seconds: How long the host takes to answer.
        """
        self.opened(0, now)
        elapsed = now - self._slice_began
        if elapsed < slice_seconds(round_trip_seconds):
            return None
        streamed = self._streamed_seconds
        waits = min(self._waited_seconds / streamed, 1.0) if streamed and self._count else 1.0
        if streamed:
            waits = max(min(waits, 1.0 - self._busy_seconds / streamed), 0.0)
        seen = Sample(self._count, elapsed, streamed / elapsed, waits)
        self._begin_slice(now)
        self._slices.append(seen)
        return self._settled()

    def _settled(self) -> Sample | None:
        if len(self._slices) > 1 and _are_alike(*self._slices[-2:]):
            return self._slices[-2] + self._slices[-1]
        if len(self._slices) < MOST_SLICES:
            return None
        first, *later = self._slices[MOST_SLICES // 2 :]
        return sum(later, start=first)

    def _begin_slice(self, now: float) -> None:
        self._slice_began = self._noted_at = now
        self._count, self._waited_seconds = 0, 0.0
        self._streamed_seconds = self._busy_seconds = 0.0


def _are_alike(one: Sample, two: Sample) -> bool:
    """Whether two slices show the same rate; silence may be that between two bursts."""
    slow, fast = sorted((one.rate, two.rate))
    return slow > 0 and fast - slow <= STEADY * fast


def slice_seconds(answer_seconds: float) -> float:
    """Return how long a slice is if an answer takes so long.

    On a new connection, an answer takes two round trips or more. If it took one, slow start still
    gives two slices of half of it rates that are not alike.
    """
    return min(max(answer_seconds / 2, SHORTEST_SLICE_SECONDS), LONGEST_SLICE_SECONDS)


LEAST_GAIN = 1.15
"""What a step must bring: less than this is noise, or another's bandwidth."""
KEEPS_PACE = 0.8
"""What part of the earlier connections' rate each new one must add for a large next step."""
PAYS = 0.5
"""What part of it for all of them to stay."""
SPARED = 0.15
"""What part of a connection's rate is not worth that connection."""
VAIN_MEASUREMENTS, VAIN_SECONDS = 3, 0.15
"""How many measurements, and of what time, must show that a step does not pay: a busy moment of
this machine looks the same, and the further connections do no harm so soon."""
STEP, LARGE_STEP = 2, 4
SETTLED_PACE = 1.25
"""New connections hardly give so much more than the one before: that was not in full flow yet when
it was looked at. If they give much less, it may have begun with a burst. So a step by a glance is
kept if it brings anything, and only a pace that is neither counts as proof for a large next one."""
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

NOTHING = Sample(count=0, seconds=1.0, streams=1.0)


class ConcurrencyController(msgspec.Struct):
    """Decides how many connections to one host are wanted.

    Attributes:
        level: How many connections are wanted now.
        highest: How many there may be.
        enough: Bytes per second of all together that are not to be raised.
    """

    highest: int
    enough: float = FASTEST_BYTES_PER_SECOND
    level: int = 1
    _before: int = 0
    _seen_before: Sample = NOTHING
    _seen_since: Sample | None = None
    _measurements: int = 0
    _first_step: int = LARGE_STEP
    _may_glance: bool = True
    _is_by_glance: bool = False
    _rests_until: float = 0.0
    _next_rest_seconds: float = FIRST_REST_SECONDS

    @property
    def is_evaluating(self) -> bool:
        """Whether a step was made and not evaluated yet."""
        return bool(self._before)

    def glanced(self, seen: Sample) -> bool:
        """Take the first step before anything is measured, if a connection looks slow.

        Args:
            seen: What arrived in a short time; it may not be settled.

        Returns:
            Whether it was taken.
        """
        if not self._may_glance or self.level > 1 or seen.rate >= SLOW_BYTES_PER_SECOND:
            return False
        self._may_glance = False
        self._step(seen, LARGE_STEP)
        self._is_by_glance = self.is_evaluating
        return self.is_evaluating

    def measured(self, seen: Sample, now: float) -> None:
        """Take in what the present level gave, and choose the next level.

        Args:
            seen: What arrived.
            now: Seconds on the clock of all calls.
        """
        self._may_glance = False
        if self._before:
            self._evaluate(seen, now)
        elif now >= self._rests_until:
            self._step(seen, self._first_step)

    def limit(self, highest: int) -> None:
        """Take in that the server wants no more connections than this."""
        self.highest = max(highest, 1)
        if self.level > self.highest:
            self.level, self._before = self.highest, 0

    def _evaluate(self, seen: Sample, now: float) -> None:
        old = self._seen_before
        self._seen_since = seen if self._seen_since is None else self._seen_since + seen
        self._measurements += 1
        gain = self._seen_since.rate / old.rate if old.rate else float(LARGE_STEP)
        grown = min(self._seen_since.streams / max(old.streams, 1.0), self.level / self._before)
        pace = (gain - 1) / (grown - 1) if grown > 1 else 0.0
        is_unknown = self._is_by_glance or not old.rate
        if is_unknown and seen.rate >= SLOW_BYTES_PER_SECOND * seen.streams:
            self.level, self._before = self._before, 0  # it was not slow: one may do
        elif gain >= LEAST_GAIN and (pace >= PAYS or self._is_by_glance):
            is_in_doubt = self._is_by_glance and pace > SETTLED_PACE
            self._next_rest_seconds = FIRST_REST_SECONDS
            self._before = 0
            is_large = pace >= KEEPS_PACE and not is_in_doubt
            self._step(self._seen_since, LARGE_STEP if is_large else STEP)
        elif self._measurements >= VAIN_MEASUREMENTS and self._seen_since.seconds >= VAIN_SECONDS:
            self._step_back(gain, now)

    def _step_back(self, gain: float, now: float) -> None:
        """Keep as many connections as carry the sum, at the rate that they had before."""
        carrying = ceil(self._before * gain - SPARED) if gain >= LEAST_GAIN else 0
        self.level = min(max(carrying, self._before), self.level)
        self._before, self._first_step = 0, STEP
        self._rests_until = now + self._next_rest_seconds
        self._next_rest_seconds = min(2 * self._next_rest_seconds, LONGEST_REST_SECONDS)

    def _step(self, seen: Sample, factor: int) -> None:
        rate = seen.rate / max(seen.streams, 1.0)
        is_fast = rate >= FAST_BYTES_PER_SECOND or seen.rate >= self.enough
        if is_fast or seen.waits < LEAST_WAITS or self.level >= self.highest:
            return
        if rate >= SLOW_BYTES_PER_SECOND:
            factor = STEP
        self._before, self._seen_before = self.level, seen
        self._seen_since, self._measurements, self._is_by_glance = None, 0, False
        self.level = min(factor * self.level, self.highest)


ENOUGH_STREAMS = 0.75
"""What part of the wanted connections must be receiving for a measurement to tell of them all."""
MOST_PUT_OFF_SECONDS = 0.5
MOST_PUT_OFF_ROUND_TRIPS = 16
"""After so long it counts anyway: some may never come, and small files come and go."""
RECOVERY_SECONDS = 15.0
"""After so long without a refusal the budget grows by one connection."""
SEGMENT_SECONDS, SEGMENT_ROUND_TRIPS = 0.25, 20
"""So long a segment takes at least at its connection's rate: asking for it then costs little."""
LONGEST_SEGMENT_BYTES = 64 << 20
"""Many connections with long ones leave much to be hashed behind the first gap."""
SHARE_ROUND_TRIPS = 2
"""So long the rest of a segment must still take for another connection to bring a part sooner."""

FEW_STREAMS = 4
RECEIVE_BYTES = 4 << 20
"""What each of so few connections reads at once, if it is there: each step takes the interpreter
lock, wakes the hashing thread and crosses into the system, and costs the same for any length."""
SHARED_BYTES = 256 << 10
"""What each of more connections than that reads at once."""

Grow = Callable[[], bool]


class HostLimiter:
    """The connections to one host; safe to share between threads.

    Args:
        most: How many there may be.
        enough: Bytes per second of all together that are not to be raised.
        throttle: Bounds the rate of all hosts together.

    Attributes:
        throttle: As above.
    """

    def __init__(
        self,
        most: int,
        enough: float = FASTEST_BYTES_PER_SECOND,
        throttle: "Throttle | None" = None,
    ) -> None:
        self._most, self.throttle = most, throttle or Throttle(None)
        changing = threading.Lock()
        self._changed = threading.Condition(changing)
        self._freed = threading.Condition(changing)
        self._budget = most
        self._active = self._firsts = self._waiting = 0
        self._controller = ConcurrencyController(highest=most, enough=enough)
        self._growers: list[Grow] = []
        self._is_watched = False
        self._round_trip_seconds = math.inf
        self._refused_at = self._stepped_at = 0.0
        self._flow, self._rate = ThroughputMeter(time.monotonic()), FIRST_RATE
        self._served = self._served_before = 0
        """The most replies that were open at once, since the last measurement and before it."""

    def acquire(self, stop: Stop) -> None:
        """Wait for a file's first connection; raises Interrupted if the run ends before."""
        stop.check()
        with self._freed:
            if self._take_first():
                return
        with released(is_urgent=True), self._freed:
            self._waiting += 1
            try:
                while not self._take_first():
                    self._freed.wait(0.2)  # the budget also recovers with time
                    stop.check()
            finally:
                self._waiting -= 1

    def _take_first(self) -> bool:
        """Take a file's first connection, if one is free; the lock is held."""
        is_free = self._active < self._allowed()
        self._active += is_free
        self._firsts += is_free
        return is_free

    def try_acquire(self) -> bool:
        """Take a further connection when one more is wanted now."""
        with self._changed:
            is_wanted = self._wanted < min(self._controller.level, self._allowed())
            self._active += is_wanted
            return is_wanted

    def release(self, *, is_further: bool = False) -> None:
        """Give a file's first connection back, or a further one."""
        with self._changed:
            self._active -= 1
            self._firsts -= not is_further
            self._freed.notify()
        step_aside()

    def answered(self, first_byte_seconds: float) -> None:
        """Note how long after its request a reply came."""
        self._round_trip_seconds = min(self._round_trip_seconds, first_byte_seconds)

    def began(self) -> None:
        """Note that a body is received from now on."""
        with self._changed:
            self._flow.opened(1, time.monotonic())
            self._served = max(self._served, self._flow.streams)

    def ended(self) -> None:
        """Note that a body is received no longer."""
        with self._changed:
            self._flow.opened(-1, time.monotonic())

    def drop_surplus(self) -> bool:
        """Give a further connection back if it is one too many; returns whether it was."""
        with self._changed:
            is_surplus = self._wanted > min(self._controller.level, self._allowed())
            self._active -= is_surplus
            if is_surplus:
                self._freed.notify()
            return is_surplus

    @property
    def read_bytes(self) -> int:
        """How much to read at once: many connections with large buffers would fill the memory."""
        most = RECEIVE_BYTES if self._flow.streams <= FEW_STREAMS else SHARED_BYTES
        return most if self.throttle.rate is None else min(self.throttle.slice_bytes, most)

    def size_segments(self, segments: Segments) -> None:
        """Set how long a file's segments are, from the rate of the connections so far."""
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
            self._controller.limit(self._budget)

    def register(self, grow: Grow) -> None:
        """Register a file that could use further connections; `grow` opens one, or says no."""
        with self._changed:
            self._growers.append(grow)
            if not self._is_watched:
                self._is_watched = self._is_watching()

    def unregister(self, grow: Grow) -> None:
        """Take the registration back."""
        with self._changed:
            self._growers.remove(grow)
            self._changed.notify_all()

    def moved(self, count: int, waited_seconds: float) -> None:
        """Note bytes that arrived on one connection, and how long they were waited for."""
        self._flow.moved(count, waited_seconds)

    def worked(self, change: int) -> None:
        """Note that one more connection waits for this machine, not for bytes, or one fewer."""
        with self._changed:
            self._flow.worked(change, time.monotonic())

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
                missing = min(self._controller.level, self._allowed()) - self._active
                growers = list(self._growers)
            for index in range(missing if growers else 0):
                growers[index % len(growers)]()
            with self._changed:
                if self._changed.wait_for(lambda: not self._growers, self._slice_seconds):
                    self._is_watched = False
                    return
                self._measure()

    def _measure(self) -> None:
        """Take in what the connections give, once that is known of the ones that are wanted."""
        now = time.monotonic()
        is_early = self._controller.is_evaluating and now - self._stepped_at < self._put_off_seconds
        if not self._flow.streams or (is_early and self._flow.streams < self._enough):
            self._flow.begin(now)
        elif seen := self._flow.measure(now, self._known_round_trip):
            self._rate = max(seen.rate / max(seen.streams, 1.0), 1.0)
            before = self._controller.level = max(self._controller.level, self._firsts)
            self._controller.measured(seen, now)
            if self._controller.level != before:
                self._stepped_at = now
            self._begin_measuring()
        elif self._is_slow_at_a_glance():
            self._stepped_at = now
            self._begin_measuring()

    def _is_slow_at_a_glance(self) -> bool:
        """Step before anything is measured, for a file that is alone; return whether that was."""
        glance = self._flow.glance if self._firsts == 1 else None
        if glance is None or not self._controller.glanced(glance):
            return False
        self._rate = max(glance.rate, 1.0)
        return True

    def _begin_measuring(self) -> None:
        self._flow.begin(time.monotonic())
        self._served_before, self._served = self._served, self._flow.streams

    @property
    def _wanted(self) -> int:
        """Connections that are there, and those that files wait for: theirs come first."""
        return self._active + self._waiting

    @property
    def _enough(self) -> float:
        return ENOUGH_STREAMS * min(self._controller.level, self._allowed())

    @property
    def _known_round_trip(self) -> float:
        return 0.0 if math.isinf(self._round_trip_seconds) else self._round_trip_seconds

    @property
    def _put_off_seconds(self) -> float:
        return max(MOST_PUT_OFF_SECONDS, MOST_PUT_OFF_ROUND_TRIPS * self._known_round_trip)

    @property
    def _slice_seconds(self) -> float:
        return slice_seconds(self._known_round_trip)

    def _allowed(self) -> int:
        """Return the budget, grown by one for each quiet time since the last refusal."""
        quiet = time.monotonic() - self._refused_at
        if self._budget < self._most and quiet >= RECOVERY_SECONDS:
            self._budget += 1
            self._refused_at = time.monotonic()
            self._controller.limit(self._budget)
        return self._budget


class Limiters:
    """The hosts of a run.

    Args:
        most: The most connections to one host (MODELMAKE_CONNECTIONS).
        throttle: Bounds the rate of all together (MODELMAKE_LIMIT_RATE).
    """

    def __init__(self, most: int, throttle: "Throttle") -> None:
        self._most, self._throttle = most, throttle
        self._enough = min(NEAR_LIMIT * (throttle.rate or math.inf), FASTEST_BYTES_PER_SECOND)
        self._hosts: dict[str, HostLimiter] = {}
        self._finding = threading.Lock()

    def of(self, url: str) -> HostLimiter:
        """Return the limiter of the host that an URL is asked of; redirects from it count to it."""
        place = urlsplit(url).netloc.rpartition("@")[2].lower()
        with self._finding:
            if place not in self._hosts:
                self._hosts[place] = HostLimiter(self._most, self._enough, self._throttle)
            return self._hosts[place]


SLICE_SECONDS = 0.002
"""What is read at once is written before it is paid for, on each connection: so it is little."""
CREDIT_SECONDS = 0.04
"""How much unused time is made up for: threads wake late, and the mean would fall short. No second
has more than this part of one above the bound, the first one included."""
SMALLEST_SLICE_BYTES = 1024


class Throttle:
    """Lets so many bytes a second pass, over all threads together.

    Args:
        bytes_per_second: The bound; None for none.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        self.rate = bytes_per_second
        self._paid_until = time.monotonic()
        self._paying = threading.Lock()

    @property
    def slice_bytes(self) -> int:
        """How much to read at once, so that the rate is even and not in jumps."""
        if self.rate is None:
            return BUFFER_BYTES
        return min(max(int(self.rate * SLICE_SECONDS), SMALLEST_SLICE_BYTES), BUFFER_BYTES)

    def pay(self, count: int, stop: Stop) -> None:
        """Wait until the bytes that just came were allowed to come, or the run is stopped."""
        if (delay := self.charge(count)) > 0:
            with released(is_urgent=True):
                stop.wait(delay)

    def charge(self, count: int) -> float:
        """Note bytes that came, and return how many seconds too early."""
        if self.rate is None:
            return 0.0
        with self._paying:
            now = time.monotonic()
            self._paid_until = max(self._paid_until, now - CREDIT_SECONDS) + count / self.rate
            return self._paid_until - now
