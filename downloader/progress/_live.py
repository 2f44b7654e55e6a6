"""The live display: one frame on the terminal, drawn over itself, and gone at the end.

    gpt2/hparams.json                    ━━━━━━━━━━━━━━━━━ 100%  90 B of 90 B
    gpt2/model.c…pt.data-00000-of-00001  ━━━━━━━──────────  45%  223.1 MB of 497.8 MB
    gpt2/vocab.bpe                       retrying in 3 s: 127.0.0.1:8000 server busy (503).
    … 41 more moving, 20 starting, 2 more waiting
    ━━━━────── 45%, 1.2 GB of 3.4 GB, 23.4 MB/s, 1:34 left, 12 of 300 files

The layout is pure: a RunStatus and a size in, lines of text with styles out; none is wider than the
terminal. rich knows colours, widths and terminals. Its own `Live(transient=True)` was tried twice
and is not used. It hides the cursor, so that a kill or Ctrl-Z leaves it hidden; to keep it, and to
forget a frame after Ctrl-Z, takes an override and a private attribute. When a terminal becomes
narrower and wraps the frame (tmux), it leaves rows of it on the screen. It saved 17 lines of code,
and a frame of 16 files took 1.6 ms, not 0.5.
"""

import io
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment
from rich.text import Text

from downloader.artifact import bytes_text, counted
from downloader.errors import one_line
from downloader.progress._text import outage_of, progress_parts
from downloader.progress.events import Moving, RunStatus

MOST_FILES, MANY_FILES = 5, 8
"""A run of more than MANY_FILES shows MOST_FILES of them at once, and counts the others."""
SPARE_ROWS = 4
"""Rows that are left to earlier output."""
NARROW = 40
"""A frame has only as many rows as fit the terminal after it became so narrow and wrapped them:
what a terminal moves out of sight cannot be erased."""
MOST_WIDTH = 160
SHORT_BAR, MOST_BAR = 10, 40
PERCENT, SIZES = len(" 100%"), len("  999.9 MB of 999.9 MB")
LEAST_NAME = 32
"""A shortened name has at least so many columns before it has a bar beside it."""
LEAST_WORDS = 24
"""Columns for what a file waits for, at the cost of its name."""
GAP = "  "
HOST = re.compile(r"https?://([^/\s]+)(?:/\S*?)?(?=[:;,.]*(?:\s|$))"), r"\1"
COLOURS = {"waiting": "yellow", "unpacking": "cyan", "failed": "red"}
NEEDED = ("percent", "failed", "left", "rate", "bytes", "files", "unknown")
"""Parts of the total, the most important first: the last ones are left out of a narrow line."""
TAIL_SHARES = (0.75, 0.5, 0.9, 0.25)
"""Which part of a shortened name its end has; the first that keeps names apart is taken."""


