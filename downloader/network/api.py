"""Ask small questions: of a provider's API, and of a server about a file before its download.

A probe is a GET of one byte: HEAD is refused by signed URLs and lies on some servers
(allenai/cached_path#252), and Azure sends the whole file's MD5 with a range.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

import msgspec
import requests
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import BadResponse, ModelmakeError
from downloader.network._response import Head, Reply, check_body_start
from downloader.network.client import Client
from downloader.network.ranges import parse_unsatisfied, range_header
from downloader.sources.interface import Question, Start
from downloader.urls import Location, redact

FIRST_BYTE = {"Range": range_header(0, 1)}
PAGE_BYTES = 512
"""Enough to recognise a page."""


def probe(client: Client, artifact: Artifact, location: Location) -> Artifact:
    """Fill in what a server says of the artifact.

    It is asked once. What it says only helps to plan a run, and the download is patient: to wait
    here too would let the user wait twice for a dead server, the first time without a word.

    An empty 200 tells nothing: some servers answer any range with it, and the file by a plain GET.

    Raises:
        ModelmakeError: It gave no answer, or a page instead of the file.
    """
    with client.open(location, FIRST_BYTE, is_pinned=artifact.is_pinned) as reply:
        size = size_told(reply.head)
        if size is None and reply.head.status != HTTPStatus.OK:
            raise reply.refusal(location)
        if reply.head.status == HTTPStatus.OK:
            size = size or None
            if location.is_sniffed:
                check_body_start(reply.head, artifact.path, reply.read_some(PAGE_BYTES))
        return msgspec.structs.replace(
            artifact,
            size=artifact.size if size is None else size,
            md5=None if artifact.is_pinned else reply.head.md5,
            etag=reply.head.etag,
        )


def size_told(head: Head) -> int | None:
    """Return the size in bytes of a file whose first ones were asked for; None if unknown.

    Raises:
        BadResponse: It says it carries a range, and not which.
    """
    if head.status == HTTPStatus.PARTIAL_CONTENT:
        return head.content_range[1]
    if head.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return parse_unsatisfied(head.first("Content-Range"))  # an empty file has no first byte
    return head.length if head.status == HTTPStatus.OK and not head.coding else None


MOST_DOCUMENT_BYTES = 16 << 20
REPEAT_SECONDS = 30.0
"""Seconds after which the same wait is reported again."""
MOST_PAGES = 2000
"""Of 50 entries at least: repositories of the Hub have up to 100,000 files."""
STARTS_AT_ONCE = 16
SMALL_BYTES = 64 << 10
MAGIC_BYTES = 2
"""Enough to tell gzip from zstd, and what Together's own SDKs ask for: `bytes=0-1`."""

T = TypeVar("T")


class Session(msgspec.Struct, frozen=True):
    """State that all questions of a run share.

    Attributes:
        transport: Opens the connections.
        notice: Told about each wait, as a line that begins with the model's name.
    """

    transport: Client
    notice: Callable[[str], None]

    def asker(self, name: str) -> "ApiClient":
        """Return what asks about one model."""
        return ApiClient(self.transport, lambda why: self.notice(f"{name}: {why}"))

    def end(self) -> None:
        """End every wait and every request, and let none begin."""
        self.transport.interrupt()


class ApiClient:
    """A Provider that is asked over HTTP, as patiently as files are fetched.

    Args:
        transport: Opens the connections.
        say: Told about each wait, as a sentence without a full stop.
    """

    def __init__(self, transport: Client, say: Callable[[str], None]) -> None:
        self._transport, self._say = transport, say
        self._said, self._said_at = "", 0.0

    def read(self, location: Location) -> bytes:
        """See Provider."""
        return self._asked(location, {}, _document)

    def pages(self, location: Location) -> Iterator[bytes]:
        """See Provider."""
        path, here = location.url.partition("?")[0], location
        asked = {here.url}
        while True:
            text, query = self._asked(here, {}, _page)
            yield text
            if query is None:
                return
            here = replace(location, url=f"{path}?{query}")
            if here.url in asked or len(asked) == MOST_PAGES:
                raise BadResponse(f"{redact(location.url)}: its pages do not end.")
            asked.add(here.url)

    def start(self, location: Location) -> Start:
        """See Provider."""
        return self._asked(location, {"Range": range_header(0, MAGIC_BYTES)}, _start)

    def starts(self, questions: Sequence[Question]) -> list[Start]:
        """See Provider."""
        told: dict[type, float] = {}

        def tell(error: ModelmakeError, delay: float, *_: int) -> None:
            """Tell of one cause once, whatever number of questions waits for it."""
            if told.get(type(error), 0.0) <= (now := time.monotonic()):
                told[type(error)] = now + delay
                self._retrying(error, delay)

        def asked(one: Question) -> Start:
            return self._asked(one[0], one[1], _start, tell)

        with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
            try:
                return list(pool.map(asked, questions))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def wait(self, why: str, delay_seconds: float) -> None:
        """See Provider."""
        now = time.monotonic()
        if why != self._said or now - self._said_at >= REPEAT_SECONDS:
            self._said, self._said_at = why, now
            self._tell(f"{why}; waiting")
        self._transport.stop.wait(delay_seconds)

    def _asked(
        self,
        location: Location,
        conditions: Mapping[str, str],
        taken: Callable[[Reply, Location], T],
        tell: Callable[[ModelmakeError, float, int, int], object] | None = None,
    ) -> T:
        retries = self._transport.retries(tell or self._retrying)
        while True:
            with retries, self._transport.open(location, conditions, is_pinned=False) as reply:
                return taken(reply, location)

    def _retrying(self, error: ModelmakeError, delay_seconds: float, *_: int) -> None:
        self._tell(f"{error} Retrying in {delay_seconds:.1f} s")

    def _tell(self, why: str) -> None:
        if (
            not self._transport.stop.is_set()
        ):  # the user's last line is that the run was interrupted
            self._say(why)


def _document(reply: Reply, location: Location) -> bytes:
    if reply.head.status != HTTPStatus.OK:
        raise reply.refusal(location)
    text = reply.read_some(min(MOST_DOCUMENT_BYTES, reply.head.length or MOST_DOCUMENT_BYTES) + 1)
    if len(text) > MOST_DOCUMENT_BYTES:
        raise BadResponse(
            f"{reply.head.place} answered with more than {MOST_DOCUMENT_BYTES:,} bytes."
        )
    return text


def _page(reply: Reply, location: Location) -> tuple[bytes, str | None]:
    """Return the document, and the query of the one that follows; None if it is the last."""
    text = _document(reply, location)
    links = requests.utils.parse_header_links(", ".join(reply.head.values("Link")))
    following = (each["url"] for each in links if each.get("rel") == "next")
    url = next(following, None)
    return text, None if url is None else url.partition("#")[0].partition("?")[2]


def _start(reply: Reply, location: Location) -> Start:
    head = reply.head
    if head.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise reply.refusal(location)
    size, magic = size_told(head), reply.read_some(MAGIC_BYTES)
    if size is not None and size <= SMALL_BYTES:  # then the connection can be used again
        reply.read_some(size)
    return Start(size=size, etag=head.etag, magic=magic, headers=head.all)
