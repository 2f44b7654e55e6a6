"""What the bytes of one partial prove to be: by digests of the whole, or by its piece layer.

The second is possible where models.lock has the file's Merkle root beside its SHA-256, and the
layer is here: right pieces are then as good as the right SHA-256.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from downloader.disk.hashing import feed, new_md5, new_sha256
from downloader.disk.quarantine import set_aside, set_range_aside
from downloader.fs.rooted_path import RootedPath
from downloader.pieces.merkle import Layer
from downloader.transfer.hasher import Follower, follower_for
from downloader.transfer.journal import Binding
from downloader.transfer.piece_checker import PieceChecker
from downloader.transfer.ranges import Range
from downloader.transfer.turn import Turn

STRETCH_BYTES = 64 << 20
"""After so much it is looked whether the run is to end."""


class Judge(Protocol):
    """Knows what is there; its follower is told of every byte.

    Attributes:
        follower: What is told.
        has_pieces: Whether it knows which bytes are wrong, and not only that some are.
    """

    follower: Follower
    has_pieces: bool

    def settle(self) -> None:
        """Wait until all that is there is judged; raises OSError where it cannot be read back."""

    @property
    def sha256(self) -> str:
        """SHA-256 of what is there, in hex; empty where pieces are wrong or missing."""

    @property
    def md5(self) -> str | None:
        """MD5 of what is there, in hex; None where a SHA-256 is known and makes it needless."""

    @property
    def is_hopeless(self) -> bool:
        """Whether so many pieces are wrong that another file must be coming."""

    def take_wrong(self) -> list[Range]:
        """Return where wrong pieces lie, once; they are expected anew."""

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:
        """Set aside what proved wrong of a file, and say so; empty where there is nothing.

        Args:
            path: The file.
            workspace: The model's private folder.
            have: How many bytes it has from the first on.

        Raises:
            StoreError: The disk refused.
        """


class WholeJudge:
    """Judges by digests over all bytes in their order."""

    has_pieces = is_hopeless = False

    def __init__(self, descriptor: int, binding: Binding) -> None:
        self._sha256, self._md5 = new_sha256(), new_md5()
        self._needs_md5 = binding.sha256 is None
        hashes = (self._sha256, self._md5) if self._needs_md5 else (self._sha256,)
        self.follower = follower_for(descriptor, hashes, binding.size)

    def settle(self) -> None:
        """See Judge."""
        self.follower.finish()

    @property
    def sha256(self) -> str:
        """See Judge."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """See Judge."""
        return self._md5.hexdigest() if self._needs_md5 else None

    def take_wrong(self) -> list[Range]:
        """See Judge."""
        return []

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:
        """See Judge."""
        return set_aside(path, workspace, have, self.sha256) if have else ""


class PieceJudge:
    """Judges by pieces; where they prove no SHA-256, the whole is hashed when all are right."""

    has_pieces, md5 = True, None

    def __init__(self, checker: PieceChecker, proven: str, whole: Callable[[], str]) -> None:
        self.follower: Follower = checker
        self._checker, self._sha256, self._whole = checker, proven, whole
        self._last_wrong: list[Range] = []

    def settle(self) -> None:
        """See Judge."""
        self._checker.finish()
        if self._checker.is_right and not self._sha256:
            self._sha256 = self._whole()

    @property
    def sha256(self) -> str:
        """See Judge."""
        return self._sha256 if self._checker.is_right else ""

    @property
    def is_hopeless(self) -> bool:
        """See Judge."""
        return self._checker.is_hopeless

    def take_wrong(self) -> list[Range]:
        """See Judge."""
        wrong = self._checker.take_wrong()
        self._last_wrong = wrong or self._last_wrong
        return wrong

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:  # noqa: ARG002 - as Judge
        """See Judge; the first wrong piece is copied, and the right ones stay for the next run."""
        return set_range_aside(path, workspace, self._checker.still_wrong(self._last_wrong))


def judge_of(
    descriptor: int, binding: Binding, layer: Layer | None, present: Sequence[Range], turn: Turn
) -> Judge:
    """Return what judges a partial.

    Args:
        descriptor: The open partial.
        binding: What its bytes are to be.
        layer: Of the file that is wanted, where it is known.
        present: What is there of it already.
        turn: Says when the run is to end.
    """
    if layer is None or layer.size != binding.size or binding.sha256 is None:
        return WholeJudge(descriptor, binding)
    proven = binding.sha256 if layer.is_proof else ""
    whole = functools.partial(_hashed, descriptor, layer.size, turn)
    return PieceJudge(PieceChecker(descriptor, layer, present, turn), proven, whole)


def _hashed(descriptor: int, size: int, turn: Turn) -> str:
    """Return the SHA-256 of a whole open file; it was just written, so it is in memory still."""
    digest = new_sha256()
    for start in range(0, size, STRETCH_BYTES):
        turn.check()
        feed(descriptor, start, min(start + STRETCH_BYTES, size), (digest,))
    return digest.hexdigest()
