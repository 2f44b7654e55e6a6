"""Track a whole run: files are expected, begin, move, wait and end; totals; subscribers.

    run = RunProgress()
    run.subscribe(print)
    run.expect([("toy", "a.bin", 1000)])
    with run.file("toy", "a.bin", 1000) as observer:
        outcome = syncer.sync("toy", "a.bin", observer)
    run.done(Done(model="toy", path="a.bin", ...))
    run.summary()

It knows neither doit nor terminals. Three rules make its totals honest: bytes from before count as
there, and not for the rate; what was shown once never falls; and no file counts for more than its
length. `Meter` does the same for a long reading.
"""

import shutil
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from downloader.artifact import bytes_text
from downloader.progress.events import (
    Done,
    Event,
    Failed,
    Moving,
    Notice,
    Resumed,
    Retry,
    RunStatus,
    Start,
    Summary,
)
from downloader.progress.streams import put, takes_events, tell

WINDOW_SECONDS = 8.0
"""Long enough to be calm, short enough to tell that something changed."""
LEAST_SECONDS = 0.5
"""Before that a rate would be noise."""


class Rate:
    """A rate over the last seconds.

    Args:
        began: The clock's time when counting began.
    """

    def __init__(self, began: float) -> None:
        self._samples = deque([(began, 0)])

    def per_second(self, now: float, moved_bytes: int) -> float:
        """Note how many bytes came until now, and return the rate.

        Args:
            now: The clock's time in seconds; never earlier than at the last call.
            moved_bytes: All that came over the wire since counting began.
        """
        samples = self._samples
        samples.append((now, moved_bytes))
        while len(samples) > 2 and now - samples[1][0] >= WINDOW_SECONDS:  # noqa: PLR2004
            samples.popleft()
        began, before = samples[0]
        seconds = now - began
        return (moved_bytes - before) / seconds if seconds >= LEAST_SECONDS else 0.0


def seconds_left(missing_bytes: int, per_second: float) -> float | None:
    """Return how long the rest takes at this rate, None where nothing moves."""
    if missing_bytes <= 0:
        return 0.0
    return missing_bytes / per_second if per_second >= 1 else None


LIVE_SECONDS = 0.2
LINE_SECONDS = 30.0
LEAST_METER_SECONDS = 0.001


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
        rate = bytes_text(int(self.moved_bytes / max(seconds, LEAST_METER_SECONDS)))
        return f"{bytes_text(self.moved_bytes)} in {seconds:.1f} s, {rate}/s"

    def _text(self, now: float) -> str:
        rate = self.moved_bytes / max(now - self._began, LEAST_METER_SECONDS)
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


