"""What people read of a run."""

import threading

import pytest
from msgspec.structs import replace

from downloader.errors import DigestMismatch, LockError
from downloader.progress import _text
from downloader.progress._live import Layout
from downloader.progress.events import (
    Done,
    Failed,
    FileStarted,
    Moving,
    Retry,
    RunStatus,
    Summary,
    code_of,
)

NOTHING = Summary(
    state="ok",
    fetched=0,
    linked=0,
    unpacked=0,
    verified=0,
    failed=0,
    not_begun=0,
    moved_bytes=0,
    seconds=1.0,
)


def failed(name: str, cause: str = "refused") -> Failed:
    """Return the failure of a file, whose message names the file."""
    url = f"http://127.0.0.1:9/{name}"
    return Failed(
        task=f"fetch:m/{name}",
        model="m",
        path=name,
        error=f"{url}: {cause}",
        code="x",
        target=f"models/m/{name}",
    )


def progress(*moving: Moving) -> RunStatus:
    """Return half a run."""
    return RunStatus(
        files=300,
        ended=12,
        failed=1,
        bytes=1_200_000_000,
        total_bytes=2_400_000_000,
        unknown_sizes=0,
        fraction=0.5,
        moved_bytes=0,
        bytes_per_second=2.3e7,
        seconds_left=94.0,
        moving=moving,
    )


def moving(path: str, state: str = "moving", **more: object) -> Moving:
    """Return a file that is half there."""
    fields = {"bytes": 500, "total_bytes": 1000, **more}
    return Moving(model="m", path=path, state=state, **fields)  # type: ignore[arg-type]


def test_one_cause_is_told_once() -> None:
    """From three on: with their number, and the names of the first, as they were named before."""
    assert _text.failure_lines(map(failed, "abcde")) == [
        "failed models/m/a: http://127.0.0.1:9/a: refused",
        "  The same for 4 more: models/m/b, models/m/c, models/m/d, …",
    ]
    at_once = _text.FailureNotes(lambda: False).line(failed("a"))
    assert at_once == _text.failure_lines([failed("a")])[0]


def test_other_causes_are_told_each() -> None:
    """Two of a kind are no crowd, and another error is another line."""
    lines = _text.failure_lines([failed("a"), failed("b"), failed("c", "reset")])
    assert [line.partition(": ")[0] for line in lines] == [
        *("failed models/m/a", "failed models/m/b"),
        "failed models/m/c",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0:00"), (61, "1:01"), (3723, "1:02:03"), (90_000, "more than a day")],
)
def test_times(seconds: float, text: str) -> None:
    """Minutes and seconds, hours where there are some."""
    assert _text.time_text(seconds) == text


def test_nothing_is_one_line() -> None:
    """A run that had nothing to do says only that."""
    assert _text.sum_line(NOTHING) == "Nothing to do."


def test_the_sum_leaves_out_what_did_not_happen() -> None:
    """Zeros are noise, and hide the count that matters."""
    summary = replace(NOTHING, fetched=17, moved_bytes=93_100_000)
    assert _text.sum_line(summary) == "17 fetched (93.1 MB) in 1.0 s."
    summary = replace(NOTHING, state="failed", failed=7, not_begun=2, moved_bytes=0)
    assert _text.sum_line(summary) == "7 failed, 2 not started in 1.0 s."
    summary = replace(NOTHING, verified=3, linked=1_000, moved_bytes=9_000, unfinished_bytes=9_000)
    assert _text.sum_line(summary) == (
        "1,000 linked, 3 verified in place, 9.0 kB more downloaded in 1.0 s."
    )


@pytest.mark.parametrize(
    ("size", "seconds", "text"),
    [
        (8, 0.02, "fetched models/m/a (8 B)"),
        (999_999, 3.0, "fetched models/m/a (1.0 MB)"),
        (40_000_000, 8.0, "fetched models/m/a (40.0 MB, 5.0 MB/s)"),
    ],
)
def test_a_tiny_file_has_no_rate(size: int, seconds: float, text: str) -> None:
    """Its time is the server's answer, and no speed of anything."""
    done = Done(
        model="m",
        path="a",
        target="models/m/a",
        verb="fetched",
        bytes=size,
        moved_bytes=size,
        seconds=seconds,
    )
    assert _text.done_line(done) == text


def test_failures_are_sorted() -> None:
    """Whichever failed first; numbers in names count as numbers."""
    names = ["part-10", "part-9", "part-2", "other"]
    assert _text.failure_lines(map(failed, names)) == [
        "failed models/m/other: http://127.0.0.1:9/other: refused",
        "  The same for 3 more: models/m/part-2, models/m/part-9, models/m/part-10",
    ]


