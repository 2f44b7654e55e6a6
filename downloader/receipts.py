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
from typing import BinaryIO

import msgspec

from downloader.durable import make_folder, naming, write_file

PRIVATE_FOLDER = ".modelmake"
FILE_NAME = "receipts"

_writing = threading.Lock()
_queues: dict[Path, list[bytes]] = {}
"""Lines that wait to be written, by file; only who holds `_writing` takes any out."""


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
    try:
        text = (folder / PRIVATE_FOLDER / FILE_NAME).read_bytes()
    except OSError:
        return {}
    try:
        found: Iterable[Receipt] = _decoder.decode_lines(text)
    except (ValueError, RecursionError):
        found = _readable_lines(text)
    return {receipt.path: receipt for receipt in found}


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
    with naming(folder / path, "look at"):
        status = (folder / path).stat()
    receipt = Receipt(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256,
        verified=int(time.time()),
        asked=asked,
    )
    _write_line(folder / PRIVATE_FOLDER / FILE_NAME, msgspec.json.encode(receipt) + b"\n")
    return receipt


def forget(folder: Path, paths: Iterable[str]) -> None:
    """Drop the receipts of these paths, so that the next run hashes the targets.

    Raises:
        StoreError: The disk refused.
    """
    forgotten = frozenset(paths)
    file = folder / PRIVATE_FOLDER / FILE_NAME
    with _writing:
        kept = [receipt for path, receipt in load(folder).items() if path not in forgotten]
        if file.exists():
            write_file(file, b"".join(msgspec.json.encode(receipt) + b"\n" for receipt in kept))


def _write_line(file: Path, line: bytes) -> None:
    """Append a line, and with it those that other threads brought while one was writing.

    So a run of many small files writes once for several; each waits until its own line is there.
    A line that could not be written is dropped: its receipt is missing, and who wrote is told.
    """
    queue = _queues.setdefault(file, [])
    queue.append(line)
    with _writing:
        if line not in queue:
            return  # whoever was writing took ours along
        lines = tuple(queue)
        try:
            make_folder(file.parent)
            with naming(file, "write"), file.open("a+b") as stream:
                stream.write(_line_break(stream) + b"".join(lines))
        except BaseException:
            queue.remove(line)
            raise
        del queue[: len(lines)]


def _line_break(lines: BinaryIO) -> bytes:
    """Return what a line has to begin with: a line break where a kill tore the one before."""
    if not lines.seek(0, os.SEEK_END):
        return b""
    lines.seek(-1, os.SEEK_END)
    return b"" if lines.read(1) == b"\n" else b"\n"


def _readable_lines(text: bytes) -> Iterable[Receipt]:
    for line in text.splitlines():
        try:
            yield _decoder.decode(line)
        except (ValueError, RecursionError):
            continue
