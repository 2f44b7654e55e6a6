"""Status lines, interim replies and floods of headers."""

from dataclasses import replace

from tests.servers.exchange import Exchange, Fault
from tests.servers.reply import Drop, Reply, first, reason


def interim(*statuses: int) -> Fault:
    """Return a fault: these 1xx replies come before the honest one (RFC 9110 §15.2)."""
    before = b"".join(f"HTTP/1.1 {one} {reason(one)}\r\n\r\n".encode() for one in statuses)
    return lambda _, reply: reply.head_through(first(before))


def only_interim(status: int = 100) -> Fault:
    """Return a fault: an interim reply and no other, then the connection ends (curl test 1480)."""
    before = f"HTTP/1.1 {status} {reason(status)}\r\n\r\n".encode()
    return lambda _, reply: replace(reply, status=status).head_through(first(before, Drop()))


def status_line(text: str) -> Fault:
    """Return a fault: the reply begins with this line, for example `HTTP/1.1 2OO OK`."""
    return lambda _, reply: replace(reply, status_line=text).closing()


def headless(_: Exchange, reply: Reply) -> Reply:
    """Send the body alone, as HTTP/0.9 did (curl tests 1172, 1174)."""
    return replace(reply.head_through(lambda _steps: iter(())), close=True)


def garbage(data: bytes = b"\x16\x03\x01 this is no HTTP\r\n\r\n") -> Fault:
    """Return a fault: these bytes come in place of a reply."""
    return lambda _, reply: reply.head_through(first(data, Drop()))


def flood(count: int = 10_000, value_bytes: int = 100) -> Fault:
    """Return a fault: so many more headers (curl tests 497, 747, 1154)."""
    extra = tuple((f"X-Flood-{number}", "x" * value_bytes) for number in range(count))
    return lambda _, reply: replace(reply, headers=(*reply.headers, *extra))


def header(name: str, *values: str) -> Fault:
    """Return a fault: a header has these values, one line each; none takes it away."""
    return lambda _, reply: reply.with_header(name, *values)