def test_a_failed_file_is_named_at_once() -> None:
    """By its place and cause; of many with one cause the first few, and none at the very end."""
    notes = _text.FailureNotes(lambda: False)
    first = replace(failed("a"), target="models/m/a", hint="Ask somebody.")
    assert notes.line(first) == "failed models/m/a: http://127.0.0.1:9/a: refused"
    lines = [notes.line(failed(f"n{number}")) for number in range(300)]
    assert len([line for line in lines if line]) == _text.NAMED
    assert notes.line(failed("b", "no such host")).endswith(": no such host")
    assert _text.FailureNotes(lambda: True).line(first) == ""


class RetryLog:
    """Retries of several files of one host, and the lines about them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.report = _text.RetryReport(self.lines.append, lambda: self.now)

    def fail(self, files: str, attempt: int, cause: str = "failed: Name not known") -> list[str]:
        """Let files fail at an attempt, and return the lines about that."""
        before = len(self.lines)
        for path in files:
            self.report.add(
                Retry(
                    model="m",
                    path=path,
                    cause=f"The connection to https://h.example/m/{path} {cause}.",
                    delay_seconds=0.5,
                    attempt=attempt,
                    attempts=5,
                )
            )
        self.report.flush()
        return self.lines[before:]


@pytest.fixture
def retries() -> RetryLog:
    """Give a log without a line."""
    return RetryLog()


def test_a_dead_host_is_reported_once_an_attempt(retries: RetryLog) -> None:
    """However many files ask it, and whatever they are called."""
    lines = [line for attempt in (2, 3, 4, 5) for line in retries.fail("abcdefg", attempt)]
    host = "The connection to https://h.example failed: Name not known"
    assert lines == [
        f"{host}; retrying 7 files in 0.5 s, attempt {attempt} of 5" for attempt in (2, 3, 4, 5)
    ]
    assert retries.fail("hijk", 2) == [], "the host is known to be dead"


def test_one_file_is_named_with_its_url(retries: RetryLog) -> None:
    """Another cause, and the same host after a reply, are news."""
    (line,) = retries.fail("a", 2)
    assert line == (
        "m/a: The connection to https://h.example/m/a failed: Name not known; "
        "retrying in 0.5 s, attempt 2 of 5"
    )
    assert len(retries.fail("a", 2, "broke off after 10 of 20 bytes")) == 1
    assert retries.fail("b", 2, "broke off after 11 of 40 bytes") == []
    for path in "ab":
        retries.report.forget(f"m/{path}")
    assert len(retries.fail("a", 2)) == 1


@pytest.mark.parametrize(
    ("cause", "shown"),
    [
        ("http://h:1/m/a: server busy (503).", "http://h:1: server busy (503)"),
        (
            "The connection to https://h/m/a.bin failed: reset.",
            "The connection to https://h failed: reset",
        ),
        ("Nothing came from https://h/a/b.c, for 30 s.", "Nothing came from https://h, for 30 s"),
        ("https://h took too long.", "https://h took too long"),
    ],
)
def test_a_cause_names_the_host_alone(cause: str, shown: str) -> None:
    """The path is of one file among many; what is around the URL stays."""
    assert _text.host_cause(cause) == shown


def test_a_host_that_stays_dead_is_reported_again(retries: RetryLog) -> None:
    """A log of hours says now and then that nothing changed."""
    assert len(retries.fail("a", 5)) == 1
    retries.now += _text.RetryReport.REPEAT_SECONDS - 1
    assert retries.fail("b", 2) == []
    retries.now += 1
    assert len(retries.fail("c", 2)) == 1


def test_a_retry_is_reported_without_anybody_asking() -> None:
    """A moment after it came, also if no other follows."""
    written = threading.Event()
    lines = _text.Lines(lambda _: written.set(), _text.FailureNotes(lambda: False))
    lines(FileStarted(model="m", path="a"))
    lines(Retry(model="m", path="a", cause="busy (503).", delay_seconds=1.0))
    assert written.wait(10)


def test_codes_for_programs() -> None:
    """The class's name, in lower case with hyphens."""
    assert code_of(DigestMismatch("x")) == "digest-mismatch"
    assert code_of(LockError("x")) == "lock-error"


@pytest.mark.parametrize("width", [1, 2, 10, 20, 40, 60, 80, 200, 1_000_000])
@pytest.mark.parametrize("height", [1, 3, 5, 24])
def test_no_frame_is_wider_or_higher_than_the_terminal(width: int, height: int) -> None:
    """With wide letters, long names, waits and more files than rows."""
    files = [moving(f"模型-{n}-{'x' * 100}") for n in range(30)]
    files += [moving("w", "waiting", cause="http://h/w: 503", seconds_left=2.5)]
    files += [moving("u", "unpacking", unpacked_bytes=1), moving("n", total_bytes=None)]
    lines = Layout(width, height).lines(progress(*files))
    assert all(line.cell_len <= max(1, width - 1) for line in lines)
    assert len(lines) <= max(2, height - 2)


