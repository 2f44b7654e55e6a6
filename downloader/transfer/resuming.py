"""Asking for the rest of a file, and judging whether the reply is it. Pure.

Several stores ignore If-Range, and some If-Match; so the reply's own words decide.
"""

from http import HTTPStatus

from downloader.errors import BadResponse, RemoteChanged
from downloader.transfer.head import Head
from downloader.transfer.journal import Binding
from downloader.transfer.ranges import Range, parse_unsatisfied, range_header


class UnusableRange(BadResponse):
    """A 206 is not what was asked for; the whole file may still be had from its first byte on."""


def conditions(gap: Range, binding: Binding) -> dict[str, str]:
    """Return the headers that ask for the gap, of the version that is bound; none for a whole file.

    A gap that ends nowhere, at 0, is the rest of a file of unknown length.
    """
    if not gap.start and gap.stop in (0, binding.size):
        return {}
    wanted = {"Range": range_header(gap.start, gap.stop or None)}
    if binding.validator:
        wanted["If-Match"] = binding.validator
    return wanted


def accepted_range(head: Head, gap: Range, binding: Binding) -> tuple[Range, int | None]:
    """Take a 206 only when it is what `conditions` asked for.

    Returns:
        The range it carries, perhaps a shorter one (RFC 9110 §15.3.7), and the file's size in
        bytes, None when it does not tell.

    Raises:
        UnusableRange: It is coded, another range, or several.
        RemoteChanged: It is of another version.
    """
    try:
        span, total = _wanted_range(head, gap)
    except BadResponse as error:
        raise UnusableRange(str(error), hint=error.hint) from None
    # RFC 9110 §15.3.7: a 206 carries the ETag that the 200 had. Where no SHA-256 will judge the
    # bytes it must; where one will, a store that leaves it out may go on.
    may_be_silent = head.etag is None and binding.sha256 is not None
    is_other_etag = binding.validator not in (None, head.etag) and not may_be_silent
    if is_other_etag or (None not in (binding.size, total) and binding.size != total):
        raise changed(head)
    return span, total


def is_whole_by_416(head: Head, have: int, size: int | None) -> bool:
    """Whether a 416 says that the first `have` bytes, of unknown size so far, are the file."""
    if head.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
        return False
    total = parse_unsatisfied(head.first("Content-Range"))
    return total == have and size in (None, total)


def changed(head: Head) -> RemoteChanged:
    """Return the error for a reply of another version than the one begun."""
    return RemoteChanged(f"{head.place} changed while it was fetched.")


def refuse_coding(head: Head) -> None:
    """Refuse a body whose length and digest are not the file's.

    Raises:
        BadResponse: It is coded.
    """
    if head.coding:
        raise BadResponse(
            f"{head.place} sent the file coded as {head.coding[:40]!r}, unasked: its length "
            "and digest would not be the file's."
        )


def _wanted_range(head: Head, gap: Range) -> tuple[Range, int | None]:
    refuse_coding(head)
    if head.first("Content-Type").lower().startswith("multipart/"):
        raise BadResponse(f"{head.place} answered one range with several.")
    span, total = head.content_range
    has_wrong_end = 0 < gap.stop < span.stop
    if span.start != gap.start or has_wrong_end or head.length not in (None, span.length):
        raise BadResponse(
            f"{head.place} answered bytes {span.start}-{span.stop - 1} of {total} "
            f"when those from {gap.start} on were asked for."
        )
    return span, total
