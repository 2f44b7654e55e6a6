"""A large blob on its way to a bucket in parts, of which the next run keeps those that arrived.

    send(client, location, blob, part_bytes, has)

S3 keeps the parts of an upload until somebody completes or aborts it, Azure uncommitted blocks for
a week. A part is kept only if its digest is that of the local bytes: the SHA-256 or MD5 that S3
tells, or the SHA-256 that is in the name of a block. Every other part is sent again.

An upload of S3 that is continued is one of this very key, which is the digest of the blob, whose
parts all lie where ours would. It may be that of a publisher who is at work: both then send the
same parts, and one of them completes it. All other uploads are left alone.
"""

import contextlib
import hashlib
import io
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from itertools import count
from threading import Lock
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote, urlencode
from xml.etree.ElementTree import Element, SubElement, tostring

from msgspec.structs import replace

from downloader.errors import (
    AccessDenied,
    BadResponse,
    DigestMismatch,
    ModelmakeError,
    NotFound,
    ServerBusy,
)
from downloader.network.client import Client, Head
from downloader.sources.object_store import xml_root
from downloader.transfer.places import Upload
from downloader.urls import Location, redact

AT_ONCE = 4
"""Parts of one blob; each of them is in memory, and the one that is read."""
SLICE_BYTES = 1 << 16
"""What is handed to the connection in one step, which has the whole patience for it."""
MOST_REPLY_BYTES = 4 << 20
"""Of a list of parts: S3 sends 1,000 a page, Azure up to 50,000 blocks of some 80 bytes."""
MOST_UPLOADS = 10
"""Of one blob that are looked at, from the newest on."""
MOST_DIGITS = 16
CONTENT = "x-amz-content-sha256"
NO_HEADERS: Mapping[str, str] = {}
DONE = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})


class Part(NamedTuple):
    """Some bytes of a blob, and their digests."""

    number: int
    """From 1 on."""
    data: bytes
    md5: bytes
    sha256: bytes


class Sending(Protocol):
    """An unfinished object of a store; safe to share between threads."""

    def find(self) -> bool:
        """Look for what an earlier run left; return whether there is something to continue."""

    def has(self, part: Part) -> bool:
        """Whether these very bytes are there."""

    def put(self, part: Part) -> None:
        """Send a part."""

    def finish(self) -> None:
        """Make the object of the parts, of which all were put or found."""

    def drop(self) -> None:
        """Remove the parts."""


def send(
    client: Client, location: Location, blob: Upload, part_bytes: int, has: Callable[[], bool]
) -> None:
    """Send a blob in parts, but none that is there; then the object appears, or not at all.

    Args:
        client: Sends the requests.
        location: Of the object, in a bucket of S3 or Azure.
        blob: What to send.
        part_bytes: The size of all parts but the last one.
        has: Whether the object is there by now: a reply may be lost.

    Raises:
        ModelmakeError: The store did not take it; or from the blob.
    """
    ask = _Asker(client, location)

    def begin() -> Sending:
        if ask.kind == "az":
            return _AzureBlocks(ask)
        return _S3Upload(ask, _sizes(blob.size, part_bytes))

    sending = begin()
    try:
        is_continued = sending.find()
    except (AccessDenied, BadResponse, NotFound):  # to look may not be allowed
        sending, is_continued = begin(), False
    try:
        _send(sending, blob, part_bytes)
    except (BadResponse, NotFound) as error:
        if has():  # another publisher finished it, or only the last reply was lost
            return
        if not (is_continued or isinstance(error, NotFound)):
            raise
        _send(begin(), blob, part_bytes)  # another one began it in a way of its own, or dropped it


def _sizes(size: int, part_bytes: int) -> dict[int, int]:
    """Return the sizes of the parts of a blob, by their numbers."""
    starts = range(0, size, part_bytes)
    return {number: min(part_bytes, size - at) for number, at in enumerate(starts, 1)}


def _send(sending: Sending, blob: Upload, part_bytes: int) -> None:
    source = Joined(blob.parts())
    waiting: deque[Future[None]] = deque()

    def put(number: int, data: bytes) -> None:
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        part = Part(number, data, md5, hashlib.sha256(data).digest())
        if not sending.has(part):
            sending.put(part)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for number in count(1):
                if not (data := source.read(part_bytes)):
                    break
                if len(waiting) == AT_ONCE:
                    waiting.popleft().result()
                waiting.append(pool.submit(put, number, data))
            for future in waiting:
                future.result()
        except BaseException as error:
            pool.shutdown(cancel_futures=True)
            if isinstance(error, DigestMismatch):
                with contextlib.suppress(ModelmakeError):  # the first error is the one to tell
                    sending.drop()
            raise
    sending.finish()


