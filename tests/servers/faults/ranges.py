"""206, 416 and Content-Range that do not fit the request.

To a request without Range they act as if the whole file had been asked for as a range.
"""

import re
from collections.abc import Callable

from tests.servers.body import PartBody, read_all
from tests.servers.exchange import Exchange, Fault, Resource
from tests.servers.faults.statuses import status
from tests.servers.honest import dated, partial
from tests.servers.reply import Reply

_HONEST = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
BOUNDARY = "THIS_STRING_SEPARATES"


def ignored(exchange: Exchange, _: Reply) -> Reply:
    """Answer 200 with the whole file, as a server does that knows no ranges."""
    return exchange.answer_without("Range").without("Accept-Ranges")


def resource_of(exchange: Exchange) -> Resource:
    """Return the resource; a range fault needs one.

    Raises:
        LookupError: The script was written for a path where nothing was put.
    """
    if exchange.resource is None:
        raise LookupError(f"nothing was put at {exchange.request.path}")
    return exchange.resource


def span_of(reply: Reply, size: int) -> tuple[int, int]:
    """Return the [start, stop) a reply carries; the whole file when it is no 206."""
    found = _HONEST.fullmatch(reply.header("Content-Range") or "")
    return (int(found[1]), int(found[2]) + 1) if found else (0, size)


def sends(choose: Callable[[int, int, int], tuple[int, int]]) -> Fault:
    """Return a fault: a 206, true in itself, of another span than asked for.

    Args:
        choose: (start, stop, size) of the honest reply -> (start, stop) to send.
    """

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        resource = resource_of(exchange)
        size = len(resource.body)
        start, stop = choose(*span_of(reply, size), size)
        return dated(partial(resource, start, stop))

    return fault


def claims(template: str | None) -> Fault:
    """Return a fault: the bytes asked for, with a Content-Range that says something else.

    Args:
        template: Holds `{start}`, `{last}` (inclusive) and `{size}`; None: no Content-Range.
    """

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        size = len(resource_of(exchange).body)
        start, stop = span_of(reply, size)
        honest = sends(lambda *_: (start, stop))(exchange, reply)
        if template is None:
            return honest.without("Content-Range")
        said = template.format(start=start, last=stop - 1, size=size)
        return honest.with_header("Content-Range", said)

    return fault


unsolicited: Fault = sends(lambda start, stop, _: (start, stop))
"""206 also to a plain GET (curl tests 12, 1058)."""
whole_file: Fault = sends(lambda _start, _stop, size: (0, size))
"""206 with 0-n/n, whatever was asked for."""
without_content_range: Fault = claims(None)
backwards: Fault = claims("bytes {last}-{start}/{size}")
"""The end lies before the start."""
unsatisfied_but_206: Fault = claims("bytes */{size}")
unknown_total: Fault = claims("bytes {start}-{last}/*")
"""Allowed by RFC 9110 §14.4, and no help to a client that checks the total."""
other_unit: Fault = claims("items {start}-{last}/{size}")


def other_start(by: int = 1) -> Fault:
    """Return a fault: a true 206 that begins `by` bytes too early (or too late, when negative)."""
    return sends(lambda start, stop, _: (max(0, start - by), stop))


def longer(by: int = 1) -> Fault:
    """Return a fault: a true 206 of `by` bytes more than asked for."""
    return sends(lambda start, stop, size: (start, min(stop + by, size)))


def shorter(by: int = 1) -> Fault:
    """Return no fault at all: a true 206 of fewer bytes than asked for (RFC 9110 §15.3.7)."""
    return sends(lambda start, stop, _: (start, max(start + 1, stop - by)))


def other_total(by: int = 1) -> Fault:
    """Return a fault: the total in Content-Range is off by so many bytes."""

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        total = len(resource_of(exchange).body) + by
        return claims(f"bytes {{start}}-{{last}}/{total}")(exchange, reply)

    return fault


def length_differs(by: int = 1) -> Fault:
    """Return a fault: `by` bytes fewer than Content-Range says; Content-Length agrees with them."""

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        honest = unsolicited(exchange, reply)
        return honest.with_body(PartBody(honest.body, 0, max(0, len(honest.body) - by)))

    return fault


def unsatisfiable(content_range: str | None = "bytes */{size}", body: bytes = b"") -> Fault:
    """Return a fault: 416, with this Content-Range (`{size}` is the true one) or none."""

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        size = len(resource_of(exchange).body)
        headers = (
            {} if content_range is None else {"Content-Range": content_range.format(size=size)}
        )
        return status(416, body, headers)(exchange, reply)

    return fault


def multipart(exchange: Exchange, reply: Reply) -> Reply:
    """Answer one range as multipart/byteranges (RFC 9110 §14.6; curl test 164)."""
    honest = unsolicited(exchange, reply)
    head = f"--{BOUNDARY}\r\nContent-Range: {honest.header('Content-Range')}\r\n\r\n"
    body = head.encode() + read_all(honest.body) + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = f"multipart/byteranges; boundary={BOUNDARY}"
    return honest.without("Content-Range").with_body(body).with_header("Content-Type", kind)


def unannounced(_: Exchange, reply: Reply) -> Reply:
    """Behave, without Accept-Ranges: ranges work and nobody says so, as on old Azure."""
    return reply.without("Accept-Ranges")
