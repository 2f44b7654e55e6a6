"""models.lock on disk, which several runs may change at once: one at a time, none undoes another.

The turn is held on a file of its own, since models.lock is replaced. Where locks are of no use the
time between reading and writing is short, and what is lost then is pinned by the next run.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from downloader.disk.durable import make_folder, naming, write_file
from downloader.disk.private_folder import private_folder
from downloader.fs.rooted_path import RootedPath
from downloader.lock import lockfile
from downloader.lock.lockfile import Lockfile
from downloader.lock.merging import merge
from downloader.transfer.locked_file import open_locked
from downloader.transfer.turn import Turn


def replace(path: Path, found: Lockfile, ours: Lockfile, refuse: Callable[[], None]) -> bool:
    """Write models.lock when it would change, and return whether it did.

    Args:
        path: Of models.lock.
        found: As this run read it.
        ours: As this run wants it; what others changed meanwhile is kept.
        refuse: Raises where it may not be written.

    Raises:
        LockError: It may not be written, or cannot be read any more.
        StoreError: The disk refused.
    """
    if _is_written(path, found, ours):
        return False
    refuse()
    with alone(path):
        write_file(RootedPath.of(path), _wanted(path, found, ours)[1])
    return True


def _is_written(path: Path, found: Lockfile, ours: Lockfile) -> bool:
    text, wanted = _wanted(path, found, ours)
    return text == wanted


def _wanted(path: Path, found: Lockfile, ours: Lockfile) -> tuple[bytes | None, bytes]:
    """Return the text of models.lock, None when there is none, and what it should be."""
    with naming(path, "read"):
        text = path.read_bytes() if path.exists() else None
    if text is None or text == lockfile.dump(found):  # nobody else was there
        return text, lockfile.dump(ours)
    return text, lockfile.dump(merge(found, ours, lockfile.load(text, path.name)))


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other runs from writing the same file of the project during the block."""
    folder = private_folder(path.parent)
    make_folder(folder)
    name = folder / f"{path.name}.turn"
    with naming(name, "open"):
        descriptor, opened = open_locked(name, Turn())
    try:
        yield
    finally:
        os.close(descriptor)
        if opened != name:  # locks are of no use here, and it is ours alone
            with contextlib.suppress(OSError):
                opened.remove()