class _Asker:
    """Sends requests about one object of a bucket, as patiently as the environment says."""

    def __init__(self, client: Client, location: Location) -> None:
        assert location.bucket is not None
        self._client, self._location, self._bucket = client, location, location.bucket
        self.kind = self._bucket.kind
        self.key = unquote(location.url.removeprefix(self._bucket.base)[1:])

    def root(self, query: Mapping[str, str], name: str, *, of_bucket: bool = False) -> Element:
        """Return the root of what the store says of the object, or of its bucket.

        Raises:
            ModelmakeError: It was refused, or has another name.
        """
        location = self._bucket.location(query=_encoded(query)) if of_bucket else self._at(query)
        return self.parsed(self._asked("GET", location, b"", {})[1], name)

    def object(
        self,
        method: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[Head, bytes]:
        """Change the object, and return the head of the reply and its body.

        Raises:
            ModelmakeError: It was refused, or no reply came.
        """
        return self._asked(method, self._at(query), body, headers)

    def parsed(self, text: bytes, name: str) -> Element:
        """Return the root of a document; raises BadResponse if it has another name."""
        try:
            return xml_root(text, name)
        except ValueError:
            place = redact(self._location.url)
            raise BadResponse(f"{place} answered with something else than {name}.") from None

    def _at(self, query: Mapping[str, str]) -> Location:
        return replace(self._location, url=f"{self._location.url}?{_encoded(query)}")

    def _asked(
        self, method: str, location: Location, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Head, bytes]:
        if self.kind == "s3" and CONTENT not in headers:
            headers = {**headers, CONTENT: hashlib.sha256(body).hexdigest()}
        retries, parts = self._client.retries(lambda *_: None), partial(_slices, body)
        sent = partial(self._client.send, body=parts, length=len(body), headers=headers)
        while True:
            with retries, sent(method, location) as reply:
                if reply.head.status not in DONE:
                    raise reply.refusal(location)
                length = MOST_REPLY_BYTES if reply.head.length is None else reply.head.length
                text = reply.read_some(max(1, min(length, MOST_REPLY_BYTES)))
                if b"<Error>" in text:  # S3 begins its reply before it has completed an upload
                    raise ServerBusy(f"{reply.head.place} did not complete the upload.")
                return reply.head, text


def _encoded(query: Mapping[str, str]) -> str:
    return urlencode(query, quote_via=quote)


def _slices(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), SLICE_BYTES):
        yield body[at : at + SLICE_BYTES]


