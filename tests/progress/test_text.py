"""What people read of a run."""

import pytest

from downloader.errors import DigestMismatch, LockError
from downloader.progress import _text
from downloader.progress._live import Layout
from downloader.progress.events import Failed, Moving, RunStatus, Summary, code_of

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
    return Failed(task=f"fetch:m/{name}", model="m", path=name, error=f"{url}: {cause}", code="x")


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
    """From three on: with their number, and the names of the first."""
    assert _text.failure_lines(map(failed, "abcde")) == [
        "failed fetch:m/a and 4 more: http://127.0.0.1:9/a: refused",
        "  Also fetch:m/b, fetch:m/c, fetch:m/d and 1 more.",
    ]


def test_other_causes_are_told_each() -> None:
    """Two of a kind are no crowd, and another error is another line."""
    lines = _text.failure_lines([failed("a"), failed("b"), failed("c", "reset")])
    assert [line.partition(": ")[0] for line in lines] == [
        *("failed fetch:m/a", "failed fetch:m/b"),
        "failed fetch:m/c",
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
        moving("a", "waiting", cause="http://h:1/m/a?x is busy (503).", seconds_left=2.5),
        moving("b", "waiting", cause="waits for another process, which is fetching it"),
        moving("c", "unpacking", unpacked_bytes=1000),
        moving("d", "starting"),
    ]
    *shown, rest, total = [line.plain for line in Layout(100, 24).lines(progress(*files))]
    assert shown == [
        "m/a  waits 3 s: h:1 is busy (503).",
        "m/b  waits for another process, which is fetching it",
        "m/c  unpacking, 1.0 kB so far",
    ]
    assert rest == "… 1 starting"
    assert total == (
        "━━━━━───── 50%, 1 failed, 1.2 GB of 2.4 GB, 23.0 MB/s, 1:34 left, 12 of 300 files"
    )


def test_ascii_where_nothing_else_can_be_shown() -> None:
    """Bars and cuts have a plain form."""
    lines = Layout(40, 24, is_ascii=True).lines(progress(moving("x" * 50)))
    assert "".join(line.plain for line in lines).isascii()
