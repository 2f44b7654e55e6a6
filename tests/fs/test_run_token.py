"""The token that one thread of small files has at a time: who gets it, and when it goes on."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from downloader.fs import run_token
from downloader.fs.run_token import (
    RunToken,
    WaitKind,
    begin_wait,
    end_wait,
    kept,
    leave,
    released,
)

SECONDS = 20.0
"""Enough for anything here; only a fault waits so long."""


@pytest.fixture
def threads() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Start threads that are waited for at the end."""
    with ExitStack() as ending:

        def start(act: Callable[[], object]) -> threading.Thread:
            thread = threading.Thread(target=act, daemon=True)
            thread.start()
            ending.callback(ended, thread)
            return thread

        yield start


def ended(thread: threading.Thread) -> None:
    """Wait for a thread's end."""
    thread.join(SECONDS)
    assert not thread.is_alive()


def queued(token: RunToken, count: int) -> None:
    """Wait until so many threads wait for the token."""
    until = threading.Event()
    while len(token._starting) + len(token._returning) + len(token._urgent) < count:
        assert not until.wait(0.001)


Start = Callable[[Callable[[], object]], threading.Thread]


def slow() -> WaitKind:
    """Return waits that are long as a rule."""
    kind = WaitKind(is_urgent=False)
    kind.expected_seconds = 1.0
    return kind


def test_one_thread_has_it(threads: Start) -> None:
    """Whatever the others want, the one that has it goes on until it gives it away."""
    token, inside, most = RunToken(), list[int](), list[int]()

    def work() -> None:
        with token:
            for _ in range(200):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                token.next_file()

    for each in [threads(work) for _ in range(8)]:
        ended(each)
    assert set(most) == {1}


def test_a_long_wait_gives_it_away(threads: Start) -> None:
    """What the other does meanwhile may even be what is waited for."""
    token, kind, happened = RunToken(), slow(), threading.Event()

    def other() -> None:
        with token:
            happened.set()

    with token:
        threads(other)
        queued(token, 1)
        begun = begin_wait(kind)
        assert happened.wait(SECONDS)
        end_wait(kind, begun)


def test_a_short_wait_keeps_it(threads: Start) -> None:
    """Nobody is woken for a reply that comes at once."""
    token, kind, order = RunToken(), WaitKind(is_urgent=False), list[str]()

    def other() -> None:
        with token:
            order.append("other")

    with token:
        thread = threads(other)
        queued(token, 1)
        end_wait(kind, begin_wait(kind))
        order.append("first")
    ended(thread)
    assert order == ["first", "other"]


def test_waits_teach_what_to_expect() -> None:
    """The running mean moves towards the last wait, by an eighth."""
    kind = WaitKind(is_urgent=False)
    with RunToken():
        for expected in (0.8 / 8, 0.8 / 8 * 7 / 8 + 0.1):
            member, began = begin_wait(kind)
            assert end_wait(kind, (member, began - 0.8)) == pytest.approx(0.8, rel=0.2)
            assert kind.expected_seconds == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("is_marked", [True, False])
def test_the_watching_thread_takes_it(threads: Start, *, is_marked: bool) -> None:
    """A wait that is longer than expected, and one that nobody marked, hold up no other."""
    token, kind, happened = RunToken(), WaitKind(is_urgent=False), threading.Event()

    def other() -> None:
        with token:
            happened.set()

    token.watch()
    try:
        with token:
            begun = begin_wait(kind) if is_marked else None
            threads(other)
            assert happened.wait(SECONDS)
            if begun:
                assert kind.expected_seconds >= run_token.WATCH_SECONDS
                end_wait(kind, begun)
    finally:
        token.close()


