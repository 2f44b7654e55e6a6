"""Let one thread at a time run the Python code of small files, while others wait for replies.

The interpreter runs one thread at a time. If some 40 are ready, each system call of one of them
hands the interpreter to another: a file of 20 kB then costs 500 calls of futex(2), and twice the
time of one thread alone. So a small file is worked on by the thread that has the run token. A wait
that is expected to be long gives the token away; a short one keeps it. A watching thread takes it
from an owner that waits, or computes, for longer than that, as Go's scheduler takes its processors.

The token saves time and protects nothing: a thread that lost it goes on, and asks for it after its
next wait. A thread may ask for it while it holds a lock that the owner wants. Then the watching
thread takes the token from the owner; without that, the thread goes on after PATIENCE_SECONDS.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

LONG_SECONDS = 0.0005
"""An expected wait so long gives the token away; to get it back takes about a tenth of this."""
WATCH_SECONDS, IDLE_SECONDS = 0.004, 0.05
"""How often the watching thread checks: an owner without progress since then loses the token. The
second is for when there is no owner."""
SLICE_SECONDS = 0.02
"""After so long, the owner lets threads go on whose waits have ended."""
PATIENCE_SECONDS = 1.0
"""The longest wait for the token."""
WEIGHT = 0.125
"""Weight of the last wait in the running mean, as for TCP's round-trip times (RFC 6298)."""


class WaitKind:
    """Waits of one kind, and how long they are.

    Attributes:
        expected_seconds: The running mean.
        is_urgent: Whether a connection is idle from their end on, until the thread goes on.
    """

    __slots__ = ("expected_seconds", "is_urgent")

    def __init__(self, *, is_urgent: bool) -> None:
        self.expected_seconds, self.is_urgent = 0.0, is_urgent


REPLY, BODY = WaitKind(is_urgent=True), WaitKind(is_urgent=True)
DISK = WaitKind(is_urgent=False)


class _Member:
    """A thread that works on small files.

    Attributes:
        token: What it shares with others.
        wakeup: Released by who gives it the token.
        depth: How many waits it is in, one within the other.
        progress: Changes with each step that it makes.
        since: When it got the token, in seconds.
        kind: Of a wait in which it keeps the token.
        has_left: Whether it does without the token until its next file.
    """

    __slots__ = ("depth", "has_left", "kind", "progress", "since", "token", "wakeup")

    def __init__(self, token: "RunToken") -> None:
        self.token, self.wakeup = token, threading.Lock()
        self.wakeup.acquire()
        self.progress = self.depth = 0
        self.since = 0.0
        self.kind: WaitKind | None = None
        self.has_left = False


class _Here(threading.local):
    member: _Member | None = None


_here = _Here()


class RunToken:
    """The right to run; a context manager of each thread that works on small files.

    Args:
        spare: Called when the token is free and no thread asks for it; it may start another one.
    """

    def __init__(self, spare: Callable[[], object] = lambda: None) -> None:
        self._spare = spare
        self._changing = threading.Lock()
        self._owner: _Member | None = None
        self._urgent, self._returning = deque[_Member](), deque[_Member]()
        self._starting = deque[_Member]()
        self._is_over = threading.Event()
        self._is_watched = False

    @property
    def is_free(self) -> bool:
        """Whether no thread has it."""
        return self._owner is None

    def watch(self) -> None:
        """Start the watching thread, once; without one, nobody waits for the token."""
        if self._is_watched:
            return
        self._is_watched = True
        if not _has_interpreter_lock():
            self.close()
            return
        watcher = threading.Thread(target=self._watch, name="modelmake-watch", daemon=True)
        try:
            watcher.start()
        except RuntimeError:  # the system has no thread left
            self.close()

    def close(self) -> None:
        """End the watching thread; all threads run freely from now on."""
        with self._changing:
            self._is_over.set()
            waiting = [*self._urgent, *self._returning, *self._starting]
            for queue in (self._urgent, self._returning, self._starting):
                queue.clear()
        for member in waiting:
            member.wakeup.release()

    def __enter__(self) -> Self:
        """Wait for the token, behind all that are in the middle of a file."""
        member = _here.member = _Member(self)
        self._take(member, self._starting)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the token away for good."""
        member, _here.member = _here.member, None
        if member is not None:
            self.give(member)

    def next_file(self) -> None:
        """Begin another file: those go first that are in the middle of one."""
        member = _here.member
        if member is None:
            return
        member.progress += 1
        member.has_left = False
        if self._owner is member:
            if not (self._urgent or self._returning):
                return
            self.give(member)
        self._take(member, self._starting)

    def begin(self, member: _Member, kind: WaitKind | None) -> None:
        """Begin a wait of a thread; one of no kind is a long one."""
        member.depth += 1
        member.progress += 1
        if member.depth > 1 or self._owner is not member:
            return
        if kind is None or kind.expected_seconds >= LONG_SECONDS:
            self.give(member)
        else:
            member.kind = kind

    def end(self, member: _Member, *, is_urgent: bool) -> None:
        """End a wait: go on when the token is here again, the urgent ones first."""
        member.depth -= 1
        member.progress += 1
        member.kind = None
        if member.depth or member.has_left:
            return
        if self._owner is member:
            if not self._returning or time.monotonic() - member.since < SLICE_SECONDS:
                return
            self.give(member)
        self._take(member, self._urgent if is_urgent else self._returning)

    def step_aside(self, member: _Member) -> None:
        """Let the urgent ones go first."""
        if self._urgent and self._owner is member:
            self.give(member)
            self._take(member, self._returning)

    def give(self, member: _Member) -> None:
        """Give the token to the next thread, if this one has it."""
        with self._changing:
            if self._owner is not member:
                return
            queue = self._urgent or self._returning or self._starting
            following = queue.popleft() if queue else None
            self._own(following)
        if following is not None:
            following.wakeup.release()
        else:
            self._spare()

    def _take(self, member: _Member, queue: deque[_Member]) -> None:
        with self._changing:
            is_over = self._is_over.is_set()
            if self._owner is None and not is_over:
                self._own(member)
            must_wait = self._owner is not member and not is_over
            if must_wait:
                queue.append(member)
        if is_over:
            self._spare()
        if must_wait and not member.wakeup.acquire(timeout=PATIENCE_SECONDS):
            with self._changing:
                if member in queue:
                    queue.remove(member)
                    return
            member.wakeup.acquire()  # it was given just now

    def _own(self, member: _Member | None) -> None:
        self._owner = member
        if member is not None:
            member.since = time.monotonic()
            member.progress += 1

    def _watch(self) -> None:
        owner: _Member | None = None
        seen: tuple[_Member | None, int] = (None, 0)
        while not self._is_over.wait(WATCH_SECONDS if owner else IDLE_SECONDS):
            owner = self._owner
            now = (owner, owner.progress if owner else 0)
            if owner is not None and now == seen:
                if (kind := owner.kind) is not None:
                    kind.expected_seconds = max(kind.expected_seconds, WATCH_SECONDS)
                self.give(owner)
            seen = now


def _has_interpreter_lock() -> bool:
    """Whether only one thread runs Python at a time; not so in free-threaded builds (PEP 703)."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def begin_wait(kind: WaitKind) -> tuple[_Member | None, float]:
    """Begin a wait, and return what `end_wait` wants; threads without a token just wait."""
    if (member := _here.member) is not None:
        member.token.begin(member, kind)
    return member, time.monotonic()


def end_wait(kind: WaitKind, begun: tuple[_Member | None, float]) -> float:
    """End a wait, and go on when the token is here again.

    Returns:
        How long the wait itself was, in seconds.
    """
    member, began = begun
    seconds = time.monotonic() - began
    if member is not None:
        kind.expected_seconds += WEIGHT * (seconds - kind.expected_seconds)
        member.token.end(member, is_urgent=kind.is_urgent)
    return seconds


@contextmanager
def released(*, is_urgent: bool = False) -> Iterator[None]:
    """Let others run in a block that waits, or that computes outside of the interpreter.

    Args:
        is_urgent: As in WaitKind.
    """
    if (member := _here.member) is None:
        yield
        return
    member.token.begin(member, None)
    try:
        yield
    finally:
        member.token.end(member, is_urgent=is_urgent)


@contextmanager
def kept() -> Iterator[None]:
    """Keep the token, or do without it, in a block that holds a lock which the owner may want."""
    if (member := _here.member) is None:
        yield
        return
    member.depth += 1
    try:
        yield
    finally:
        member.depth -= 1


def step_aside() -> None:
    """Let those go first that have a connection: this thread gave its own back."""
    if (member := _here.member) is not None:
        member.token.step_aside(member)


def leave() -> None:
    """Do without the token until the next file: this one is large, or others are needed for it."""
    if (member := _here.member) is not None:
        member.has_left = True
        member.token.give(member)
