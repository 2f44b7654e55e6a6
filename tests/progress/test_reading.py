"""How far a long reading is, as `doit verify` shows it."""

import time

import pytest

from downloader.progress import display
from downloader.progress._live import Layout
from downloader.progress.tracker import Run


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


def test_the_line_has_sizes_rate_and_time_left(clock: Clock) -> None:
    """It is the run's current reading from its start on."""
    run = Run(clock)
    reading = run.reading("verifying")
    assert not reading.is_running
    reading.started(100_000_000)
    clock.now += 4
    reading.moved(10_000_000)
    reading.moved(10_000_000)
    assert run.current_reading is reading
    assert reading.text == "verifying: 20.0 MB of 100.0 MB, 5.0 MB/s, 16 s left"


def test_the_summary_has_size_time_and_rate(clock: Clock) -> None:
    """The time counts from the start to the end, and not what comes before and after."""
    reading = Run(clock).reading("verifying")
    clock.now += 10
    reading.started(100_000_000)
    clock.now += 4
    reading.moved(10_000_000)
    reading.ended()
    clock.now += 10
    assert reading.summary == "10.0 MB in 4.0 s, 2.5 MB/s"


def test_a_reading_of_next_to_nothing_has_no_rate(clock: Clock) -> None:
    """It would be the time to open a file."""
    reading = Run(clock).reading("verifying")
    reading.started(8)
    clock.now += 0.1
    reading.moved(8)
    reading.ended()
    assert reading.summary == "8 B in 0.1 s"


def test_a_reading_is_no_file_of_the_run(clock: Clock) -> None:
    """What `verify --repair` fetches afterwards is counted for itself."""
    run = Run(clock)
    reading = run.reading("verifying")
    reading.started(1000)
    reading.moved(1000)
    reading.ended()
    assert run.current_reading is None
    assert (run.status().files, run.status().bytes, run.summary().moved_bytes) == (0, 0, 0)


def test_a_narrow_terminal_cuts_the_line() -> None:
    """A line that wrapped could not be drawn over."""
    (line,) = Layout(20, 24).lines("verifying: 20.0 MB of 100.0 MB")
    assert line.plain == "verifying: 20.0 MB "


@pytest.mark.parametrize("mode", ["auto", "waits", "json", "quiet"])
def test_each_display_tells_it_now_and_then(
    mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log gets few lines; so do programs, as notices, and no figures of files; `quiet` none."""
    monkeypatch.setattr(display, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(display, "EVENT_SECONDS", 0.005)
    run = Run()
    shown = display.show(run, mode)
    reading = run.reading("verifying")
    reading.started(100)
    time.sleep(0.3)
    shown.end()
    lines = capsys.readouterr().err.splitlines()
    if mode == "quiet":
        assert lines == []
        return
    assert 1 <= len(lines) <= 0.3 / 0.02
    assert all(line.startswith("verifying: 0 B of 100 B") for line in lines)
