"""A run as text: lines for people, and a JSON object per event for programs (docs/progress.md).

Pure but for `Lines`, which writes what ended, what waits, and a heartbeat if there is no terminal.
"""

import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from downloader.artifact import bytes_text, counted
from downloader.errors import one_line
from downloader.progress import events
from downloader.progress.events import Failed, Retry, Summary, file_name

EVENT_SECONDS = 1.0
"""`progress` comes at most this often."""


def as_line(event: events.Event) -> str:
    """Return the event as one JSON object, `event` first, without a line end."""
    fields = _rounded(event)
    fields.pop("is_finding", None)
    return json.dumps({"event": event.event, **fields})


def _rounded(value: Any) -> Any:  # noqa: ANN401 - whatever JSON has
    """Round seconds and rates, since digits that nobody measured only make lines long.

    Programs print texts too, so these are as they may be shown.
    """
    if isinstance(value, str):
        return "\n".join(map(one_line, value.split("\n")))
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return value


GROUPED = 3
"""So many failures with one cause are reported as one."""
NAMED = 3
"""So many of a group are named."""
LEAST_RATED_BYTES = 1_000_000
"""The rate of a smaller file is its latency, not a speed."""
MINUTE, HOUR = 60, 3600
PARTIAL_ID = r"-[0-9a-f]{12}(?=\.part\b)"
"""The part of a partial's name that is not the file's."""


def rate_text(moved_bytes: int, seconds: float) -> str:
    """Return `, 5.0 MB/s`; nothing if too few bytes moved for a rate."""
    if moved_bytes < LEAST_RATED_BYTES:
        return ""
    return f", {bytes_text(int(moved_bytes / max(seconds, 0.001)))}/s"


def done_line(done: events.Done) -> str:
    """Return the line about a file that is as models.lock says."""
    rate = rate_text(done.moved_bytes, done.seconds)
    first = ", SHA-256 pinned on first use" if done.is_first_use else ""
    note = f", {done.note}" if done.note else ""
    return f"{done.verb} {done.target} ({bytes_text(done.bytes)}{rate}{first}{note})"


