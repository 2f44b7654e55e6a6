"""How a file looks: one stat, and what two of them tell."""

import os
from pathlib import Path

from downloader.fs.rooted_path import RootedPath


def look(path: Path | RootedPath) -> os.stat_result | None:
    """Return how what stands there looks; None where nothing does, or one may not look."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def is_same(path: Path | RootedPath, status: os.stat_result) -> bool:
    """Whether what stands there is the very file that was looked at, by this name or another."""
    found = look(path)
    return found is not None and os.path.samestat(found, status)


def looks_same(now: os.stat_result, before: os.stat_result) -> bool:
    """Whether it is the same file with the same bytes, as far as a look can tell."""
    same_times = (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    return os.path.samestat(now, before) and same_times
