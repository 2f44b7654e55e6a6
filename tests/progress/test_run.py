"""How far a run is: totals that are honest whatever its files do (row G7)."""

import threading
from collections import deque

import pytest

from downloader.progress.events import AnyEvent, Done, Failed, Notice, Start
from downloader.progress.tracker import Run


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def run(clock: Clock) -> Run:
    """Give a run of two files of 1,000 bytes."""
    made = Run(clock)
    made.expect([("m", "a", 1000), ("m", "b", 1000)])
    return made


def done(path: str, moved_bytes: int = 1000) -> Done:
    """Return the end of a file of 1,000 bytes."""
    return Done(
        model="m",
        path=path,
        target=f"models/m/{path}",
        verb="fetched" if moved_bytes else "verified",
        bytes=1000,
        moved_bytes=moved_bytes,
        seconds=1.0,
    )


def test_all_bytes_are_known_before_the_first_came(run: Run) -> None:
    """The total is that of the lock."""
    shown = run.status()
    assert (shown.bytes, shown.total_bytes, shown.fraction, shown.files) == (0, 2000, 0.0, 2)


def test_start_is_told_once() -> None:
    """Files that are expected later add to the total, and start nothing again."""
    told: list[AnyEvent] = []
    run = Run()
    run.subscribe(told.append)
    run.expect([("m", "a", 1000), ("m", "b", None)])
    run.expect([("n", "c", 500), ("m", "a", 1000)])
    starts = [event for event in told if isinstance(event, Start)]
    assert starts == [Start(files=2, bytes=1000, unknown_sizes=1)]
    assert run.status().total_bytes == 1500


def test_bytes_from_before_are_no_speed(run: Run, clock: Clock) -> None:
    """They count as there; the rate and the time left are of what comes now."""
    with run.file("m", "a", 1000) as file:
        file.started(800, 1000)
        clock.now += 2
        file.moved(100)
        shown = run.status()
    assert (shown.bytes, shown.bytes_per_second, shown.seconds_left) == (900, 50.0, 22.0)


def test_bytes_from_before_count_before_their_file_begins(clock: Clock) -> None:
    """The first figure has them already; they move nothing, and stay where the file is begun."""
    run = Run(clock)
    run.expect([("m", "a", 1000), ("m", "b", 1000)], {("m", "a"): 800, ("m", "b"): 300})
    first = run.status()
    assert (first.bytes, first.total_bytes, first.fraction) == (1100, 2000, 0.55)
    assert (first.moved_bytes, first.bytes_per_second) == (0, 0.0)
    with run.file("m", "a", 1000) as file:
        assert run.status().bytes == 1100
        file.started(800, 1000)
        file.moved(200)
        assert run.status().bytes == 1300
    run.done(done("b", moved_bytes=0))
    assert (run.status().bytes, run.status().fraction) == (2000, 1.0)


def test_bytes_from_before_that_hold_no_longer(clock: Clock) -> None:
    """The figure stands still until the file is where it was; it never falls, nor passes 100 %."""
    run = Run(clock)
    run.expect([("m", "a", 1000)], {("m", "a"): 800})
    with run.file("m", "a", 1000) as file:
        file.started(0, 1000)
        file.moved(500)
        assert run.status().bytes == 800
        file.moved(500)
        assert run.status().fraction == 1.0


def test_the_sum_counts_what_moved_of_unfinished_files(run: Run) -> None:
    """Of one that is being fetched, as when the run is interrupted, and of one that failed."""
    with run.file("m", "a", 1000) as file:
        file.started(300, 1000)
        file.moved(100)
        assert run.summary(is_interrupted=True).moved_bytes == 100
        assert run.unfinished() == [("m", "a", 400)]
        file.started(400, 1000, is_resumable=False)
        assert run.unfinished() == []
    assert run.summary().moved_bytes == 100


def test_a_file_that_begins_anew_takes_nothing_back(run: Run) -> None:
    """The total stands still until it is where it was."""
    with run.file("m", "a", 1000) as file:
        file.started(0, 1000)
        file.moved(600)
        assert run.status().bytes == 600
        file.started(0, 1000)
        file.moved(100)
        (moving,) = run.status().moving
        assert (moving.bytes, run.status().bytes) == (600, 600)
        file.moved(700)
        assert run.status().bytes == 800


