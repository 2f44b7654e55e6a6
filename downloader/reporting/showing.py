"""How a run is shown: chosen once, begun with the first file that moves, ended with the run."""

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from downloader import streams
from downloader.reporting import events, lines, wording
from downloader.reporting.json_lines import EVENT_SECONDS, as_line
from downloader.reporting.run import RunProgress
from downloader.reporting.ticker import Ticker

if TYPE_CHECKING:
    from downloader.reporting.screen import TerminalScreen

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
        for text in wording.failure_lines(self._run.failures):
            streams.tell(text)
        if summary and summary.state != "interrupted":
            say(wording.sum_line(summary))

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
        run.subscribe(lines.Lines(streams.tell, is_all=False))


class InLines(Showing):
    """Tells each file that ended, and now and then how far it is."""

    def __init__(self, run: RunProgress) -> None:
        super().__init__(run, lines.HEARTBEAT_SECONDS)
        run.subscribe(lines.Lines(streams.tell))


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
            say(wording.sum_line(summary))


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
        from downloader.reporting.screen import TerminalScreen  # noqa: PLC0415 - imports rich

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
                streams.tell(wording.done_line(event))
            case events.Notice() if not (event.model and event.is_wait):
                streams.tell(lines.wait_line(event))
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
