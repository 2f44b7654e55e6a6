"""What a server says of a file before it is fetched: its size, and its MD5 where it has one.

Asked with a GET of one byte: HEAD is refused by signed URLs and lies on some servers
(allenai/cached_path#252), and Azure gives the whole file's MD5 on a range.
"""

from http import HTTPStatus

import msgspec

from downloader.artifact import Artifact, Location
from downloader.errors import ModelmakeError
from downloader.transfer.head import Head
from downloader.transfer.ranges import parse_unsatisfied, range_header
from downloader.transfer.transport import Transport

FIRST_BYTE = {"Range": range_header(0, 1)}


def probe(transport: Transport, artifact: Artifact, locations: tuple[Location, ...]) -> Artifact:
    """Fill in what the first location that answers knows of the artifact.

    Raises:
        ModelmakeError: No location answered; it is the last one's error.
    """
    error: ModelmakeError | None = None
    for location in locations:
        try:
            return _asked(transport, artifact, location)
        except ModelmakeError as failure:
            error = failure
    raise error or ValueError("an artifact has at least one location")


def _asked(transport: Transport, artifact: Artifact, location: Location) -> Artifact:
    with transport.open(location, FIRST_BYTE, is_pinned=artifact.is_pinned) as reply:
        size = size_told(reply.head)
        if size is None and reply.head.status != HTTPStatus.OK:
            raise reply.refusal(location)
        return msgspec.structs.replace(
            artifact,
            size=artifact.size if size is None else size,
            md5=None if artifact.is_pinned else reply.head.md5,
            etag=reply.head.etag,
        )


def size_told(head: Head) -> int | None:
    """Return the size in bytes of a file whose first ones were asked for; None: it is not told.

    Raises:
        BadResponse: It says it carries a range, and not which.
    """
    if head.status == HTTPStatus.PARTIAL_CONTENT:
        return head.content_range[1]
    if head.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return parse_unsatisfied(head.first("Content-Range"))  # an empty file has no first byte
    return head.length if head.status == HTTPStatus.OK and not head.coding else None
