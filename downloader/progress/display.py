"""Show a run: the display is chosen once, begins with the first file that moves, ends with the run.

For a program that calls `ensure` or `sync`, `Relay` collects what all threads tell and hands it to
the callback in the caller's own thread, which waits for them anyway. So a callback needs no lock,
may be slow, and sees the context of its caller (a notebook cell's output, an open transaction); if
it raises, the run ends as on Ctrl-C.
"""

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Literal, TypeAlias

from downloader.artifact import Artifact
from downloader.progress import events, streams
from downloader.progress._text import (
    EVENT_SECONDS,
    HEARTBEAT_SECONDS,
    Lines,
    as_line,
    done_line,
    failure_lines,
    sum_line,
    wait_line,
)
from downloader.progress.tracker import RunProgress

if TYPE_CHECKING:
    from downloader.progress._live import TerminalScreen

__all__ = ["Callback", "Progress", "Relay", "Showing", "Waits", "as_line", "showing"]


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


FRAME_SECONDS = 0.1
MOST_DONE_LINES = 30
"""A run of more files tells on a terminal only of those with something to say: what hundreds of
lines would drive out of sight is the failures, and each file was seen on the display."""
DUMB = frozenset({"", "dumb", "unknown"})


class Showing:
    """Shows a run; this one says nothing until the end.

    Args:
        run: What is shown.
        interval_seconds: How often it is told how far it is; None: never.
    """

    def __init__(self, run: RunProgress, interval_seconds: float | None = None) -> None:
        self._run, self._ticker = run, None
        if interval_seconds:
            self._ticker = Ticker(self._begin, interval_seconds)
            run.when_begun(self._ticker.start)

    def end(self) -> None:
        """Draw no more, and leave the terminal as it was; may be called again."""
        if self._ticker:
            self._ticker.stop()

    def conclude(self, summary: events.Summary | None, say: Callable[[str], None]) -> None:
        """Tell all failures, and the sum; `end` was called before.

        Args:
            summary: What was done; None where nobody asked for files.
            say: Writes a line of results.
        """
        for text in failure_lines(self._run.failures):
            streams.tell(text)
        if summary and summary.state != "interrupted":
            say(sum_line(summary))

    def _begin(self) -> Callable[[], None]:
        return lambda: self._run.tell(self._run.progress())


class Quietly(Showing):
    """Tells failures, and nothing else."""

    def conclude(self, summary: events.Summary | None, say: Callable[[str], None]) -> None:  # noqa: ARG002
        """See Showing."""
        super().conclude(None, say)


class Waits(Showing):
    """Tells only what holds files up, beside a reporter of doit's own that tells the rest."""

    def __init__(self, run: RunProgress) -> None:
        super().__init__(run)
        run.subscribe(Lines(streams.tell, is_all=False))


class InLines(Showing):
    """Tells each file that ended, and now and then how far it is."""

    def __init__(self, run: RunProgress) -> None:
        super().__init__(run, HEARTBEAT_SECONDS)
        run.subscribe(Lines(streams.tell))


class AsJson(Showing):
    """Tells events to programs."""

    def __init__(self, run: RunProgress) -> None:
        super().__init__(run, EVENT_SECONDS)
        run.subscribe(lambda event: streams.tell_event(as_line(event)))

    def conclude(self, summary: events.Summary | None, say: Callable[[str], None]) -> None:
        """See Showing."""
        if summary is None:
            return
        if not self._run.has_started:
            self._run.expect(())
        self._run.tell(summary)
        if summary.state != "interrupted":
            say(sum_line(summary))


