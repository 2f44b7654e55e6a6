"""Lengths that lie, bodies without one, and codings nobody asked for."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, repeat

from tests.servers.body import read_all
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import chunks
from tests.servers.reply import Drop, Reply, Step, interrupted, last

ENDLESS_PIECE = b"x" * 65536


def short(by: int = 1) -> Fault:
    """Return a fault: the body ends `by` bytes early, then the connection (curl test 376)."""

    def fault(_: Exchange, reply: Reply) -> Reply:
        return reply.through(interrupted(max(0, len(reply.body) - by), Drop()))

    return fault


def long(extra: bytes = b"more than was said") -> Fault:
    """Return a fault: more bytes than Content-Length says, then the connection ends."""
    return lambda _, reply: reply.through(last(extra)).closing()


def endless() -> Fault:
    """Return a fault: the body never ends; Content-Length, if any, stays as it was."""

    def stage(steps: Iterable[Step]) -> Iterator[Step]:
        return chain(steps, repeat(ENDLESS_PIECE))

    return lambda _, reply: reply.through(stage).closing()


def unsized(_: Exchange, reply: Reply) -> Reply:
    """Send the body without Content-Length; the end of the connection ends it (RFC 9112 §6.3)."""
    return reply.without("Content-Length").closing()


def content_length(*values: str) -> Fault:
    """Return a fault: Content-Length has these values, one line each; `{n}` is the honest one.

    For example `"{n}", "{n}"` (equal twice), `"{n}, {n}"` (a list), `"{n}", "5"` (conflict).
    Where another length is named the connection ends after the honest body, so that no client waits
    for more. It is not announced: urllib3 2.8 leaks the socket of a reply that says so and that it
    refuses for its lengths.
    """

    def fault(_: Exchange, reply: Reply) -> Reply:
        honest = str(len(reply.body))
        said = [value.format(n=honest) for value in values]
        is_true = set(", ".join(said).split(", ")) == {honest}
        return replace(reply.with_header("Content-Length", *said), close=not is_true)

    return fault


def transfer_encoding(value: str) -> Fault:
    """Return a fault: Transfer-Encoding says this, and gzip and chunked are really done.

    Other codings (`identity`, unknown ones) leave the bytes as they are (curl tests 1495, 1722).
    """
    named = [coding.strip() for coding in value.split(",")]

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        if "gzip" in named:
            reply = reply.with_body(gzip.compress(read_all(reply.body), mtime=0))
        if "chunked" in named:
            reply = chunks.chunked()(exchange, reply)
        bare = reply.without("Content-Length").with_header("Transfer-Encoding", value)
        return bare.closing()

    return fault


def content_encoding(value: str = "gzip") -> Fault:
    """Return a fault: a Content-Encoding nobody asked for; only gzip really codes the body."""

    def fault(_: Exchange, reply: Reply) -> Reply:
        if value == "gzip":
            reply = reply.with_body(gzip.compress(read_all(reply.body), mtime=0))
        return reply.with_header("Content-Encoding", value)

    return fault
