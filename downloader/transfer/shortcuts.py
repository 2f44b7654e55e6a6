"""Where redirects led before, as long as it works: in memory only, for it may be a signed URL."""

from http import HTTPStatus

from downloader.transfer.redirects import Hop

WORN = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.GONE,
    }
)
"""What a storage server says to a signature that has expired: S3 400 or 403, R2 400, others 404."""


class Shortcuts:
    """The last hop of a way, by its first one; safe to share between threads."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, bool], tuple[Hop, Hop]] = {}

    def find(self, start: Hop) -> Hop | None:
        """Return where this way led, None where it is not known."""
        first, end = self._ends.get((start.url, start.is_pinned), (None, None))
        return end if first == start else None  # with another credential it may lead elsewhere

    def learn(self, start: Hop, end: Hop) -> None:
        """Remember a way that led to bytes; one without redirects needs no memory."""
        if end.number:
            self._ends[start.url, start.is_pinned] = start, end

    def forget(self, start: Hop) -> None:
        """Ask the way anew next time."""
        self._ends.pop((start.url, start.is_pinned), None)