def test_what_is_waited_for_is_named() -> None:
    """The host that is busy, another process, and an archive that is unpacked."""
    files = [
        moving("a", "waiting", cause="http://h:1/m/a?x: server busy (503).", seconds_left=2.5),
        moving("b", "waiting", cause="waiting for another process that is downloading it"),
        moving("c", "unpacking", unpacked_bytes=1000),
        moving("d", "starting"),
    ]
    *shown, rest, total = [line.plain for line in Layout(100, 24).lines(progress(*files))]
    assert shown == [
        "m/a  retrying in 3 s: h:1: server busy (503).",
        "m/b  waiting for another process that is downloading it",
        "m/c  unpacking, 1.0 kB so far",
    ]
    assert rest == "… 1 starting"
    assert total == (
        "━━━━━───── 50%, 1 failed, 1.2 GB of 2.4 GB, 23.0 MB/s, 1:34 left, 12 of 300 files"
    )


SHARDS = [f"llama-3.2-1b-instruct/model-{n:05}-of-00010.safetensors" for n in range(1, 11)]


def shown(width: int, *files: Moving, height: int = 24, **changes: object) -> list[str]:
    """Return the lines of a frame."""
    status = replace(progress(*files), **changes)
    return [line.plain for line in Layout(width, height).lines(status)]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_shards_can_be_told_apart(width: int) -> None:
    """Their names are cut in the middle, and what is different about them stays."""
    lines = shown(width, *map(moving, SHARDS[:5]))[:5]
    names = [line.split("  ")[0] for line in lines]
    assert len(set(names)) == 5
    if width < 120:
        assert all(name.startswith("m/") and name.endswith(".safetensors") for name in names)
        assert all("…" in name for name in names)


def test_a_wide_terminal_shows_whole_names_and_long_bars() -> None:
    """With 200 columns nothing is cut, and the bars take what there is."""
    *lines, _, total = shown(200, *map(moving, SHARDS))
    assert [line.split("  ")[0] for line in lines] == [f"m/{name}" for name in SHARDS[:5]]
    assert {line.count("━") + line.count("─") for line in lines} == {40}
    assert total.endswith("12 of 300 files")


def test_a_narrow_total_keeps_rate_and_time_left() -> None:
    """They matter more than the bytes; what is left out comes back with more columns."""
    assert shown(40)[-1] == "50%, 1 failed, 23.0 MB/s, 1:34 left"
    assert shown(25)[-1] == "50%, 1 failed, 1:34 left"
    assert shown(16)[-1] == "50%, 1 failed"
    assert shown(60)[-1] == "50%, 1 failed, 1.2 GB of 2.4 GB, 23.0 MB/s, 1:34 left"
    assert shown(40, failed=0)[-1].endswith("50%, 23.0 MB/s, 1:34 left")


def test_many_files_take_five_rows_and_a_count() -> None:
    """The others are counted by what they do; a run of few files shows them all."""
    files = [moving(f"{n}.bin") for n in range(29)] + [moving("s", "starting")] * 16
    *lines, rest, _ = shown(80, *files, height=50)
    assert [line.split()[0] for line in lines] == [f"m/{n}.bin" for n in range(5)]
    assert rest == "… 24 more moving, 16 starting"
    assert len(shown(80, *files[:8], files=8)) == 9


def test_files_that_wait_for_one_host_are_one_row() -> None:
    """However many there are: they leave the rows to those that move."""
    cause = "The connection to http://h:1/m/{} failed: Connection refused."
    files = [
        moving(str(n), "waiting", cause=cause.format(n), seconds_left=2.5 + n) for n in range(7)
    ]
    lines = shown(100, *files, moving("a"))
    assert lines[0] == (
        "7 files  retrying in 3 s: The connection to h:1 failed: Connection refused."
    )
    assert lines[1].startswith("m/a      ━")
    assert len(lines) == 3


def test_what_is_waited_for_is_readable_in_a_narrow_terminal() -> None:
    """The words begin behind a shorter name."""
    wait = moving(
        "gated.json", "waiting", cause="http://h:1/x: server busy (503).", seconds_left=2.0
    )
    *lines, _ = shown(40, *map(moving, SHARDS[:2]), wait)
    assert lines[2].startswith("m/gated.json  retrying in 2 s: h:1")


def test_ascii_where_nothing_else_can_be_shown() -> None:
    """Bars and cuts have a plain form."""
    lines = Layout(40, 24, is_ascii=True).lines(progress(moving("x" * 50)))
    assert "".join(line.plain for line in lines).isascii()