class Live(Showing):
    """Draws a display on the terminal."""

    def __init__(self, run: RunProgress) -> None:
        self._screen: TerminalScreen | None = None
        super().__init__(run, FRAME_SECONDS)
        run.subscribe(self._take)
        with contextlib.suppress(AttributeError, ValueError):  # Windows; not the main thread
            signal.signal(signal.SIGCONT, self._go_on)

    def end(self) -> None:
        """See Showing."""
        super().end()
        if self._screen:
            self._screen.close()
            streams.show_on(None)

    def _begin(self) -> Callable[[], None]:
        from downloader.progress._live import TerminalScreen  # noqa: PLC0415 - imports rich

        stream = streams.standard_error()
        screen = self._screen = TerminalScreen(stream, streams.beneath(stream))
        streams.show_on(screen)
        return lambda: screen.draw(self._run.progress())

    def _go_on(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """After Ctrl-Z and `fg` the shell's lines stand below the frame."""
        if self._screen:
            self._screen.forget()

    def _take(self, event: events.Event) -> None:
        match event:
            case events.Done() if event.note or self._run.expected <= MOST_DONE_LINES:
                streams.tell(done_line(event))
            case events.Notice() if not (event.model and event.is_wait):
                streams.tell(wait_line(event))
            case _:
                pass


def showing(run: RunProgress, word: str) -> Showing:
    """Return how a run is to be shown.

    Args:
        run: The run.
        word: What MODELMAKE_PROGRESS says.
    """
    if word == "json":
        return AsJson(run)
    if word == "quiet":
        return Quietly(run)
    return Live(run) if _is_terminal() else InLines(run)


def _is_terminal() -> bool:
    """Whether standard error is a terminal that can draw over what it shows."""
    if os.name != "nt" and os.environ.get("TERM", "") in DUMB:
        return False
    try:
        return streams.standard_error().isatty()
    except ValueError:  # it is closed
        return False


EVERY_SECONDS = 0.1

Kind: TypeAlias = Literal[
    "expected", "start", "progress", "unpacking", "retry", "notice", "done", "failed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What happened to one file.

    Attributes:
        kind: "expected" (it is going to be brought up to date), "start" (bytes begin to come),
            "progress" (more are there), "unpacking", "retry" (an attempt failed, another follows),
            "notice" (something worth knowing), "done" or "failed".
        model: The model's name.
        path: The file's path below the model's folder; empty where it is about the whole model.
        done_bytes: How much of the file is there, what an earlier run left included; while
            unpacking, how much came out of the archive. It falls when a file is begun anew.
        total_bytes: The file's length, None while nobody knows it.
        text: Of a retry or failure the cause, of a notice what it says; else empty.
    """

    kind: Kind
    model: str
    path: str
    done_bytes: int = 0
    total_bytes: int | None = None
    text: str = ""


Callback = Callable[[Progress], object]


class Relay:
    """What is told of one run; its files are told of by many threads, it is emptied by one.

    Args:
        callback: Called by `hand_on`, and by nothing else.
        clock: Seconds, never going back.
    """

    def __init__(self, callback: Callback, clock: Callable[[], float] = time.monotonic) -> None:
        self._callback, self._clock = callback, clock
        self._noted = deque[Progress]()
        self._moving: dict[FileWatch, None] = {}
        self._noting = threading.Lock()
        self._next = clock()

    def expect(self, model: str, stale: Sequence[Artifact], known: Sequence[Artifact]) -> None:
        """Note what is going to be fetched; an archive's files come with it.

        Args:
            model: The model's name.
            stale: Its files that are stale.
            known: The archives that models.lock has of it.
        """
        archives = {each.archive for each in stale if each.archive}
        wanted = [each for each in (*known, *stale) if each.path in archives or not each.archive]
        for each in wanted:
            self.file(model, each.path, each.size).note("expected")

    def file(self, model: str, path: str, size: int | None = None) -> "FileWatch":
        """Return the observer of one file; with an empty path, of the model."""
        return FileWatch(self, model, path, size)

    def note(self, event: Progress) -> None:
        """Keep an event for `hand_on`."""
        self._noted.append(event)

    def note_move(self, file: "FileWatch") -> None:
        """Remember that there is more of a file than was said."""
        with self._noting:
            self._moving.setdefault(file)

    def end_moves(self, file: "FileWatch") -> None:
        """Forget that there is more of a file: its end is told."""
        with self._noting:
            self._moving.pop(file, None)

    def hand_on(self, *, is_last: bool = False) -> None:
        """Call the callback for each event, and for one of the files that moved, in turn.

        Ten times a second at most, so that a slow callback, as of a notebook, is not flooded.
        """
        if self._clock() < self._next and not is_last:
            return
        while self._noted:
            self._callback(self._noted.popleft())
        with self._noting:
            file = next(iter(self._moving), None)
            if file:
                del self._moving[file]
        if file and not is_last:
            self._callback(file.shown())
        self._next = self._clock() + EVERY_SECONDS


class FileWatch:
    """An Observer of one file that notes what it is told."""

    def __init__(self, watch: Relay, model: str, path: str, size: int | None) -> None:
        self._watch, self._model, self._path, self._size = watch, model, path, size
        self._counting = threading.Lock()
        self._done, self._kind = 0, "start"

    def note(self, kind: Kind, text: str = "") -> None:
        """Note an event with the figures of now."""
        self._watch.note(self._event(kind, text))

    def shown(self) -> Progress:
        """Return how far it is."""
        return self._event("unpacking" if self._kind == "unpacking" else "progress")

    def ended(self, size: int) -> None:
        """Note that all of it is there and right."""
        self._done = self._size = size
        self._watch.end_moves(self)
        self.note("done")

    def started(self, have_bytes: int, total_bytes: int | None) -> None:
        """See Observer."""
        with self._counting:
            self._done = have_bytes
            self._size = self._size if total_bytes is None else total_bytes
            is_first, self._kind = self._kind == "start", "progress"
        if is_first:
            self.note("start")

    def moved(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self._done += count_bytes
        self._watch.note_move(self)

    def waiting(self, reason: str, delay_seconds: float) -> None:  # noqa: ARG002
        """See Observer."""
        self.note("retry", reason)

    def notice(self, text: str) -> None:
        """See Observer."""
        self.note("notice", text)

    def unpacked(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            if self._kind != "unpacking":
                self._kind, self._done, self._size = "unpacking", 0, None
        self.moved(count_bytes)

    def _event(self, kind: Kind, text: str = "") -> Progress:
        with self._counting:
            return Progress(
                kind=kind,
                model=self._model,
                path=self._path,
                done_bytes=self._done,
                total_bytes=self._size,
                text=text,
            )
