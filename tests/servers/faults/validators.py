"""ETags that change, are weak, unquoted or missing, and stores that look at none."""

from tests.servers.exchange import Exchange, Fault
from tests.servers.reply import Reply


def etag(value: str) -> Fault:
    """Return a fault: this is the ETag, as a CDN whose nodes disagree would send."""
    return lambda _, reply: reply.with_header("ETag", value)


changed: Fault = etag('"another-version"')
"""The ETag is another one all of a sudden."""


def weak(_: Exchange, reply: Reply) -> Reply:
    """Send the same tag as a weak one; If-Match must not be sent for it (RFC 9110 §13.1.1)."""
    return reply.with_header("ETag", "W/" + (reply.header("ETag") or '"none"').removeprefix("W/"))


def unquoted(_: Exchange, reply: Reply) -> Reply:
    """Send the tag without its quotes, as old Azure does."""
    return reply.with_header("ETag", (reply.header("ETag") or "none").strip('"'))


def missing(_: Exchange, reply: Reply) -> Reply:
    """Send neither ETag nor Last-Modified."""
    return reply.without("ETag", "Last-Modified")


def only_date(_: Exchange, reply: Reply) -> Reply:
    """Send Last-Modified and no ETag."""
    return reply.without("ETag")


def blind(*names: str) -> Fault:
    """Return a fault: these request headers are not looked at (all preconditions by default).

    S3 and Azure emulators ignore If-Range, Google's ignores If-Match as well.
    """
    unseen = names or ("If-Match", "If-Range", "If-None-Match", "If-Unmodified-Since")
    return lambda exchange, _: exchange.answer_without(*unseen)
