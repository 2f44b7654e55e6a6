"""Reading and writing at a place of an open file, from several threads at once.

POSIX has calls for that. Windows has not: there each seek and its read or write are one step
under a lock, which costs parallel disk access and nothing else.
"""

import os
import threading

_preadv, _pwrite = getattr(os, "preadv", None), getattr(os, "pwrite", None)
_seeking = threading.Lock()


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of the data at the offset.

    Raises:
        OSError: The disk refused.
    """
    written = 0
    while written < len(data):
        count = _write_some(descriptor, data[written:], offset + written)
        if not count:  # POSIX leaves open what that means; it would be asked for ever
            raise OSError("it takes no more bytes")
        written += count


def read_at(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Read into the buffer from the offset, and return how many bytes there were.

    Raises:
        OSError: The disk refused.
    """
    if _preadv is not None:
        return int(_preadv(descriptor, [buffer], offset))
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        found = os.read(descriptor, len(buffer))
    buffer[: len(found)] = found
    return len(found)


def _write_some(descriptor: int, data: memoryview, offset: int) -> int:
    if _pwrite is not None:
        return int(_pwrite(descriptor, data, offset))
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)