class FileProgress:
    """The Observer of one file; a context manager that lasts as long as something is done for it.

    It is told from many threads, so what is told a chunk is one addition under its own lock.

    Args:
        model: The model's name.
        path: The artifact's path; empty while a provider is asked about the model.
        size: The file's length where it is known. A file of an archive has none of its own to move:
            0, as its bytes come with the archive.
        tell: Takes events.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        model: str,
        path: str,
        size: int | None,
        tell: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self.model, self.path, self.size = model, path, size
        self._tell, self._clock = tell, clock
        self._counting = threading.RLock()  # a signal may come while its own thread counts
        self._have = self._highest = self._unpacked = 0
        self.moved_bytes = 0
        self._state, self._cause, self._until = "starting", "", 0.0
        self.is_ours = False
        """Whether a reply came: until then others may be at work on it."""
        self.ended: Callable[[FileProgress, bool], None] = lambda _file, _is_done: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.ended(self, error is None)

    def found(self, have_bytes: int) -> None:
        """Count what an earlier run left, before a reply tells whether that still holds."""
        with self._counting:
            self._have = self._highest = have_bytes

    def started(self, have_bytes: int, total_bytes: int | None) -> None:
        """See Observer."""
        with self._counting:
            self._have = have_bytes
            self.is_ours = True
            if total_bytes is not None:
                self.size = total_bytes
        self._now("moving")
        if have_bytes:
            self._tell(Resumed(model=self.model, path=self.path, bytes=have_bytes))

    def moved(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self._have += count_bytes
            self.moved_bytes += count_bytes

    def unpacked(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self._unpacked += count_bytes
        self._state = "unpacking"

    def waiting(self, reason: str, delay_seconds: float) -> None:
        """See Observer."""
        self._now("waiting", reason, self._clock() + delay_seconds)
        self._tell(
            Retry(model=self.model, path=self.path, cause=reason, delay_seconds=delay_seconds)
        )

    def notice(self, text: str) -> None:
        """See Observer."""
        is_wait = text.startswith("waits ") or not self.path
        if is_wait:
            self._now("waiting", text)
        self._tell(Notice(text=text, model=self.model, path=self.path, is_wait=is_wait))

    @property
    def shown_bytes(self) -> int:
        """How many of its bytes are there; never falls, also where the file is begun anew."""
        with self._counting:
            have = self._have if self.size is None else min(self._have, self.size)
            self._highest = max(self._highest, have)
            return self._highest

    def shown(self) -> Moving:
        """Return how it stands now."""
        return Moving(
            model=self.model,
            path=self.path,
            state=self._state,
            bytes=self.shown_bytes,
            total_bytes=self.size,
            unpacked_bytes=self._unpacked,
            cause=self._cause,
            seconds_left=max(0.0, self._until - self._clock()) if self._until else None,
        )

    def _now(self, state: str, cause: str = "", until: float = 0.0) -> None:
        self._state, self._cause, self._until = state, cause, until


Subscriber = Callable[[Event], None]
Key = tuple[str, str]


class RunProgress:
    """What one run tells of itself; safe to be told from many threads.

    Args:
        clock: Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._subscribers: list[Subscriber] = []
        self._telling = threading.RLock()  # a signal may come while its own thread holds it
        self._changing = threading.RLock()
        self._sizes: dict[Key, int | None] = {}
        self._ended = set[Key]()
        self._begun: dict[Key, int] = {}
        self._active: list[FileProgress] = []
        self._known_bytes = self._ended_bytes = self._lost_bytes = self._unknown = 0
        self._moved_bytes = self._unfinished_bytes = 0
        self._rate: Rate | None = None
        self._act_on_begin: Callable[[], None] | None = None
        self._highest = 0
        self._fraction = 0.0
        self._done: list[Done] = []
        self.failures: list[Failed] = []
        self.not_begun = 0
        self.has_started = False

    def subscribe(self, subscriber: Subscriber) -> None:
        """Hand every event from now on to a function; it is never called by two threads at once."""
        self._subscribers.append(subscriber)

    def when_begun(self, act: Callable[[], None]) -> None:
        """Have a function called once, when the first file begins, or the first question."""
        self._act_on_begin = act

    @property
    def expected(self) -> int:
        """How many files the run is about."""
        return len(self._sizes)

    def tell(self, event: Event) -> None:
        """Hand an event to all subscribers."""
        with self._telling:
            for each in self._subscribers:
                each(event)

    def expect(
        self, files: Iterable[tuple[str, str, int | None]], begun: Mapping[Key, int] | None = None
    ) -> None:
        """Say which files the run is about, before they begin; more may be said later.

        Args:
            files: Model, path and length in bytes of each (None: unknown).
            begun: How many bytes earlier runs left of them, by model and path.
        """
        with self._changing:
            self._begun |= {key: n for key, n in (begun or {}).items() if key not in self._sizes}
            for model, path, size in files:
                if (model, path) not in self._sizes:
                    self._resize((model, path), size)
            is_first, self.has_started = not self.has_started, True
            start = Start(
                files=len(self._sizes), bytes=self._known_bytes, unknown_sizes=self._unknown
            )
        if is_first:
            self.tell(start)

    def file(self, model: str, path: str, size: int | None) -> FileProgress:
        """Begin a file, and return its Observer; use it as a context manager.

        Args:
            model: The model's name.
            path: The artifact's path.
            size: Its length in bytes, None where nobody knows it; 0 for a file of an archive.
        """
        with self._changing:
            have = self._begun.pop((model, path), 0)
            began = FileProgress(model, path, size, self.tell, self._clock)
            began.found(have)
            began.ended = self._end
            if path and (model, path) not in self._sizes:
                self._resize((model, path), size)
            self._rate = self._rate or Rate(self._clock())
            self._active.append(began)
            act, self._act_on_begin = self._act_on_begin, None
        if act:
            act()
        return began

    def asking(self, model: str) -> FileProgress:
        """Begin to ask a provider about a model; as `file`, and it counts as none."""
        return self.file(model, "", 0)

    def notice(self, text: str) -> None:
        """Tell something that is of no file."""
        self.tell(Notice(text=text))

    def done(self, done: Done) -> None:
        """Tell that a file is as models.lock says."""
        with self._changing:
            self._done.append(done)
            key = done.model, done.path
            if key in self._sizes and key not in self._ended:  # another process may have begun it
                size = self._sizes[key]
                self._settle(key, done.bytes if size is None else size)
        self.tell(done)

    def failed(self, failed: Failed) -> None:
        """Tell that a file, or a task that is no file's, could not be done."""
        with self._changing:
            self.failures.append(failed)
        self.tell(failed)

    def progress(self) -> RunStatus:
        """Return how far the run is; called by one thread, a few times a second."""
        with self._changing:
            there, total = self._counted()
            self._highest = max(self._highest, there)
            total = max(total, self._highest)
            fraction = None if self._unknown else self._shown_fraction(total)
            moved = self._all_moved_bytes()
            rate = self._rate.per_second(self._clock(), moved) if self._rate else 0.0
            missing = total - self._highest - self._lost_bytes
            return RunStatus(
                files=len(self._sizes),
                ended=len(self._ended),
                failed=len(self.failures),
                bytes=self._highest,
                total_bytes=total,
                unknown_sizes=self._unknown,
                fraction=fraction,
                moved_bytes=moved,
                bytes_per_second=rate,
                seconds_left=None if self._unknown else seconds_left(missing, rate),
                moving=tuple(each.shown() for each in self._active),
            )

    def summary(self, *, is_interrupted: bool = False) -> Summary:
        """Return what was done until now."""
        verbs = Counter(each.verb for each in self._done)
        state = "failed" if self.failures or self.not_begun else "ok"
        return Summary(
            state="interrupted" if is_interrupted else state,
            fetched=verbs["fetched"],
            linked=verbs["linked"],
            unpacked=verbs["unpacked"],
            verified=verbs["verified"],
            failed=len(self.failures),
            not_begun=self.not_begun,
            moved_bytes=self._all_moved_bytes(),
            unfinished_bytes=self._all_unfinished_bytes(),
            seconds=self._clock() - self._began,
        )

    def unfinished(self) -> list[tuple[str, str, int]]:
        """Return the files that bytes come of: model, path and how many are there."""
        with self._changing:
            ours = [each for each in self._active if each.is_ours]
            return [(each.model, each.path, each.shown_bytes) for each in ours]

    def _all_moved_bytes(self) -> int:
        with self._changing:
            return self._moved_bytes + sum(each.moved_bytes for each in self._active)

    def _all_unfinished_bytes(self) -> int:
        with self._changing:
            return self._unfinished_bytes + sum(each.moved_bytes for each in self._active)

    def _counted(self) -> tuple[int, int]:
        """Return how many bytes are there, and how many will be, as far as is known."""
        there = self._ended_bytes + sum(self._begun.values())
        for each in self._active:
            key = each.model, each.path
            if key in self._sizes and key not in self._ended:  # an archive may be asked for twice
                self._resize(key, each.size)
                there += each.shown_bytes
        return there, self._known_bytes

    def _shown_fraction(self, total: int) -> float:
        if total:
            self._fraction = max(self._fraction, min(1.0, self._highest / total))
        return self._fraction

    def _end(self, file: FileProgress, is_done: bool) -> None:  # noqa: FBT001
        with self._changing:
            self._active.remove(file)
            self._moved_bytes += file.moved_bytes
            self._unfinished_bytes += 0 if is_done else file.moved_bytes
            key, there = (file.model, file.path), file.shown_bytes
            if key not in self._sizes or key in self._ended:
                return
            size = there if file.size is None else file.size
            self._resize(key, size)
            self._lost_bytes += 0 if is_done else size - there
            self._settle(key, size if is_done else there)

    def _resize(self, key: Key, size: int | None) -> None:
        if key in self._sizes:
            before = self._sizes[key]
            self._known_bytes -= before or 0
            self._unknown -= before is None
        self._sizes[key] = size
        self._known_bytes += size or 0
        self._unknown += size is None

    def _settle(self, key: Key, there: int) -> None:
        """Count a file as ended, with so many of its bytes."""
        if self._sizes[key] is None:
            self._resize(key, there)
        self._begun.pop(key, None)
        self._ended.add(key)
        self._ended_bytes += there
