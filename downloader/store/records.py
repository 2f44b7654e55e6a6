"""How each blob looked when it was last verified: a line in an append-only file.

A blob that looks otherwise is hashed before it is used. The change time counts too, so that bytes
written with the old modification time put back do not pass; a link made or removed also changes it,
which costs one hashing where that was not done by us.
"""

import contextlib
import os
import threading

import msgspec

from downloader import gate
from downloader.disk import appending
from downloader.disk.durable import write_file
from downloader.errors import StoreError
from downloader.fs.rooted_path import RootedPath

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

    def __init__(self, file: RootedPath) -> None:
        self._file = file
        self._loading = threading.Lock()
        self._known: dict[str, Record] = {}
        self._inode, self._read_bytes, self._lines = -1, 0, 0

    def vouches(self, sha256: str, status: os.stat_result) -> bool:
        """Whether the blob looks as it did when it was last verified; nothing is written."""
        seen = _record(sha256, status)
        if self._known.get(sha256) == seen:
            return True
        with self._loading:
            self._load()  # another process may have noted it since
            return self._known.get(sha256) == seen

    def note(self, sha256: str, status: os.stat_result) -> None:
        """Note how a blob looks whose bytes are known to be right.

        Raises:
            StoreError: The disk refused.
        """
        record = self._known[sha256] = _record(sha256, status)
        appending.append_line(self._file, msgspec.json.encode(record) + b"\n")
        if self._lines > 2 * len(self._known) + SPARE_LINES:
            with self._loading, contextlib.suppress(StoreError):  # it is long, and no worse
                self._load()
                self._rewrite()

    def keep_only(self, digests: set[str]) -> None:
        """Drop the records of all other blobs.

        Raises:
            StoreError: The disk refused.
        """
        with self._loading:
            self._load()
            self._known = {key: each for key, each in self._known.items() if key in digests}
            if self._lines > len(self._known):
                self._rewrite()

    def _load(self) -> None:
        """Read what was appended since the last time, by whichever process."""
        try:
            with self._file.open_file("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:  # a whole new file, as after `keep_only` elsewhere
                    self._inode, self._read_bytes, self._lines = inode, 0, 0
                    self._known.clear()
                file.seek(self._read_bytes)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        self._lines += whole.count(b"\n")
        found = list(appending.decoded(whole, _decoder))
        are_ours = gate.are_digests([each.sha256 for each in found])
        self._known.update(
            {each.sha256: each for each in found if are_ours or gate.is_digest(each.sha256)}
        )

    def _rewrite(self) -> None:
        with appending.writing:
            lines = [msgspec.json.encode(each) + b"\n" for each in self._known.values()]
            write_file(self._file, b"".join(lines))


def _record(sha256: str, status: os.stat_result) -> Record:
    return Record(
        sha256=sha256,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )
