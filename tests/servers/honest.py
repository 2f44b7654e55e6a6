"""What a server that obeys RFC 9110 answers. Pure: an exchange goes in, a reply comes out.

Several ranges in one request are answered with the whole file, as RFC 9110 §14.2 allows.
"""

import re
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime

from tests.servers.body import PartBody
from tests.servers.exchange import Exchange, Resource
from tests.servers.reply import Reply

LAST_MODIFIED = "Thu, 18 Feb 2021 20:31:13 GMT"
METHODS = ("GET", "HEAD")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)


def answer(exchange: Exchange) -> Reply:
    """Return the reply RFC 9110 asks for, the body included (HEAD drops it on the wire)."""
    if exchange.request.method not in METHODS:
        return dated(Reply(status=405).with_header("Allow", ", ".join(METHODS)).with_body(b""))
    if exchange.resource is None:
        return dated(Reply(status=404).with_body(b"not found\n"))
    refused = precondition(exchange, exchange.resource)
    return dated(refused or selected(exchange, exchange.resource))


def dated(reply: Reply) -> Reply:
    """Return the reply with the Date every origin server with a clock sends (§6.6.1)."""
    return reply.with_header("Date", formatdate(usegmt=True))


def described(reply: Reply, resource: Resource) -> Reply:
    """Return the reply with the resource's validators and own headers."""
    fields = {"Last-Modified": LAST_MODIFIED, "Accept-Ranges": "bytes"}
    if resource.etag is not None:
        fields["ETag"] = resource.etag
    for name, value in {**fields, **resource.headers}.items():
        reply = reply.with_header(name, value)
    return reply


def precondition(exchange: Exchange, resource: Resource) -> Reply | None:
    """Return 412 or 304 when a precondition asks for it, in the order of §13.2.2."""
    headers, etag = exchange.request.headers, resource.etag
    if "If-Match" in headers:
        if not matches(headers["If-Match"], etag, weakly=False):
            return described(Reply(status=412).with_body(b""), resource)
    elif modified_after(headers.get("If-Unmodified-Since"), resource) is True:
        return described(Reply(status=412).with_body(b""), resource)
    if "If-None-Match" in headers:
        unchanged = matches(headers["If-None-Match"], etag, weakly=True)
    else:
        unchanged = modified_after(headers.get("If-Modified-Since"), resource) is False
    return described(Reply(status=304), resource) if unchanged else None


def matches(listed: str, etag: str | None, *, weakly: bool) -> bool:
    """Return whether a list of entity tags holds this one (§8.8.3.2)."""
    if listed.strip() == "*":
        return True
    tags = [tag.strip() for tag in listed.split(",")]
    if etag is None:
        return False
    if weakly:
        return etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in tags}
    return not etag.startswith("W/") and etag in tags


def modified_after(date: str | None, resource: Resource) -> bool | None:
    """Return whether the resource changed after an HTTP-date; None when there is no usable date."""
    since = parse_date(date)
    changed = parse_date(resource.headers.get("Last-Modified", LAST_MODIFIED))
    return None if since is None or changed is None else changed > since


def parse_date(date: str | None) -> datetime | None:
    """Return an HTTP-date as a datetime, or None when it is none."""
    try:
        return parsedate_to_datetime(date) if date else None
    except ValueError:
        return None


def selected(exchange: Exchange, resource: Resource) -> Reply:
    """Return the whole resource, the range asked for, or 416."""
    size = len(resource.body)
    span = asked_span(exchange, resource)
    if span is None:
        return described(Reply(status=200).with_body(resource.body), resource)
    start, stop = span
    if start >= stop:
        refused = Reply(status=416).with_header("Content-Range", f"bytes */{size}")
        return refused.with_body(b"")
    return partial(resource, start, stop)


def partial(resource: Resource, start: int, stop: int) -> Reply:
    """Return 206 with the bytes in [start, stop)."""
    content_range = f"bytes {start}-{stop - 1}/{len(resource.body)}"
    reply = Reply(status=206).with_header("Content-Range", content_range)
    return described(reply.with_body(PartBody(resource.body, start, stop)), resource)


def asked_span(exchange: Exchange, resource: Resource) -> tuple[int, int] | None:
    """Return the range asked for as [start, stop), empty when it cannot be satisfied.

    None: there is none to obey (not a GET, malformed, or If-Range names another version).
    """
    request = exchange.request
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or found is None or not if_range_holds(exchange, resource):
        return None
    first, last = found.groups()
    size = len(resource.body)
    if first:
        backwards = bool(last) and int(last) < int(first)
        return None if backwards else (int(first), min(int(last) + 1, size) if last else size)
    return (max(0, size - int(last)), size) if last else None


def if_range_holds(exchange: Exchange, resource: Resource) -> bool:
    """Return whether If-Range is absent or names this very version, strongly (§13.1.5)."""
    wanted = exchange.request.headers.get("If-Range")
    if wanted is None:
        return True
    if wanted.startswith(('"', "W/")):
        return matches(wanted, resource.etag, weakly=False)
    return wanted == resource.headers.get("Last-Modified", LAST_MODIFIED)