def _number(element: Element, name: str) -> int:
    text = element.findtext(f"{{*}}{name}", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < MOST_DIGITS else -1


class _S3Upload:
    """A multipart upload of S3 (Amazon S3 API reference: CreateMultipartUpload and its kin).

    Its parts have a SHA-256 in the store, as those have that obstore uploads.
    """

    def __init__(self, ask: _Asker, sizes: Mapping[int, int]) -> None:
        self._ask, self._sizes = ask, sizes
        self._id = ""
        self._found: dict[int, Element] = {}
        self._sent: dict[int, tuple[str, str]] = {}
        """ETags and checksums of the parts that are there now, by their numbers."""
        self._beginning = Lock()

    def find(self) -> bool:
        """See Sending."""
        asked = {"prefix": self._ask.key, "uploads": ""}
        root = self._ask.root(asked, "ListMultipartUploadsResult", of_bucket=True)
        ids = [
            upload.findtext("{*}UploadId", "")
            for upload in root.iterfind("{*}Upload")
            if upload.findtext("{*}Key", "") == self._ask.key
        ]
        for name in filter(None, ids[-MOST_UPLOADS:]):
            parts = dict(self._parts(name))
            is_fit = all(_number(part, "Size") == self._sizes.get(at) for at, part in parts.items())
            if is_fit and len(parts) >= len(self._found):
                self._id, self._found = name, parts
        return bool(self._id)

    def _parts(self, name: str) -> Iterator[tuple[int, Element]]:
        marker = 0
        while True:
            asked = {"part-number-marker": str(marker), "uploadId": name}
            root = self._ask.root(asked, "ListPartsResult")
            for part in root.iterfind("{*}Part"):
                yield _number(part, "PartNumber"), part
            following = _number(root, "NextPartNumberMarker")
            if root.findtext("{*}IsTruncated", "").lower() != "true" or following <= marker:
                return
            marker = following

    def has(self, part: Part) -> bool:
        """See Sending."""
        found = self._found.get(part.number)
        if found is None or _number(found, "Size") != len(part.data):
            return False
        etag, checksum = found.findtext("{*}ETag", ""), found.findtext("{*}ChecksumSHA256", "")
        own = _base64(part.sha256)
        is_same = checksum == own if checksum else etag.strip('"') == part.md5.hex()
        if is_same:
            self._sent[part.number] = etag, own
        return is_same

    def put(self, part: Part) -> None:
        """See Sending."""
        with self._beginning:
            self._id = self._id or self._begin()
        checksum = _base64(part.sha256)
        head, _ = self._ask.object(
            "PUT",
            {"partNumber": str(part.number), "uploadId": self._id},
            part.data,
            {
                "Content-MD5": _base64(part.md5),
                "x-amz-checksum-sha256": checksum,
                CONTENT: part.sha256.hex(),
            },
        )
        self._sent[part.number] = head.first("ETag"), checksum

    def _begin(self) -> str:
        headers = {"x-amz-checksum-algorithm": "SHA256"}
        text = self._ask.object("POST", {"uploads": ""}, headers=headers)[1]
        name = self._ask.parsed(text, "InitiateMultipartUploadResult").findtext("{*}UploadId", "")
        if not name:  # without it, a part would be sent as the whole object
            raise BadResponse("The store began an upload and did not name it.")
        return name

    def finish(self) -> None:
        """See Sending."""
        root = Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for number, (etag, checksum) in sorted(self._sent.items()):
            part = SubElement(root, "Part")
            SubElement(part, "PartNumber").text = str(number)
            SubElement(part, "ETag").text = etag
            SubElement(part, "ChecksumSHA256").text = checksum
        self._ask.object("POST", {"uploadId": self._id}, tostring(root))

    def drop(self) -> None:
        """See Sending."""
        if self._id:
            self._ask.object("DELETE", {"uploadId": self._id})


class _AzureBlocks:
    """Uncommitted blocks of Azure (Azure Storage REST API: Put Block, Put Block List).

    The names of all blocks of a blob have one length, and obstore's have 20 bytes: a number, and
    here the beginning of the SHA-256. Nobody can remove blocks; after a week the service does.
    """

    def __init__(self, ask: _Asker) -> None:
        self._ask = ask
        self._found: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def find(self) -> bool:
        """See Sending."""
        asked = {"blocklisttype": "uncommitted", "comp": "blocklist"}
        for block in self._ask.root(asked, "BlockList").iterfind("{*}*/{*}Block"):
            self._found[block.findtext("{*}Name", "")] = _number(block, "Size")
        return bool(self._found)

    def has(self, part: Part) -> bool:
        """See Sending."""
        name = self._names[part.number] = _base64(part.number.to_bytes(4, "big") + part.sha256[:16])
        return self._found.get(name) == len(part.data)

    def put(self, part: Part) -> None:
        """See Sending."""
        asked = {"blockid": self._names[part.number], "comp": "block"}
        self._ask.object("PUT", asked, part.data, {"Content-MD5": _base64(part.md5)})

    def finish(self) -> None:
        """See Sending."""
        root = Element("BlockList")
        for _, name in sorted(self._names.items()):
            SubElement(root, "Latest").text = name
        self._ask.object("PUT", {"comp": "blocklist"}, tostring(root))

    def drop(self) -> None:
        """See Sending."""


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


class Joined(io.BytesIO):
    """A file to read once, of pieces that come one by one; what raises there raises in `read`."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces, self._rest = pieces, b""

    def read(self, count: int | None = -1, /) -> bytes:
        """Return so many bytes, fewer at the end only; all that is left if it is negative."""
        taken, left = [self._rest], (count if count is not None and count >= 0 else 1 << 62)
        left -= len(self._rest)
        while left > 0 and (piece := next(self._pieces, None)) is not None:
            taken.append(piece)
            left -= len(piece)
        whole = b"".join(taken)
        cut = len(whole) if left >= 0 else len(whole) + left
        self._rest = whole[cut:]
        return whole[:cut]
