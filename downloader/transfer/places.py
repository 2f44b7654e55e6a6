"""Places that hold a published copy: blobs by their SHA-256, and the locks that name them.

    sha256/ab/abcd…       a blob; the folder is the first two digits
    locks/abcd….lock      a models.lock, by its own SHA-256: several projects share one place
    locks/abcd….pieces    the piece layers of that lock, if it has any

A blob appears under its name only when all of it was read, and proved to have that SHA-256. A lock
is written after all blobs that it names. So a blob that is there is whole, whoever wrote it, and
nothing has to be locked: two publishers at worst upload one blob twice. A reader trusts nothing
here: what it downloads is compared with its own models.lock.

Folders and plain web servers are here; other kinds are modules of this room (docs/mirrors.md).
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from downloader.errors import DigestMismatch, ModelmakeError, Stop, StoreError, shown
from downloader.fs import scratch
from downloader.fs.files import write_file
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import NEW_FILE, READ, RootedPath
from downloader.sources.netrc import authorization
from downloader.urls import Location, local_path, redact

if TYPE_CHECKING:  # a plan needs no network code
    from downloader.network.client import Client

PART_BYTES = 1 << 20
"""What is read and hashed in one step."""


def blob_path(sha256: str) -> str:
    """Return the name of a blob in a place."""
    return f"sha256/{sha256[:2]}/{sha256}"


class Edition(NamedTuple):
    """A models.lock that is published, and what belongs to it.

    Attributes:
        lock: Its text.
        pieces: The piece layers of its files, as in models.pieces; may be empty.
        blobs: SHA-256 and size in bytes of every file that it names.
    """

    lock: bytes
    pieces: bytes
    blobs: tuple[tuple[str, int], ...]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the lock, by which it is named."""
        return hashlib.sha256(self.lock).hexdigest()

    @property
    def documents(self) -> dict[str, bytes]:
        """Its texts by their names in a place, in the order in which they are written."""
        texts = {f"locks/{self.sha256}.pieces": self.pieces} if self.pieces else {}
        return {**texts, f"locks/{self.sha256}.lock": self.lock}


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One local file on its way to a place; its bytes are proved while they are read.

    Attributes:
        name: Model and path, for people.
        file: Where it is.
        sha256: What models.lock says it is, in hex.
        size: In bytes.
        moved: Told how many bytes were taken.
        stop: Ends it.
    """

    name: str
    file: RootedPath
    sha256: str
    size: int
    moved: Callable[[int], object]
    stop: Stop

    def parts(self, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from `start` on. The last ones come only if the whole file is right.

        Whoever uploads them may finish the blob once this has ended, and must drop it if this
        raises. What stands before `start` is read and hashed too: an earlier run may have sent it
        from another version of the file.

        Raises:
            DigestMismatch: It is not, or no longer, the file that models.lock says.
            StoreError: It cannot be read.
            Interrupted: The run was stopped.
        """
        digest, done = hashlib.sha256(), 0
        with self.file.open(READ) as file:
            while True:
                self.stop.check()
                buffer = bytearray(min(PART_BYTES, self.size - done))
                count = file.read_full(memoryview(buffer), done)
                digest.update(memoryview(buffer)[:count])
                done += count
                is_last = done == self.size
                if count < len(buffer) or (is_last and not self._is_end(file, digest.hexdigest())):
                    raise self._changed()
                if done > start:
                    yield bytes(buffer[max(start - (done - count), 0) :])
                    self.moved(done - max(start, done - count))
                if is_last:
                    return

    def _is_end(self, file: OpenFile, sha256: str) -> bool:
        """Whether the bytes so far are the right ones, and the file has no more of them."""
        return sha256 == self.sha256 and not file.read_at(memoryview(bytearray(1)), self.size)

    def _changed(self) -> DigestMismatch:
        return DigestMismatch(
            f"{self.name} is not the file that models.lock says, so it is not published.",
            hint="Run `doit verify --repair`, then the same command again.",
        )


