"""Standard output and standard error, where they take something and where they do not.

What cannot be shown is dropped, and a run goes on: the exit status tells of the files, not of who
read about them. A stream that failed once (nobody reads it, its disk is full) leads to the null
device from then on, as the Python manual advises on SIGPIPE; a closed one does from the beginning,
as in curl (main_checkfds), so that no file of ours gets the number of a standard stream.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TextIO

STANDARD = (0, 1, 2)


def say(text: str) -> None:
    """Write a line of results to standard output."""
    put(sys.stdout, f"{text}\n")


def tell(text: str) -> None:
    """Write a line of progress, a notice or an error to standard error."""
    put(sys.stderr, f"{text}\n")


def put(stream: TextIO | None, text: str) -> None:
    """Write a text in one piece and at once, or drop it where the stream takes nothing.

    Args:
        stream: Where to; None is a stream that was closed before Python began.
        text: With its line end.
    """
    if stream is not None:
        _attempt(stream, stream.write, text)
        _attempt(stream, stream.flush)


def guard() -> None:
    """Make writes of others to the standard streams, and their flush at the end, fail nowhere."""
    for _ in STANDARD:
        _fill_gap()
    # A closed stream is None, and doit writes without a look.
    sys.stdout = sys.stdout or _null_stream()
    sys.stderr = sys.stderr or _null_stream()
    _guard(sys.stdout)
    _guard(sys.stderr)


def _guard(stream: TextIO) -> None:
    """Change the stream itself: doit took hold of it before it read dodo.py."""
    if "flush" in vars(stream):
        return
    write, flush = stream.write, stream.flush

    def write_anyway(text: str) -> int:
        _attempt(stream, write, text)
        return len(text)

    def flush_anyway() -> None:
        _attempt(stream, flush)

    vars(stream).update(write=write_anyway, flush=flush_anyway)


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