def test_who_lost_it_gets_it_after_the_next_wait(threads: Start) -> None:
    """Its work went on meanwhile: the token protects nothing."""
    token, kind, order = RunToken(), slow(), list[str]()
    has_it, may_go = threading.Event(), threading.Event()

    def other() -> None:
        with token:
            has_it.set()
            may_go.wait(SECONDS)
            order.append("other")

    with token:
        threads(other)
        queued(token, 1)
        token.give(run_token._here.member)  # type: ignore[arg-type]
        assert has_it.wait(SECONDS)
        begun = begin_wait(kind)
        may_go.set()
        end_wait(kind, begun)
        order.append("first")
    assert order == ["other", "first"]


def test_urgent_waits_go_first_and_beginners_last(threads: Start) -> None:
    """A connection is idle until its thread goes on; a new file can wait."""
    token, order = RunToken(), list[str]()
    kinds = {"disk": WaitKind(is_urgent=False), "reply": WaitKind(is_urgent=True)}
    for kind in kinds.values():
        kind.expected_seconds = 1.0
    waiting, may_end = threading.Semaphore(0), {name: threading.Event() for name in kinds}

    def work(name: str) -> None:
        with token:
            begun = begin_wait(kinds[name])
            waiting.release()
            may_end[name].wait(SECONDS)
            end_wait(kinds[name], begun)
            order.append(name)

    def begin() -> None:
        with token:
            order.append("beginner")

    started = []
    for name in kinds:
        started.append(threads(lambda name=name: work(name)))  # type: ignore[misc]
        assert waiting.acquire(timeout=SECONDS)
    with token:
        started.append(threads(begin))
        queued(token, 1)
        for count, name in enumerate(kinds, start=2):  # the urgent one comes last
            may_end[name].set()
            queued(token, count)
        token.next_file()
        order.append("next file")
    for each in started:
        ended(each)
    assert order == ["reply", "disk", "beginner", "next file"]


def test_who_gave_its_connection_back_lets_urgent_ones_go_first(threads: Start) -> None:
    """What is left to do for its file needs the disk only."""
    token, order, kind = RunToken(), list[str](), WaitKind(is_urgent=True)
    kind.expected_seconds = 1.0
    is_waiting, may_end = threading.Event(), threading.Event()

    def reply() -> None:
        with token:
            begun = begin_wait(kind)
            is_waiting.set()
            may_end.wait(SECONDS)
            end_wait(kind, begun)
            order.append("reply")

    thread = threads(reply)
    assert is_waiting.wait(SECONDS)
    with token:
        run_token.step_aside()
        order.append("nobody")
        may_end.set()
        queued(token, 1)
        run_token.step_aside()
        order.append("rest")
    ended(thread)
    assert order == ["nobody", "reply", "rest"]


def test_a_large_file_does_without_it_until_the_next(threads: Start) -> None:
    """Its waits take nothing from small files."""
    token, order, kind = RunToken(), list[str](), slow()
    has_it, may_go = threading.Event(), threading.Event()

    def other() -> None:
        with token:
            has_it.set()
            may_go.wait(SECONDS)
            order.append("other")

    with token:
        leave()
        threads(other)
        assert has_it.wait(SECONDS)
        end_wait(kind, begin_wait(kind))
        order.append("large")
        may_go.set()
        token.next_file()
        order.append("next")
    assert order == ["large", "other", "next"]


def test_a_wait_within_a_wait_ends_with_the_outer_one(threads: Start) -> None:
    """A handshake that connects first asks for the token once."""
    token, kind = RunToken(), slow()
    has_it, may_go = threading.Event(), threading.Event()

    def other() -> None:
        with token:
            has_it.set()
            may_go.wait(SECONDS)

    with token:
        threads(other)
        queued(token, 1)
        with released():
            assert has_it.wait(SECONDS)
            end_wait(kind, begin_wait(kind))  # would wait for ever
            may_go.set()


