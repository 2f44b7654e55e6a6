"""How each blob looked when it was last verified: a line in an append-only file.

A blob that looks otherwise is hashed before it is used. The change time counts too, so that bytes
written with the old modification time put back do not pass; a link made or removed also changes it,
which costs one hashing where that was not done by us.
"""

import os
import threading
from pathlib import Path

import msgspec

from downloader import appending
from downloader.durable import write_file

SPARE_LINES = 10_000
"""How many lines of blobs that have a newer one are left before the file is written anew."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One blob as it looked."""

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


_decoder = msgspec.json.Decoder(Record)


class Records:
    """The records of one store; safe to share between threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._loading = threading.Lock()
        self._known: dict[str, Record] = {}
        self._read_bytes = -1
        self._is_long = False

    def vouches(self, sha256: str, status: os.stat_result) -> bool:
        """Whether the blob looks as it did when it was last verified; nothing is written."""
        seen = _record(sha256, status)
        if self._known.get(sha256) == seen:
            return True
        self._load()  # another process may have noted it since
        return self._known.get(sha256) == seen

    def note(self, sha256: str, status: os.stat_result) -> None:
        """Note how a blob looks whose bytes are known to be right.

        Raises:
            StoreError: The disk refused.
        """
        record = self._known[sha256] = _record(sha256, status)
        appending.append_line(self._file, msgspec.json.encode(record) + b"\n")
        if self._is_long:
            self._tidy()

    def keep_only(self, digests: set[str]) -> None:
        """Drop the records of all other blobs.

        Raises:
            StoreError: The disk refused.
        """
        with self._loading:
            self._known = {each.sha256: each for each in appending.read(self._file, _decoder)}
            self._rewrite([each for each in self._known.values() if each.sha256 in digests])

    def _load(self) -> None:
        with self._loading:
            size_bytes = self._file.stat().st_size if self._file.exists() else 0
            if size_bytes == self._read_bytes:
                return
            self._read_bytes = size_bytes
            lines = list(appending.read(self._file, _decoder))
            self._known = {each.sha256: each for each in lines}
            self._is_long = len(lines) > 2 * len(self._known) + SPARE_LINES

    def _tidy(self) -> None:
        with self._loading:
            self._is_long = False
            self._known = {each.sha256: each for each in appending.read(self._file, _decoder)}
            self._rewrite(list(self._known.values()))

    def _rewrite(self, records: list[Record]) -> None:
        with appending.writing:
            text = b"".join(msgspec.json.encode(each) + b"\n" for each in records)
            write_file(self._file, text)


def _record(sha256: str, status: os.stat_result) -> Record:
    return Record(
        sha256=sha256,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )
