"""The shared store: verified bytes by their SHA-256, once for all projects of a user.

    sha256/ab/abcd…     blobs, read-only
    records             how each looked when it was verified
    claims, growing/    who is downloading what                 claims.py
    projects/           whose locks name blobs                  projects.py
    urls                which URL gave which blob
    quarantine/         blobs that were changed
    pieces/             piece layers by their Merkle root       fs/digests.py

A blob that does not look as recorded is hashed before it is used. The change time counts too, so
that bytes written with the old modification time put back do not pass; a link made or removed also
changes it, which costs one hashing if that was not done by us.

The root itself may be a symlink, as users make one to a larger disk; no other symlink is followed.
Everything here but `projects/` may be deleted at any time: it costs hashing, or fetching again.
"""

import contextlib
import errno
import functools
import os
import stat
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from downloader.artifact import are_digests, is_digest, is_etag
from downloader.errors import StoreError, shown
from downloader.fs.commit import set_aside
from downloader.fs.digests import StopCheck, sha256_of
from downloader.fs.files import (
    SMALL_BYTES,
    KeyedLines,
    Private,
    is_same,
    look,
    looks_same,
    write_file,
)
from downloader.fs.link import CANNOT, WAYS, How, Made, SourceUnreadable, link
from downloader.fs.open_file import OpenFile, refused
from downloader.fs.rooted_path import RootedPath
from downloader.settings import user_path
from downloader.store.claims import GROWING
from downloader.store.projects import PROJECTS


class Blob(NamedTuple):
    """A blob whose bytes are right, and how it looked then."""

    path: RootedPath
    status: os.stat_result

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, in hex."""
        return self.path.name


class Damaged(Exception):  # noqa: N818 - no failure: the bytes are fetched again
    """A blob had other bytes than its name says.

    Attributes:
        told: What was done with it, a sentence.
        status: How it looked; targets that are hard links to it look the same.
    """

    def __init__(self, told: str, status: os.stat_result) -> None:
        super().__init__(told)
        self.told, self.status = told, status


def digest_of(blob: RootedPath) -> str | None:
    """Return a blob's digest; None when it was removed meanwhile."""
    try:
        return sha256_of(blob)
    except StoreError as error:
        if error.errno != errno.ENOENT:
            raise
    return None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One blob as it looked."""

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def _sound(records: Sequence[Record]) -> Iterable[Record]:
    """Return the records that we can have written; all at once is what is usual."""
    if are_digests([each.sha256 for each in records]):
        return records
    return [each for each in records if is_digest(each.sha256)]


class Records:
    """The records of one store; safe to share between threads."""

    def __init__(self, file: RootedPath) -> None:
        self._lines = KeyedLines(file, Record, lambda record: record.sha256, _sound)

    def vouches(self, sha256: str, status: os.stat_result) -> bool:
        """Whether the blob looks as it did when it was last verified; nothing is written."""
        seen = _record(sha256, status)
        if self._lines.get(sha256) == seen:
            return True
        self._lines.refresh()  # another process may have noted it since
        return self._lines.get(sha256) == seen

    def note(self, sha256: str, status: os.stat_result) -> None:
        """Note how a blob looks whose bytes are known to be right.

        Raises:
            StoreError: The disk refused.
        """
        self._lines.append([_record(sha256, status)])

    def note_soon(self, sha256: str, status: os.stat_result) -> None:
        """Note as `note` does, a little later and with others if the blob is hashed in no time.

        Raises:
            StoreError: The disk refused this record or one that waited.
        """
        if status.st_size > SMALL_BYTES:
            self.note(sha256, status)
        else:
            self._lines.append_soon(_record(sha256, status))

    def keep_only(self, digests: set[str]) -> None:
        """Drop the records of all other blobs.

        Raises:
            StoreError: The disk refused.
        """
        self._lines.keep_only(lambda record: record.sha256 in digests)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Which URL gave which bytes, so that another project need not download them without a digest.

    A URL may hold a query that must not be written down, so its SHA-256 stands for it. What a
    credential was sent for is never noted. Nothing is concluded from an origin alone: whoever uses
    one asks the server first whether the URL still has that ETag and size.
    """

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


