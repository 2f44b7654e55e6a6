"""What is known of each target: a line in an append-only file in the model's own folder.

`models/NAME/.modelmake/receipts`: {"path":…,"size":…,"mtime_ns":…,"sha256":…,"verified":…}

The last line of a path counts. A receipt is written after the target is in place; a torn or
foreign line is passed over, which costs one hashing and moves no byte.
"""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from downloader.durable import make_folder, naming, write_file

PRIVATE_FOLDER = ".modelmake"
FILE_NAME = "receipts"

_appending = threading.Lock()


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified, and how the target looked then."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    verified: int
    """When, in seconds since 1970."""

    def matches(self, status: os.stat_result) -> bool:
        """Whether the target still looks as it did."""
        return self.size == status.st_size and self.mtime_ns == status.st_mtime_ns


_decoder = msgspec.json.Decoder(Receipt)


def load(folder: Path) -> dict[str, Receipt]:
    """Return the receipts of a model's folder by path; none when there are none."""
    try:
        text = (folder / PRIVATE_FOLDER / FILE_NAME).read_bytes()
    except OSError:
        return {}
    try:
        found: Iterable[Receipt] = _decoder.decode_lines(text)
    except msgspec.DecodeError:
        found = _readable_lines(text)
    return {receipt.path: receipt for receipt in found}


def append(folder: Path, path: str, sha256: str) -> Receipt:
    """Note that the target was verified just now, and return what was noted.

    Args:
        folder: The model's folder.
        path: The artifact's path below it.
        sha256: What it was verified to be.

    Raises:
        StoreError: The disk refused.
    """
    status = (folder / path).stat()
    receipt = Receipt(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256,
        verified=int(time.time()),
    )
    file = folder / PRIVATE_FOLDER / FILE_NAME
    make_folder(file.parent)
    with naming(file, "write"), _appending, file.open("ab") as lines:
        lines.write(msgspec.json.encode(receipt) + b"\n")
    return receipt


def forget(folder: Path, paths: Iterable[str]) -> None:
    """Drop the receipts of these paths, so that the next run hashes the targets.

    Raises:
        StoreError: The disk refused.
    """
    forgotten = frozenset(paths)
    kept = [receipt for path, receipt in load(folder).items() if path not in forgotten]
    file = folder / PRIVATE_FOLDER / FILE_NAME
    if file.exists():
        write_file(file, b"".join(msgspec.json.encode(receipt) + b"\n" for receipt in kept))


def _readable_lines(text: bytes) -> Iterable[Receipt]:
    for line in text.splitlines():
        try:
            yield _decoder.decode(line)
        except msgspec.DecodeError:
            continue
