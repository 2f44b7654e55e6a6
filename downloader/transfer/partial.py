"""The bytes of one file on their way: private until they are verified and committed.

Bytes first, journal after: the journal names only what was synced to disk, so that a kill or a
power cut costs the bytes since the last checkpoint and can never pass off a hole as data.
"""

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from downloader.durable import make_folder, naming, sync_folder
from downloader.errors import StoreError
from downloader.hashing import feed, new_md5, new_sha256
from downloader.transfer import journal
from downloader.transfer.journal import Binding
from downloader.transfer.locked_file import is_same_file, open_locked
from downloader.transfer.ranges import Range, prefix

SMALLEST_STEP_BYTES = 1 << 20
LARGEST_STEP_BYTES = 32 << 20
STEPS = 64


class Partial:
    """An open partial with its running digests; a context manager that keeps what can be resumed.

    Attributes:
        have: Bytes written from the start on without a gap.
        is_joined: Whether they came in more than one reply, so that versions could be mixed.
        binding: What they belong to.
    """

    def __init__(self, folder: Path, binding: Binding) -> None:
        make_folder(folder)
        self._path = folder / partial_name(binding.path)
        with naming(self._path, "open"):
            self._descriptor, self._path = open_locked(self._path)
        self._wanted = self.binding = binding
        self.have = self._noted = 0
        self.is_joined = False
        self._sha256, self._md5 = new_sha256(), new_md5()
        self._take_over()

    @property
    def _journal_path(self) -> Path:
        return self._path.with_suffix(".journal")

    @property
    def is_complete(self) -> bool:
        """Whether all bytes of a file of known length are there; an empty one must be asked for."""
        return self.have > 0 and self.have == self.binding.size

    @property
    def sha256(self) -> str:
        """SHA-256 of what is there, in hex."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """MD5 of what is there, in hex; None where a SHA-256 is known and makes it needless."""
        return None if self.binding.sha256 else self._md5.hexdigest()

    def write(self, data: memoryview) -> None:
        """Append bytes, hash them, and note them in the journal from time to time.

        Raises:
            StoreError: The disk refused them.
        """
        with naming(self._path, "write"):
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            self._hash(data)
            self.have += len(data)
            if self.have - self._noted >= self._step_bytes:
                self._checkpoint()

    def bind(self, validator: str | None, size: int | None) -> None:
        """Say which version of the file, and of what length, the bytes from now on belong to."""
        self.binding = msgspec.structs.replace(self._wanted, validator=validator, size=size)

    def reset(self) -> None:
        """Forget every byte.

        Raises:
            StoreError: The disk refused.
        """
        with naming(self._path, "empty"):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._journal_path.unlink(missing_ok=True)
        self.have = self._noted = 0
        self.is_joined = False
        self.binding = self._wanted
        self._sha256, self._md5 = new_sha256(), new_md5()

    def commit(self, target: Path) -> None:
        """Make the verified bytes visible under the final name, durably, in one step.

        Raises:
            StoreError: The disk refused, or something that is no file stands at the target.
        """
        check_target(target)
        make_folder(target.parent)
        with naming(target, "replace"):
            os.fsync(self._descriptor)
            self._check_not_swapped()
            if os.name == "nt":
                self._close()  # Windows renames no open file
            self._path.replace(target)
            sync_folder(target.parent)
            self._journal_path.unlink(missing_ok=True)

    def set_aside(self, folder: Path) -> Path:
        """Move bytes that proved wrong out of the way, and return where they are.

        Raises:
            StoreError: The disk refused.
        """
        make_folder(folder)
        aside = folder / f"{self._path.stem}-{self.sha256[:12]}"
        with naming(aside, "set aside"):
            self._path.replace(aside)
            self._journal_path.unlink(missing_ok=True)
        return aside

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what can be resumed, remove what cannot; never hide the block's own error."""
        with contextlib.suppress(OSError):
            if self._descriptor >= 0 and is_same_file(self._descriptor, self._path):
                if self.have and self.binding.can_resume:
                    self._checkpoint()
                else:
                    self._path.unlink()
                    self._journal_path.unlink(missing_ok=True)
        self._close()

    def _take_over(self) -> None:
        """Go on from what an earlier run left, as far as its journal vouches for it."""
        found = _read_journal(self._journal_path)
        if found is None or not self.binding.admits(found[0]):
            self.reset()
            return
        vouched = min(prefix(found[1]), os.fstat(self._descriptor).st_size)
        if not vouched:
            self.reset()  # a journal of no bytes would name its version for other bytes to come
            return
        with naming(self._path, "read"):
            os.ftruncate(self._descriptor, vouched)
            hashes = (self._sha256,) if self.binding.sha256 else (self._sha256, self._md5)
            feed(self._descriptor, vouched, hashes)
        self.binding = found[0]
        self.have = self._noted = vouched
        self.is_joined = vouched > 0

    def _hash(self, data: memoryview) -> None:
        self._sha256.update(data)
        if self.binding.sha256 is None:
            self._md5.update(data)

    @property
    def _step_bytes(self) -> int:
        share = (self.binding.size or 0) // STEPS
        return min(max(share, SMALLEST_STEP_BYTES), LARGEST_STEP_BYTES)

    def _checkpoint(self) -> None:
        if not self.binding.can_resume or self.have == self._noted:
            return
        getattr(os, "fdatasync", os.fsync)(self._descriptor)
        is_new = not self._journal_path.exists()
        with self._journal_path.open("wb" if is_new else "ab") as file:
            if is_new:
                file.write(journal.dump_head(self.binding))
            file.write(journal.dump_ranges([Range(0, self.have)]))
        self._noted = self.have

    def _check_not_swapped(self) -> None:
        if not is_same_file(self._descriptor, self._path):
            raise StoreError(f"{self._path} was replaced by somebody while it was written.")

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def partial_name(path: str) -> str:
    """Return the partial's file name: readable, unique for the path, and short enough anywhere."""
    readable = path.rpartition("/")[2].encode()[:40].decode("utf-8", "ignore")
    return f"{readable}-{hashlib.sha256(path.encode()).hexdigest()[:12]}.part"


def check_target(target: Path) -> None:
    """Refuse to put a file where a folder, a FIFO or a device stands; a symlink is replaced.

    Raises:
        StoreError: It is none of nothing, a file or a symlink.
    """
    with naming(target, "look at"):
        try:
            mode = target.lstat().st_mode
        except FileNotFoundError:
            return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise StoreError(f"{target} is {kind}.", hint="Move it away, or choose another `to`.")


def _read_journal(path: Path) -> tuple[Binding, list[Range]] | None:
    try:
        return journal.load(path.read_bytes())
    except OSError:
        return None
