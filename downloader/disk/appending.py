"""Lines appended to a file by many threads and processes: one write for several, none torn unseen.

A torn or foreign line is passed over by `read`: what such files hold is worth no more than the
work of finding it out again.
"""

import os
import threading
from collections.abc import Iterable
from typing import BinaryIO, TypeVar

import msgspec

from downloader.disk.durable import make_folder, naming
from downloader.fs.rooted_path import RootedPath

T = TypeVar("T")

writing = threading.Lock()
"""Held while any such file is written; who replaces one as a whole takes it too."""
_queues: dict[RootedPath, list[bytes]] = {}
"""Lines that wait to be written, by file; only who holds `writing` takes any out."""


def read(file: RootedPath, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    """Return what the lines hold, in their order; nothing where there is no file."""
    try:
        text = file.read_bytes()
    except OSError:
        return ()
    return decoded(text, decoder)


def decoded(text: bytes, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    """Return what the lines of a text hold, in their order."""
    try:
        return decoder.decode_lines(text)
    except (ValueError, RecursionError):
        return _readable_lines(text, decoder)


def append_line(file: RootedPath, line: bytes) -> None:
    """Append a line, and with it those that other threads brought while one was writing.

    So a run of many small files writes once for several; each waits until its own line is there.
    A line that could not be written is dropped, and who wrote is told.

    Raises:
        StoreError: The disk refused.
    """
    queue = _queues.setdefault(file, [])
    queue.append(line)
    with writing:
        if line not in queue:
            return  # whoever was writing took ours along
        lines = tuple(queue)
        try:
            make_folder(file.parent)
            with naming(file, "write"), file.open_file("a+b") as stream:
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


def _readable_lines(text: bytes, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    for line in text.splitlines():
        try:
            yield decoder.decode(line)
        except (ValueError, RecursionError):
            continue