def test_more_bytes_than_a_file_has_count_for_nothing(run: Run) -> None:
    """Bytes that came twice, or that a server should not have sent, pass no 100 %."""
    for path in "ab":
        with run.file("m", path, 1000) as file:
            file.started(0, 1000)
            file.moved(5000)
            (moving,) = run.status().moving
            assert (moving.bytes, run.status().total_bytes) == (1000, 2000)
    shown = run.status()
    assert (shown.bytes, shown.total_bytes, shown.fraction, shown.seconds_left) == (
        *(2000, 2000, 1.0),
        0.0,
    )


def test_an_unknown_size_gives_no_fraction() -> None:
    """Until a server tells it; then the total grows by it."""
    run = Run()
    run.expect([("m", "a", 1000), ("m", "b", None)])
    with run.file("m", "b", None) as file:
        file.started(0, None)
        file.moved(300)
        shown = run.status()
        assert (shown.bytes, shown.fraction, shown.unknown_sizes) == (300, None, 1)
        file.started(300, 500)
        shown = run.status()
        assert (shown.total_bytes, shown.fraction, shown.unknown_sizes) == (1500, 0.2, 0)


def test_what_was_there_counts_as_there(run: Run) -> None:
    """A file that proves right, or is linked, is done without a byte that moved."""
    with run.file("m", "a", 1000):
        pass
    run.done(done("a", moved_bytes=0))
    shown = run.status()
    assert (shown.bytes, shown.moved_bytes, shown.ended) == (1000, 0, 1)


def test_a_file_that_failed_is_not_waited_for(run: Run, clock: Clock) -> None:
    """What is missing of it stays missing, and is left out of the time left."""
    file = run.file("m", "a", 1000)
    file.started(0, 1000)
    file.moved(400)
    file.__exit__(OSError, OSError("gone"), None)
    run.failed(Failed(task="fetch:m/a", model="m", path="a", error="gone", code="x"))
    clock.now += 4
    shown = run.status()
    assert (shown.bytes, shown.total_bytes, shown.failed) == (400, 2000, 1)
    assert shown.seconds_left == 10.0
    assert run.summary().state == "failed"


def test_an_archive_that_is_asked_for_twice_counts_once(run: Run) -> None:
    """Its second task finds it, and adds nothing."""
    for _ in range(2):
        with run.file("m", "a", 1000) as file:
            file.started(0, 1000)
            file.moved(1000)
            assert run.status().bytes == 1000
    assert run.status().total_bytes == 2000


def test_a_file_that_another_process_began_is_counted_when_it_is_done(run: Run) -> None:
    """Processes of doit tell only how a file ended."""
    run.done(done("a"))
    assert (run.status().ended, run.status().bytes) == (1, 1000)


def test_many_threads_lose_no_byte() -> None:
    """Segments of one file move in threads of their own."""
    run = Run()
    with run.file("m", "a", 80_000) as file:
        file.started(0, 80_000)
        threads = [
            threading.Thread(target=lambda: deque(map(file.moved, [1] * 10_000), maxlen=0))
            for _ in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert run.status().bytes == 80_000
        assert run.status().moved_bytes == 80_000


def test_a_question_is_shown_and_is_no_file(run: Run) -> None:
    """While a provider is asked its model stands among what moves."""
    with run.asking("bot") as asking:
        asking.notice("ft-1 is running; waits for it")
        (moving,) = run.status().moving
    assert (moving.name, moving.state, moving.cause) == (
        *("bot", "waiting"),
        "ft-1 is running; waits for it",
    )
    assert run.status().files == 2


def test_after_an_interrupt_one_thread_publishes() -> None:
    """What a worker learns meanwhile must not follow the last line; the summary still does."""
    run, heard = Run(), list[object]()
    run.subscribe(heard.append)
    run.notice("before")
    run.silence_others()
    worker = threading.Thread(target=run.notice, args=("late",))
    worker.start()
    worker.join()
    run.notice("from the thread that ends the run")
    assert [each.text for each in heard if isinstance(each, Notice)] == [
        "before",
        "from the thread that ends the run",
    ]
