"""Which URL gave which bytes: so that another project need not download them without a digest.

A line says that a URL, with a strong ETag and a size, gave the bytes of a SHA-256. A URL may hold a
query that must not be written down, so its SHA-256 stands for it. What a credential was sent for is
never noted. Nothing is concluded from a line alone: whoever uses one asks the server first whether
the URL still has that ETag and size.
"""

import contextlib
import threading

import msgspec

from downloader.artifact import is_digest, is_etag
from downloader.errors import StoreError
from downloader.fs.files import append_line, appending, decoded_lines, write_file
from downloader.fs.rooted_path import RootedPath

SPARE_LINES = 10_000
"""So many lines of URLs that have a newer one are left before the file is rewritten."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one URL."""

    place: str
    """The SHA-256 of the URL."""
    etag: str
    """Strong, exactly as received."""
    size: int
    sha256: str

    @property
    def is_safe(self) -> bool:
        """Whether it is such as we write."""
        are_digests = is_digest(self.place) and is_digest(self.sha256)
        return are_digests and is_etag(self.etag) and self.size >= 0


_decoder = msgspec.json.Decoder(Origin)


class Origins:
    """The origins that one store knows; safe to share between threads.

    They are read once, and written several at a time.
    """

    def __init__(self, file: RootedPath) -> None:
        self._file = file
        self._using = threading.Lock()
        self._known: dict[str, Origin] | None = None
        self._new: list[Origin] = []
        self._lines = 0

    def find(self, place: str) -> Origin | None:
        """Return what the URL of this SHA-256 gave last."""
        with self._using:
            return self._loaded().get(place)

    def note(self, *, place: str, etag: str, size: int, sha256: str) -> None:
        """Keep what a URL gave, fields as in Origin; `write` puts it on the disk."""
        with self._using:
            self._new.append(Origin(place=place, etag=etag, size=size, sha256=sha256))

    def write(self) -> None:
        """Write what was noted since the last time; a killed run loses it.

        Raises:
            StoreError: The disk refused.
        """
        with self._using:
            known = self._loaded() if self._new else {}
            new = [each for each in self._new if known.get(each.place) != each]
            self._new = []
            if not new:
                return
            known.update({each.place: each for each in new})
            self._lines += len(new)
        append_line(self._file, b"".join(msgspec.json.encode(each) + b"\n" for each in new))
        if self._lines > 2 * len(known) + SPARE_LINES:
            with contextlib.suppress(StoreError):  # it is long, and no worse
                self.keep_only({each.sha256 for each in known.values()})

    def keep_only(self, digests: set[str]) -> None:
        """Drop what is noted of all other blobs.

        Raises:
            StoreError: The disk refused.
        """
        with self._using, appending:
            self._known = None  # another process may have written since
            known = self._loaded()
            kept = {key: each for key, each in known.items() if each.sha256 in digests}
            if self._lines > len(kept):
                text = b"".join(msgspec.json.encode(each) + b"\n" for each in kept.values())
                write_file(self._file, text)
            self._known, self._lines = kept, len(kept)

    def _loaded(self) -> dict[str, Origin]:
        if self._known is None:
            text = b""
            with contextlib.suppress(StoreError):
                text = self._file.read_if_there() or b""
            whole = text[: text.rfind(b"\n") + 1]
            self._lines = whole.count(b"\n")
            found = decoded_lines(whole, _decoder)
            self._known = {each.place: each for each in found if each.is_safe}
        return self._known
