"""A reply as a value: status, headers, body, and the stages its bytes go through to the wire."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import chain
from threading import Event
from typing import Self

from tests.servers.body import Body, BytesBody, as_body

NOTHING = BytesBody()


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing until the event is set, or the server closes."""

    until: Event


@dataclass(frozen=True, slots=True)
class Drop:
    """End the connection here: with FIN, or with RST when `reset`."""

    reset: bool = False


Step = bytes | Pause | Stall | Drop
"""What happens on the wire, one after the other."""
Stage = Callable[[Iterable[Step]], Iterator[Step]]
"""Rewrites steps on their way to the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server is about to send; faults return a changed copy."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: Body = NOTHING
    status_line: str | None = None
    """In place of the one made from `status`."""
    close: bool = False
    """End the connection (FIN) when the reply is sent."""
    head_stages: tuple[Stage, ...] = ()
    body_stages: tuple[Stage, ...] = ()

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        found = (value for key, value in self.headers if key.lower() == name.lower())
        return next(found, None)

    def without(self, *names: str) -> Self:
        """Return the reply without these headers."""
        gone = {name.lower() for name in names}
        kept = tuple(item for item in self.headers if item[0].lower() not in gone)
        return replace(self, headers=kept)

    def with_header(self, name: str, *values: str) -> Self:
        """Return the reply with exactly these values of a header, one line each."""
        bare = self.without(name)
        return replace(bare, headers=(*bare.headers, *((name, value) for value in values)))

    def with_body(self, content: bytes | Body) -> Self:
        """Return the reply with another body and the Content-Length that fits it."""
        body = as_body(content)
        return replace(self, body=body).with_header("Content-Length", str(len(body)))

    def closing(self) -> Self:
        """Return the reply as the last of its connection, and saying so.

        Said, because a client that reads all it was promised may use the connection again before
        our FIN arrives.
        """
        return replace(self.with_header("Connection", "close"), close=True)

    def through(self, stage: Stage) -> Self:
        """Return the reply with one more stage between its body and the wire."""
        return replace(self, body_stages=(*self.body_stages, stage))

    def head_through(self, stage: Stage) -> Self:
        """Return the reply with one more stage between its header section and the wire."""
        return replace(self, head_stages=(*self.head_stages, stage))

    def head(self) -> bytes:
        """Return status line, headers and the empty line (RFC 9112 §2.1)."""
        first = self.status_line or f"HTTP/1.1 {self.status} {reason(self.status)}"
        lines = [first, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


def reason(status: int) -> str:
    """Return the reason phrase of a status; unregistered ones get a word as well."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unregistered"


def staged(steps: Iterable[Step], stages: Iterable[Stage]) -> Iterable[Step]:
    """Return the steps after every stage, in order."""
    for stage in stages:
        steps = stage(steps)
    return steps


def first(*before: Step) -> Stage:
    """Return a stage that does these steps before all others."""
    return lambda steps: chain(before, steps)


def last(*after: Step) -> Stage:
    """Return a stage that does these steps after all others."""
    return lambda steps: chain(steps, after)


def interrupted(at: int, step: Step) -> Stage:
    """Return a stage that does a step once `at` bytes have passed (or all, when they are fewer)."""

    def stage(steps: Iterable[Step]) -> Iterator[Step]:
        left = at
        for piece in steps:
            if not isinstance(piece, bytes) or left < 0:
                yield piece
            elif len(piece) < left:
                yield piece
                left -= len(piece)
            else:
                yield from (piece[:left], step, piece[left:])
                left = -1
        if left >= 0:
            yield step

    return stage
