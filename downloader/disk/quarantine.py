"""Where bytes that proved wrong are set aside: for people to look at, never used again."""

import hashlib
import os
from collections.abc import Sequence

from downloader.disk.durable import make_folder, naming, write_file
from downloader.disk.hashing import sha256_of
from downloader.fs.rooted_path import RootedPath

FOLDER = "quarantine"
SHOWN_DIGITS = 12
MOST_RANGE_BYTES = 16 << 20


def set_aside(path: RootedPath, workspace: RootedPath, size: int, sha256: str) -> str:
    """Move a file out of the way; nothing that was set aside before is lost.

    The same bytes again take the place of those before, or each try would cost their room anew.

    Args:
        path: The file.
        workspace: The model's private folder.
        size: How many bytes of it came.
        sha256: Their SHA-256 in hex; any other word where it is no file.

    Returns:
        A sentence for the error: how many bytes, which, and where they are.

    Raises:
        StoreError: The disk refused.
    """
    aside = _place(workspace / FOLDER, path.name.removesuffix(".part"), size, sha256)
    make_folder(aside.parent)
    with naming(aside, "set aside"):
        path.move_to(aside)
    return f"Its {size:,} bytes, SHA-256 {sha256}, were set aside as {aside}."


def set_range_aside(
    path: RootedPath, workspace: RootedPath, spans: Sequence[tuple[int, int]]
) -> str:
    """Copy the first of some wrong ranges out of a file, at most so much as is kept of one.

    Args:
        path: The file, which stays as it is.
        workspace: The model's private folder.
        spans: Half-open ranges, in bytes.

    Returns:
        As `set_aside`; empty where there is no range.

    Raises:
        StoreError: The disk refused.
    """
    if not spans:
        return ""
    start, stop = spans[0]
    copy = path.with_name(f"{path.stem}-{start}.part")
    with naming(path, "read"), path.open_file("rb") as file:
        file.seek(start)
        wrong = file.read(min(stop - start, MOST_RANGE_BYTES))
    write_file(copy, wrong)
    sha256 = hashlib.sha256(wrong, usedforsecurity=False).hexdigest()
    told = set_aside(copy, workspace, len(wrong), sha256)
    return f"Of bytes {start:,}-{stop - 1:,}: {told[0].lower()}{told[1:]}"


def _place(folder: RootedPath, name: str, size: int, sha256: str) -> RootedPath:
    """Return the first path of this name and digest, or numbered, where nothing else is."""
    first = folder / f"{name}-{sha256[:SHOWN_DIGITS]}"
    aside, number = first, 1
    while os.path.lexists(aside) and not _has(aside, size, sha256):
        number += 1
        aside = first.with_name(f"{first.name}-{number}")
    return aside


def _has(aside: RootedPath, size: int, sha256: str) -> bool:
    """Whether these very bytes lie there; what else has their name by chance is told by hashing."""
    with naming(aside, "read"):
        return aside.is_file() and aside.lstat().st_size == size and sha256_of(aside) == sha256
