"""Blobs: put in once verified, found again by their SHA-256, hashed when anything looks changed."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from downloader.durable import naming
from downloader.errors import StoreError
from downloader.hashing import sha256_of
from downloader.quarantine import set_aside
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


class Blob(NamedTuple):
    """A blob whose bytes are right, and how it looked then."""

    path: Path
    status: os.stat_result


class Damaged(Exception):  # noqa: N818 - no failure: the bytes are fetched again
    """A blob had other bytes than its name says.

    Attributes:
        told: What was done with it, a sentence.
        status: How it looked; targets that are hard links to it look the same.
    """

    def __init__(self, told: str, status: os.stat_result) -> None:
        super().__init__(told)
        self.told, self.status = told, status


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

    Raises:
        StoreError: It is of a newer version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._layout = Layout(root)
        self._records = Records(root / "records")

    def path(self, sha256: str) -> Path:
        """Return where the blob of this digest is, if it is there."""
        return self._layout.blob(sha256)

    def has(self, sha256: str) -> bool:
        """Whether there is such a blob; its bytes are not looked at."""
        return os.path.isfile(self._layout.blob(sha256))  # noqa: PTH113 - False, not an error, where one may not look

    def find(self, sha256: str, target: Path | None = None) -> Blob | None:
        """Return the blob of this digest when its bytes are right.

        Args:
            sha256: In hex.
            target: Where a wrong file stands. When that and the blob are one, the blob is read.

        Raises:
            StoreError: It cannot be read, or lies behind a symlink.
            Damaged: It had other bytes; it was set aside.
        """
        blob = self._layout.blob(sha256)
        status = _look(blob)
        if status is None:
            return None
        self._layout.check_own(blob.parent)
        is_file = stat.S_ISREG(status.st_mode)
        is_doubted = target is not None and _is_same(target, status)
        if is_file and not is_doubted and self._records.vouches(sha256, status):
            return Blob(blob, status)
        actual = _sha256_of(blob) if is_file else "none"
        if actual == sha256:
            self._note(sha256, status)
            return Blob(blob, status)
        if actual is not None:
            self._set_aside(blob, status, actual)
        return None

    def linked(self, blob: Blob) -> None:
        """Note how a blob looks now that we changed no byte of it, but made a link to it."""
        now = _look(blob.path)
        if (
            now is None
            or now.st_ctime_ns == blob.status.st_ctime_ns
            or not _is_as(now, blob.status)
        ):
            return
        self._note(blob.path.name, now)

    def keep(self, file: Path, sha256: str, how: How) -> None:
        """Take a verified file's bytes in; the file stays where it is.

        Where only a copy could be had that nobody asked for, they are not taken in: they would be
        on the disk twice.

        Args:
            file: The file. Where it becomes a hard link of the blob, it is read-only from now on.
            sha256: What it was verified to be.
            how: How the blob comes of it.

        Raises:
            StoreError: The disk refused.
        """
        blob = self._layout.blob(sha256)
        self._layout.make_room(blob.parent)
        if _look(blob) is not None:
            return
        with naming(blob, "write"):
            try:
                made = link(file, blob, KEPT_BY[how], sha256, READ_ONLY)
            except (FileExistsError, SourceUnreadable):
                return  # somebody else was quicker: to keep them, or to remove the file
            except OSError as error:
                if error.errno in CANNOT and "copy" not in KEPT_BY[how]:
                    return
                raise
            with contextlib.suppress(FileNotFoundError):  # it was pruned at once
                if made == "hardlink" and os.name != "nt":
                    blob.chmod(READ_ONLY)  # Windows could neither replace nor remove it then
                self._records.note(sha256, blob.lstat())

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

    def _note(self, sha256: str, status: os.stat_result) -> None:
        with contextlib.suppress(StoreError):  # it costs one hashing
            self._records.note(sha256, status)

    def _set_aside(self, blob: Path, status: os.stat_result, actual: str) -> None:
        """Move a blob out of the way; targets that are the same file look changed from now on.

        Raises:
            Damaged: It was; nothing is raised where somebody else was quicker.
        """
        if stat.S_ISREG(status.st_mode):
            with contextlib.suppress(OSError):
                os.utime(blob)
        try:
            told = set_aside(blob, self.root, status.st_size, actual)
        except StoreError:
            if _look(blob) is None:
                return
            raise
        raise Damaged(told, status)


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _is_same(target: Path, status: os.stat_result) -> bool:
    found = _look(target)
    return found is not None and os.path.samestat(found, status)


def _is_as(now: os.stat_result, before: os.stat_result) -> bool:
    """Whether a file was not written since, as far as its stat tells."""
    return os.path.samestat(now, before) and (now.st_size, now.st_mtime_ns) == (
        before.st_size,
        before.st_mtime_ns,
    )


def _sha256_of(blob: Path) -> str | None:
    """Return a blob's digest; None when it was removed meanwhile."""
    with naming(blob, "read"):
        try:
            return sha256_of(blob)
        except FileNotFoundError:
            return None
