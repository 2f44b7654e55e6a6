"""Show a run: on a terminal, in a notebook, in lines, or as JSON.

    display = show(run, "auto")     # begins with the first file that moves
    display.end()
    display.conclude(run.summary(), print)

A program's own function is called by callbacks.py.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from downloader.errors import one_line
from downloader.progress import events, streams
from downloader.progress._text import (
    EVENT_SECONDS,
    HEARTBEAT_SECONDS,
    FailureNotes,
    Lines,
    as_line,
    done_line,
    failure_lines,
    notice_line,
    sum_line,
)
from downloader.progress.tracker import Run, Subscriber

if TYPE_CHECKING:
    from downloader.progress._live import TerminalScreen

__all__ = ["Display", "report_error", "show"]

END_SECONDS = 1.0
"""Seconds to wait for the thread: a signal may have come while ours held what it needs."""
FRAME_SECONDS = 0.1
MOST_DONE_LINES = 30
"""A larger run leaves lines only about files with a note: hundreds of lines would push the failures
out of sight, and each file was seen on the display."""
MOST_SIGNALS = 4096
NOTEBOOK_COLUMNS, NOTEBOOK_ROWS = 100, 24
DUMB = frozenset({"", "dumb", "unknown"})


class PeriodicThread:
    """Calls a function every so many seconds, in a thread of its own.

    Args:
        act: What is called.
        seconds: How long it pauses before each call.
    """

    def __init__(self, act: Callable[[], None], seconds: float) -> None:
        self._act, self._seconds = act, seconds
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelmake-progress", daemon=True)

    def start(self) -> None:
        """Begin; where the system has no thread left, it never calls."""
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def stop(self) -> None:
        """End it, and wait until it has ended; may be called again, and from a signal's handler."""
        self._is_over.set()
        if self._thread.ident and self._thread is not threading.current_thread():
            self._thread.join(END_SECONDS)

    def _run(self) -> None:
        while not self._is_over.wait(self._seconds):
            self._act()


class Display:
    """Shows a run; this one only reports how it ended.

    Args:
        run: What is shown.
        subscriber: Takes its events; None: nothing is shown before the end.
        seconds: How often to show how far the run is, None for never.
        has_sum: Whether the sum is shown at the end.
    """

    def __init__(
        self,
        run: Run,
        subscriber: Subscriber | None,
        seconds: float | None,
        *,
        has_sum: bool = True,
    ) -> None:
        self._run, self._has_sum, self._thread = run, has_sum, None
        if subscriber:
            run.subscribe(subscriber)
        if seconds:
            self._thread = PeriodicThread(self._tick, seconds)
            run.on_start(self._thread.start)

    def end(self) -> None:
        """Draw no more, and leave the terminal as it was; may be called again."""
        if self._thread:
            self._thread.stop()

    def hand_on(self, *, is_last: bool = False) -> None:
        """Show how far the run is, if that must be done in the thread that waits for the run."""

    def conclude(
        self,
        summary: events.Summary | None,
        write: Callable[[str], None],
        *,
        has_failures: bool = True,
    ) -> None:
        """Report all failures, and the sum; `end` was called before.

        Args:
            summary: What was done; None if nobody asked for files.
            write: Writes a line of results.
            has_failures: Whether to report failures; False if an exception does.
        """
        for text in failure_lines(self._run.failures) * has_failures:
            streams.tell(text)
        if summary and self._has_sum and summary.state != "interrupted":
            write(sum_line(summary))

    def _tick(self) -> None:
        """Show how far the run is."""
        if reading := self._run.current_reading:
            streams.tell(reading.text)
        else:
            self._run.publish(self._run.status())


class _Log(Display):
    """Writes lines.

    Args:
        run: What is shown.
        is_all: Whether to report files, and how far the run is.
    """

    def __init__(self, run: Run, *, is_all: bool = True) -> None:
        failures = FailureNotes(run.is_complete) if is_all else None
        self._lines = Lines(streams.tell, failures)
        super().__init__(run, self._lines, HEARTBEAT_SECONDS)

    def end(self) -> None:
        """See Display."""
        super().end()
        self._lines.retries.flush()


class _Json(Display):
    """Writes events for programs."""

    def __init__(self, run: Run) -> None:
        super().__init__(run, self._take, EVENT_SECONDS)
        self._ticks = 0

    def conclude(
        self,
        summary: events.Summary | None,
        write: Callable[[str], None],
        *,
        has_failures: bool = True,  # noqa: ARG002
    ) -> None:
        """See Display; each failure was reported when it happened."""
        if summary is None:
            return
        if not self._run.has_started:
            self._run.expect(())
        self._run.publish(summary)
        if summary.state != "interrupted":
            write(sum_line(summary))

    def _take(self, event: events.AnyEvent) -> None:
        if isinstance(event, events.Event):
            streams.tell_event(as_line(event))

    def _tick(self) -> None:
        """See Display; a reading is reported as seldom as in a log."""
        self._ticks += 1
        is_due = self._ticks % round(HEARTBEAT_SECONDS / EVENT_SECONDS) == 0
        if is_due or not self._run.current_reading:
            super()._tick()


def _noted_signals() -> int | None:
    """Return a descriptor from which the numbers of signals are read, SIGCONT among them.

    Python calls a handler when the main thread wakes, which may be long after other threads drew
    over the lines of a shell. What it writes to a descriptor comes at once.
    """
    with contextlib.suppress(AttributeError, ValueError):  # Windows; not the main thread
        signal.signal(signal.SIGCONT, lambda *_: None)
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        return reading
    return None


