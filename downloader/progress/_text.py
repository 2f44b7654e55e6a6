"""A run as text: lines for people, and a JSON object per event for programs (docs/progress.md).

Pure but for `Lines`, which writes what ended, what waits, and a heartbeat where there is no
terminal.
"""

import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

from downloader.artifact import bytes_text, counted
from downloader.progress import events
from downloader.progress.events import Failed, Summary

EVENT_SECONDS = 1.0
"""`progress` comes at most this often."""


def as_line(event: events.Event) -> str:
    """Return the event as one JSON object, `event` first, without a line end."""
    return json.dumps({"event": event.event, **_rounded(dataclasses.asdict(event))})


def _rounded(value: Any) -> Any:  # noqa: ANN401 - whatever JSON has
    """Round seconds and rates: digits that nobody measured only make lines long."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value


GROUPED = 3
"""So many failures with one cause are told once."""
NAMED = 3
"""So many of a group are named."""
MINUTE, HOUR = 60, 3600


def done_line(done: events.Done) -> str:
    """Return what is said of a file that is as models.lock says."""
    per_second = int(done.moved_bytes / max(done.seconds, 0.001))
    rate = f", {bytes_text(per_second)}/s" if per_second else ""
    first = ", SHA-256 pinned on first use" if done.is_first_use else ""
    note = f", {done.note}" if done.note else ""
    return f"{done.verb} {done.target} ({bytes_text(done.bytes)}{rate}{first}{note})"


def sum_line(summary: Summary) -> str:
    """Return what is said of a whole run."""
    done = summary.fetched + summary.linked + summary.unpacked + summary.verified
    if not (done or summary.failed or summary.not_begun):
        return "Nothing to do."
    unfinished = summary.unfinished_bytes
    parts = [f"{summary.fetched} fetched ({bytes_text(summary.moved_bytes - unfinished)})"]
    parts += [f"{summary.linked} linked"] * bool(summary.linked)
    parts += [f"{summary.unpacked} unpacked"] * bool(summary.unpacked)
    parts += [f"{summary.verified} verified in place", f"{summary.failed} failed"]
    parts += [f"{bytes_text(unfinished)} more moved"] * bool(unfinished)
    parts += [f"{summary.not_begun} not begun"] * bool(summary.not_begun)
    return f"{', '.join(parts)}, in {summary.seconds:.1f} s."


def failure_lines(failures: Iterable[Failed]) -> list[str]:
    """Return what is said of all failures, one or more lines each; one cause is told once."""
    groups = defaultdict[tuple[str, ...], list[Failed]](list)
    for each in failures:
        groups[_cause(each)].append(each)
    return [text for group in groups.values() for text in _group_lines(group)]


def heartbeat_line(progress: events.RunStatus) -> str:
    """Return what is said of a run now and then, where there is no terminal."""
    names = [each.name for each in progress.moving]
    return f"{', '.join(progress_parts(progress))}; now {_some(names)}"


def progress_parts(progress: events.RunStatus) -> list[str]:
    """Return how far a run is, in words: what matters most first."""
    parts = []
    if progress.fraction is not None and progress.total_bytes:
        parts.append(f"{int(100 * progress.fraction)}%")
    if progress.total_bytes:
        least = "at least " if progress.unknown_sizes else ""
        parts.append(f"{bytes_text(progress.bytes)} of {least}{bytes_text(progress.total_bytes)}")
    elif progress.moved_bytes:
        parts.append(bytes_text(progress.moved_bytes))
    if progress.bytes_per_second >= 1:
        parts.append(f"{bytes_text(int(progress.bytes_per_second))}/s")
    if progress.seconds_left is not None and progress.bytes_per_second >= 1:
        parts.append(f"{time_text(progress.seconds_left)} left")
    if progress.files:
        parts.append(f"{progress.ended:,} of {counted(progress.files, 'file')}")
    if progress.unknown_sizes:
        parts.append(f"{counted(progress.unknown_sizes, 'size')} unknown")
    return parts + [f"{progress.failed} failed"] * bool(progress.failed)


def time_text(seconds: float) -> str:
    """Return a time for people: `0:07`, `1:02:03`, `more than a day`."""
    whole = round(seconds)
    if whole >= 24 * HOUR:
        return "more than a day"
    hours, minutes = whole // HOUR, whole % HOUR // MINUTE
    return (
        f"{hours}:{minutes:02}:{whole % MINUTE:02}" if hours else f"{minutes}:{whole % MINUTE:02}"
    )


def _group_lines(group: Sequence[Failed]) -> list[str]:
    if len(group) < GROUPED:
        return [_failure_text(each, each.task) for each in group]
    text = _failure_text(group[0], f"{group[0].task} and {len(group) - 1} more")
    return [text, f"  Also {_some([each.task for each in group[1:]])}."]


def _failure_text(failed: Failed, names: str) -> str:
    parts = [f"failed {names}: {failed.error}"]
    parts += [f"  {failed.hint}"] * bool(failed.hint)
    return "\n".join([*parts, failed.trace.rstrip()] if failed.trace else parts)


def _cause(failed: Failed) -> tuple[str, ...]:
    """Return what is the same of failures with one cause: all but the file's own name."""
    paths = {failed.path, failed.path.rpartition("/")[2]} - {""}
    names = sorted({*paths, *map(quote, paths)}, key=len, reverse=True)
    told = (failed.error, failed.hint)
    if names:
        own = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
        told = (own.sub("*", failed.error), own.sub("*", failed.hint))
    return failed.code, *told


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


HEARTBEAT_SECONDS = 30.0


class Lines:
    """A subscriber that writes a line about each event that people want to see.

    Args:
        tell: Writes a line.
        is_all: Whether ended files and heartbeats are told, as doit's own reporters tell of files.
    """

    def __init__(self, tell: Callable[[str], None], *, is_all: bool = True) -> None:
        self._tell, self._is_all = tell, is_all

    def __call__(self, event: events.AnyEvent) -> None:
        """Take an event."""
        if text := self._text(event):
            self._tell(text)

    def _text(self, event: events.AnyEvent) -> str:
        match event:
            case events.Done() if self._is_all:
                return done_line(event)
            case events.Resumed():
                return f"{event.model}/{event.path}: goes on at {bytes_text(event.bytes)}"
            case events.RunStatus() if event.moving and self._is_all:
                return heartbeat_line(event)
            case events.Retry() | events.Notice():
                return wait_line(event)
            case _:
                return ""


def wait_line(event: events.Retry | events.Notice) -> str:
    """Return what is said of something that holds a file up."""
    name = "/".join(filter(None, (event.model, event.path)))
    if isinstance(event, events.Notice):
        return f"{name}: {event.text}" if name else event.text
    return f"{name}: tries again in {event.delay_seconds:.1f} s: {event.cause}"