def test_the_end_lets_all_run(threads: Start) -> None:
    """Whoever waits for the token then may hold a lock that the main thread wants."""
    token, ran, may_go = RunToken(), threading.Semaphore(0), threading.Event()

    def other() -> None:
        with token:
            ran.release()
            may_go.wait(SECONDS)
            token.next_file()
            end_wait(kind, begin_wait(kind))

    kind = slow()
    with token:
        for _ in range(3):
            threads(other)
        queued(token, 3)
        token.close()
        for _ in range(3):
            assert ran.acquire(timeout=SECONDS)
        may_go.set()


def test_no_wait_for_it_is_long(threads: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the watching thread: the owner wants a lock of a thread that wants the token."""
    monkeypatch.setattr(run_token, "PATIENCE_SECONDS", 0.05)
    token, lock, kind = RunToken(), threading.Lock(), slow()
    has_lock, may_end = threading.Event(), threading.Event()

    def other() -> None:
        with token, lock:
            begun = begin_wait(kind)
            has_lock.set()
            may_end.wait(SECONDS)
            end_wait(kind, begun)

    threads(other)
    assert has_lock.wait(SECONDS)
    with token:
        may_end.set()
        assert lock.acquire(timeout=SECONDS)


def test_a_lock_that_the_owner_wants_is_not_held_up(threads: Start) -> None:
    """In such a block the token is not asked for."""
    token, lock, kind = RunToken(), threading.Lock(), slow()
    has_lock, may_end = threading.Event(), threading.Event()

    def other() -> None:
        with token, lock, kept():
            leave()
            has_lock.set()
            may_end.wait(SECONDS)
            end_wait(kind, begin_wait(kind))

    threads(other)
    assert has_lock.wait(SECONDS)
    with token:
        may_end.set()
        assert lock.acquire(timeout=run_token.PATIENCE_SECONDS / 2)


@pytest.mark.parametrize("is_free_threaded", [True, False])
def test_nobody_waits_without_a_watching_thread(
    threads: Start, monkeypatch: pytest.MonkeyPatch, *, is_free_threaded: bool
) -> None:
    """As where Python runs threads side by side, or where the system has no thread left."""
    asked = threading.Semaphore(0)
    token = RunToken(asked.release)

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        if is_free_threaded:
            patched.setattr(run_token.sys, "_is_gil_enabled", lambda: False, raising=False)  # type: ignore[attr-defined]
        else:
            patched.setattr(threading.Thread, "start", refused)
        token.watch()
    both = threading.Barrier(2, timeout=SECONDS)

    def work() -> None:
        with token:
            both.wait()

    for each in [threads(work), threads(work)]:
        ended(each)
    assert asked.acquire(timeout=SECONDS)


def test_a_spare_thread_is_asked_for() -> None:
    """As often as the token is free, and nobody wants it."""
    asked = list[int]()
    token = RunToken(lambda: asked.append(1))
    with token:
        with released():
            assert asked == [1]
        assert asked == [1]
    assert asked == [1, 1]
    assert token.is_free


def test_other_threads_just_wait() -> None:
    """What has no token is not concerned."""
    kind = WaitKind(is_urgent=True)
    assert end_wait(kind, begin_wait(kind)) >= 0
    assert kind.expected_seconds == 0
    with released():
        leave()
    run_token.step_aside()
    RunToken().next_file()


def test_it_goes_round(threads: Start) -> None:
    """Many threads with short and long waits, given it and taken from: each does all its work."""
    token, done = RunToken(), list[int]()
    kinds = [WaitKind(is_urgent=is_urgent) for is_urgent in (True, False)]
    kinds[0].expected_seconds = 1.0

    def work() -> None:
        with token:
            for number in range(300):
                kind = kinds[number % 2]
                begun = begin_wait(kind)
                kind.expected_seconds = float(number % 3 == 0)
                end_wait(kind, begun)
                run_token.step_aside()
                if number % 50 == 0:
                    leave()
                done.append(1)
                token.next_file()

    token.watch()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads meet in the middle of things
    try:
        for each in [threads(work) for _ in range(8)]:
            ended(each)
    finally:
        sys.setswitchinterval(interval)
        token.close()
    assert len(done) == 8 * 300
