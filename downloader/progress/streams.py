"""Standard output and standard error, whether they are usable or not.

Output that cannot be written is dropped, and the run continues: the exit status is about the files,
not about who read the output. A stream that failed once (nobody reads it, its disk is full) leads
to the null device from then on, as the Python manual advises on SIGPIPE. A closed one does from the
beginning, as in curl (main_checkfds), so that no file of ours gets the number of a standard stream.

doit's threads swap sys.stdout and sys.stderr without a lock, so ours are held fast when a run
begins (`guard`). While a live display stands on the terminal, writes step around it (`Screen`).
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import ClassVar, Protocol, TextIO

from downloader.errors import one_line, without_secrets

STANDARD = (0, 1, 2)
EVENT = '{"event": '
"""Start of each line that is an event."""


class Screen(Protocol):
    """A display on the terminal, which others may write above."""

    def aside(self, write: Callable[[], None], *, is_line: bool) -> None:
        """Take the display away, write, and put it back after the line's end."""


class _Held:
    """The standard streams of a run; empty before `guard`."""

    out: TextIO | None = None
    error: TextIO | None = None
    screen: Screen | None = None
    process = 0
    is_json = False
    program = "doit"
    unguarded: ClassVar[dict[int, Callable[[str], object]]] = {}


def say(text: str) -> None:
    """Write a line of results to standard output."""
    put(_Held.out or sys.stdout, f"{_shown_lines(text)}\n")


def say_json(document: str) -> None:
    """Write a JSON document to standard output, whole, with what a terminal may not get escaped."""
    text = without_secrets(document)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    put(_Held.out or sys.stdout, f"{text}\n")


def _escaped(character: str) -> str:
    return character if character == "\n" else json.dumps(character)[1:-1]


def tell(text: str, event: str = "notice") -> None:
    """Write a line of progress, a notice or an error to standard error.

    Args:
        text: Without a line end.
        event: What it is called if standard error takes events (MODELMAKE_PROGRESS=json).
    """
    tell_event(as_event(event, text) if _Held.is_json else _shown_lines(text))


def tell_event(line: str) -> None:
    """Write a line to standard error as it is."""
    put(_Held.error or sys.stderr, f"{line}\n")


def as_event(event: str, text: str) -> str:
    """Return a text as an event: one JSON object on one line."""
    return json.dumps({"event": event, "text": _shown_lines(text)})


def _shown_lines(text: str) -> str:
    """Return lines of ours as they may be shown: this is the gate for everything but errors."""
    return "\n".join(map(one_line, text.split("\n")))


def program(name: str = "") -> str:
    """Return how people call this program: `doit`, or what `name` said once."""
    _Held.program = name or _Held.program
    return _Held.program


def standard_error() -> TextIO:
    """Return the standard error that the run began with."""
    return _Held.error or sys.stderr


def beneath(stream: TextIO) -> Callable[[str], None]:
    """Return what writes to a stream without stepping around the display: its own writer."""
    write = _Held.unguarded.get(id(stream), stream.write)

    def put_beneath(text: str) -> None:
        _attempt(stream, write, text)
        _attempt(stream, stream.flush)

    return put_beneath


def show_on(screen: Screen | None) -> None:
    """Let every write to the standard streams step around a display; None: there is none."""
    _Held.screen, _Held.process = screen, os.getpid()


def is_drawn_on() -> bool:
    """Whether a display stands on the terminal already."""
    return _Held.screen is not None


def put(stream: TextIO | None, text: str) -> None:
    """Write a text in one piece and at once, or drop it if the stream takes nothing.

    Args:
        stream: Where to; None is a stream that was closed before Python began.
        text: With its line end.
    """
    if stream is None:
        return
    if id(stream) in _Held.unguarded:  # it steps around the display itself
        _attempt(stream, stream.write, text)
    else:
        _around(stream, lambda: _attempt(stream, stream.write, text), text)
    _attempt(stream, stream.flush)


def guard(*, as_json: bool = False) -> None:
    """Make writes of others to the standard streams, and their flush at the end, fail nowhere.

    Args:
        as_json: Whether every line on standard error is to be an event, whoever writes it.
    """
    for _ in STANDARD:
        _fill_gap()
    # A closed stream is None, and doit writes without a look.
    sys.stdout = sys.stdout or _null_stream()
    sys.stderr = sys.stderr or _null_stream()
    _Held.out, _Held.error, _Held.is_json = sys.stdout, sys.stderr, as_json
    _guard(sys.stdout, lambda text: _as_typed(without_secrets(text)))
    events = _Events() if as_json else without_secrets
    _guard(sys.stderr, lambda text: _as_typed(events(text)))


def _as_typed(text: str) -> str:
    """Return the text with the commands that it advises under the name that people typed."""
    name = _Held.program
    return text if name == "doit" else text.replace("`doit", f"`{name}")


class _Events:
    """Turns lines into events, as they become whole."""

    def __init__(self) -> None:
        self._begun = ""
        self._taking = threading.RLock()

    def __call__(self, text: str) -> str:
        with self._taking:
            *lines, self._begun = (self._begun + text).split("\n")
        return "".join(f"{each}\n" for each in map(self._event, lines) if each)

    def _event(self, line: str) -> str:
        return line if line.startswith(EVENT) or not line.strip() else as_event("notice", line)


def _guard(stream: TextIO, shown: Callable[[str], str]) -> None:
    """Change the stream itself: doit took hold of it before it read dodo.py.

    No secret leaves by it, whoever writes. Colours do: other tasks than ours may write them.
    """
    if "flush" in vars(stream):
        return
    write, flush = stream.write, stream.flush
    _Held.unguarded[id(stream)] = write

    def write_anyway(text: str) -> int:
        _around(stream, lambda: _attempt(stream, write, shown(text)), text)
        return len(text)

    def flush_anyway() -> None:
        _attempt(stream, flush)

    vars(stream).update(write=write_anyway, flush=flush_anyway)


def _around(stream: TextIO, write: Callable[[], None], text: str) -> None:
    """Write, above the display if there is one on the same terminal."""
    screen = _Held.screen
    is_ours = bool(text) and _Held.process == os.getpid()  # and not of the process we came from
    if screen is None or not is_ours or not _is_terminal(stream):
        write()
        return

    def write_at_once() -> None:
        write()
        _attempt(stream, stream.flush)

    screen.aside(write_at_once, is_line=text.endswith("\n"))


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def _attempt(stream: TextIO, act: Callable[..., object], *arguments: str) -> None:
    try:
        act(*arguments)
    except UnicodeEncodeError:
        shown = (each.encode("ascii", "backslashreplace").decode() for each in arguments)
        _attempt(stream, act, *shown)
    except OSError:
        _lead_nowhere(stream)
    except (ValueError, RuntimeError):
        pass  # closed meanwhile; or a signal came in the middle of a write


def _lead_nowhere(stream: TextIO) -> None:
    """Turn the stream to the null device; what still waits in it goes there too."""
    with contextlib.suppress(OSError, ValueError):  # it has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


def _fill_gap() -> None:
    """Open the null device under the number of a standard stream that is closed."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    if descriptor not in STANDARD:
        os.close(descriptor)


def _null_stream() -> TextIO:
    """Return a stream to the null device, whatever file has the standard number meanwhile."""
    null = os.open(os.devnull, os.O_WRONLY)
    return open(null, "w", encoding="utf-8", closefd=False)
