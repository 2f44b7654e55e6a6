"""Blobs: put in once verified, found again by their SHA-256, hashed when anything looks changed."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from downloader.disk.durable import naming, write_file
from downloader.disk.looks import is_same, look, looks_same
from downloader.disk.quarantine import set_aside
from downloader.errors import StoreError
from downloader.finding import StopCheck
from downloader.fs.rooted_path import RootedPath
from downloader.store.blob import Blob, Damaged, digest_of
from downloader.store.layout import Layout
from downloader.store.linking import CANNOT, WAYS, How, Made, SourceUnreadable, link
from downloader.store.records import Records

READ_ONLY = 0o444
NONE = frozenset({"off", "no", "false", "0"})
KEPT_BY: dict[How, tuple[Made, ...]] = {
    **WAYS,
    "auto": ("reflink", "hardlink"),
    "hardlink": ("hardlink",),
}
"""How a blob comes of a target: by copy only where copies were asked for."""


def store_at(name: str) -> "Store | None":
    """Return the store that is meant, None for none.

    Args:
        name: What MODELMAKE_STORE says: a folder, `off`, or nothing for the user's cache directory.

    Raises:
        StoreError: It is of a newer version, or cannot be read.
    """
    if name.strip().lower() in NONE:
        return None
    if name:
        return Store(Path(name).expanduser().absolute())
    from platformdirs import user_cache_path  # noqa: PLC0415 - only where nobody names another

    return Store(user_cache_path("modelmake", appauthor=False))


class Store:
    """The blobs of one store; safe to share between threads and processes.

    Args:
        root: Its folder; made when something is put in.
        is_cache: Whether it may lack bytes that would be on the disk twice, and backups are told to
            leave it out.
        watch: Called often while a blob is copied; raises to stop that.

    Raises:
        StoreError: It is of a newer version.
    """

    def __init__(
        self, root: Path, *, is_cache: bool = True, watch: StopCheck = lambda: None
    ) -> None:
        self.root, self._watch = root, watch
        self._layout = Layout(root, is_cache=is_cache)
        self._ways = KEPT_BY if is_cache else WAYS
        self._records = Records(RootedPath(root, "records"))

    def path(self, sha256: str) -> RootedPath:
        """Return where the blob of this digest is, if it is there."""
        return self._layout.blob(sha256)

    def layer_path(self, root: str) -> RootedPath:
        """Return where the piece layer of this Merkle root is, if it is there."""
        return self._layout.layer(root)

    def put_layer(self, root: str, text: bytes) -> None:
        """Keep a piece layer; raises StoreError where the disk refuses."""
        path = self._layout.layer(root)
        self._layout.make_room(path.parent)
        write_file(path, text)

    def roots(self) -> Iterator[str]:
        """Yield the roots of all layers; raises StoreError where they cannot be listed."""
        return self._layout.roots()

    def has(self, sha256: str) -> bool:
        """Whether there is such a blob; its bytes are not looked at."""
        return os.path.isfile(self._layout.blob(sha256))  # noqa: PTH113 - False, not an error, where one may not look

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

    def keep(
        self,
        file: RootedPath,
        sha256: str,
        how: How,
        *,
        leaves_mode: bool = False,
        is_hashed: bool = True,
    ) -> None:
        """Take a verified file's bytes in; the file stays where it is.

        Where only a copy could be had that nobody asked for, a cache does not take them in: they
        would be on the disk twice.

        Args:
            file: The file. Where it becomes a hard link of the blob, it is read-only from now on.
            sha256: What it was verified to be.
            how: How the blob comes of it.
            leaves_mode: The file is also somebody else's, whose mode is not to change.
            is_hashed: Whether its bytes were hashed; else whoever uses the blob first does so.

        Raises:
            StoreError: The disk refused.
        """
        blob = self._layout.blob(sha256)
        self._layout.make_room(blob.parent)
        if "copy" in self._ways[how] and look(blob) is not None:
            return  # the other ways find that out by themselves, or cost nothing
        with naming(blob, "write"):
            made = self._linked(file, blob, how)
            with contextlib.suppress(FileNotFoundError):  # it was pruned at once
                if made and not (leaves_mode and made == "hardlink"):
                    _protect(blob)
                if made and is_hashed:
                    self._records.note(sha256, blob.lstat())

    def _linked(self, file: RootedPath, blob: RootedPath, how: How) -> Made | None:
        """Make a blob of a file, and return which way; None where that was not to be."""
        try:
            return link(file, blob, self._ways[how], blob.name, self._watch)
        except (FileExistsError, SourceUnreadable):
            return None  # somebody else was quicker: to keep them, or to remove the file
        except OSError as error:
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
        """Drop what is noted of blobs that are no more.

        Raises:
            StoreError: The disk refused.
        """
        self._records.keep_only(digests)

    def remove(self, sha256: str) -> None:
        """Remove a blob; targets that are links to it stay.

        Raises:
            StoreError: The disk refused.
        """
        with naming(self.path(sha256), "remove"):
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
            Damaged: It was; nothing is raised where somebody else was quicker.
        """
        if stat.S_ISREG(status.st_mode):
            with contextlib.suppress(OSError):
                blob.mark_changed()
        try:
            told = set_aside(blob, RootedPath(self.root), status.st_size, actual)
        except StoreError:
            if look(blob) is None:
                return
            raise
        raise Damaged(told, status)


def _protect(blob: RootedPath) -> None:
    """Make a blob read-only, and with it the targets that are links to it."""
    if os.name != "nt":  # Windows could neither replace nor remove it then
        blob.protect(READ_ONLY)
