"""Events of a run, as values for subscribers. docs/progress.md describes them for programs.

An `Observer` follows one transfer. Sizes are in bytes, times in seconds. No text here
holds a query string or a credential: they are those of errors.py.
"""

import errno
import os
import re
import traceback
from pathlib import Path
from typing import ClassVar

import msgspec

from downloader.errors import ModelmakeError


def shown_path(path: Path) -> str:
    """Return the path as people type it: relative to the working directory, with slashes."""
    return Path(os.path.relpath(path)).as_posix()


def file_name(model: str, path: str) -> str:
    """Return model and path, as in `doit fetch:NAME`; the model's name if there is no path."""
    return f"{model}/{path}" if path else model


class Value(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Base of the events. A dataclass takes several times as long to define, at each start."""


class Start(Value, frozen=True, kw_only=True):
    """The run begins to move files.

    Attributes:
        files: How many files are stale.
        bytes: Their size together, as far as models.lock knows it.
        unknown_sizes: How many of them have no known size.
    """

    event: ClassVar[str] = "start"
    files: int
    bytes: int
    unknown_sizes: int


class Moving(Value, frozen=True, kw_only=True):
    """One file that something is being done for.

    Attributes:
        model: The model's name.
        path: The artifact's path; empty while a provider is asked about the model.
        state: "starting", "moving", "waiting" (for the next attempt, another process, a provider)
            or "unpacking".
        bytes: How many of its bytes are there; never falls.
        total_bytes: Its length, None while nobody knows it.
        unpacked_bytes: How many came out of an archive so far.
        cause: What is waited for, else empty.
        seconds_left: How long until the next attempt, else None.
    """

    model: str
    path: str
    state: str
    bytes: int
    total_bytes: int | None
    unpacked_bytes: int = 0
    cause: str = ""
    seconds_left: float | None = None

    @property
    def name(self) -> str:
        """Model and path, as in `doit fetch:NAME`."""
        return file_name(self.model, self.path)


class RunStatus(Value, frozen=True, kw_only=True):
    """Progress of the run.

    Attributes:
        files: How many files it is about.
        ended: How many of them are done, or have failed.
        failed: How many of them have failed.
        bytes: How many bytes are there, those from before included; never falls, nor passes total.
        total_bytes: How many there will be, as far as is known.
        unknown_sizes: Of how many files nobody knows the length yet.
        fraction: `bytes` of `total_bytes`, None while a length is unknown; never falls.
        moved_bytes: How many were downloaded in this run.
        bytes_per_second: How fast they come now; bytes from before count for nothing.
        seconds_left: How long it will take at this rate; None if nobody can know.
        moving: What is being done.
    """

    event: ClassVar[str] = "progress"
    files: int
    ended: int
    failed: int
    bytes: int
    total_bytes: int
    unknown_sizes: int
    fraction: float | None
    moved_bytes: int
    bytes_per_second: float
    seconds_left: float | None
    moving: tuple[Moving, ...]


class Resumed(Value, frozen=True, kw_only=True):
    """A file resumes what an earlier run or attempt left."""

    event: ClassVar[str] = "resumed"
    model: str
    path: str
    bytes: int


class Retry(Value, frozen=True, kw_only=True):
    """An attempt failed, and the next one follows after a delay.

    Attributes:
        model: The model's name.
        path: The artifact's path.
        cause: Why the attempt failed.
        delay_seconds: How long until the next attempt.
        attempt: The number of the next attempt, counted from the last one that brought bytes; 0 if
            that is not known.
        attempts: After how many attempts without progress the file fails.
    """

    event: ClassVar[str] = "retry"
    model: str
    path: str
    cause: str
    delay_seconds: float
    attempt: int = 0
    attempts: int = 0


class Notice(Value, frozen=True, kw_only=True):
    """Something the user should know; `model` and `path` are empty if it is not about a file.

    Attributes:
        text: What it is.
        model: The model's name.
        path: The artifact's path.
        is_wait: Whether it says what is waited for: another process, or a provider.
    """

    event: ClassVar[str] = "notice"
    text: str
    model: str = ""
    path: str = ""
    is_wait: bool = False


class Done(Value, frozen=True, kw_only=True):
    """One file is as models.lock says.

    Attributes:
        model: The model's name.
        path: The artifact's path.
        target: Where it is, as it is shown to people.
        verb: "fetched", "linked", "unpacked", "verified" when it was there already, or "published"
            when `doit publish` uploaded it.
        bytes: Its length.
        moved_bytes: How many bytes were downloaded for it.
        seconds: How long it took.
        is_first_use: Whether its SHA-256 was pinned by this.
        note: What else is to be said of it, a few words.
        sha256: Its digest, if known.
    """

    event: ClassVar[str] = "done"
    model: str
    path: str
    target: str
    verb: str
    bytes: int
    moved_bytes: int
    seconds: float
    is_first_use: bool = False
    note: str = ""
    sha256: str | None = None


class Failed(Value, frozen=True, kw_only=True):
    """One file, or one task without a file, failed.

    Attributes:
        task: The task's name, as doit knows it.
        model: The model's name, empty if it is not about one.
        path: The artifact's path, empty if it is not about one.
        error: What happened and why, one sentence.
        hint: What to do next, may be empty.
        code: Which kind of error, one of errors.py's in lower case: "not-found".
        trace: Where in the code, when debugging.
        target: The file's place as people type it, empty if it is not known.
        is_finding: As in ModelmakeError; only for people, not for programs.
    """

    event: ClassVar[str] = "failed"
    task: str
    model: str = ""
    path: str = ""
    error: str
    hint: str = ""
    code: str
    trace: str = ""
    target: str = ""
    is_finding: bool = False

    @property
    def name(self) -> str:
        """The file's name for people: its place, or the task's name."""
        return self.target or self.task

    @property
    def is_full_disk(self) -> bool:
        """Whether the disk had no space, or the user's quota none: one cause for every file."""
        return any(f": {os.strerror(each)}." in self.error for each in (errno.ENOSPC, errno.EDQUOT))


class Summary(Value, frozen=True, kw_only=True):
    """The run is over.

    Attributes:
        state: "ok", "failed" or "interrupted".
        fetched: How many files were downloaded.
        linked: How many came out of the shared store.
        unpacked: How many came out of archives.
        verified: How many were there already, and proved right.
        failed: How many failures there were.
        not_begun: How many files were not tried.
        moved_bytes: How many bytes were downloaded.
        unfinished_bytes: How many of those are of files that did not arrive whole.
        seconds: How long it took.
    """

    event: ClassVar[str] = "summary"
    state: str
    fetched: int
    linked: int
    unpacked: int
    verified: int
    failed: int
    not_begun: int
    moved_bytes: int
    unfinished_bytes: int = 0
    seconds: float


class Expected(Value, frozen=True, kw_only=True):
    """Files that were not spoken of before are going to be brought up to date.

    Attributes:
        sizes: Length in bytes by model and path, None while nobody knows it.
    """

    sizes: dict[tuple[str, str], int | None]


class FileStarted(Value, frozen=True, kw_only=True):
    """The first reply about a file came."""

    model: str
    path: str


Event = Start | RunStatus | Resumed | Retry | Notice | Done | Failed | Summary
"""The events that docs/progress.md describes."""
AnyEvent = Event | Expected | FileStarted
"""The events that a subscriber gets."""


def failed_of(error: Exception, *, is_debug: bool = False) -> Failed:
    """Return the event for an error; the caller adds the task and the file.

    Args:
        error: Why it failed. The text of one of ours holds no secret.
        is_debug: Whether to add where in the code it arose. Only lines of code are shown, not the
            errors that led to it: their texts may hold what a URL's query says.
    """
    lines = traceback.format_tb(error.__traceback__) if is_debug else []
    return Failed(
        task="",
        error=str(error),
        hint=error.hint if isinstance(error, ModelmakeError) else "",
        code=code_of(error),
        trace="".join(lines),
        is_finding=isinstance(error, ModelmakeError) and error.is_finding,
    )


def code_of(error: BaseException) -> str:
    """Return the name of an error's kind for programs: `not-found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


class Observer:
    """Follows one file's transfer; the threads that move the bytes call it. This one is silent."""

    def started(
        self, have_bytes: int, total_bytes: int | None, *, is_resumable: bool = True
    ) -> None:
        """A reply came; `have_bytes` of the file are here from before.

        `is_resumable`: whether the next run can begin with them, as far as the server says.
        """

    def moved(self, count_bytes: int) -> None:
        """More bytes were written."""

    def waiting(
        self, reason: str, delay_seconds: float, attempt: int = 0, attempts: int = 0
    ) -> None:
        """An attempt failed; the next one follows after the delay. See Retry."""

    def notice(self, text: str) -> None:
        """The user should know something: what the file waits for, or what is wrong."""

    def unpacked(self, count_bytes: int) -> None:
        """More bytes came out of the archive."""
