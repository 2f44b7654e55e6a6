"""The bytes of one file on their way: private until they are verified and committed.

Bytes first, journal after: the journal names only what was synced to disk, so that a kill or a
power cut costs the bytes since the last checkpoint and can never pass off a hole as data.
"""

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from downloader.durable import make_folder, naming
from downloader.hashing import new_md5, new_sha256
from downloader.positioned import write_at
from downloader.transfer import journal
from downloader.transfer.hasher import Follower, InlineHasher, follower_for
from downloader.transfer.journal import Binding
from downloader.transfer.locked_file import is_same_file, open_locked
from downloader.transfer.placing import check_target, place
from downloader.transfer.ranges import Range, first_gap, merge, prefix, total

SMALLEST_STEP_BYTES = 1 << 20
LARGEST_STEP_BYTES = 32 << 20
STEPS = 64


class Partial:
    """An open partial with its running digests; a context manager that keeps what can be resumed.

    Attributes:
        ranges: What is written, merged.
        is_joined: Whether they came in more than one reply, so that versions could be mixed.
        binding: What they belong to.
    """

    def __init__(self, folder: Path, binding: Binding) -> None:
        make_folder(folder)
        self._path = folder / partial_name(binding.path)
        with naming(self._path, "open"):
            self._descriptor, self._path = open_locked(self._path)
        self._wanted = self.binding = binding
        self._follower: Follower = InlineHasher(-1, (), 0)
        self.ranges: list[Range] = []
        self._noted, self.is_joined = 0, False
        self._changing, self._noting = threading.Lock(), threading.Lock()
        try:
            self._take_over()
        except BaseException:
            self._close()
            raise

    @property
    def _journal_path(self) -> Path:
        return self._path.with_suffix(".journal")

    @property
    def have(self) -> int:
        """Bytes written from the start on without a gap."""
        return prefix(self.ranges)

    @property
    def present(self) -> int:
        """Bytes written, wherever."""
        return total(self.ranges)

    @property
    def is_complete(self) -> bool:
        """Whether all bytes of a file of known length are there; an empty one must be asked for."""
        return self.have > 0 and self.have == self.binding.size

    @property
    def first_gap(self) -> Range:
        """The first range that is missing; it ends at 0 where the file's length is not known."""
        return first_gap(self.ranges, self.binding.size or 0)

    @property
    def sha256(self) -> str:
        """SHA-256 of what is there, in hex."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """MD5 of what is there, in hex; None where a SHA-256 is known and makes it needless."""
        return None if self.binding.sha256 else self._md5.hexdigest()

    def buffer(self) -> memoryview:
        """Return a buffer to receive into."""
        return self._follower.buffer()

    def put(self, offset: int, buffer: memoryview, count: int) -> memoryview:
        """Write bytes, hash them in their turn, and note them in the journal from time to time.

        Args:
            offset: Where in the file they belong.
            buffer: Holds them; it may be kept until they are hashed.
            count: How many of them there are.

        Returns:
            The buffer to receive into next.

        Raises:
            StoreError: The disk refused them.
        """
        with naming(self._path, "write"):
            write_at(self._descriptor, buffer[:count], offset)
            with self._changing:
                self.ranges = merge([*self.ranges, Range(offset, offset + count)])
                have, present = self.have, self.present
            is_taken = self._follower.hand_over(offset, buffer, count)
            self._follower.reach(have)
            if present - self._noted >= self._step_bytes:
                self._checkpoint()
        return self._follower.buffer() if is_taken else buffer

    def settle(self) -> None:
        """Wait until everything is hashed.

        Raises:
            StoreError: What was written cannot be read back.
        """
        with naming(self._path, "read back"):
            self._follower.finish()

    def bind(self, validator: str | None, size: int | None) -> None:
        """Say which version of the file, and of what length, the bytes from now on belong to."""
        self.binding = msgspec.structs.replace(self._wanted, validator=validator, size=size)
        if not self.ranges:
            self._follow(0)

    def reset(self) -> None:
        """Forget every byte.

        Raises:
            StoreError: The disk refused.
        """
        with naming(self._path, "empty"):
            os.ftruncate(self._descriptor, 0)
            self._journal_path.unlink(missing_ok=True)
        self.ranges, self._noted = [], 0
        self.is_joined = False
        self.binding = self._wanted
        self._follow(0)

    def _follow(self, have: int) -> None:
        """Begin the digests anew, over the first `have` bytes and what will follow them."""
        self._follower.close()
        self._sha256, self._md5 = new_sha256(), new_md5()
        hashes = (self._sha256,) if self.binding.sha256 else (self._sha256, self._md5)
        self._follower = follower_for(self._descriptor, hashes, self.binding.size)
        self._follower.reach(have)

    def commit(self, target: Path) -> None:
        """Make the verified bytes visible under the final name, durably, in one step.

        Raises:
            StoreError: The disk refused, or something that is no file stands at the target.
        """
        check_target(target)
        make_folder(target.parent)
        place(self._descriptor, self._path, target)
        with naming(self._journal_path, "remove"):
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
        self._follower.close()
        with contextlib.suppress(OSError):
            if self._descriptor >= 0 and is_same_file(self._descriptor, self._path):
                if self.ranges and self.binding.can_resume:
                    self._checkpoint()
                else:
                    self._path.unlink()
                    self._journal_path.unlink(missing_ok=True)
        self._close()

    def _take_over(self) -> None:
        """Go on from what an earlier run left, as far as its journal vouches for it."""
        with naming(self._journal_path, "read"):
            is_there = self._journal_path.is_file()
            found = journal.load(self._journal_path.read_bytes()) if is_there else None
        if found is None or not self.binding.admits(found[0]):
            self.reset()
            return
        length = os.fstat(self._descriptor).st_size
        vouched = [Range(start, min(stop, length)) for start, stop in found[1] if start < length]
        if not vouched:
            self.reset()  # a journal of no bytes would name its version for other bytes to come
            return
        with naming(self._path, "read"):
            os.ftruncate(self._descriptor, vouched[-1].stop)
        self.binding, self.ranges = found[0], vouched
        self._noted = self.present
        self.is_joined = True
        self._follow(self.have)

    @property
    def _step_bytes(self) -> int:
        share = (self.binding.size or 0) // STEPS
        return min(max(share, SMALLEST_STEP_BYTES), LARGEST_STEP_BYTES)

    def _checkpoint(self) -> None:
        with self._noting:
            present = total(ranges := self.ranges)
            if not self.binding.can_resume or present == self._noted:
                return
            getattr(os, "fdatasync", os.fsync)(self._descriptor)
            is_new = not self._journal_path.exists()
            with self._journal_path.open("wb" if is_new else "ab") as file:
                if is_new:
                    file.write(journal.dump_head(self.binding))
                file.write(journal.dump_ranges(ranges))
            self._noted = present

    def _close(self) -> None:
        self._follower.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def partial_name(path: str) -> str:
    """Return the partial's file name: readable, unique for the path, and short enough anywhere."""
    readable = path.rpartition("/")[2].encode()[:40].decode("utf-8", "ignore")
    return f"{readable}-{hashlib.sha256(path.encode()).hexdigest()[:12]}.part"
