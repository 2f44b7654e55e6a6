"""Track a whole run: files are expected, begin, move, wait and end; totals; subscribers.

    run = Run()
    run.subscribe(print)
    run.expect([("toy", "a.bin", 1000)])
    with run.file("toy", "a.bin", 1000) as observer:
        outcome = syncer.sync("toy", "a.bin", observer)
    run.done(Done(model="toy", path="a.bin", ...))
    run.summary()

Nothing else counts bytes for people: the displays and the callback of the Python API subscribe to
it (display.py). It knows neither doit nor terminals. Three rules make its totals honest: bytes of
an earlier run count as done, but not as speed; no number that was shown falls; no file counts for
more than its size. A `Reading` counts the bytes that `doit verify` reads.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from downloader.artifact import bytes_text, counted
from downloader.errors import Stop
from downloader.progress._text import rate_text
from downloader.progress.events import (
    AnyEvent,
    Done,
    Expected,
    Failed,
    FileStarted,
    Moving,
    Notice,
    Observer,
    Resumed,
    Retry,
    RunStatus,
    Start,
    Summary,
)

WINDOW_SECONDS = 8.0
"""Long enough to be calm, short enough to show that something changed."""
LEAST_SECONDS = 0.5
"""Before that a rate would be noise."""


class Rate:
    """A rate over the last seconds.

    Args:
        began: The clock's time at the start.
    """

    def __init__(self, began: float) -> None:
        self._samples = deque([(began, 0)])

    def per_second(self, now: float, moved_bytes: int) -> float:
        """Note how many bytes arrived until now, and return the rate.

        Args:
            now: The clock's time in seconds; never earlier than at the last call.
            moved_bytes: Bytes that were downloaded since counting began.
        """
        samples = self._samples
        samples.append((now, moved_bytes))
        while len(samples) > 2 and now - samples[1][0] >= WINDOW_SECONDS:  # noqa: PLR2004
            samples.popleft()
        began, before = samples[0]
        seconds = now - began
        return (moved_bytes - before) / seconds if seconds >= LEAST_SECONDS else 0.0


def seconds_left(missing_bytes: int, per_second: float) -> float | None:
    """Return how long the rest takes at this rate, None if nothing moves."""
    if missing_bytes <= 0:
        return 0.0
    return missing_bytes / per_second if per_second >= 1 else None


LEAST_READING_SECONDS = 0.001


class Reading:
    """Counts the bytes that are read of local files, from several threads.

    Args:
        doing: The first word of its line.
        clock: Seconds, never going back.

    Attributes:
        moved_bytes: How many bytes were read so far.
    """

    def __init__(self, doing: str, clock: Callable[[], float]) -> None:
        self._doing, self._clock = doing, clock
        self._counting = threading.Lock()
        self.moved_bytes = self._total_bytes = 0
        self._began = clock()
        self._ended: float | None = None

    def started(self, total_bytes: int) -> None:
        """Begin: so many bytes are to be read."""
        self._total_bytes, self._began = total_bytes, self._clock()

    def counting(self, stop: Stop) -> Callable[[int], None]:
        """Return what counts bytes, and raises Interrupted when the run is stopped."""

        def count(count_bytes: int) -> None:
            stop.check()
            self.moved(count_bytes)

        return count

    def moved(self, count_bytes: int) -> None:
        """Count bytes that were read."""
        with self._counting:
            self.moved_bytes += count_bytes

    def ended(self) -> None:
        """Stop the clock; nothing more is shown of it."""
        self._ended = self._clock()

    @property
    def is_running(self) -> bool:
        """Whether something is still to be read."""
        return self._total_bytes > 0 and self._ended is None

    @property
    def text(self) -> str:
        """Its progress in one line."""
        done, total, rate = self.moved_bytes, self._total_bytes, self._per_second(self._clock())
        left = max(total - done, 0) / max(rate, 1.0)
        sizes = f"{bytes_text(done)} of {bytes_text(total)}"
        return f"{self._doing}: {sizes}, {bytes_text(int(rate))}/s, {left:,.0f} s left"

    @property
    def summary(self) -> str:
        """Summary of the reading: bytes, time and rate."""
        ended = self._clock() if self._ended is None else self._ended
        seconds = ended - self._began
        rate = rate_text(self.moved_bytes, seconds)
        return f"{bytes_text(self.moved_bytes)} in {seconds:.1f} s{rate}"

    def _per_second(self, now: float) -> float:
        return self.moved_bytes / max(now - self._began, LEAST_READING_SECONDS)


class FileProgress(Observer):
    """The Observer of one file; a context manager for the time that the file takes.

    Many threads call it for each chunk, so that a call is one addition under its own lock.

    Args:
        run: Gets the events of the file, and its end.
        model: The model's name.
        path: The artifact's path; empty while a provider is asked about the model.
        size: The file's size if it is known; 0 for a file of an archive, whose bytes are downloaded
            with the archive.
        have_bytes: What an earlier run left, until a reply shows whether it still holds.

    Attributes:
        moved_bytes: How many bytes were downloaded.
        unpacked_bytes: How many bytes came out of the archive.
        is_ours: Whether a reply came; until then another process may be downloading it.
        is_resumable: Whether the next run can begin with its bytes, as far as the server says.
    """

    def __init__(
        self, run: "Run", model: str, path: str, size: int | None, have_bytes: int = 0
    ) -> None:
        self._run, self.model, self.path, self.size = run, model, path, size
        self._counting = threading.RLock()  # a signal may come while its own thread counts
        self._have = self._highest = have_bytes
        self.moved_bytes = self.unpacked_bytes = 0
        self._state, self._cause, self._until = "starting", "", 0.0
        self.is_ours, self.is_resumable = False, True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._run.end(self, is_done=error is None)

    def started(
        self, have_bytes: int, total_bytes: int | None, *, is_resumable: bool = True
    ) -> None:
        """See Observer."""
        with self._counting:
            self.is_resumable = is_resumable
            self._have = have_bytes
            is_first, self.is_ours = not self.is_ours, True
            if total_bytes is not None:
                self.size = total_bytes
        self._now("moving")
        if is_first:
            self._run.publish(FileStarted(model=self.model, path=self.path))
        if have_bytes:
            self._run.publish(Resumed(model=self.model, path=self.path, bytes=have_bytes))

    def moved(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self._have += count_bytes
            self.moved_bytes += count_bytes

    def unpacked(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self.unpacked_bytes += count_bytes
        self._state = "unpacking"

    def waiting(
        self, reason: str, delay_seconds: float, attempt: int = 0, attempts: int = 0
    ) -> None:
        """See Observer."""
        self._now("waiting", reason, self._run.clock() + delay_seconds)
        self._run.publish(
            Retry(
                model=self.model,
                path=self.path,
                cause=reason,
                delay_seconds=delay_seconds,
                attempt=attempt,
                attempts=attempts,
            )
        )

    def notice(self, text: str) -> None:
        """See Observer."""
        is_wait = text.startswith("waiting ") or not self.path
        if is_wait:
            self._now("waiting", text)
        self._run.publish(Notice(text=text, model=self.model, path=self.path, is_wait=is_wait))

    @property
    def shown_bytes(self) -> int:
        """Number of its bytes that are here; never falls, even if the file starts over."""
        with self._counting:
            have = self._have if self.size is None else min(self._have, self.size)
            self._highest = max(self._highest, have)
            return self._highest

    @property
    def figures(self) -> tuple[int, int | None]:
        """How many bytes are here, of how many; while unpacking, how many were extracted."""
        with self._counting:
            if self.is_unpacking:
                return self.unpacked_bytes, None
            return self._have, self.size if self.is_ours else None

    @property
    def is_unpacking(self) -> bool:
        """Whether bytes come out of the archive."""
        return self._state == "unpacking"

    def status(self) -> Moving:
        """Return how it stands now."""
        return Moving(
            model=self.model,
            path=self.path,
            state=self._state,
            bytes=self.shown_bytes,
            total_bytes=self.size,
            unpacked_bytes=self.unpacked_bytes,
            cause=self._cause,
            seconds_left=max(0.0, self._until - self._run.clock()) if self._until else None,
        )

    def _now(self, state: str, cause: str = "", until: float = 0.0) -> None:
        self._state, self._cause, self._until = state, cause, until


Subscriber = Callable[[AnyEvent], None]
Key = tuple[str, str]


class Run:
    """Collects what happens in one run and publishes it as events; safe to call from any thread.

    Args:
        clock: Seconds, never going back.

    Attributes:
        clock: The same.
        failures: What failed so far.
        not_begun: How many files were not tried.
        has_started: Whether `expect` was called.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self._began = clock, clock()
        self._subscribers: list[Subscriber] = []
        self._publishing = threading.RLock()  # a signal may come while its own thread holds it
        self._only_thread: int | None = None
        self._changing = threading.RLock()
        self._sizes: dict[Key, int | None] = {}
        self._ended = set[Key]()
        self._broken = set[Key]()
        self._begun: dict[Key, int] = {}
        self._active: list[FileProgress] = []
        self._reading: Reading | None = None
        self._known_bytes = self._ended_bytes = self._lost_bytes = self._unknown = 0
        self._moved_bytes = self._unfinished_bytes = 0
        self._rate: Rate | None = None
        self._act_on_begin: Callable[[], None] | None = None
        self._highest = 0
        self._fraction = 0.0
        self._verbs = Counter[str]()
        self.failures: list[Failed] = []
        self.not_begun = 0
        self.has_started = False

    def subscribe(self, subscriber: Subscriber) -> None:
        """Hand every event from now on to a function; it is never called by two threads at once."""
        self._subscribers.append(subscriber)

    def on_start(self, act: Callable[[], None]) -> None:
        """Call a function once, when the first file, question or reading begins."""
        self._act_on_begin = act

    @property
    def expected(self) -> int:
        """Number of files in the run."""
        return len(self._sizes)

    def is_complete(self) -> bool:
        """Whether every expected file is done or has failed."""
        with self._changing:
            return len(self._ended) >= len(self._sizes)

    @property
    def active(self) -> list[FileProgress]:
        """The files that something is being done for, in the order in which they began."""
        with self._changing:
            return list(self._active)

    @property
    def current_reading(self) -> Reading | None:
        """The current reading, if there is one."""
        return self._reading if self._reading and self._reading.is_running else None

    def silence_others(self) -> None:
        """Publish nothing more but what this thread tells: a run that is interrupted ends so.

        A lock is no good here: a signal may come while its thread holds what others wait for.
        """
        self._only_thread = threading.get_ident()

    def publish(self, event: AnyEvent) -> None:
        """Hand an event to all subscribers; see `silence_others`."""
        with self._publishing:
            if self._only_thread not in (None, threading.get_ident()):
                return
            for subscriber in self._subscribers:
                subscriber(event)

    def expect(
        self, files: Iterable[tuple[str, str, int | None]], begun: Mapping[Key, int] | None = None
    ) -> None:
        """Announce files before they begin; may be called again for further files.

        Args:
            files: Model, path and size in bytes of each (None: unknown).
            begun: How many bytes of them earlier runs left, by model and path.
        """
        with self._changing:
            self._begun |= {key: n for key, n in (begun or {}).items() if key not in self._sizes}
            new = {(model, path): size for model, path, size in files}
            new = {key: size for key, size in new.items() if key not in self._sizes}
            for key, size in new.items():
                self._resize(key, size)
            is_first, self.has_started = not self.has_started, True
            start = Start(
                files=len(self._sizes), bytes=self._known_bytes, unknown_sizes=self._unknown
            )
        if is_first:
            self.publish(start)
        self.publish(Expected(sizes=new))

    def file(self, model: str, path: str, size: int | None) -> FileProgress:
        """Begin a file, and return its Observer; use it as a context manager.

        Args:
            model: The model's name.
            path: The artifact's path.
            size: Its length in bytes, None if nobody knows it; 0 for a file of an archive.
        """
        with self._changing:
            file = FileProgress(self, model, path, size, self._begun.pop((model, path), 0))
            if path and (model, path) not in self._sizes:
                self._resize((model, path), size)
            self._rate = self._rate or Rate(self.clock())
            self._active.append(file)
        self._begin()
        return file

    def asking(self, model: str) -> FileProgress:
        """Begin to ask a provider about a model; as `file`, and it counts as none."""
        return self.file(model, "", 0)

    def reading(self, doing: str) -> Reading:
        """Return a counter for a long reading of local files.

        Args:
            doing: The first word of its line.
        """
        self._reading = Reading(doing, self.clock)
        self._begin()
        return self._reading

    def end(self, file: FileProgress, *, is_done: bool) -> None:
        """Count a file as ended; called by the file itself."""
        with self._changing:
            self._active.remove(file)
            self._moved_bytes += file.moved_bytes
            self._unfinished_bytes += 0 if is_done else file.moved_bytes
            key, here = (file.model, file.path), file.shown_bytes
            if key not in self._sizes or key in self._ended:
                return
            size = here if file.size is None else file.size
            self._resize(key, size)
            if not is_done:
                self._lost_bytes += size - here
                self._broken.add(key)
            self._settle(key, size if is_done else here)

    def notice(self, text: str) -> None:
        """Publish a notice that belongs to no file."""
        self.publish(Notice(text=text))

    def done(self, done: Done) -> None:
        """Publish that a file is as models.lock says."""
        with self._changing:
            self._verbs[done.verb] += 1
            if self._rate is None:  # no file began here: a worker process moved the bytes
                self._moved_bytes += done.moved_bytes
            key = done.model, done.path
            if key in self._sizes and key not in self._ended:  # another process may have started it
                size = self._sizes[key]
                self._settle(key, done.bytes if size is None else size)
        self.publish(done)

    def failed(self, failed: Failed) -> None:
        """Publish that a file, or a task without a file, failed."""
        with self._changing:
            self.failures.append(failed)
        self.publish(failed)

    def status(self) -> RunStatus:
        """Return how far the run is; one thread calls it a few times a second."""
        with self._changing:
            there, total = self._counted()
            self._highest = max(self._highest, there)
            total = max(total, self._highest)
            if total and not self._unknown:
                self._fraction = max(self._fraction, min(1.0, self._highest / total))
            moved = self._moved_bytes + self._active_bytes()
            rate = self._rate.per_second(self.clock(), moved) if self._rate else 0.0
            missing = total - self._highest - self._lost_bytes
            return RunStatus(
                files=len(self._sizes),
                ended=len(self._ended),
                failed=len(self.failures),
                bytes=self._highest,
                total_bytes=total,
                unknown_sizes=self._unknown,
                fraction=None if self._unknown else self._fraction,
                moved_bytes=moved,
                bytes_per_second=rate,
                seconds_left=None if self._unknown else seconds_left(missing, rate),
                moving=tuple(file.status() for file in self._active),
            )

    def summary(self, *, is_interrupted: bool = False) -> Summary:
        """Return what was done until now."""
        state = "failed" if self.failures or self.not_begun else "ok"
        with self._changing:
            active = self._active_bytes()
            return Summary(
                state="interrupted" if is_interrupted else state,
                fetched=self._verbs["fetched"],
                linked=self._verbs["linked"],
                unpacked=self._verbs["unpacked"],
                verified=self._verbs["verified"],
                failed=len(self.failures),
                not_begun=self.not_begun,
                moved_bytes=self._moved_bytes + active,
                unfinished_bytes=self._unfinished_bytes + active,
                seconds=self.clock() - self._began,
            )

    def interruption(self, kept_bytes: int) -> str:
        """Return the last line of an interrupted run: what is done, what is left, what is kept.

        Args:
            kept_bytes: How many bytes of unfinished files the next run begins with.
        """
        with self._changing:
            files, failed = len(self._sizes), len(self.failures)
            done = len(self._ended - self._broken)
        parts = [
            f"{done:,} of {counted(files, 'file')} done",
            f"{failed:,} failed" * bool(failed),
            f"{max(0, files - done - failed):,} left",
            f"{bytes_text(kept_bytes)} of partial downloads kept" * bool(kept_bytes),
        ]
        state = f": {', '.join(filter(None, parts))}" * bool(files)
        return f"Interrupted{state}. Run it again to resume."

    def unfinished(self) -> list[tuple[str, str, int]]:
        """Return the downloads that can be resumed: model, path and how many bytes are here."""
        return [
            (each.model, each.path, each.shown_bytes)
            for each in self.active
            if each.is_ours and each.is_resumable
        ]

    def _begin(self) -> None:
        with self._changing:
            act, self._act_on_begin = self._act_on_begin, None
        if act:
            act()

    def _active_bytes(self) -> int:
        return sum(file.moved_bytes for file in self._active)

    def _counted(self) -> tuple[int, int]:
        """Return how many bytes are here, and how many there will be, as far as is known."""
        there = self._ended_bytes + sum(self._begun.values())
        for file in self._active:
            key = file.model, file.path
            if key in self._sizes and key not in self._ended:  # an archive may be asked for twice
                self._resize(key, file.size)
                there += file.shown_bytes
        return there, self._known_bytes

    def _resize(self, key: Key, size: int | None) -> None:
        if key in self._sizes:
            before = self._sizes[key]
            self._known_bytes -= before or 0
            self._unknown -= before is None
        self._sizes[key] = size
        self._known_bytes += size or 0
        self._unknown += size is None

    def _settle(self, key: Key, there: int) -> None:
        """Count a file as ended, with this many of its bytes."""
        if self._sizes[key] is None:
            self._resize(key, there)
        self._begun.pop(key, None)
        self._ended.add(key)
        self._ended_bytes += there
