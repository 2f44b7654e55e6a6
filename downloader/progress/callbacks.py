"""Tell a program what happens in a run, by calling a function of its own.

A program that calls `ensure` or `sync` gets its callback called in its own thread, which waits for
the others anyway. So a callback needs no lock, may be slow, and sees the context of its caller (a
notebook cell's output, an open transaction). If it raises, the run ends as on Ctrl-C.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from downloader.errors import one_line
from downloader.progress import events
from downloader.progress.tracker import FileProgress, Run

EVERY_SECONDS = 0.1

Kind: TypeAlias = Literal[
    "expected", "start", "progress", "unpacking", "retry", "notice", "done", "failed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An event of one file.

    Attributes:
        kind: "expected" (it is going to be brought up to date), "start" (bytes begin to come),
            "progress" (more are there), "unpacking", "retry" (an attempt failed, another follows),
            "notice" (something worth knowing), "done" or "failed".
        model: The model's name.
        path: The file's path below the model's folder; empty if it is about the whole model.
        done_bytes: How much of the file is there, what an earlier run left included; while
            unpacking, how much came out of the archive. It falls when a file starts over.
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


class CallbackDispatcher:
    """Calls a callback with what happens in a run; events come from many threads, calls from one.

    Args:
        run: The run.
        callback: Called by `hand_on`, and by nothing else.
    """

    def __init__(self, run: Run, callback: Callback) -> None:
        self._run, self._callback = run, callback
        self._noted = deque[Progress]()
        self._shown: dict[FileProgress, int] = {}
        """How many bytes of each moving file were reported; the least recent report first."""
        self._next = run.clock()
        run.subscribe(self._take)

    def hand_on(self, *, is_last: bool = False) -> None:
        """Call the callback for each event, and for one of the files that moved, in turn.

        Ten times a second at most, so that a slow callback, as of a notebook, is not flooded.
        """
        if self._run.clock() < self._next and not is_last:
            return
        while self._noted:
            self._callback(self._noted.popleft())
        file = None if is_last else self._next_moved()
        if file and not self._noted:  # what was noted meanwhile comes first
            self._shown.pop(file, None)
            self._shown[file] = file.moved_bytes + file.unpacked_bytes
            self._callback(self._of_file("unpacking" if file.is_unpacking else "progress", file))
        self._next = self._run.clock() + EVERY_SECONDS

    def _take(self, event: events.AnyEvent) -> None:
        match event:
            case events.Expected():
                self._noted += [
                    Progress(kind="expected", model=model, path=path, total_bytes=size)
                    for (model, path), size in event.sizes.items()
                ]
            case events.FileStarted():
                self._note("start", event.model, event.path)
            case events.Retry():
                self._note("retry", event.model, event.path, event.cause)
            case events.Notice():
                self._note("notice", event.model, event.path, event.text)
            case events.Failed():
                self._note("failed", event.model, event.path, event.error)
            case events.Done(model=model, path=path, bytes=size):
                done = Progress(
                    kind="done", model=model, path=path, done_bytes=size, total_bytes=size
                )
                self._noted.append(done)
            case _:
                pass

    def _note(self, kind: Kind, model: str, path: str, text: str = "") -> None:
        """Note an event with the figures of now."""
        text = one_line(text)
        for file in self._run.active:
            if (file.model, file.path) == (model, path):
                self._noted.append(self._of_file(kind, file, text))
                break
        else:
            self._noted.append(Progress(kind=kind, model=model, path=path, text=text))

    def _of_file(self, kind: Kind, file: FileProgress, text: str = "") -> Progress:
        done, total = file.figures
        return Progress(
            kind=kind,
            model=file.model,
            path=file.path,
            done_bytes=done,
            total_bytes=total,
            text=text,
        )

    def _next_moved(self) -> FileProgress | None:
        """Return the file with new bytes whose last report is the oldest."""
        active = self._run.active
        self._shown = {file: count for file, count in self._shown.items() if file in active}
        files = [*(file for file in active if file not in self._shown), *self._shown]
        return next(
            (
                file
                for file in files
                if file.moved_bytes + file.unpacked_bytes != self._shown.get(file, 0)
            ),
            None,
        )
