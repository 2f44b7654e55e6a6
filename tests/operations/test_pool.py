"""The pool whose threads begin when the others wait."""

import threading
from collections.abc import Iterator

import pytest

from downloader.fs.run_token import released
from downloader.operations._pool import FilePool

MOST = 4
SECONDS = 20.0


@pytest.fixture
def pool() -> Iterator[FilePool]:
    """Give a pool that is shut down at the end."""
    made = FilePool(MOST)
    yield made
    made.shutdown(cancel_futures=True)
    assert not [each for each in threading.enumerate() if each.name == "modelmake-file"]


def test_one_thread_does_what_does_not_wait(pool: FilePool) -> None:
    """Its next call is there before another thread would be."""
    is_there = threading.Event()

    def first() -> int:
        is_there.wait(SECONDS)
        return threading.get_ident()

    began = pool.submit(first)
    others = [pool.submit(threading.get_ident) for _ in range(50)]
    is_there.set()
    idents = {future.result(SECONDS) for future in others}
    assert began.result(SECONDS)
    assert len(idents) <= 2  # the watching thread may have started one beside the first


def test_as_many_wait_at_once_as_there_may_be(pool: FilePool) -> None:
    """And no more."""
    inside, all_there, may_end = threading.Semaphore(0), list[int](), threading.Event()

    def waits() -> None:
        all_there.append(1)
        inside.release()
        with released():
            may_end.wait(SECONDS)

    futures = [pool.submit(waits) for _ in range(2 * MOST)]
    for _ in range(MOST):
        assert inside.acquire(timeout=SECONDS)
    assert len(all_there) == MOST
    may_end.set()
    for future in futures:
        future.result(SECONDS)


def test_an_error_is_the_futures(pool: FilePool) -> None:
    """And the thread goes on with the next call."""

    def fails() -> None:
        raise KeyError("why")

    failed, after = pool.submit(fails), pool.submit(lambda: 5)
    with pytest.raises(KeyError, match="why"):
        failed.result(SECONDS)
    assert after.result(SECONDS) == 5


def test_shut_down_lets_what_was_taken_run(pool: FilePool) -> None:
    """Unless it is to be cancelled."""
    futures = [pool.submit(lambda: 1) for _ in range(20)]
    pool.shutdown()
    assert [future.result(0) for future in futures] == [1] * 20
    with pytest.raises(RuntimeError):
        pool.submit(lambda: 1)


def test_what_is_cancelled_never_runs(pool: FilePool) -> None:
    """What runs already goes on."""
    began, may_end = threading.Event(), threading.Event()

    def first() -> str:
        began.set()
        may_end.wait(SECONDS)
        return "whole"

    running = pool.submit(first)
    assert began.wait(SECONDS)
    ran = list[int]()
    others = [pool.submit(ran.append, 1) for _ in range(MOST * 3)]
    pool.shutdown(wait=False, cancel_futures=True)
    may_end.set()
    pool.shutdown()
    assert running.result(0) == "whole"
    assert all(future.cancelled() or future.done() for future in others)
    assert len(ran) == sum(not future.cancelled() for future in others)


def test_it_begins_again_after_it_was_idle(pool: FilePool) -> None:
    """Idle threads end; the next call starts one."""
    for number in range(5):
        assert pool.submit(lambda each=number: each).result(SECONDS) == number  # type: ignore[misc]