class Origins:
    """The origins that one store knows; safe to share between threads.

    They are read once, and written several at a time.
    """

    def __init__(self, file: RootedPath) -> None:
        self._lines = KeyedLines(
            file,
            Origin,
            lambda origin: origin.place,
            lambda origins: (each for each in origins if each.is_safe),
        )
        self._using = threading.Lock()
        self._is_read = False
        self._new: list[Origin] = []

    def find(self, place: str) -> Origin | None:
        """Return what the URL of this SHA-256 gave last."""
        with self._using:
            if not self._is_read:
                self._lines.refresh()
                self._is_read = True
        return self._lines.get(place)

    def note(self, *, place: str, etag: str, size: int, sha256: str) -> None:
        """Keep what a URL gave, fields as in Origin; `write` puts it on the disk."""
        origin = Origin(place=place, etag=etag, size=size, sha256=sha256)
        if self.find(place) != origin:
            with self._using:
                self._new.append(origin)

    def write(self) -> None:
        """Write what was noted since the last time; a killed run loses it.

        Raises:
            StoreError: The disk refused.
        """
        with self._using:
            new, self._new = self._new, []
        if new:
            self._lines.append(new)

    def keep_only(self, digests: set[str]) -> None:
        """Drop what is noted of all other blobs.

        Raises:
            StoreError: The disk refused.
        """
        self._lines.keep_only(lambda origin: origin.sha256 in digests)


def _record(sha256: str, status: os.stat_result) -> Record:
    return Record(
        sha256=sha256,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )


BLOBS = "sha256"
LAYERS = "pieces"
RECORDS = "records"
URLS = "urls"
OWN = (BLOBS, Private.QUARANTINE, LAYERS, RECORDS, URLS, GROWING, PROJECTS)
"""Files that are read and written without a further check."""
FORMAT = b"1\n"
CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n"
"""Tag that tells backups to leave a folder out (bford.info/cachedir)."""


