"""All regular files below a folder, and what their place tells of them.

Links to files are followed, those to folders are not, so that every walk ends. What is no regular
file is told by its stat, and never opened.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from downloader.disk.private_folder import PRIVATE_FOLDER

SHARED_FROM_BYTES = 1 << 20
"""Smaller files are never shared with a cache: they cost no room, and are those people edit."""
HUGGING_FACE = ("models--", "datasets--", "spaces--")


def files_at(place: Path, tell: Callable[[str], None]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every regular file at or below a place, with its stat.

    Args:
        place: A file or a folder; our own private folders in it are left out.
        tell: Takes a line about a folder that cannot be read.
    """
    if not place.is_dir():
        yield place, place.stat()
        return
    waiting = [place]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                listed = sorted(entries, key=lambda each: each.name)
        except OSError as error:
            tell(f"passed over: {shown(here)}: {error.strerror}")
            continue
        for each in listed:
            if each.is_dir(follow_symlinks=False):
                waiting += [Path(each.path)] * (each.name != PRIVATE_FOLDER)
            elif status := _of_regular(each):
                yield Path(each.path), status


def _of_regular(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        # Windows gives a DirEntry's own stat no inode.
        status = os.stat(entry.path) if os.name == "nt" else entry.stat()  # noqa: PTH116
    except OSError:  # a link that leads nowhere, or to itself
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def is_cached(path: Path, status: os.stat_result) -> bool:
    """Whether a file is one of a cache that never writes to a file again: it replaces them.

    A blob of the Hugging Face cache (`models--O--N/blobs/ETAG`, `blobs/XX/HASH`), or of a store or
    bundle of ours (`sha256/XX/DIGEST`).
    """
    if status.st_size < SHARED_FROM_BYTES:
        return False
    folder, above = path.parent, path.parent.parent
    if folder.name == "blobs":
        return above.name.startswith(HUGGING_FACE)
    if not path.name.startswith(folder.name):
        return False
    return above.name == "blobs" or (above.name == "sha256" and (above.parent / "format").is_file())


def shown(path: Path) -> str:
    """Return a path as it may be shown: with odd characters escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
