"""Answer from a local folder as an HTTP server would: a mounted copy is read like any other.

The transfer resumes, hashes and verifies what comes from here as it does the rest. No server may
lead here by a redirect: only a published copy that the user named is local.
"""

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

from downloader.errors import ConnectionLost, ModelmakeError, NotFound, StoreError, TransferError
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import READ, RootedPath
from downloader.network._response import Head, Reply
from downloader.urls import Location, local_path, redact

RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


class FileReply(Reply):
    """The reply about one local file; see Reply.

    Args:
        location: The file's `file:` URL; its `mirror` is that of a folder above it.
        conditions: The headers of the request. Only Range is understood: there is no validator.

    Raises:
        TransferError: The folder is not there, or the file cannot be read.
    """

    def __init__(self, location: Location, conditions: Mapping[str, str]) -> None:
        self.url, self._is_redirected = location.url, False
        self._file: OpenFile | None = None
        self._place = redact(location.url)
        with self._as_a_server():
            self._file = _opened(location)
            size = self._file.status().st_size if self._file else 0
        self._position, self._stop, status = 0, size, HTTPStatus.OK
        fields = {"accept-ranges": "bytes"}
        if self._file is None:
            status, self._stop = HTTPStatus.NOT_FOUND, 0
        elif found := RANGE.fullmatch(conditions.get("Range", "")):
            start, last = int(found[1]), int(found[2] or size - 1)
            if start >= size:
                status, self._stop = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0
                fields["content-range"] = f"bytes */{size}"
            else:
                status = HTTPStatus.PARTIAL_CONTENT
                self._position, self._stop = start, min(last + 1, size)
                fields["content-range"] = f"bytes {start}-{self._stop - 1}/{size}"
        fields["content-length"] = str(self._stop - self._position)
        self.head = Head(
            status=status,
            place=self._place,
            values=lambda name: [fields[name.lower()]] if name.lower() in fields else [],
        )

    def readinto(self, buffer: memoryview, *, fills: bool = False) -> int:  # noqa: ARG002 - a server's
        """See Reply."""
        wanted = min(len(buffer), self._stop - self._position)
        if self._file is None or wanted <= 0:
            return 0
        with self._as_a_server():
            count = self._file.read_at(buffer[:wanted], self._position)
        if not count:
            raise ConnectionLost(f"{self._place} became shorter while it was read.")
        self._position += count
        return count

    def refusal(self, location: Location) -> ModelmakeError:
        """See Reply."""
        if self.head.status == HTTPStatus.NOT_FOUND:
            return NotFound(f"{self._place} is not there.")
        return super().refusal(location)

    @property
    def peer(self) -> str:
        """See Reply."""
        return ""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    @contextlib.contextmanager
    def _as_a_server(self) -> Iterator[None]:
        """Turn what the disk says into what a server would: another place may have the file."""
        try:
            yield
        except StoreError as error:
            raise TransferError(str(error), hint=error.hint) from None


def _opened(location: Location) -> OpenFile | None:
    """Return the file, None if it is not there.

    Raises:
        TransferError: Neither is the folder: it may not be mounted.
        StoreError: It cannot be read.
    """
    root = local_path(location.mirror)
    path = local_path(location.url).relative_to(root)
    try:
        return RootedPath(root, path.as_posix()).open(READ)
    except StoreError as error:
        if error.errno != errno.ENOENT:
            raise
    if not (Path(root) / path.parts[0]).is_dir():
        raise TransferError(f"{root} is not there, or has no published files.")
    return None
