"""What is known of each target: a line in an append-only file in the model's own folder.

`models/NAME/.modelmake/receipts`: {"path":…,"size":…,"mtime_ns":…,"sha256":…,"verified":…}

The last line of a path counts. A receipt is written after the target is in place; a torn or
foreign line is passed over, which costs one hashing and moves no byte.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from downloader import gate
from downloader.disk import appending
from downloader.disk.durable import naming, write_file
from downloader.disk.private_folder import private_folder
from downloader.fs.rooted_path import RootedPath

FILE_NAME = "receipts"


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was verified, and how the target looked then."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    verified: int
    """When, in seconds since 1970."""
    asked: str | None = None
    """What was asked for, as a digest, where the lock named no SHA-256 then."""

    def matches(self, status: os.stat_result) -> bool:
        """Whether the target still looks as it did."""
        return self.size == status.st_size and self.mtime_ns == status.st_mtime_ns


_decoder = msgspec.json.Decoder(Receipt)


def load(folder: Path) -> dict[str, Receipt]:
    """Return the receipts of a model's folder by path; none when there are none."""
    found = list(appending.read(private_folder(folder) / FILE_NAME, _decoder))
    are_ours = gate.are_digests([each.sha256 for each in found]) and gate.are_safe(
        [each.path for each in found]
    )
    return {each.path: each for each in found if are_ours or _may_be_ours(each)}


def _may_be_ours(receipt: Receipt) -> bool:
    return gate.is_digest(receipt.sha256) and gate.is_safe(receipt.path)


def append(folder: Path, path: str, sha256: str, *, asked: str | None = None) -> Receipt:
    """Note that the target was verified just now, and return what was noted.

    Args:
        folder: The model's folder.
        path: The artifact's path below it.
        sha256: What it was verified to be.
        asked: As in Receipt.

    Raises:
        StoreError: The disk refused.
    """
    target = RootedPath(folder, path)
    with naming(target, "look at"):
        status = target.lstat()
    receipt = Receipt(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256,
        verified=int(time.time()),
        asked=asked,
    )
    append_all(folder, [receipt])
    return receipt


def append_all(folder: Path, verified: Iterable[Receipt]) -> None:
    """Note what was verified, in one write.

    Raises:
        StoreError: The disk refused.
    """
    if lines := _lines(verified):
        appending.append_line(private_folder(folder) / FILE_NAME, lines)


def forget(folder: Path, paths: Iterable[str]) -> None:
    """Drop the receipts of these paths, so that the next run hashes the targets.

    Raises:
        StoreError: The disk refused.
    """
    forgotten = frozenset(paths)
    file = private_folder(folder) / FILE_NAME
    with appending.writing:
        kept = [receipt for path, receipt in load(folder).items() if path not in forgotten]
        if os.path.lexists(file):
            write_file(file, _lines(kept))


def _lines(found: Iterable[Receipt]) -> bytes:
    return b"".join(msgspec.json.encode(receipt) + b"\n" for receipt in found)
