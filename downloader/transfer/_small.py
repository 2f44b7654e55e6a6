"""A small file on its way: whole in memory, and on the disk in one step once it is verified.

There is no journal, no lock and no name that a later run would look for. What did not arrive whole
becomes an ordinary partial, which does resume.
"""

import contextlib
import errno
import threading

from downloader.errors import IntegrityError, ModelmakeError, StoreError
from downloader.fs import scratch
from downloader.fs.commit import Commit, set_aside
from downloader.fs.digests import new_md5
from downloader.fs.files import SMALL_BYTES, write_file
from downloader.fs.locks import LockWait, partial_name
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import NEW_FILE, RootedPath
from downloader.fs.space import DiskBudget
from downloader.network.ranges import Range, merge
from downloader.transfer._journal import Binding
from downloader.transfer._verifier import InlineVerifier, hashes_for
from downloader.transfer.partial import Partial


class TooLarge(Exception):  # noqa: N818 - no failure: an ordinary partial takes it
    """A file that was expected to be small is not."""


class SmallPartial(Partial):
    """The bytes of a small file; a context manager that keeps what can be resumed.

    Only for who knows that nobody else can be at the same file: it holds no lock.

    Args:
        folder: As of Partial.
        binding: As of Partial.
        lock_wait: As of Partial.
        budget: As of Partial.
    """

    def __init__(
        self, folder: RootedPath, binding: Binding, lock_wait: LockWait, budget: DiskBudget
    ) -> None:
        self._name = self._path = folder / partial_name(binding.path)
        self._budget, self._lock_wait, self._layer = budget, lock_wait, None
        self.wanted = self.binding = binding
        self._content, self.ranges = bytearray(), list[Range]()
        self._placed_file: OpenFile | None = None
        self.is_joined = self._is_placed = self._with_md5 = False
        self._changing = threading.Lock()
        self._restart_verifier(0)

    def put(self, offset: int, buffer: memoryview, count: int) -> memoryview:
        """Take bytes, and hash them in their turn; arguments as of Partial.

        Raises:
            TooLarge: They are more than the file was expected to have.
        """
        stop = offset + count
        self._check_size(stop)
        self._content[offset:stop] = buffer[:count]
        self.ranges = merge([*self.ranges, Range(offset, stop)])
        self.verifier.feed_block(offset, buffer, count)
        return buffer

    @property
    def placed_file(self) -> OpenFile | None:
        """See Partial."""
        return self._placed_file

    def bind(self, validator: str | None, size: int | None, *, with_md5: bool = False) -> None:
        """See Partial.

        Raises:
            TooLarge: The server announces more bytes than the file was expected to have.
        """
        self._check_size(size or 0)
        super().bind(validator, size, with_md5=with_md5)

    def _check_size(self, size: int) -> None:
        if size > SMALL_BYTES:
            self.ranges = []
            raise TooLarge

    def drop_bad_pieces(self) -> list[Range]:
        """See Partial; it has no pieces."""
        return []

    def seed(self, source: RootedPath) -> None:
        """See Partial; it has no pieces that could tell which bytes are right."""

    def reset(self) -> None:
        """Forget every byte."""
        self._content, self.ranges, self.is_joined = bytearray(), [], False
        self.binding = self.wanted
        self._restart_verifier(0)

    def digest(self, kind: str) -> str | None:
        """See Partial."""
        found = self.verifier.other_digest(kind)
        if found is None and kind == "md5":
            md5 = new_md5()
            md5.update(memoryview(self._content))
            return md5.hexdigest()
        return found

    def commit(self, place: Commit) -> None:
        """See Partial."""
        file = self._new_file()
        file.needed_bytes = self._missing_bytes
        is_renamed = False
        try:
            file.write_at(memoryview(self._content), 0)
            file.sync()
            sha256, check = self.verifier.sha256, self._lock_wait.check
            is_renamed = place.take(file, sha256, check)
            self._is_placed = True
        finally:
            if is_renamed:
                self._placed_file = file
            else:  # it failed, or the target is on another file system, and has a copy
                with contextlib.suppress(StoreError):
                    file.path.remove()
                file.path.let_go()
                file.close()

    def _new_file(self) -> OpenFile:
        """Open a new file of a name of this process's own, in the partials' folder."""
        stem, dot, suffix = self._name.name.rpartition(".")
        new = self._name.with_name(scratch.own_name(stem, dot + suffix))
        try:
            return new.held(makes=True, soon=True).open(NEW_FILE, told=self._name)
        except StoreError as error:
            if error.errno != errno.ENOENT:  # somebody has just removed the folder
                raise
        return new.held(makes=True).open(NEW_FILE, told=self._name)

    def set_aside(self, workspace: RootedPath, error: IntegrityError) -> IntegrityError:
        """See Partial."""
        where = ""
        if self.ranges:
            write_file(self._name, bytes(self._content))
            where = set_aside(self._name, workspace, self.have, self.verifier.sha256)
            self.ranges = []
        return type(error)(str(error), hint=f"{where} {error.hint}".strip())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Make an ordinary partial of what can be resumed; never hide the block's own error."""
        self._budget.release(self._name)
        if self._placed_file is not None:
            self._placed_file.path.let_go()
            with contextlib.suppress(*(StoreError,) if kind else ()):
                self._placed_file.close()
        elif self.ranges and self.binding.can_resume and not self._is_placed:
            with contextlib.suppress(ModelmakeError):
                self._keep()

    def _keep(self) -> None:
        with Partial(self._name.parent, self.wanted, self._lock_wait, self._budget) as partial:
            if not partial.ranges:  # else another process was here after all
                partial.bind(self.binding.validator, self.binding.size)
                partial.put(0, memoryview(self._content), len(self._content))

    def _restart_verifier(self, have: int) -> None:  # noqa: ARG002 - as of Partial
        hashes = hashes_for(self.binding, with_md5=self._with_md5)
        # Bytes come in their order, on one connection, so none has to be read back from a file.
        self.verifier = InlineVerifier(None, hashes, self.binding.size)  # type: ignore[arg-type]

    def _missing_bytes(self) -> int:
        return max(0, (self.binding.size or 0) - (0 if self._is_placed else self.present))