class Place(Protocol):
    """A place that blobs are published to and read from; safe to share between threads.

    Each method raises ModelmakeError if the place cannot be used: one sentence that names it, and
    what to do.

    Attributes:
        at_once: How many files are uploaded at once.
    """

    at_once: int

    def location(self, sha256: str) -> Location:
        """Return where a blob can be read now; opens no connection to the place itself."""

    def has(self, sha256: str, size: int) -> bool:
        """Whether a blob of this size is there under its final name."""

    def upload(self, blob: Upload) -> None:
        """Read a file and put it there, its name last; a blob that is there already may be kept."""

    def write(self, edition: Edition) -> None:
        """Put a lock there, and what belongs to it, after its blobs; the same again is no error."""


def open_place(url: str, client: "Client") -> Place:
    """Return the place that a URL of a published copy means.

    Args:
        url: As `published_url` returns it.
        client: Opens connections to it.

    Raises:
        ModelmakeError: This installation cannot use such a place, or it names none.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return Folder(url)
    if scheme.startswith("blobs+"):
        return WebFolder(url)
    if scheme in ("s3", "gs", "az"):
        from downloader.transfer._object_place import BucketPlace  # noqa: PLC0415 - loads XML

        return BucketPlace(url, client)
    from downloader.transfer._registry import Registry  # noqa: PLC0415 - it imports this module

    return Registry(url, client)


class Folder:
    """A folder of this machine, perhaps on a network disk.

    Args:
        url: Its `file:` URL.

    Raises:
        StoreError: There is something else.
    """

    at_once = 8

    def __init__(self, url: str) -> None:
        self._url, path = url.rstrip("/"), local_path(url)
        self._root = RootedPath(path)
        there = next(each for each in (path, *path.parents) if os.path.lexists(each))
        if not there.is_dir():
            raise StoreError(
                f"{shown(there)} is not a folder.",
                hint="Name a folder in which the files may be kept by their SHA-256.",
            )

    def location(self, sha256: str) -> Location:
        """See Place."""
        return Location(url=f"{self._url}/{blob_path(sha256)}", mirror=self._url)

    def has(self, sha256: str, size: int) -> bool:
        """See Place."""
        status = (self._root / blob_path(sha256)).status()
        return status is not None and status.st_size == size

    def upload(self, blob: Upload) -> None:
        """See Place: what a killed run left unfinished is removed by the next one."""
        target = self._root / blob_path(blob.sha256)
        unfinished = self._root / "unfinished" / scratch.own_name()
        target.parent.make_folder()
        unfinished.parent.make_folder()
        try:
            with unfinished.open(NEW_FILE, told=target) as file:
                for part in blob.parts():
                    file.append(part)
                file.sync()
            unfinished.move_to(target)
        except BaseException:
            with contextlib.suppress(StoreError):  # the first error is the one to tell
                unfinished.remove(missing_ok=True)
            raise
        target.parent.sync_folder(target)

    def write(self, edition: Edition) -> None:
        """See Place."""
        for name, text in edition.documents.items():
            path = self._root / name
            if path.read_if_there() != text:
                write_file(path, text)
        scratch.sweep(self._root / "unfinished")
        with contextlib.suppress(StoreError):  # another publisher is at work
            (self._root / "unfinished").remove_folder()


class WebFolder:
    """Such a folder behind a plain web server, which takes no uploads.

    Args:
        url: Its URL, with `blobs+` before it.
    """

    at_once = 1

    def __init__(self, url: str) -> None:
        self._url = url
        self._base = url.removeprefix("blobs+").rstrip("/")

    def location(self, sha256: str) -> Location:
        """See Place."""
        url = f"{self._base}/{blob_path(sha256)}"
        return Location(url=url, mirror=self._url, headers=authorization(url))

    def has(self, sha256: str, size: int) -> bool:  # noqa: ARG002 - see Place
        """See Place: nothing is published to it."""
        raise self._read_only()

    def upload(self, blob: Upload) -> None:  # noqa: ARG002 - see Place
        """See Place: nothing is published to it."""
        raise self._read_only()

    def write(self, edition: Edition) -> None:  # noqa: ARG002 - see Place
        """See Place: nothing is published to it."""
        raise self._read_only()

    def _read_only(self) -> ModelmakeError:
        return ModelmakeError(
            f"{redact(self._base)} is a web server, which takes no files.",
            hint="Publish to the folder that it serves: `doit publish --to /path/of/the/folder`.",
        )