def sum_line(summary: Summary) -> str:
    """Return the line about a whole run; what did not happen is left out."""
    unfinished = summary.unfinished_bytes
    counts = {
        f"fetched ({bytes_text(summary.moved_bytes - unfinished)})": summary.fetched,
        "linked": summary.linked,
        "unpacked": summary.unpacked,
        "verified in place": summary.verified,
        "failed": summary.failed,
        "not started": summary.not_begun,
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    if not parts:
        return "Nothing to do."
    parts += [f"{bytes_text(unfinished)} more downloaded"] * bool(unfinished)
    return f"{', '.join(parts)} in {summary.seconds:.1f} s."


def failure_lines(failures: Iterable[Failed]) -> list[str]:
    """Return the report of all failures: grouped by cause, in the order of their names."""
    groups = defaultdict[tuple[str, ...], list[Failed]](list)
    for failure in sorted(failures, key=lambda failure: _natural(failure.name)):
        groups[_cause(failure)].append(failure)
    return [text for group in groups.values() for text in _group_lines(group)]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts `part-9` before `part-10`."""
    parts = re.split("([0-9]+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


class FailureNotes:
    """Names a file when it fails, while the run continues; the report at its end says what to do.

    A cause that many files share is reported for the first few of them.

    Args:
        is_last: Whether no other file is left, so that the report follows at once.
    """

    def __init__(self, is_last: Callable[[], bool]) -> None:
        self._is_last = is_last
        self._counts = Counter[tuple[str, ...]]()

    def line(self, failed: Failed) -> str:
        """Return the line about a failure; empty if its cause was reported often enough."""
        cause = _cause(failed)
        self._counts[cause] += 1
        most = 1 if failed.is_full_disk else NAMED
        if not failed.path or self._counts[cause] > most or self._is_last():
            return ""
        return f"failed {failed.name}: {failed.error}"


def heartbeat_line(progress: events.RunStatus) -> str:
    """Return the line about a run that comes now and then if there is no terminal."""
    names = [file.name for file in progress.moving]
    return f"{', '.join(progress_parts(progress).values())}; now {_some(names)}"


def progress_parts(progress: events.RunStatus) -> dict[str, str]:
    """Return how far a run is, in words, by what they are about, in the order of reading."""
    parts = {}
    if progress.fraction is not None and progress.total_bytes:
        parts["percent"] = f"{int(100 * progress.fraction)}%"
    if progress.failed:
        parts["failed"] = f"{progress.failed:,} failed"
    if progress.total_bytes:
        least = "at least " if progress.unknown_sizes else ""
        total = f"{least}{bytes_text(progress.total_bytes)}"
        parts["bytes"] = f"{bytes_text(progress.bytes)} of {total}"
    elif progress.moved_bytes:
        parts["bytes"] = bytes_text(progress.moved_bytes)
    if progress.bytes_per_second >= 1:
        parts["rate"] = f"{bytes_text(int(progress.bytes_per_second))}/s"
        if progress.seconds_left is not None:
            parts["left"] = f"{time_text(progress.seconds_left)} left"
    if progress.files:
        parts["files"] = f"{progress.ended:,} of {counted(progress.files, 'file')}"
    if progress.unknown_sizes:
        parts["unknown"] = f"{counted(progress.unknown_sizes, 'size')} unknown"
    return parts


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
    if len(group) < (2 if group[0].is_full_disk else GROUPED):
        return [_failure_text(failure) for failure in group]
    names = [failure.name for failure in group[1:]]
    more = f"  The same for {len(names):,} more: {', '.join(names[:NAMED])}"
    return [_failure_text(group[0]), more + ", …" * (len(names) > NAMED)]


def _failure_text(failed: Failed) -> str:
    parts = [failed.error if failed.is_finding else f"failed {failed.name}: {failed.error}"]
    parts += [f"  {failed.hint}"] * bool(failed.hint)
    return "\n".join([*parts, failed.trace.rstrip()] if failed.trace else parts)


def _cause(failed: Failed) -> tuple[str, ...]:
    """Return what failures with one cause have in common: everything but the file's own name."""
    if failed.is_full_disk:  # whatever was to be written, and however much of it
        return failed.code, "full disk"
    paths = {failed.path, failed.path.rpartition("/")[2]} - {""}
    names = sorted({*paths, *map(quote, paths)}, key=len, reverse=True)
    texts = [re.sub(PARTIAL_ID, "", text) for text in (failed.error, failed.hint)]
    if names:
        own = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
        texts = [own.sub("*", text) for text in texts]
    return failed.code, *texts


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


URL = r"(https?://[^/\s]+)/\S*?(?=[:;,.]*(?:\s|$))"
COUNT = r"[0-9][0-9,]*(?= (?:of|bytes?)\b)"


def host_cause(cause: str) -> str:
    """Return why an attempt failed, with the host's part of each URL only, and no full stop."""
    return re.sub(URL, r"\1", cause).removesuffix(".")


def outage_of(cause: str) -> str:
    """Return what causes of one outage have in common: they may name other paths and counts."""
    return re.sub(COUNT, "*", host_cause(cause))


def retry_line(retry: Retry, names: Sequence[str]) -> str:
    """Return the line about an attempt that failed.

    Args:
        retry: The event of the last file it failed for.
        names: The files that it failed for.
    """
    is_one = len(names) == 1
    cause = f"{names[0]}: {retry.cause.removesuffix('.')}" if is_one else host_cause(retry.cause)
    files = "" if is_one else f" {len(names):,} files"
    count = f", attempt {retry.attempt} of {retry.attempts}" if retry.attempt else ""
    return f"{cause}; retrying{files} in {retry.delay_seconds:.1f} s{count}"


class _Outage:
    """Files whose attempts fail for one reason.

    Attributes:
        last: The latest event.
        names: The files that have had no bytes since.
        attempt: The highest attempt that was reported, -1 before the first.
        reported_at: The clock's time of that report.
    """

    def __init__(self, last: Retry) -> None:
        self.last = last
        self.names: dict[str, None] = {}
        self.attempt, self.reported_at = -1, 0.0


class RetryReport:
    """Reports retries once for each host, cause and attempt, however many files they concern.

    The first retry waits a moment for others like it, which come at nearly the same time.

    Args:
        write: Writes a line.
        clock: Seconds, never going back.
    """

    BATCH_SECONDS = 0.2
    """Shorter than the shortest delay before an attempt."""
    REPEAT_SECONDS = 30.0
    """So long after a report, retries with the same cause are reported again."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._clock = write, clock
        self._changing = threading.RLock()  # a signal may come while its own thread holds it
        self._outages: dict[str, _Outage] = {}
        self._due: list[_Outage] = []
        self._timer: threading.Timer | None = None

    def add(self, retry: Retry) -> None:
        """Take a retry, to be reported soon unless that was done."""
        with self._changing:
            outage = self._outages.setdefault(outage_of(retry.cause), _Outage(retry))
            outage.last = retry
            outage.names[file_name(retry.model, retry.path)] = None
            is_late = self._clock() - outage.reported_at >= self.REPEAT_SECONDS
            if outage not in self._due and (retry.attempt > outage.attempt or is_late):
                self._due.append(outage)
            if self._due and self._timer is None:
                self._timer = threading.Timer(self.BATCH_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def forget(self, name: str) -> None:
        """Take a file out of all outages: it got a reply, or its fetch is over."""
        with self._changing:
            for cause, outage in list(self._outages.items()):
                if outage not in self._due and name in outage.names:
                    del outage.names[name]
                    if not outage.names:
                        del self._outages[cause]

    def flush(self) -> None:
        """Report what is due now."""
        with self._changing:
            due = self.drop()
            for outage in due:
                outage.attempt = max(outage.attempt, outage.last.attempt)
                outage.reported_at = self._clock()
        for outage in due:
            self._write(retry_line(outage.last, list(outage.names)))

    def drop(self) -> list[_Outage]:
        """Take back what is due: nobody is to read it now."""
        with self._changing:
            due, self._due = self._due, []
            timer, self._timer = self._timer, None
        if timer:
            timer.cancel()
        return due


HEARTBEAT_SECONDS = 30.0


class Lines:
    """A subscriber that writes a line about each event that people want to see.

    Args:
        write: Writes a line.
        failures: Names files that fail; None: somebody else reports files and how far the run is.
    """

    def __init__(self, write: Callable[[str], None], failures: FailureNotes | None) -> None:
        self._write, self._failures = write, failures
        self.retries = RetryReport(write)

    def __call__(self, event: events.AnyEvent) -> None:
        """Take an event."""
        if isinstance(event, Retry):
            self.retries.add(event)
        elif isinstance(event, (events.FileStarted, events.Resumed, events.Done, Failed)):
            self.retries.forget(file_name(event.model, event.path))
        if text := self._text(event):
            self._write(text)

    def _text(self, event: events.AnyEvent) -> str:
        match event:
            case events.Done() if self._failures:
                return done_line(event)
            case Failed() if self._failures:
                return self._failures.line(event)
            case events.Resumed():
                return f"{event.model}/{event.path}: resuming at {bytes_text(event.bytes)}"
            case events.RunStatus() if event.moving and self._failures:
                return heartbeat_line(event)
            case events.Notice():
                return notice_line(event)
            case _:
                return ""


def notice_line(notice: events.Notice) -> str:
    """Return the line about something the user should know."""
    name = file_name(notice.model, notice.path)
    return f"{name}: {notice.text}" if name else notice.text
