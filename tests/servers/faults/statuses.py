"""Any status, with any body and headers, and redirects."""

from collections.abc import Mapping

from tests.servers.exchange import Exchange, Fault
from tests.servers.honest import dated
from tests.servers.reply import Reply

BODILESS = (204, 304)


def status(code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Fault:
    """Return a fault: this reply in place of the honest one.

    A 204 or 304 has no Content-Length; given a body it breaks RFC 9112 §6.3, and the connection
    ends after it.
    """

    def fault(_: Exchange, __: Reply) -> Reply:
        reply = dated(Reply(status=code)).with_body(body)
        if code in BODILESS:
            reply = reply.without("Content-Length")
            reply = reply.closing() if body else reply
        for name, value in (headers or {}).items():
            reply = reply.with_header(name, value)
        return reply

    return fault


def busy(retry_after: str | None = None, code: int = 503) -> Fault:
    """Return a fault: come back later (429 or 503), with this Retry-After when there is one."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return status(code, b"busy\n", headers)


def redirect(location: str | None, code: int = 302) -> Fault:
    """Return a fault: a redirect to an absolute or relative URL; None: Location is missing."""
    headers = {} if location is None else {"Location": location}
    return status(code, b"it is elsewhere\n", headers)


def redirect_to_itself(code: int = 302) -> Fault:
    """Return a fault: a redirect to the very target asked for; with `always`, a loop."""
    return lambda exchange, reply: redirect(exchange.request.target, code)(exchange, reply)
