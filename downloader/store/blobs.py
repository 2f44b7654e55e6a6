"""Blobs: put in once verified, found again by their SHA-256, hashed when anything looks changed."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from downloader.durable import make_folder, naming, write_file
from downloader.errors import StoreError
from downloader.finding import Watch
from downloader.hashing import sha256_of
from downloader.quarantine import set_aside
from downloader.store.linking import How, link
from downloader.store.records import Records

FORMAT = b"1\n"
READ_ONLY = 0o444
DIGEST_LENGTH = 64
NONE = frozenset({"off", "no", "false", "0"})
CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n"
"""What tells backups to leave a folder out (bford.info/cachedir)."""


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
        is_cache: Whether backups are told to leave it out.
        watch: Called often while a blob is copied; raises to stop that.

    Raises:
        StoreError: It is of a newer version.
    """

    def __init__(self, root: Path, *, is_cache: bool = True, watch: Watch = lambda: None) -> None:
        self.root, self._is_cache, self._watch = root, is_cache, watch
        self._records = Records(root / "records")
        self._made = set[Path]()
        self._check_format()

    def path(self, sha256: str) -> Path:
        """Return where the blob of this digest is, if it is there."""
        return self.root / "sha256" / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether there is such a blob; its bytes are not looked at."""
        return self.path(sha256).is_file()

    def find(self, sha256: str, *, is_doubted: bool = False) -> Path | None:
        """Return the blob of this digest when its bytes are right.

        Args:
            sha256: In hex.
            is_doubted: Read it, however it looks.

        Raises:
            StoreError: It cannot be read.
            Damaged: It had other bytes; it was set aside.
        """
        blob = self.path(sha256)
        try:
            status = blob.lstat()
        except OSError:
            return None
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and not is_doubted and self._records.vouches(sha256, status):
            return blob
        with naming(blob, "read"):
            actual = sha256_of(blob) if is_file else ""
        if actual == sha256:
            self._records.note(sha256, status)
            return blob
        raise Damaged(set_aside(blob, self.root, status.st_size, actual or "none"), status)

    def peek(self, sha256: str, *, is_doubted: bool = False) -> Path | None:
        """Return what `find` would, and change nothing: damage is as if there were no blob.

        Raises:
            StoreError: It cannot be read.
        """
        blob = self.path(sha256)
        if not self.must_read(sha256, is_doubted=is_doubted):
            return blob if blob.is_file() and not blob.is_symlink() else None
        with naming(blob, "read"):
            return blob if sha256_of(blob) == sha256 else None

    def must_read(self, sha256: str, *, is_doubted: bool = False) -> bool:
        """Whether there is a blob that `find` would read before it believes it."""
        try:
            status = self.path(sha256).lstat()
        except OSError:
            return False
        is_file = stat.S_ISREG(status.st_mode)
        return is_file and (is_doubted or not self._records.vouches(sha256, status))

    def note(self, sha256: str) -> None:
        """Note how a blob looks now that we changed no byte of it, but made a link to it."""
        with contextlib.suppress(OSError, StoreError):  # it costs one hashing
            self._records.note(sha256, self.path(sha256).lstat())

    def keep(self, file: Path, sha256: str, how: How, *, leaves_mode: bool = False) -> None:
        """Take a verified file's bytes in; the file stays where it is.

        Args:
            file: The file. Where it becomes a hard link of the blob, it is read-only from now on.
            sha256: What it was verified to be.
            how: How the blob comes of it.
            leaves_mode: The file is also somebody else's, whose mode is not to change.

        Raises:
            StoreError: The disk refused.
        """
        blob = self.path(sha256)
        self._make_room(blob.parent)
        if blob.exists():
            return
        unfinished = blob.parent / f".{secrets.token_hex(8)}.new"
        with naming(blob, "write"):
            made = link(file, unfinished, how, sha256, self._watch)
            try:
                is_theirs = leaves_mode and made == "hardlink"
                if (
                    os.name != "nt" and not is_theirs
                ):  # there a read-only file can be neither replaced nor removed
                    unfinished.chmod(READ_ONLY)
                unfinished.replace(blob)
            except BaseException:
                with contextlib.suppress(OSError):
                    unfinished.unlink()
                raise
            self._records.note(sha256, blob.lstat())

    def digests(self) -> list[str]:
        """Return the names of all blobs."""
        found = (each.name for each in self.root.glob("sha256/??/*"))
        return sorted(each for each in found if len(each) == DIGEST_LENGTH)

    def remove(self, sha256: str) -> None:
        """Remove a blob; targets that are links to it stay.

        Raises:
            StoreError: The disk refused.
        """
        with naming(self.path(sha256), "remove"):
            self.path(sha256).unlink(missing_ok=True)

    def forget_all_but(self, digests: set[str]) -> None:
        """Drop what is noted of blobs that are no more.

        Raises:
            StoreError: The disk refused.
        """
        self._records.keep_only(digests)

    def _check_format(self) -> None:
        file = self.root / "format"
        with naming(file, "read"):
            try:
                found = file.read_bytes()
            except FileNotFoundError:
                return
        if found != FORMAT:
            raise StoreError(
                f"The store {self.root} was made by a newer modelmake.",
                hint="Update modelmake, or set MODELMAKE_STORE to another folder, or to off.",
            )

    def _make_room(self, folder: Path) -> None:
        if folder in self._made:
            return
        if not (self.root / "format").exists():
            make_folder(self.root)
            if self._is_cache:
                write_file(self.root / "CACHEDIR.TAG", CACHE_TAG)
            write_file(self.root / "format", FORMAT)
        make_folder(folder)
        self._made.add(folder)
