"""Connections that drop, stall or drip."""

from collections.abc import Iterable, Iterator
from threading import Event

from tests.servers.exchange import Fault
from tests.servers.faults.chunks import cut
from tests.servers.reply import Drop, Pause, Stage, Stall, Step, first, interrupted

MID_HEAD_BYTES = 40
"""Past the status line, before the end of the header section."""


def drop_before_status(*, reset: bool = False) -> Fault:
    """Return a fault: the connection ends (FIN, or RST) before a byte of the reply."""
    return lambda _, reply: reply.head_through(first(Drop(reset)))


def drop_in_headers(*, reset: bool = False) -> Fault:
    """Return a fault: the connection ends inside the header section."""
    return lambda _, reply: reply.head_through(interrupted(MID_HEAD_BYTES, Drop(reset)))


def drop_after(body_bytes: int, *, reset: bool = False) -> Fault:
    """Return a fault: the connection ends after so many bytes of the body.

    After an RST the client may lose bytes that were sent before it (RFC 9293 §3.5.2).
    """
    return lambda _, reply: reply.through(interrupted(body_bytes, Drop(reset)))


def stall_before_headers(until: Event | None = None) -> Fault:
    """Return a fault: nothing comes until the event is set (None: until the server closes)."""
    return lambda _, reply: reply.head_through(first(Stall(until or Event())))


def stall_in_headers(until: Event | None = None) -> Fault:
    """Return a fault: the header section stops in the middle."""
    stop = Stall(until or Event())
    return lambda _, reply: reply.head_through(interrupted(MID_HEAD_BYTES, stop))


def stall_after(body_bytes: int, until: Event | None = None) -> Fault:
    """Return a fault: the body stops after so many bytes."""
    stop = Stall(until or Event())
    return lambda _, reply: reply.through(interrupted(body_bytes, stop))


def drip(size: int, seconds: float) -> Fault:
    """Return a fault: the body comes `size` bytes at a time, with so long between them."""
    return lambda _, reply: reply.through(dripping(size, seconds))


def drip_headers(size: int, seconds: float) -> Fault:
    """Return a fault: the header section comes `size` bytes at a time."""
    return lambda _, reply: reply.head_through(dripping(size, seconds))


def dripping(size: int, seconds: float) -> Stage:
    """Return a stage with a pause after every `size` bytes."""

    def stage(steps: Iterable[Step]) -> Iterator[Step]:
        for piece in cut(steps, size):
            yield from (piece, Pause(seconds))

    return stage
