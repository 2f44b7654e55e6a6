"""How far one file is: what its transfer tells, counted."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from downloader.reporting.events import Event, Moving, Notice, Resumed, Retry


class FileProgress:
    """The Observer of one file; a context manager that lasts as long as something is done for it.

    It is told from many threads, so what is told a chunk is one addition under its own lock.

    Args:
        model: The model's name.
        path: The artifact's path; empty while a provider is asked about the model.
        size: The file's length where it is known. A file of an archive has none of its own to move:
            0, as its bytes come with the archive.
        tell: Takes events.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        model: str,
        path: str,
        size: int | None,
        tell: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self.model, self.path, self.size = model, path, size
        self._tell, self._clock = tell, clock
        self._counting = threading.RLock()  # a signal may come while its own thread counts
        self._have = self._highest = self._unpacked = 0
        self.moved_bytes = 0
        self._state, self._cause, self._until = "starting", "", 0.0
        self.is_ours = False
        """Whether a reply came: until then others may be at work on it."""
        self.ended: Callable[[FileProgress, bool], None] = lambda _file, _is_done: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.ended(self, error is None)

    def found(self, have_bytes: int) -> None:
        """Count what an earlier run left, before a reply tells whether that still holds."""
        with self._counting:
            self._have = self._highest = have_bytes

    def started(self, have_bytes: int, total_bytes: int | None) -> None:
        """See Observer."""
        with self._counting:
            self._have = have_bytes
            self.is_ours = True
            if total_bytes is not None:
                self.size = total_bytes
        self._now("moving")
        if have_bytes:
            self._tell(Resumed(model=self.model, path=self.path, bytes=have_bytes))

    def moved(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self._have += count_bytes
            self.moved_bytes += count_bytes

    def unpacked(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self._unpacked += count_bytes
        self._state = "unpacking"

    def waiting(self, reason: str, delay_seconds: float) -> None:
        """See Observer."""
        self._now("waiting", reason, self._clock() + delay_seconds)
        self._tell(
            Retry(model=self.model, path=self.path, cause=reason, delay_seconds=delay_seconds)
        )

    def notice(self, text: str) -> None:
        """See Observer."""
        is_wait = text.startswith("waits ") or not self.path
        if is_wait:
            self._now("waiting", text)
        self._tell(Notice(text=text, model=self.model, path=self.path, is_wait=is_wait))

    @property
    def shown_bytes(self) -> int:
        """How many of its bytes are there; never falls, also where the file is begun anew."""
        with self._counting:
            have = self._have if self.size is None else min(self._have, self.size)
            self._highest = max(self._highest, have)
            return self._highest

    def shown(self) -> Moving:
        """Return how it stands now."""
        return Moving(
            model=self.model,
            path=self.path,
            state=self._state,
            bytes=self.shown_bytes,
            total_bytes=self.size,
            unpacked_bytes=self._unpacked,
            cause=self._cause,
            seconds_left=max(0.0, self._until - self._clock()) if self._until else None,
        )

    def _now(self, state: str, cause: str = "", until: float = 0.0) -> None:
        self._state, self._cause, self._until = state, cause, until
