"""The bytes of one file on their way: private until they are verified and committed.

Bytes first, journal after: the journal names only what was synced to disk, so that a kill or a
power cut costs the bytes since the last checkpoint and can never pass off a hole as data.
"""

import contextlib
import os
import threading
from typing import Self

import msgspec

from downloader.disk.durable import make_folder, naming
from downloader.disk.positioned import write_at
from downloader.errors import IntegrityError, StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.pieces.merkle import Layer
from downloader.transfer.checkpoints import Checkpoints
from downloader.transfer.hasher import Follower, InlineHasher
from downloader.transfer.journal import Binding, Journal
from downloader.transfer.judging import judge_of
from downloader.transfer.locked_file import is_same_file, open_locked, partial_name
from downloader.transfer.placing import Place
from downloader.transfer.preflight import Room
from downloader.transfer.ranges import Range, merge, prefix, total, without
from downloader.transfer.seeding import copied
from downloader.transfer.turn import Turn


class Partial:
    """An open partial with its running digests; a context manager that keeps what can be resumed.

    Args:
        folder: Where partials are kept.
        binding: What is wanted.
        turn: Waits while another process has the partial.
        room: Is told what is still to be written.
        layer: The file's piece layer, where models.lock has its root.

    Attributes:
        ranges: What is written, merged.
        is_joined: Whether they came in more replies than one: versions could be mixed.
        binding: What they belong to.
        judge: What they prove to be.
    """

    def __init__(
        self,
        folder: RootedPath,
        binding: Binding,
        turn: Turn | None = None,
        room: Room | None = None,
        layer: Layer | None = None,
    ) -> None:
        make_folder(folder)
        self._name = folder / partial_name(binding.path)
        self._room, self._turn, self._layer = room or Room(), turn or Turn(), layer
        with naming(self._name, "open"):
            self._descriptor, self._path = open_locked(self._name, self._turn)
        self._journal = Journal(self._path.with_suffix(".journal"))
        self._checkpoints = Checkpoints(self._descriptor, self._journal)
        self._wanted = self.binding = binding
        self._follower: Follower = InlineHasher(-1, ())
        self.ranges: list[Range] = []
        self.is_joined = self._is_placed = self._is_gone = False
        self._changing = threading.Lock()
        try:
            self._take_over()
        except BaseException:
            self._close()
            raise

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
        with naming(self._path, "write", self._missing_bytes):
            write_at(self._descriptor, buffer[:count], offset)
            with self._changing:
                self.ranges = merge([*self.ranges, Range(offset, offset + count)])
                have, present = self.have, self.present
            is_taken = self._follower.hand_over(offset, buffer, count)
            self._follower.reach(have)
            if self._checkpoints.is_due(present, self.binding.size):
                self._checkpoints.add(self.binding, self.ranges)
        return self._follower.buffer() if is_taken else buffer

    def settle(self) -> None:
        """Wait until everything is hashed.

        Raises:
            StoreError: What was written cannot be read back.
        """
        with naming(self._path, "read back"):
            self.judge.settle()

    def drop_wrong(self) -> list[Range]:
        """Forget pieces that proved wrong; return where. Raises StoreError as `put`."""
        if wrong := self.judge.take_wrong():
            with naming(self._path, "write"), self._changing:
                self.ranges = without(self.ranges, wrong)
                self._checkpoints.noted_bytes = -1  # as many may be there as were noted: others
                self._checkpoints.add(self.binding, self.ranges)
        return wrong

    def claim_room(self) -> None:
        """See that what is missing fits on the disk, as far as the length is known.

        Raises:
            StoreError: It does not.
        """
        if self.binding.size is not None:
            self._room.claim(self._name.path, self._missing_bytes)

    def seed(self, source: RootedPath) -> None:
        """Begin with a file's bytes where pieces tell which are right; Interrupted as `settle`."""
        if self.judge.has_pieces and not self.ranges and (size := self.binding.size):
            if copied(source, self._descriptor, size, self._turn):
                self.ranges = [Range(0, size)]
            self._follow(0)

    def bind(self, validator: str | None, size: int | None) -> None:
        """Say which version of the file, and of what length, the bytes from now on belong to.

        Raises:
            StoreError: So many bytes do not fit on the disk.
        """
        self.binding = msgspec.structs.replace(self._wanted, validator=validator, size=size)
        self.claim_room()
        if not self.ranges:
            self._follow(0)

    def reset(self) -> None:
        """Forget every byte; raises StoreError where the disk refuses."""
        with naming(self._path, "empty"):
            os.ftruncate(self._descriptor, 0)
        self._journal.remove()
        self.ranges, self.is_joined = [], False
        self._checkpoints.noted_bytes = 0
        self.binding = self._wanted
        self._follow(0)

    def _follow(self, have: int) -> None:
        """Begin the digests anew, over the first `have` bytes and what will follow them."""
        self._follower.close()
        self.judge = judge_of(self._descriptor, self.binding, self._layer, self.ranges, self._turn)
        self._follower = self.judge.follower
        with naming(self._path, "read"):
            self._follower.reach(have)

    def commit(self, place: Place) -> None:
        """Make the verified bytes visible under the final name, durably, in one step.

        Raises:
            StoreError: The disk refused, or something that is no file stands at the target.
        """
        with naming(self._path, "write"):
            self._checkpoints.sync(os.fsync)
        self._is_gone = place.take(self._descriptor, self._path, self.judge.sha256)
        self._is_placed = True
        self._journal.remove()

    def set_aside(self, workspace: RootedPath, error: IntegrityError) -> IntegrityError:
        """Move bytes that proved wrong out of the way, and return the error that says where to.

        Raises:
            StoreError: The disk refused.
        """
        self.drop_wrong()
        told = self.judge.set_aside(self._path, workspace, self.have)
        if not self.judge.has_pieces:
            self._journal.remove()
        return type(error)(str(error), hint=f"{told} {error.hint}".strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what can be resumed, remove what cannot; never hide the block's own error."""
        self._follower.close()
        with contextlib.suppress(OSError, StoreError):
            is_open = self._descriptor >= 0 and not self._is_gone
            if is_open and is_same_file(self._descriptor, self._path):
                if self.ranges and self.binding.can_resume and not self._is_placed:
                    self._checkpoints.add(self.binding, self.ranges)
                else:
                    self._path.remove()
                    self._journal.remove()
        with contextlib.suppress(*(StoreError,) if kind else ()):
            self._close()

    def _take_over(self) -> None:
        """Go on from what an earlier run left, as far as its journal vouches for it."""
        with naming(self._path, "look at"):
            length = os.fstat(self._descriptor).st_size
        taken = self._journal.take_over(self._wanted, length, anywhere=self._layer is not None)
        if taken is None and not length and not self._journal.is_there:
            self._follow(0)
            return
        if taken is None:
            self.reset()  # a journal of no bytes would name its version for other bytes to come
            return
        self.binding, self.ranges = taken
        with naming(self._path, "read"):
            os.ftruncate(self._descriptor, self.ranges[-1].stop)
        self._checkpoints.noted_bytes = self.present
        self.is_joined = True
        self._follow(self.have)

    def _missing_bytes(self) -> int:
        return max(0, (self.binding.size or 0) - self.present)

    def _close(self) -> None:
        self._follower.close()
        self._room.release(self._name.path)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with naming(self._path, "close"):
                os.close(descriptor)
