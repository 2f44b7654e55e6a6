"""The further connections of one file: opened while they pay off, gone when the file is there."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from downloader.errors import (
    ModelmakeError,
    ServerBusy,
    SourceError,
    TooManyOpen,
    TransferError,
)
from downloader.transfer.pool import Host
from downloader.transfer.segments import Segment, Segments


class Crew:
    """Receives a file's segments on several connections; a context manager that ends them all.

    Args:
        host: Whose connections they are.
        segments: The file's work.
        receive: Receives one segment, or raises; called from several threads.
        is_over: Set when the attempt is to end; set here when it did.
        is_open: Whether others may take part at all.
    """

    def __init__(
        self,
        host: Host,
        segments: Segments,
        receive: Callable[[Segment], None],
        is_over: threading.Event,
        *,
        is_open: bool,
    ) -> None:
        self._host, self._segments, self._receive = host, segments, receive
        self._is_over = is_over
        self._is_open = is_open and segments.is_large
        self._is_offered = self._is_open
        self._helpers: list[threading.Thread] = []
        self._failure: Exception | None = None
        self._growing = threading.Lock()
        self._ending = threading.Condition()
        self._helping = 0

    def work(self) -> None:
        """Receive segments in this thread until no more is to be had, then wait for the others.

        Raises:
            ModelmakeError: This thread's connection failed, or another's failed for the file.
        """
        while not self._is_over.is_set() and (segment := self._take()):
            start = segment.position
            try:
                self._one(segment)
            except (SourceError, TransferError, TooManyOpen) as error:
                if not (error.retryable and self._waits_for_helper(error)):
                    raise
                if segment.position == start:
                    self._host.refused()
        self._join()
        if self._failure:
            raise self._failure

    def grow(self) -> bool:
        """Open a further connection, where there is work for it and the host allows it."""
        with self._growing:
            is_useful = self._is_open and not self._is_over.is_set()
            if not (is_useful and self._segments.is_shareable and self._host.try_enter()):
                return False
            helper = threading.Thread(target=self._help, name="modelmake-range", daemon=True)
            with self._ending:
                self._helping += 1
            try:
                helper.start()
            except RuntimeError:  # the system has no thread left
                self._is_open = False
                self._host.leave_further()
                with self._ending:
                    self._helping -= 1
                return False
            self._helpers.append(helper)
            return True

    def _take(self) -> Segment | None:
        self._host.advises(self._segments)
        return self._segments.take()

    def _waits_for_helper(self, error: ModelmakeError) -> bool:
        """Wait until a helper ends, whose place this thread may have; False where there is none.

        Where the server said how long to wait, helpers may go on meanwhile, and no longer: then
        the whole attempt waits.
        """
        asked = error.wait_seconds if isinstance(error, ServerBusy) else None
        until = time.monotonic() + (asked or 0.0)
        with self._ending:
            before = self._helping
            self._ending.wait_for(lambda: self._helping < before or not self._helping)
            self._ending.wait_for(lambda: not self._helping, max(until - time.monotonic(), 0.0))
            return before > 0 and time.monotonic() >= until

    def _join(self) -> None:
        with self._growing:
            helpers = tuple(self._helpers)
        for helper in helpers:
            helper.join()

    def _help(self) -> None:
        """Receive segments; a failure here is the file's only where it says the file changed."""
        has_left = False
        try:
            while not (has_left or self._is_over.is_set()):
                has_left = self._host.drop_surplus()
                segment = None if has_left else self._take()
                if segment is None:
                    break
                has_left = self._helped(segment)
        except _GivenUp:
            pass
        except Exception as error:  # noqa: BLE001 - told by the file's own thread, whatever it is
            self._failure = error
            self._is_over.set()
        finally:
            if not has_left:
                self._host.leave_further()
            with self._ending:
                self._helping -= 1
                self._ending.notify_all()

    def _helped(self, segment: Segment) -> bool:
        """Receive one segment, or give it back: the file's first connection has the patience.

        Returns:
            Whether the connection was dropped meanwhile, as one too many.
        """
        start = segment.position
        segment.is_further = True
        try:
            self._one(segment)
        except (SourceError, TransferError, TooManyOpen) as error:
            if not error.retryable:  # no ranges of this file for others, or no socket
                self._is_open = False
                self._segments.rejoin()
            elif segment.position == start:
                self._host.refused()
            raise _GivenUp from error
        return segment.is_dropped

    def _one(self, segment: Segment) -> None:
        try:
            self._receive(segment)
        finally:
            self._segments.give_back(segment)

    def __enter__(self) -> Self:
        if self._is_offered:
            self._host.offers(self.grow)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_offered:
            self._host.withdraws(self.grow)
        with self._growing:
            self._is_over.set()
        self._join()


class _GivenUp(Exception):  # noqa: N818
    """A helper ends, and its segment is wanted again."""
