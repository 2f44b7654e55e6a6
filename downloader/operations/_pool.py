"""A pool of threads for files: it starts another thread when those that it has wait.

concurrent.futures.ThreadPoolExecutor starts a thread for each file until it has all of them, and
small files then take longer: all threads want the interpreter (fs/run_token.py).
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from downloader.fs.run_token import RunToken

P = ParamSpec("P")
T = TypeVar("T")


class FilePool(Executor):
    """Runs up to so many calls at once, each of them about one file.

    Args:
        limit: The most threads there may be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changing = threading.Lock()
        self._waiting = deque[tuple[Future[Any], Callable[[], Any]]]()
        self._threads = list[threading.Thread]()
        self._working = 0
        self._is_shut = False
        self._token = RunToken(self._start_another)

    def submit(self, act: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it called in one of the threads; RuntimeError after `shutdown`."""
        future = Future[T]()
        with self._changing:
            if self._is_shut:
                raise RuntimeError("The pool is shut down.")
            self._waiting.append((future, lambda: act(*args, **kwargs)))
        if self._token.is_free:
            self._start_another()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as Executor
        """Take no more calls; those that were taken still run, unless they are cancelled."""
        with self._changing:
            self._is_shut = True
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
        for future, _ in dropped:
            future.cancel()
            future.set_running_or_notify_cancel()
        while wait and (alive := [thread for thread in self._threads if thread.is_alive()]):
            for thread in alive:
                thread.join()
        if wait:
            self._token.close()

    def _start_another(self) -> None:
        failed: list[Future[Any]] = []
        with self._changing:
            if not self._waiting or self._working >= self._limit:
                return
            self._token.watch()
            thread = threading.Thread(target=self._work, name="modelmake-file", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left
                while self._waiting and not self._working:
                    failed.append(self._waiting.popleft()[0])
            else:
                self._working += 1
                self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]
        for future in failed:
            if future.set_running_or_notify_cancel():
                future.set_exception(RuntimeError("The system has no thread left."))

    def _work(self) -> None:
        with self._token:
            while call := self._next():
                future, act = call
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(act())
                    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                        future.set_exception(error)
                del call, future, act  # an error's traceback would keep them
                self._token.next_file()

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Return a call; None ends the thread, so that the pool needs no wakeups."""
        with self._changing:
            if self._waiting:
                return self._waiting.popleft()
            self._working -= 1
            return None