def _lasting_line(event: events.AnyEvent, run: Run, failures: FailureNotes) -> str:
    """Return the line about an event that a live display leaves, empty if it leaves none."""
    match event:
        case events.Done() if event.note or run.expected <= MOST_DONE_LINES:
            return done_line(event)
        case events.Notice() if not (event.model and event.is_wait):
            return notice_line(event)
        case events.Failed():
            return failures.line(event)
        case _:
            return ""


class _Live(Display):
    """Draws a display on the terminal.

    Args:
        run: What is shown.
        has_signals: Whether the process is ours, so that we may handle its signals.
    """

    def __init__(self, run: Run, *, has_signals: bool) -> None:
        super().__init__(run, self._take, FRAME_SECONDS)
        self._failures = FailureNotes(run.is_complete)
        self._screen: TerminalScreen | None = None
        self._signals = _noted_signals() if has_signals else None

    def end(self) -> None:
        """See Display."""
        super().end()
        if self._screen:
            self._screen.close()
            streams.show_on(None)

    def _tick(self) -> None:
        if self._screen is None:
            from downloader.progress._live import TerminalScreen  # noqa: PLC0415 - imports rich

            stream = streams.standard_error()
            self._screen = TerminalScreen(stream, streams.beneath(stream), self._was_stopped)
            streams.show_on(self._screen)
        reading = self._run.current_reading
        self._screen.draw(reading.text if reading else self._run.status())

    def _was_stopped(self) -> bool:
        """Return whether the process was stopped and continued since it was asked."""
        if self._signals is None:
            return False
        with contextlib.suppress(BlockingIOError):
            return signal.SIGCONT in os.read(self._signals, MOST_SIGNALS)
        return False

    def _take(self, event: events.AnyEvent) -> None:
        if line := _lasting_line(event, self._run, self._failures):
            streams.tell(line)


class _Notebook(Display):
    """Shows a run in the output of a notebook's cell, which only the cell's own thread writes to.

    Args:
        run: What is shown.
        output: Shows a MIME bundle, and returns a handle whose `update` replaces it; as of IPython.
    """

    def __init__(self, run: Run, output: Callable[..., Any]) -> None:
        super().__init__(run, self._take, None)
        self._output = output
        self._handle: Any = None
        self._failures = FailureNotes(run.is_complete)
        self._lines: list[str] = []
        self._next = run.clock() + FRAME_SECONDS

    def hand_on(self, *, is_last: bool = False) -> None:
        """See Display."""
        now = self._run.clock()
        if now >= self._next and self._run.has_started and not is_last:
            from downloader.progress._live import Layout  # noqa: PLC0415 - imports rich

            layout = Layout(NOTEBOOK_COLUMNS, NOTEBOOK_ROWS)
            self._put([line.plain for line in layout.lines(self._run.status())])
            self._next = now + 2 * FRAME_SECONDS

    def conclude(
        self,
        summary: events.Summary | None,
        write: Callable[[str], None],  # noqa: ARG002 - the cell's output is one text
        *,
        has_failures: bool = True,
    ) -> None:
        """See Display; the sum stands below the other lines."""
        super().conclude(summary, self._lines.append, has_failures=has_failures)
        self._put([])

    def _take(self, event: events.AnyEvent) -> None:
        if line := _lasting_line(event, self._run, self._failures):
            self._lines.append(one_line(line))

    def _put(self, frame: list[str]) -> None:
        bundle = {"text/plain": "\n".join([*self._lines, *frame])}
        if self._handle:
            self._handle.update(bundle, raw=True)
        else:
            self._handle = self._output(bundle, raw=True, display_id=True)


def show(run: Run, mode: str, *, is_library: bool = False) -> Display:
    """Return how a run is shown.

    Args:
        run: The run.
        mode: What MODELMAKE_PROGRESS says; "waits" shows only what holds files up, beside a
            reporter of doit's own that reports the rest.
        is_library: Whether the process belongs to a program that calls `ensure` or `sync`.
    """
    match mode:
        case "json":
            return _Json(run)
        case "quiet":
            return Display(run, None, None, has_sum=False)
        case "waits":
            return _Log(run, is_all=False)
        case _ if is_library and (output := _notebook_output()):
            return _Notebook(run, output)
        case _ if _is_terminal():
            return _Live(run, has_signals=not is_library)
        case _:
            return _Log(run)


def report_error(failed: events.Failed, *, as_json: bool) -> None:
    """Report an error that ends a run before it has a display."""
    if as_json:
        streams.tell_event(as_line(failed))
    else:
        hint = [f"  {failed.hint}"] * bool(failed.hint)
        streams.tell("\n".join(filter(None, (f"ERROR: {failed.error}", *hint, failed.trace))))


def _notebook_output() -> Callable[..., Any] | None:
    """Return what shows something in the notebook's cell that runs; None outside a notebook."""
    if not (ipython := sys.modules.get("IPython")) or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    return ipython.display.display  # type: ignore[no-any-return]


def _is_terminal() -> bool:
    """Whether standard error is a terminal that can draw over what it shows, and none does yet."""
    if streams.is_drawn_on() or (os.name != "nt" and os.environ.get("TERM", "") in DUMB):
        return False
    try:
        return streams.standard_error().isatty()
    except ValueError:  # it is closed
        return False
