"""The line about how far a long reading is."""

import io
import sys

import pytest

from downloader.progress.tracker import Meter


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """See TextIO."""
        return True


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands at 0."""
    return Clock()


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, clock: Clock) -> Meter:
    """Return a meter of 100 MB that writes to the stream, begun at 0."""
    monkeypatch.setattr(sys, "stderr", stream)
    meter = Meter("verifying", clock)
    meter.started(100_000_000)
    return meter


def move(meter: Meter, clock: Clock, seconds: float) -> None:
    """Let ten megabytes come after so many seconds."""
    clock.now += seconds
    meter.moved(10_000_000)


def test_a_terminal_has_one_line_that_is_rewritten(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Each text begins with a carriage return, and the last one is taken away."""
    stream = Terminal()
    meter = shown(monkeypatch, stream, clock)
    move(meter, clock, 0.5)
    move(meter, clock, 0.5)
    meter.ended()
    _, first, second, blank, end = stream.getvalue().split("\r")
    assert first == "verifying: 10.0 MB of 100.0 MB, 20.0 MB/s, 4 s left"
    assert second.rstrip() == "verifying: 20.0 MB of 100.0 MB, 20.0 MB/s, 4 s left"
    assert (blank.strip(), len(blank), end) == ("", len(second.rstrip()), "")
    assert "\n" not in stream.getvalue()


def test_a_narrow_terminal_cuts_the_line(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """A line that wrapped could not be rewritten."""
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    move(shown(monkeypatch, stream, clock), clock, 0.5)
    assert stream.getvalue() == "\rverifying: 10.0 MB "


def test_elsewhere_a_line_comes_every_thirty_seconds(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """A log gets whole lines, and few of them."""
    stream = io.StringIO()
    meter = shown(monkeypatch, stream, clock)
    for _ in range(4):
        move(meter, clock, 10)
    meter.ended()
    assert stream.getvalue() == "verifying: 30.0 MB of 100.0 MB, 1.0 MB/s, 70 s left\n"


def test_a_notice_stands_in_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """What is told meanwhile does not end in the middle of the live line."""
    stream = Terminal()
    meter = shown(monkeypatch, stream, clock)
    move(meter, clock, 0.5)
    meter.notice("something")
    assert stream.getvalue().split("\r")[-1] == "something\n"


def test_the_summary_has_size_time_and_rate(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """The time counts from the start to the end."""
    meter = shown(monkeypatch, io.StringIO(), clock)
    move(meter, clock, 4.0)
    meter.ended()
    clock.now += 10
    assert meter.summary == "10.0 MB in 4.0 s, 2.5 MB/s"


def test_a_closed_standard_error_is_no_matter(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """The reading goes on where nothing can be told."""
    monkeypatch.setattr(sys, "stderr", None)
    meter = Meter("verifying", clock)
    meter.started(1)
    move(meter, clock, 40)
    assert meter.moved_bytes == 10_000_000
