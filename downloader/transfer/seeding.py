"""A partial begun with the bytes of another file, which nobody believes before they are checked."""

import os
import stat

from downloader.disk.hashing import BUFFER_BYTES
from downloader.disk.positioned import read_at, write_at
from downloader.fs.rooted_path import READ, RootedPath
from downloader.transfer.turn import Turn

STEP_BYTES = 64 << 20
_copy_range = getattr(os, "copy_file_range", None)  # shares blocks where the file system can


def copied(source: RootedPath, descriptor: int, size: int, turn: Turn) -> bool:
    """Copy a file of exactly this size to the beginning of an open one.

    Args:
        source: The file; what is no regular file of that size is left alone.
        descriptor: The open one.
        size: In bytes.
        turn: Says when the run is to end.

    Returns:
        Whether all of it was copied; where not, some of it may be.

    Raises:
        Interrupted: The user stopped the run.
    """
    try:
        opened = source.open(READ)
    except OSError:
        return False
    try:
        status, position = os.fstat(opened), 0
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        while position < size and (count := _copy(opened, descriptor, position, size)):
            turn.check()
            position += count
    except OSError:
        return False
    else:
        return position == size
    finally:
        os.close(opened)


def _copy(source: int, descriptor: int, position: int, size: int) -> int:
    """Copy some bytes, and return how many; 0 at the end."""
    if _copy_range is not None:
        wanted = min(STEP_BYTES, size - position)
        try:
            return int(_copy_range(source, descriptor, wanted, position, position))
        except OSError:
            pass  # between two file systems, or one that does not know it
    buffer = memoryview(bytearray(min(BUFFER_BYTES, size - position)))
    count = read_at(source, buffer, position)
    write_at(descriptor, buffer[:count], position)
    return count
