"""The bytes of one file on their way: private until they are verified and committed.

Bytes first, journal after: the journal names only what was synced to disk, so that a kill or a
power cut costs the bytes since the last checkpoint and can never pass off a hole as data. A partial
may begin with the bytes of another file, which nobody believes before they are checked.
"""

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import msgspec

from downloader.artifact import Artifact
from downloader.errors import IntegrityError, StoreError
from downloader.fs.commit import Commit
from downloader.fs.digests import Layer, copy_start, feed, new_md5
from downloader.fs.files import Private
from downloader.fs.locks import (
    LockWait,
    open_locked,
    partial_name,
    partial_path,
)
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import READ, RootedPath
from downloader.fs.space import DiskBudget
from downloader.network.ranges import Range, merge, prefix, total, without
from downloader.transfer._journal import Binding, Journal, binding_for, vouched
from downloader.transfer._verifier import (
    STRETCH_BYTES,
    InlineVerifier,
    PieceVerifier,
    Verifier,
    hashes_for,
    piece_verifier,
    whole_verifier,
)
from downloader.urls import Location


def has_partials(workspace: RootedPath) -> bool:
    """Whether any file of the model is unfinished: one listing instead of a stat for each file."""
    try:
        with os.scandir(workspace / Private.PARTIALS) as entries:
            return any(entries)
    except OSError:
        return False


def resumable(
    workspace: RootedPath, artifact: Artifact, locations: Callable[[], tuple[Location, ...]] | None
) -> tuple[int | None, int]:
    """Return a file's length, as far as is known, and how many of its bytes the next run keeps.

    Args:
        workspace: The model's private folder.
        artifact: The file.
        locations: Returns its locations; called only if there is a partial. None if the next run
            goes on from wherever it came.

    Raises:
        ModelmakeError: The journal cannot be read; or from `locations`.
    """
    partial = partial_path(workspace, artifact.path)
    try:
        length = os.lstat(partial).st_size
    except OSError:
        return artifact.size, 0
    found = _journal(partial).read()
    wanted = binding_for(artifact, locations()[0] if locations else None)
    ranges = vouched(found, wanted, length, anywhere=locations is None)
    size = found[0].size if found and ranges and artifact.size is None else artifact.size
    return size, total(ranges)


def is_kept(workspace: RootedPath, artifact: Artifact) -> bool:
    """Whether what came of a file that is being fetched can be gone on from.

    Raises:
        StoreError: Its journal cannot be read.
    """
    if artifact.is_pinned:
        return True
    found = _journal(partial_path(workspace, artifact.path)).read()
    return found is not None and found[0].can_resume


def _journal(partial: RootedPath) -> Journal:
    return Journal(partial.with_suffix(".journal"))


def copy_whole(source: RootedPath, file: OpenFile, size: int, lock_wait: LockWait) -> bool:
    """Copy a file of exactly this size to the beginning of an open one.

    Args:
        source: The file; what is not a regular file of that size is left alone.
        file: The open one.
        size: In bytes.
        lock_wait: Says when the run is to end.

    Returns:
        Whether all of it was copied; if not, some of it may be.

    Raises:
        Interrupted: The user stopped the run.
    """
    try:
        with source.open(READ) as opened:
            status = opened.status()
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                return False
            return copy_start(opened, file, size, lock_wait.check) == size
    except StoreError:
        return False


SMALLEST_STEP_BYTES = 1 << 20
LARGEST_STEP_BYTES = 16 << 20
STEPS = 128


