"""What the faulty server can do wrong. A fault takes the honest reply and returns another.

    framing      lengths that lie, bodies without one, codings nobody asked for
    chunks       the chunked coding, honest and broken
    heads        status lines, interim replies, floods of headers
    statuses     any status, redirects
    pages        pages in place of the file: login page, XML error, LFS pointer
    ranges       206, 416 and Content-Range that do not fit the request
    validators   ETags that change, are weak, unquoted or missing
    damage       bits that are wrong
    timing       connections that drop, stall or drip

They compose: `combined(framing.endless(), chunks.chunked())`.
"""

from tests.servers.exchange import Exchange, Fault
from tests.servers.reply import Reply


def combined(*faults: Fault) -> Fault:
    """Return the faults one after the other, as one."""

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        for one in faults:
            reply = one(exchange, reply)
        return reply

    return fault


def honest(_exchange: Exchange, reply: Reply) -> Reply:
    """Change nothing: a place in a script where the server behaves."""
    return reply
