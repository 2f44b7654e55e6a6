"""How far a whole run is: files are expected, begin, move, wait and end; totals; who is told.

    run = RunProgress()
    run.subscribe(print)
    run.expect([("toy", "a.bin", 1000)])
    with run.file("toy", "a.bin", 1000) as observer:
        outcome = syncer.sync("toy", "a.bin", observer)
    run.done(Done(model="toy", path="a.bin", ...))
    run.summary()

It knows neither doit nor terminals. Three rules make its totals honest: bytes from before count as
there, and not for the rate; what was shown once never falls; and no file counts for more than its
length.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from downloader.reporting.events import Done, Event, Failed, Notice, RunStatus, Start, Summary
from downloader.reporting.file_progress import FileProgress
from downloader.reporting.rate import Rate, seconds_left

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
