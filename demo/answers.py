"""One file of the origin, and the answer its request deserves. Pure but for reading the file.

The rules are RFC 9110's: If-Match §13.1.1, If-None-Match §13.1.2, If-Range §13.1.5, their order
§13.2.2, Range §14.2. Of several ranges in one request none is sent, which §14.2 allows.
"""

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

WRITTEN_OUT = 1550137000.0
"""Modification time, in Unix seconds, of what has no file: GPT-2's month, February 2019."""

ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What one URL path stands for."""

    body: Path | bytes
    azure: bool = False
    """Give the headers of an Azure blob, its MD5 among them."""

    @cached_property
    def size_bytes(self) -> int:
        """Length of the whole body."""
        return self.body.stat().st_size if isinstance(self.body, Path) else len(self.body)

    @cached_property
    def etag(self) -> str:
        """A strong validator: made from the content, so it is the same in every run."""
        return f'"{self._digest("sha256").hex()[:32]}"'

    @cached_property
    def last_modified(self) -> str:
        """The date of the file, as HTTP writes it."""
        written = self.body.stat().st_mtime if isinstance(self.body, Path) else WRITTEN_OUT
        return formatdate(written, usegmt=True)

    @cached_property
    def md5(self) -> str:
        """MD5 of the whole body in base64, as Content-MD5 has it."""
        return b64encode(self._digest("md5")).decode()

    def headers(self) -> dict[str, str]:
        """Return what is true of the resource in every answer about it."""
        return {
            "ETag": self.etag,
            "Last-Modified": self.last_modified,
            "Accept-Ranges": "bytes",
        }

    def azure_headers(self, status: HTTPStatus) -> dict[str, str]:
        """Return what Azure adds: of a part, the whole blob's MD5 has another name."""
        if not self.azure:
            return {}
        part = status is HTTPStatus.PARTIAL_CONTENT
        name = "x-ms-blob-content-md5" if part else "Content-MD5"
        return {name: self.md5, "x-ms-blob-type": "BlockBlob"}

    def _digest(self, algorithm: str) -> bytes:
        if isinstance(self.body, bytes):
            return hashlib.new(algorithm, self.body, usedforsecurity=False).digest()
        with self.body.open("rb") as file:
            return hashlib.file_digest(file, algorithm).digest()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status, and the half-open range of the body that goes with it."""

    status: HTTPStatus
    start: int = 0
    stop: int = 0


def answer(resource: Resource, method: str, headers: Message) -> Answer:
    """Decide what a request for an existing resource gets.

    Args:
        resource: What the path stands for.
        method: GET or HEAD; only GET knows ranges.
        headers: The request's.

    Returns:
        200, 206, 304, 412 or 416; the range is empty for the last three.
    """
    match = headers.get("If-Match")
    if match is not None and not _names(match, resource.etag, weak=False):
        return Answer(status=HTTPStatus.PRECONDITION_FAILED)
    none_match = headers.get("If-None-Match")
    if none_match is not None and _names(none_match, resource.etag, weak=True):
        return Answer(status=HTTPStatus.NOT_MODIFIED)
    asked = ONE_RANGE.fullmatch(headers.get("Range", "").strip())
    if asked is None or method != "GET" or not _same(headers.get("If-Range"), resource):
        return Answer(status=HTTPStatus.OK, stop=resource.size_bytes)
    return _part(asked[1], asked[2], resource.size_bytes)


def _names(listed: str, etag: str, *, weak: bool) -> bool:
    """Say whether a list of entity tags names `etag`; our own tags hold no comma."""
    tags = [tag.strip() for tag in listed.split(",")]
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return tags == ["*"] or etag in tags


def _same(if_range: str | None, resource: Resource) -> bool:
    return if_range is None or if_range.strip() in (resource.etag, resource.last_modified)


def _part(first: str, last: str, size: int) -> Answer:
    """Turn the two numbers of `bytes=first-last`, either of which may be empty, into a range."""
    whole = Answer(status=HTTPStatus.OK, stop=size)
    if not first and not last:
        return whole
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return whole  # RFC 9110 §14.1.1: not a valid range, so the header is ignored
    if start >= size:
        return Answer(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    return Answer(status=HTTPStatus.PARTIAL_CONTENT, start=start, stop=stop)
