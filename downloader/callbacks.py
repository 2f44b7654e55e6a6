"""Progress for a program that calls `ensure` or `sync`: what all threads tell, in the caller's own.

The threads of a run only note what happens; the caller's thread, which waits for them anyhow, hands
it on. So a callback needs no lock, may be slow, and sees the context of its caller (a notebook
cell's output, an open transaction); and where it raises, the run ends as on Ctrl-C.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from downloader.artifact import Artifact
from downloader.model import Model

EVERY_SECONDS = 0.1

Kind: TypeAlias = Literal[
    "expected", "start", "progress", "unpacking", "retry", "notice", "done", "failed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What happened to one file.

    Attributes:
        kind: "expected" (it is going to be brought up to date), "start" (bytes begin to come),
            "progress" (more are there), "unpacking", "retry" (an attempt failed, another follows),
            "notice" (something worth knowing), "done" or "failed".
        model: The model's name.
        path: The file's path below the model's folder; empty where it is about the whole model.
        done_bytes: How much of the file is there, what an earlier run left included; while
            unpacking, how much came out of the archive. It falls when a file is begun anew.
        total_bytes: The file's length, None while nobody knows it.
        text: Of a retry or failure the cause, of a notice what it says; else empty.
    """

    kind: Kind
    model: str
    path: str
    done_bytes: int = 0
    total_bytes: int | None = None
    text: str = ""


Callback = Callable[[Progress], object]


class Relay:
    """What is told of one run; its files are told of by many threads, it is emptied by one.

    Args:
        callback: Called by `hand_on`, and by nothing else.
        clock: Seconds, never going back.
    """

    def __init__(self, callback: Callback, clock: Callable[[], float] = time.monotonic) -> None:
        self._callback, self._clock = callback, clock
        self._noted = deque[Progress]()
        self._moving: dict[FileWatch, None] = {}
        self._noting = threading.Lock()
        self._next = clock()

    def expect(self, model: Model, stale: list[Artifact]) -> None:
        """Note what is going to be fetched; an archive's files come with it."""
        archives = {each.archive for each in stale if each.archive}
        known = model.locked.archives if model.locked else ()
        wanted = [each for each in (*known, *stale) if each.path in archives or not each.archive]
        for each in wanted:
            self.file(model.name, each.path, each.size).note("expected")

    def file(self, model: str, path: str, size: int | None = None) -> "FileWatch":
        """Return the observer of one file; with an empty path, of the model."""
        return FileWatch(self, model, path, size)

    def note(self, event: Progress) -> None:
        """Keep an event for `hand_on`."""
        self._noted.append(event)

    def note_move(self, file: "FileWatch") -> None:
        """Remember that there is more of a file than was said."""
        with self._noting:
            self._moving.setdefault(file)

    def end_moves(self, file: "FileWatch") -> None:
        """Forget that there is more of a file: its end is told."""
        with self._noting:
            self._moving.pop(file, None)

    def hand_on(self, *, is_last: bool = False) -> None:
        """Call the callback for each event, and for one of the files that moved, in turn.

        Ten times a second at most, so that a slow callback, as of a notebook, is not flooded.
        """
        if self._clock() < self._next and not is_last:
            return
        while self._noted:
            self._callback(self._noted.popleft())
        with self._noting:
            file = next(iter(self._moving), None)
            if file:
                del self._moving[file]
        if file and not is_last:
            self._callback(file.shown())
        self._next = self._clock() + EVERY_SECONDS


class FileWatch:
    """An Observer of one file that notes what it is told."""

    def __init__(self, watch: Relay, model: str, path: str, size: int | None) -> None:
        self._watch, self._model, self._path, self._size = watch, model, path, size
        self._counting = threading.Lock()
        self._done, self._kind = 0, "start"

    def note(self, kind: Kind, text: str = "") -> None:
        """Note an event with the figures of now."""
        self._watch.note(self._event(kind, text))

    def shown(self) -> Progress:
        """Return how far it is."""
        return self._event("unpacking" if self._kind == "unpacking" else "progress")

    def ended(self, size: int) -> None:
        """Note that all of it is there and right."""
        self._done = self._size = size
        self._watch.end_moves(self)
        self.note("done")

    def started(self, have_bytes: int, total_bytes: int | None) -> None:
        """See Observer."""
        with self._counting:
            self._done = have_bytes
            self._size = self._size if total_bytes is None else total_bytes
            is_first, self._kind = self._kind == "start", "progress"
        if is_first:
            self.note("start")

    def moved(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            self._done += count_bytes
        self._watch.note_move(self)

    def waiting(self, reason: str, delay_seconds: float) -> None:  # noqa: ARG002
        """See Observer."""
        self.note("retry", reason)

    def notice(self, text: str) -> None:
        """See Observer."""
        self.note("notice", text)

    def unpacked(self, count_bytes: int) -> None:
        """See Observer."""
        with self._counting:
            if self._kind != "unpacking":
                self._kind, self._done, self._size = "unpacking", 0, None
        self.moved(count_bytes)

    def _event(self, kind: Kind, text: str = "") -> Progress:
        with self._counting:
            return Progress(
                kind=kind,
                model=self._model,
                path=self._path,
                done_bytes=self._done,
                total_bytes=self._size,
                text=text,
            )