class Layout:
    """The folders of one store.

    Args:
        root: Its folder; made when something is put in.
        is_cache: Whether backups are told to leave it out.

    Attributes:
        blob: Returns where the blob of a digest is, if it is there; asked for several times a file.

    Raises:
        StoreError: It is of a newer version, or no folder, or cannot be read, or a symlink leads
            elsewhere from it.
    """

    def __init__(self, root: Path, *, is_cache: bool = True) -> None:
        self.root, self._is_cache = RootedPath(root), is_cache
        self._own = set[RootedPath]()
        self.blob = functools.lru_cache(1024)(self._blob)
        self._is_made = False
        self._check_format()
        for name in OWN:
            self.check_own(self.root / name)

    def _blob(self, sha256: str) -> RootedPath:
        return self.root / f"{BLOBS}/{sha256[:2]}/{_checked(sha256)}"

    def make_room(self, folder: RootedPath) -> None:
        """Make a folder of the store, and with the first one the store.

        Raises:
            StoreError: The disk refused, or as `check_own`.
        """
        if not os.path.exists(self.root / "format"):  # noqa: PTH110 - no error where one may not look
            self.root.make_folder()
            if self._is_cache:
                write_file(self.root / "CACHEDIR.TAG", CACHE_TAG)
            write_file(self.root / "format", FORMAT)
        folder.make_folder()
        self.check_own(folder)

    def held_blob(self, sha256: str) -> RootedPath:
        """Return where a blob goes, its folder held open, and made if it is not there.

        Raises:
            StoreError: As of `make_room`.
        """
        blob = self.blob(sha256)
        if self._is_made:
            try:
                return self._entered(blob)
            except StoreError as error:
                if error.errno != errno.ENOENT:  # somebody has just removed the store
                    raise
        self.make_room(self.root / BLOBS)
        self._is_made = True
        return self._entered(blob)

    def _entered(self, blob: RootedPath) -> RootedPath:
        shard = blob.parent
        try:
            with shard.held(soon=True) as held:
                return held.entered() / blob.name
        except StoreError:
            self._own.discard(shard)
            self.check_own(shard)
            raise

    def check_own(self, folder: RootedPath) -> None:
        """Refuse what a symlink leads to elsewhere.

        Raises:
            StoreError: It is one, or below one.
        """
        if folder in self._own:
            return
        for each in (folder, *folder.above()):
            if each in self._own:
                break
            if os.path.islink(each):  # noqa: PTH114 - no error where one may not look
                raise StoreError(f"{each} is a symlink, and nobody knows where to.")
        if os.path.isdir(folder):  # noqa: PTH112 - no error where one may not look
            self._own.add(folder)

    def among(self, digests: Collection[str]) -> Iterator[str]:
        """Yield those of some digests whose blobs are there; their bytes are not looked at."""
        try:
            shards = set(os.listdir(self.root / BLOBS))  # noqa: PTH208 - no Path for it
        except FileNotFoundError:
            return
        except OSError:  # one may look, and not list
            shards = {each[:2] for each in digests}
        for each in digests:
            if each[:2] in shards and os.path.isfile(self.blob(each)):  # noqa: PTH113 - as in Store.has
                yield each

    def digests(self) -> Iterator[str]:
        """Yield the names of all blobs; what is none of ours is passed over.

        Raises:
            StoreError: They cannot be listed.
        """
        for shard in _entries(self.root / BLOBS):
            if shard.is_dir(follow_symlinks=False):
                for each in _entries(self.root / f"{BLOBS}/{shard.name}"):
                    is_blob = is_digest(each.name) and each.name[:2] == shard.name
                    if is_blob and each.is_file(follow_symlinks=False):
                        yield each.name

    def layer(self, root: str) -> RootedPath:
        """Return where the piece layer of a root is, if it is there."""
        return self.root / f"{LAYERS}/{_checked(root)}"

    def roots(self) -> Iterator[str]:
        """Yield the roots of all layers; what is none of ours is passed over.

        Raises:
            StoreError: They cannot be listed.
        """
        for each in _entries(self.root / LAYERS):
            if is_digest(each.name) and each.is_file(follow_symlinks=False):
                yield each.name

    def _check_format(self) -> None:
        file = self.root / "format"
        if file.read_if_there() not in {None, FORMAT}:
            raise StoreError(f"{self.root} was made by a newer modelmake; update this one.")


def _checked(digest: str) -> str:
    """Return a digest that may be a file's name.

    Raises:
        StoreError: It is none.
    """
    if not is_digest(digest):
        raise StoreError(
            f"{shown(repr(digest))} is no SHA-256: nothing in the store has that name."
        )
    return digest


def _entries(folder: RootedPath) -> list["os.DirEntry[str]"]:
    """Return what is in a folder; nothing if there is none, or a symlink to one."""
    if os.path.islink(folder):  # noqa: PTH114 - as above
        return []
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refused(error, "list", folder) from error


READ_ONLY = 0o444
NONE = frozenset({"off", "no", "false", "0"})
KEPT_BY: dict[How, tuple[Made, ...]] = {
    **WAYS,
    "auto": ("reflink", "hardlink"),
    "hardlink": ("hardlink",),
}
"""Ways to make a blob of a target: by copy only if copies were asked for."""


def store_at(name: str) -> "Store | None":
    """Return the store that is meant, None for none.

    Args:
        name: What MODELMAKE_STORE says: a folder, `off`, or nothing for the user's cache directory.
            A user who has no home folder has no such directory either, and so no store.

    Raises:
        StoreError: It is of a newer version, or cannot be read.
    """
    if name.strip().lower() in NONE:
        return None
    if name:
        return Store(user_path(name).absolute())
    from platformdirs import user_cache_path  # noqa: PLC0415 - only if nobody names another

    try:
        folder = user_cache_path("modelmake", appauthor=False)
    except RuntimeError:  # neither HOME nor an entry in passwd, as in many containers
        return None
    return Store(folder)


