"""Where redirects led before, as long as it works: in memory only, for it may be a signed URL."""

import threading
from http import HTTPStatus

from downloader.transfer.head import Head
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

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/xml", "application/xml"})
MOST_REFUSALS = 2
"""After so many in a row a location's links are taken to be good for one request each."""


def is_worn(head: Head) -> bool:
    """Whether this is what a link that held before says when it holds no longer."""
    return head.status in WORN or (head.status == HTTPStatus.OK and is_page(head))


def is_page(head: Head) -> bool:
    """Whether the reply calls itself a page: a log-in or an error, hardly ever a file."""
    return head.first("Content-Type").partition(";")[0].strip().lower() in PAGE_TYPES


Key = tuple[str, bool]


class Shortcuts:
    """The last hop of a way, by its first one; safe to share between threads."""

    def __init__(self) -> None:
        self._ends: dict[Key, tuple[Hop, Hop]] = {}
        self._refusals: dict[Key, int] = {}
        self._changing = threading.Lock()

    def find(self, start: Hop) -> Hop | None:
        """Return where this way led, None where it is not known."""
        first, end = self._ends.get(_key(start), (None, None))
        return end if first == start else None  # with another credential it may lead elsewhere

    def learn(self, start: Hop, end: Hop) -> None:
        """Remember a way that led to bytes; one without redirects needs no memory."""
        if end.number and self._refusals.get(_key(start), 0) < MOST_REFUSALS:
            self._ends[_key(start)] = start, end

    def worked(self, start: Hop) -> None:
        """Note that what was remembered led to bytes again."""
        self._refusals.pop(_key(start), None)

    def forget(self, start: Hop, end: Hop) -> bool:
        """Ask the way anew next time.

        Args:
            start: Where it begins.
            end: Where it ended; another thread may have found a newer end meanwhile, which stays.

        Returns:
            Whether it was still the end that is remembered.
        """
        with self._changing:
            is_known = self._ends.get(_key(start)) == (start, end)
            if is_known:
                del self._ends[_key(start)]
            return is_known

    def refused(self, start: Hop, end: Hop) -> None:
        """Forget an end that is good no longer, and count that, once for all who tried it."""
        if self.forget(start, end):
            self._refusals[_key(start)] = self._refusals.get(_key(start), 0) + 1


def _key(start: Hop) -> Key:
    return start.url, start.is_pinned