class Layout:
    """Lays out frames.

    Args:
        width: Columns of the terminal.
        height: Rows of the terminal.
        is_ascii: Whether only ASCII can be shown.
    """

    def __init__(self, width: int, height: int, *, is_ascii: bool = False) -> None:
        self._width = max(1, min(width - 1, MOST_WIDTH))  # some wrap when the last column is full
        self._most = max(0, (height - SPARE_ROWS) // math.ceil(self._width / NARROW))
        self._full, self._empty = ("#", "-") if is_ascii else ("━", "─")
        self._more = "..." if is_ascii else "…"

    def lines(self, progress: RunStatus | str) -> list[Text]:
        """Return the lines of one frame; a text is one, and nothing to show is none."""
        if isinstance(progress, str):
            return [self._cut(Text(one_line(progress)))]
        if not (progress.files or progress.moving):
            return []
        busy = [file for file in progress.moving if file.state != "starting"]
        most = min(self._most, MANY_FILES if progress.files <= MANY_FILES else MOST_FILES)
        groups = _grouped(busy)
        shown = groups[:most]
        is_shown = {file.name for group in shown for file in group}
        rest = [file for file in progress.moving if file.name not in is_shown]
        lines = self._file_lines(shown)
        lines += [self._rest_line(rest, is_rest=bool(shown))] * bool(rest)
        return [*lines, self._total_line(progress)]

    def _file_lines(self, groups: Sequence[Sequence[Moving]]) -> list[Text]:
        """Return a line for each file, and for each group that waits for one reason."""
        names = [
            one_line(group[0].name) if len(group) == 1 else counted(len(group), "file")
            for group in groups
        ]
        longest = max(map(cell_len, names), default=0)
        room = self._width - len(GAP) - PERCENT
        for beside in (SHORT_BAR + SIZES, SHORT_BAR):
            if room - beside >= min(longest, LEAST_NAME):
                room -= beside
                break
        column = max(1, min(room, longest))
        lines = []
        for name, group in zip(self._shortened(names, column), groups, strict=True):
            state = self._state(group[0], self._width - column - len(GAP))
            shown = set_cell_size(name, column)
            if state.cell_len > self._width - column - len(GAP):  # words need more than a bar
                room = self._width - len(GAP) - min(state.cell_len, LEAST_WORDS)
                (shown,) = self._shortened([name], max(1, room))
            lines.append(self._cut(Text(shown + GAP).append_text(state)))
        return lines

    def _state(self, file: Moving, room: int) -> Text:
        if file.state in COLOURS:
            return Text(one_line(_words(file)), COLOURS[file.state])
        if not file.total_bytes:
            return Text(bytes_text(file.bytes))
        fraction = file.bytes / file.total_bytes
        sizes = f"{GAP}{bytes_text(file.bytes)} of {bytes_text(file.total_bytes)}"
        percent = f"{int(100 * fraction):3}%"
        if room < SHORT_BAR // 2 + PERCENT:
            return Text(percent)
        is_wide = room >= SHORT_BAR + PERCENT + SIZES
        bar = min(MOST_BAR, room - PERCENT - SIZES * is_wide)
        return self._bar(fraction, bar).append(f" {percent}").append(sizes * is_wide)

    def _rest_line(self, rest: Sequence[Moving], *, is_rest: bool) -> Text:
        states = Counter(file.state for file in rest)
        more = " more" * is_rest
        words = [
            f"{count:,}{more * (state != 'starting')} {state}"
            for state, count in sorted(states.items())
        ]
        return self._cut(Text(f"{self._more} {', '.join(words)}", "dim"))

    def _total_line(self, progress: RunStatus) -> Text:
        parts = progress_parts(progress) or {"percent": "starting"}
        kept: dict[str, str] = {}
        for name in sorted(parts, key=NEEDED.index):
            if not kept or len(", ".join([*kept.values(), parts[name]])) <= self._width:
                kept[name] = parts[name]
        room = self._width - len(", ".join(kept.values())) - 1
        line = Text()
        if room >= SHORT_BAR and progress.fraction is not None:
            bar = MOST_BAR // 2 if room >= 2 * MOST_BAR else SHORT_BAR
            line = self._bar(progress.fraction, bar, "green").append(" ")
        styles = {"percent": "bold", "failed": COLOURS["failed"]}
        shown = [Text(parts[name], styles.get(name, "")) for name in parts if name in kept]
        return self._cut(line.append_text(Text(", ").join(shown)))

    def _bar(self, fraction: float, width: int, colour: str = "blue") -> Text:
        full = int(max(0.0, min(1.0, fraction)) * width)
        return Text.assemble((self._full * full, colour), (self._empty * (width - full), "dim"))

    def _shortened(self, names: Sequence[str], column: int) -> list[str]:
        """Return the names cut in the middle to a width, so that different names stay different."""
        ends = [round(share * (column - len(self._more))) for share in TAIL_SHARES]
        cuts = [[self._without_middle(name, column, end) for name in names] for end in ends]
        return max(cuts, key=lambda cut: len(set(cut)))

    def _without_middle(self, name: str, column: int, end: int) -> str:
        if cell_len(name) <= column:
            return name
        room = max(0, column - len(self._more))
        tail = name[len(name) - min(end, room) :]
        while cell_len(tail) > min(end, room):
            tail = tail[1:]
        head = name[: max(0, room - cell_len(tail))]
        while cell_len(head) > room - cell_len(tail):
            head = head[:-1]
        return f"{head}{self._more}{tail}"

    def _cut(self, line: Text) -> Text:
        line.truncate(self._width, overflow="crop")
        return line


def _grouped(files: Sequence[Moving]) -> list[list[Moving]]:
    """Return the files, those that wait for one host's sake as one group, in order."""
    groups: dict[str, list[Moving]] = {}
    for file in files:
        is_retry = file.state == "waiting" and file.seconds_left is not None
        groups.setdefault(outage_of(file.cause) if is_retry else file.name, []).append(file)
    return list(groups.values())


def _words(file: Moving) -> str:
    if file.state == "unpacking":
        return f"unpacking, {bytes_text(file.unpacked_bytes)} so far"
    if file.seconds_left is None:
        return file.cause
    left = f"in {math.ceil(file.seconds_left)} s" if file.seconds_left else "now"
    return f"retrying {left}: {HOST[0].sub(HOST[1], file.cause)}"


USUAL_SIZE = os.terminal_size((80, 24))
STEADY_SECONDS = 0.3
"""A terminal that is being resized is left alone for so long."""
MOST_UNSTEADY_SECONDS, LOOK_SECONDS = 2.0, 0.02
REWRAPS = "TMUX" in os.environ or not {"XTERM_VERSION", "STY"} & os.environ.keys()
"""Whether the terminal rewraps lines when it becomes narrower: xterm and GNU screen cut them."""
PLAIN_LOCALES = frozenset({"C", "POSIX"})
"""Python writes UTF-8 in them (PEP 540), which the terminal may not know."""
ERASE_LINE, ERASE_BELOW = "\x1b[K", "\x1b[J"
ONE_UP = "\x1b[A\x1b[2K"


class TerminalScreen:
    """Draws frames on a terminal; others write above them by way of `aside`.

    Args:
        stream: The terminal.
        write: Writes to it, dropping what it does not take.
        was_stopped: Returns whether the process was stopped since the last call. Then the lines of
            a shell stand below the frame, which is left where it is.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        stream: TextIO,
        write: Callable[[str], None],
        was_stopped: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._write, self._clock = stream, write, clock
        self._was_stopped = was_stopped
        self._console = Console(file=io.StringIO(), force_terminal=True, legacy_windows=False)
        self._colours = COLOR_SYSTEMS.get(self._console.color_system or "")
        is_unicode = (stream.encoding or "").lower().startswith("utf")
        self._is_ascii = not is_unicode or os.environ.get("LC_ALL") in PLAIN_LOCALES
        self._drawing = threading.RLock()  # a signal may come while its own thread draws
        self._frame: Sequence[Text] = ()
        self._widths: list[int] = []
        self._size, self._changed_at = self._look(), float("-inf")
        self._is_over = self._is_line_open = False

    def draw(self, progress: RunStatus | str) -> None:
        """Draw how far the run is, instead of the last frame; a text is drawn as it is."""
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
            self._wait_until_steady()
            self._erase()
            write()
            self._is_line_open = not is_line
            if not (self._is_over or self._is_line_open or not self._frame):
                self._put(self._drawn())

    def close(self) -> None:
        """Take the frame away, and draw no more."""
        self._is_over = True
        with self._drawing:
            self._wait_until_steady()
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
        if self._was_stopped():
            self._widths = []
        columns = max(1, self._look().columns) if REWRAPS else math.inf
        rows = sum(max(1, math.ceil(width / columns)) for width in self._widths)
        self._widths = []
        return "\r" + ERASE_LINE + ONE_UP * rows  # Ctrl-C leaves its ^C there

    def _is_steady(self) -> bool:
        """Whether the terminal's size has been the same for a while."""
        size, now = self._look(), self._clock()
        if size != self._size:
            self._size, self._changed_at = size, now
        return now - self._changed_at >= STEADY_SECONDS

    def _wait_until_steady(self) -> None:
        """Wait until a frame on the terminal can be erased: its rows are known by the size.

        tmux wraps them at once, and says so up to a quarter of a second later.
        """
        give_up = self._clock() + MOST_UNSTEADY_SECONDS
        while self._widths and not self._is_steady() and self._clock() < give_up:
            time.sleep(LOOK_SECONDS)

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
