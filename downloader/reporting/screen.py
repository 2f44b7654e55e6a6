"""The live display: one frame on the terminal, drawn over itself, and gone at the end.

rich knows colours, widths and terminals; its own Live is not used, as it hides the cursor (a kill
or Ctrl-Z would leave it hidden), takes sys.stdout for itself, and does not know that a terminal
that became narrower has wrapped the lines it showed.
"""

import io
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment
from rich.text import Text

from downloader.reporting.events import RunStatus
from downloader.reporting.layout import Layout

USUAL_SIZE = os.terminal_size((80, 24))
STEADY_SECONDS = 0.3
"""A terminal that is being resized is left alone for so long."""
ERASE_LINE, ERASE_BELOW = "\x1b[K", "\x1b[J"
ONE_UP = "\x1b[A\x1b[2K"


class TerminalScreen:
    """Draws frames on a terminal; others write above them by way of `aside`.

    Args:
        stream: The terminal.
        write: Writes to it, dropping what it does not take.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        stream: TextIO,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._write, self._clock = stream, write, clock
        self._console = Console(file=io.StringIO(), force_terminal=True, legacy_windows=False)
        self._colours = COLOR_SYSTEMS.get(self._console.color_system or "")
        self._is_ascii = not (stream.encoding or "").lower().startswith("utf")
        self._drawing = threading.RLock()  # a signal may come while its own thread draws
        self._frame: Sequence[Text] = ()
        self._widths: list[int] = []
        self._size, self._changed_at = self._look(), float("-inf")
        self._is_over = self._is_line_open = False

    def draw(self, progress: RunStatus) -> None:
        """Draw how far the run is, in place of the last frame."""
        with self._drawing:
            if self._is_over or self._is_line_open or not self._is_ours():
                return
            if not self._is_steady():
                return
            layout = Layout(self._size.columns, self._size.lines, is_ascii=self._is_ascii)
            self._frame = layout.lines(progress)
            self._put(self._erased() + self._drawn())

    def aside(self, write: Callable[[], None], *, is_line: bool) -> None:
        """See streams.Screen."""
        with self._drawing:
            self._erase()
            write()
            self._is_line_open = not is_line
            if not (self._is_over or self._is_line_open or not self._frame):
                self._put(self._drawn())

    def forget(self) -> None:
        """Leave the frame where it is, and draw the next one below: others wrote meanwhile."""
        self._widths = []

    def close(self) -> None:
        """Take the frame away, and draw no more."""
        self._is_over = True
        with self._drawing:
            self._erase()

    def _drawn(self) -> str:
        self._widths = [line.cell_len for line in self._frame]
        return "".join(f"{self._painted(line)}{ERASE_LINE}\n" for line in self._frame) + ERASE_BELOW

    def _painted(self, line: Text) -> str:
        """Return the line with its codes; `Console.print` would wrap and measure for far longer."""
        segments: Iterable[Segment] = line.render(self._console)
        if self._console.no_color:
            segments = Segment.remove_color(segments)
        return "".join(
            each.style.render(each.text, color_system=self._colours) if each.style else each.text
            for each in segments
        )

    def _erase(self) -> None:
        if self._widths:
            self._put(self._erased())

    def _erased(self) -> str:
        """Return what empties the frame's rows, from the last to the first, as the terminal is now.

        Row by row: tmux keeps what is erased from a screen's first row on in one piece.
        """
        columns = max(1, self._look().columns)
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        self._widths = []
        return "\r" + ERASE_LINE + ONE_UP * rows  # Ctrl-C leaves its ^C there

    def _is_steady(self) -> bool:
        """Whether the terminal's size has been the same for a while."""
        size, now = self._look(), self._clock()
        if size != self._size:
            self._size, self._changed_at = size, now
        return now - self._changed_at >= STEADY_SECONDS

    def _look(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return USUAL_SIZE
        return size if size.columns and size.lines else USUAL_SIZE

    def _is_ours(self) -> bool:
        """Whether we are in the foreground: a shell's prompt must not be drawn over."""
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except (AttributeError, OSError, ValueError):  # Windows, or no terminal of ours
            return True

    def _put(self, text: str) -> None:
        self._write(text)
