"""A tar that is not compressed, read as the compressed ones are."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from downloader.archive.compressed import READ_BYTES, Compressed


class Plain(Compressed):
    """The bytes of a plain tar, as they come.

    Args:
        file: The tar, at its beginning.
        check_stop: Called often; raises Interrupted when the run is to stop.
    """

    def __init__(self, file: BinaryIO, check_stop: Callable[[], None]) -> None:
        self._chunks = _read(file, check_stop)
        self._left = memoryview(b"")


def _read(file: BinaryIO, check_stop: Callable[[], None]) -> Iterator[bytes]:
    while chunk := file.read(READ_BYTES):
        check_stop()
        yield chunk