class Store:
    """The blobs of one store; safe to share between threads and processes.

    Args:
        root: Its folder; made when something is put in.
        is_cache: Whether it may lack bytes that would be on the disk twice, and backups are told to
            leave it out.
        watch: Called often while a blob is copied; raises to stop that.

    Attributes:
        origins: Which URL gave which blob.

    Raises:
        StoreError: It is of a newer version.
    """

    def __init__(
        self, root: Path, *, is_cache: bool = True, watch: StopCheck = lambda: None
    ) -> None:
        self.root, self._watch = root, watch
        self._layout = Layout(root, is_cache=is_cache)
        self._ways = KEPT_BY if is_cache else WAYS
        self._records = Records(RootedPath(root, RECORDS))
        self.origins = Origins(RootedPath(root, URLS))

    def path(self, sha256: str) -> RootedPath:
        """Return where the blob of this digest is, if it is there."""
        return self._layout.blob(sha256)

    def layer_path(self, root: str) -> RootedPath:
        """Return where the piece layer of this Merkle root is, if it is there."""
        return self._layout.layer(root)

    def put_layer(self, root: str, text: bytes) -> None:
        """Keep a piece layer; raises StoreError if the disk refuses."""
        path = self._layout.layer(root)
        self._layout.make_room(path.parent)
        write_file(path, text)

    def roots(self) -> Iterator[str]:
        """Yield the roots of all layers; raises StoreError if they cannot be listed."""
        return self._layout.roots()

    def has(self, sha256: str) -> bool:
        """Whether there is such a blob; its bytes are not looked at."""
        return os.path.isfile(self._layout.blob(sha256))  # noqa: PTH113 - False, not an error, where one may not look

    def among(self, digests: Collection[str]) -> set[str]:
        """Return those of some digests of which there are blobs; no bytes are looked at."""
        return set(self._layout.among(digests))

    def find(self, sha256: str, target: RootedPath | None = None) -> Blob | None:
        """Return the blob of this digest when its bytes are right.

        Args:
            sha256: In hex.
            target: Where a wrong file stands. When that and the blob are one, the blob is read.

        Raises:
            StoreError: It cannot be read, or lies behind a symlink.
            Damaged: It had other bytes; it was set aside.
        """
        blob = self._layout.blob(sha256)
        status = look(blob)
        if status is None:
            return None
        self._layout.check_own(blob.parent)
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and not self._is_doubted(sha256, status, target):
            return Blob(blob, status)
        actual = digest_of(blob) if is_file else "none"
        if actual == sha256:
            self._note(sha256, status)
            return Blob(blob, status)
        if actual is not None:
            self._set_aside(blob, status, actual)
        return None

    def peek(self, sha256: str, target: RootedPath | None = None) -> Blob | None:
        """Return what `find` would, and change nothing: damage is as if there were no blob.

        Raises:
            StoreError: It cannot be read.
        """
        blob = self._layout.blob(sha256)
        status = look(blob)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        is_doubted = self._is_doubted(sha256, status, target)
        return None if is_doubted and digest_of(blob) != sha256 else Blob(blob, status)

    def must_read(self, sha256: str, target: RootedPath | None = None) -> bool:
        """Whether there is a blob that `find` would read before it believes it."""
        status = look(self._layout.blob(sha256))
        if status is None or not stat.S_ISREG(status.st_mode):
            return False
        return self._is_doubted(sha256, status, target)

    def linked(self, blob: Blob) -> None:
        """Note how a blob looks now that we changed no byte of it, but made a link to it."""
        now = look(blob.path)
        if now and now.st_ctime_ns != blob.status.st_ctime_ns and looks_same(now, blob.status):
            self._note(blob.path.name, now)

    def keep(  # noqa: PLR0913 - most callers give three
        self,
        file: RootedPath,
        sha256: str,
        how: How,
        *,
        leaves_mode: bool = False,
        is_hashed: bool = True,
        opened: OpenFile | None = None,
    ) -> None:
        """Take a verified file's bytes in; the file stays where it is.

        If only a copy is possible that nobody asked for, a cache does not take them in: they
        would be on the disk twice.

        Args:
            file: The file. If it becomes a hard link of the blob, it is read-only from now on.
            sha256: What it was verified to be.
            how: How the blob comes of it.
            leaves_mode: The file is also somebody else's, whose mode is not to change.
            is_hashed: Whether its bytes were hashed; else whoever uses the blob first does so.
            opened: The file, if it is still open.

        Raises:
            StoreError: The disk refused.
        """
        with self._layout.held_blob(sha256) as blob:
            if "copy" in self._ways[how] and look(blob) is not None:
                return  # the other ways find that out by themselves, or cost nothing
            made = self._linked(file, blob, how)
            try:
                if made == "hardlink" and opened and not leaves_mode:
                    _protect(opened)
                    status = blob.lstat()
                    if os.path.samestat(status, opened.seen or opened.status()):
                        if is_hashed:
                            self._records.note_soon(sha256, status)
                        return
                if made and not (leaves_mode and made == "hardlink"):
                    _protect(blob)
                if made and is_hashed:
                    self._records.note(sha256, blob.lstat())
            except StoreError as error:
                if error.errno != errno.ENOENT:  # it was pruned at once
                    raise

    def _linked(self, file: RootedPath, blob: RootedPath, how: How) -> Made | None:
        """Make a blob of a file, and return which way; None if that was not to be."""
        try:
            return link(file, blob, self._ways[how], blob.name, self._watch)
        except SourceUnreadable:
            return None  # somebody else was quicker, and removed the file
        except StoreError as error:
            if error.errno == errno.EEXIST:
                return None  # somebody else was quicker, and kept them
            if error.errno in CANNOT and "copy" not in self._ways[how]:
                return None
            raise

    def digests(self) -> Iterator[str]:
        """Yield the names of all blobs.

        Raises:
            StoreError: They cannot be listed.
        """
        return self._layout.digests()

    def forget_all_but(self, digests: set[str]) -> None:
        """Drop what is noted of blobs that no longer exist.

        Raises:
            StoreError: The disk refused.
        """
        self._records.keep_only(digests)
        self.origins.keep_only(digests)

    def remove(self, sha256: str) -> None:
        """Remove a blob; targets that are links to it stay.

        Raises:
            StoreError: The disk refused.
        """
        self.path(sha256).remove(missing_ok=True)

    def _is_doubted(self, sha256: str, status: os.stat_result, target: RootedPath | None) -> bool:
        """Whether a blob is read first: a wrong target is the same file, or it looks changed."""
        if target is not None and is_same(target, status):
            return True
        return not self._records.vouches(sha256, status)

    def _note(self, sha256: str, status: os.stat_result) -> None:
        with contextlib.suppress(StoreError):  # it costs one hashing
            self._records.note(sha256, status)

    def _set_aside(self, blob: RootedPath, status: os.stat_result, actual: str) -> None:
        """Move a blob out of the way; targets that are the same file look changed from now on.

        Raises:
            Damaged: It was; nothing is raised if another process was quicker.
        """
        if stat.S_ISREG(status.st_mode):
            with contextlib.suppress(StoreError):
                blob.mark_changed()
        try:
            told = set_aside(blob, RootedPath(self.root), status.st_size, actual)
        except StoreError:
            if look(blob) is None:
                return
            raise
        raise Damaged(told, status)


def _protect(blob: RootedPath | OpenFile) -> None:
    """Make a blob read-only, and with it the targets that are links to it."""
    if os.name != "nt":  # it could neither be replaced nor removed then
        blob.protect(READ_ONLY)
