"""What stands at one target: is it right already, and what is noted of it.

Asked before a fetch, and once more when it is our turn: another process may have been quicker.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from downloader import receipts
from downloader.artifact import Artifact
from downloader.disk.durable import naming
from downloader.disk.hashing import sha256_of
from downloader.disk.looks import look, looks_same
from downloader.fs.rooted_path import RootedPath
from downloader.receipts import Receipt


class Target:
    """One artifact's place in its model's folder.

    Args:
        folder: The model's folder.
        artifact: What the lock says of the file.
        entry: The digest of the manifest's entry.
        place: Where the file is to be when that is no target; no receipt is written of it.

    Attributes:
        path: The final name.
        has_receipt: Whether it is a target.
    """

    def __init__(
        self, folder: Path, artifact: Artifact, entry: str, place: RootedPath | None = None
    ) -> None:
        self._folder, self._artifact = folder, artifact
        self.path = place or RootedPath(folder, artifact.path)
        self.has_receipt = place is None
        self._asked = None if artifact.is_pinned else _asked(entry, artifact)
        self._seen: os.stat_result | None = None

    def present(self, known: Mapping[str, Receipt]) -> str | None:
        """Return the SHA-256 of a target that is right already; None when it has to be fetched.

        One that is not pinned is right when it still is what an earlier run fetched for the very
        same wish (`asked`); so a run that was killed before its pins were written is made good.

        Args:
            known: The folder's receipts.

        Raises:
            StoreError: It cannot be read.
        """
        status = self._seen = look(self.path)
        if status is None or not self._may_be(status):
            return None
        receipt = known.get(self._artifact.path)
        is_answer = receipt is not None and self._asked and receipt.asked == self._asked
        wanted = receipt.sha256 if receipt and is_answer else self._artifact.sha256
        if receipt is not None and receipt.matches(status) and receipt.sha256 == wanted:
            return wanted
        if wanted is None:
            return None
        with naming(self.path, "read"):
            return wanted if sha256_of(self.path) == wanted else None

    def present_now(self) -> str | None:
        """Look again, where another process may have changed something since; as `present`."""
        now, before = look(self.path), self._seen
        if now is None:
            return None
        if self._asked is None and before is not None and looks_same(now, before):
            return None  # its bytes were hashed, and are wrong; a new receipt would change nothing
        return self.present(receipts.load(self._folder))

    def note(self, sha256: str) -> int:
        """Append the receipt of a target that was verified just now; return its size in bytes.

        Raises:
            StoreError: The disk refused.
        """
        if self.has_receipt:
            path = self._artifact.path
            return receipts.append(self._folder, path, sha256, asked=self._asked).size
        with naming(self.path, "look at"):
            return self.path.lstat().st_size

    @property
    def must_be_fetched(self) -> bool:
        """Whether one look tells that other bytes are needed; where not, hashing may tell so."""
        status = look(self.path)
        return status is None or not self._may_be(status)

    def _may_be(self, status: os.stat_result) -> bool:
        return stat.S_ISREG(status.st_mode) and self._artifact.size in (None, status.st_size)


def _asked(entry: str, artifact: Artifact) -> str:
    """Return a digest of all that says which bytes an unpinned artifact means."""
    wish = msgspec.json.encode((entry, artifact))
    return hashlib.sha256(wish, usedforsecurity=False).hexdigest()