class Checkpoints:
    """The checkpoints of one open partial; safe to share between its connections.

    Args:
        file: The open partial.
        journal: Where they are noted.

    Attributes:
        noted_bytes: How many bytes the journal confirms.
    """

    def __init__(self, file: OpenFile, journal: Journal) -> None:
        self._file, self._journal = file, journal
        self.noted_bytes = 0
        self._is_doubtful = False
        self._noting = threading.Lock()

    def is_due(self, present_bytes: int, size: int | None) -> bool:
        """Whether so much is there that it should be noted, of a file of this size."""
        step = min(max((size or 0) // STEPS, SMALLEST_STEP_BYTES), LARGEST_STEP_BYTES)
        return present_bytes - self.noted_bytes >= step

    def add_due(self, binding: Binding, ranges: Callable[[], Sequence[Range]]) -> None:
        """Note what is there now, if that is still due once no other thread notes anything.

        Raises:
            StoreError: As `add`.
        """
        with self._noting:
            now = ranges()
            if self.is_due(total(now), binding.size):
                self._add(binding, now)

    def add(self, binding: Binding, ranges: Sequence[Range]) -> None:
        """Sync what was written, and note it, unless it is noted or cannot be resumed.

        Raises:
            StoreError: It cannot be synced, or the journal cannot be written.
        """
        with self._noting:
            self._add(binding, ranges)

    def _add(self, binding: Binding, ranges: Sequence[Range]) -> None:
        present = total(ranges)
        if self._is_doubtful or not binding.can_resume or present == self.noted_bytes:
            return
        self.sync(self._file.sync_data)
        self._journal.note(binding, ranges)
        self.noted_bytes = present

    def sync(self, sync: Callable[[], None]) -> None:
        """Sync the partial, and note nothing more after a failure.

        Linux drops what it could not write and calls the next fsync a success, so a second one
        proves nothing (PostgreSQL's "fsyncgate", 2018): what came since the last checkpoint is
        lost.

        Raises:
            StoreError: It cannot be synced.
        """
        try:
            sync()
        except StoreError:
            self._is_doubtful = True
            raise


class Partial:
    """An open partial with its running digests; a context manager that keeps what can be resumed.

    Args:
        folder: Where partials are kept.
        binding: What is wanted.
        lock_wait: Waits while another process has the partial.
        budget: Notes how much is still to be written.
        layer: The file's piece layer, if models.lock has its root.
        anywhere: Whether bytes from another place are taken over even without one.

    Attributes:
        ranges: What is written, merged.
        is_joined: Whether they came in more replies than one: versions could be mixed.
        wanted: What is wanted, as it was given.
        binding: What they belong to.
        verifier: Hashes them, and knows what they prove.
        on_right: Called with the number of each piece that proves right, from any thread.
    """

    def __init__(  # noqa: PLR0913 - two are always given
        self,
        folder: RootedPath,
        binding: Binding,
        lock_wait: LockWait | None = None,
        budget: DiskBudget | None = None,
        layer: Layer | None = None,
        *,
        anywhere: bool = False,
    ) -> None:
        self._is_anywhere = anywhere or layer is not None
        self._name = folder / partial_name(binding.path)
        self._budget, self._lock_wait, self._layer = (
            budget or DiskBudget(),
            lock_wait or LockWait(),
            layer,
        )
        self._file = open_locked(self._name, self._lock_wait)
        self._file.needed_bytes = self._missing_bytes
        self._path = self._file.path
        self._journal = Journal(self._path.with_suffix(".journal"))
        self._checkpoints = Checkpoints(self._file, self._journal)
        self.wanted = self.binding = binding
        self.on_right: Callable[[int], object] = lambda _index: None
        self.verifier: Verifier = InlineVerifier(self._file, {})
        self.ranges: list[Range] = []
        self.is_joined = self._is_placed = self._is_renamed = self._with_md5 = False
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
        return self.verifier.buffer()

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
        self._file.write_at(buffer[:count], offset)
        with self._changing:
            self.ranges = merge([*self.ranges, Range(offset, offset + count)])
            have, present = self.have, self.present
        is_taken = self.verifier.feed_block(offset, buffer, count)
        self.verifier.advance(have)
        if self._checkpoints.is_due(present, self.binding.size):
            self._checkpoints.add_due(self.binding, lambda: self.ranges)
        return self.verifier.buffer() if is_taken else buffer

    @property
    def path(self) -> RootedPath:
        """Where it is, which may be a name of this process's own."""
        return self._path

    def read(self, span: Range) -> bytes:
        """Return what is in the file there. Raises StoreError as `put`."""
        buffer = bytearray(span.length)
        self._file.read_full(memoryview(buffer), span.start)
        return bytes(buffer)

    def note_stored(self, spans: Sequence[Range]) -> None:
        """Take whole pieces that somebody else wrote to the file. Raises StoreError as `put`."""
        with self._changing:
            self.ranges = merge([*self.ranges, *spans])
            self._pieces.take_stored(spans)
        if self._checkpoints.is_due(self.present, self.binding.size):
            self._checkpoints.add_due(self.binding, lambda: self.ranges)

    def recheck(self, spans: Iterable[Range]) -> None:
        """Have whole pieces read and hashed again, and those that proved wrong.

        Raises:
            StoreError: It cannot be read back.
            Interrupted: The user stopped the run.
        """
        self._pieces.drain()
        self._pieces.recheck(spans)

    def restart_pieces(self) -> None:
        """Have all that is here hashed again, by its pieces."""
        self._restart_verifier(self.have)

    @property
    def _pieces(self) -> PieceVerifier:
        assert isinstance(self.verifier, PieceVerifier)
        return self.verifier

    def drop_bad_pieces(self) -> list[Range]:
        """Forget pieces that proved wrong; return where. Raises StoreError as `put`."""
        if wrong := self.verifier.pop_bad_pieces():
            with self._changing:
                self.ranges = without(self.ranges, wrong)
                self._checkpoints.noted_bytes = -1  # as many may be there as were noted: others
                self._checkpoints.add(self.binding, self.ranges)
        return wrong

    @property
    def placed_file(self) -> OpenFile | None:
        """The open file under its final name; None if that is a copy of it."""
        return self._file if self._is_renamed else None

    def claim_room(self) -> None:
        """See that what is missing fits on the disk, as far as the length is known.

        Raises:
            StoreError: It does not.
        """
        if self.binding.size is not None:
            self._budget.claim(self._name, self._missing_bytes)

    def seed(self, source: RootedPath) -> None:
        """Begin with a file's bytes if pieces tell which are right; Interrupted as `commit`."""
        if self.verifier.has_pieces and not self.ranges and (size := self.binding.size):
            if copy_whole(source, self._file, size, self._lock_wait):
                self.ranges = [Range(0, size)]
            self._restart_verifier(0)

    def bind(self, validator: str | None, size: int | None, *, with_md5: bool = False) -> None:
        """Say which version of the file, and of what length, the bytes from now on belong to.

        Args:
            validator: The server's strong ETag.
            size: In bytes, if it is known.
            with_md5: Whether the MD5 will be asked for: it costs more than a SHA-256.

        Raises:
            StoreError: So many bytes do not fit on the disk.
        """
        self._with_md5 = with_md5
        self.binding = msgspec.structs.replace(self.wanted, validator=validator, size=size)
        self.claim_room()
        with self._changing:  # a peer's first piece may come at the same moment
            if not self.ranges:
                self._restart_verifier(0)

    def drop_validator(self) -> None:
        """Ask for any version from now on: its server has others for the same bytes."""
        self.binding = msgspec.structs.replace(self.binding, validator=None)

    def reset(self) -> None:
        """Forget every byte; raises StoreError if the disk refuses."""
        self._file.truncate(0)
        self._journal.remove()
        self.ranges, self.is_joined = [], False
        self._checkpoints.noted_bytes = 0
        self.binding = self.wanted
        self._restart_verifier(0)

    def _restart_verifier(self, have: int) -> None:
        """Restart the digests, over the first `have` bytes and what will follow them."""
        self.verifier.close()
        pieces = piece_verifier(self._file, self.binding, self._layer, self.ranges, self._lock_wait)
        if pieces:
            pieces.on_right = self.on_right
        hashes = hashes_for(self.binding, with_md5=self._with_md5)
        self.verifier = pieces or whole_verifier(self._file, hashes, self.binding.size)
        self.verifier.advance(have)

    def digest(self, kind: str) -> str | None:
        """Return another digest than the SHA-256 of the whole file, in hex; None if unknown.

        An MD5 that was not computed on the way, because only a later reply named one, is computed
        now: what was just written is in memory still.

        Raises:
            StoreError: It cannot be read back.
            Interrupted: The user stopped the run.
        """
        found = self.verifier.other_digest(kind)
        if found is not None or kind != "md5":
            return found
        md5 = new_md5()
        for start in range(0, self.have, STRETCH_BYTES):
            self._lock_wait.check()
            feed(self._file, start, min(start + STRETCH_BYTES, self.have), (md5,))
        return md5.hexdigest()

    def commit(self, place: Commit) -> None:
        """Make the verified bytes visible under the final name, durably, in one step.

        Raises:
            StoreError: The disk refused, or something else than a file is at the target.
        """
        self._checkpoints.sync(self._file.sync)
        self._is_renamed = place.take(self._file, self.verifier.sha256, self._lock_wait.check)
        self._is_placed = True
        if not self._is_renamed:  # the target is on another file system, and has a copy
            with contextlib.suppress(StoreError):  # `doit prune` removes it too
                self._path.remove()
        self._journal.remove()

    def set_aside(self, workspace: RootedPath, error: IntegrityError) -> IntegrityError:
        """Move bytes that proved wrong out of the way, and return the error that says where to.

        Raises:
            StoreError: The disk refused.
            Interrupted: The user stopped the run.
        """
        if self.verifier.has_pieces:
            self.verifier.finish()  # what waits to be checked may be as wrong
        self.drop_bad_pieces()
        where = self.verifier.set_aside(self._path, workspace, self.have)
        if not self.verifier.has_pieces:
            self._journal.remove()
        return type(error)(str(error), hint=f"{where} {error.hint}".strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what can be resumed, remove what cannot; never hide the block's own error."""
        self.verifier.close()
        with contextlib.suppress(StoreError):
            is_open = self._file.descriptor >= 0 and not self._is_placed
            if is_open and self._file.is_at(self._path):
                if self.ranges and self.binding.can_resume:
                    self._checkpoints.add(self.binding, self.ranges)
                else:
                    self._path.remove()
                    self._journal.remove()
        with contextlib.suppress(*(StoreError,) if kind else ()):
            self._close()

    def _take_over(self) -> None:
        """Go on from what an earlier run left, as far as its journal confirms it."""
        length = self._file.status().st_size
        taken = self._journal.take_over(self.wanted, length, anywhere=self._is_anywhere)
        if taken is None and not length and not self._journal.is_there:
            self._restart_verifier(0)
            return
        if taken is None:
            self.reset()  # a journal of no bytes would name its version for other bytes to come
            return
        self.binding, self.ranges = taken
        self._file.truncate(self.ranges[-1].stop)
        self._checkpoints.noted_bytes = self.present
        self.is_joined = True
        self._restart_verifier(self.have)

    def _missing_bytes(self) -> int:
        return max(0, (self.binding.size or 0) - self.present)

    def _close(self) -> None:
        self.verifier.close()
        self._budget.release(self._name)
        self._path.let_go()
        self._journal.path.let_go()
        self._file.close()
