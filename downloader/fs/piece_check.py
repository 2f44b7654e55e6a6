"""Check the pieces of files on disk, those of large files in processes.

hashlib takes the interpreter lock once for each block of 16 KiB, and a thread that finds it taken
goes to sleep; the more threads hash, the more often. So only one of them hashes, and each other one
has a process that does nothing else (merkle.py). That is given the open file: it reads the file
that was looked at, and no other one of that name.

Where no such process can be started, and on Windows, where no descriptor can be handed on, all
threads hash. So they do if a process ends early, is stopped, or answers what is not so: nothing is
lost but time.
"""

import itertools
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from downloader.fs import merkle
from downloader.fs.digests import Layer
from downloader.fs.merkle import BLOCK_BYTES, HASH_BYTES, SPAN, BlockBuffer, merkle_node
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath, open_to_read

PROCESS_BYTES = 256 << 20
"""Of a file; for a smaller one a process costs more than it saves, as each file has its own."""
LOOK_SECONDS = 0.25
"""How long a thread waits for an answer before it asks whether to go on."""
MOST_LOOKS = 120
"""After so many (30 s) the thread hashes itself: a slow disk has read the longest piece by then."""


class _Here(threading.local):
    process: "_HashProcess | None" = None
    has_failed = False


class PieceCheck:
    """Checks pieces, from several threads at once; a context manager that ends its processes.

    Args:
        most_processes: How many there may be, one less than threads.
    """

    def __init__(self, most_processes: int) -> None:
        self._left = most_processes if _can_start_python() else 0
        self._changing, self._here = threading.Lock(), _Here()
        self._started: list[_HashProcess] = []

    def wrong_pieces(
        self,
        path: Path | RootedPath,
        layer: Layer,
        indexes: range,
        seen: Callable[[int], object],
    ) -> list[int]:
        """Return which of some pieces of a file are not as its layer says.

        Args:
            path: The file.
            layer: What it should be.
            indexes: The pieces to read, one after the other.
            seen: Called with the length of each piece in bytes, and with 0 while nothing comes;
                what it raises ends the reading.

        Raises:
            StoreError: It cannot be read.
        """
        wrong = []
        with open_to_read(path) as file:
            nodes = self._nodes(file, layer, indexes, lambda: seen(0))
            for index, node in zip(indexes, nodes, strict=True):
                if node != layer.node(index):
                    wrong.append(index)
                start, stop = layer.span(index)
                seen(stop - start)
        return wrong

    def _nodes(
        self, file: OpenFile, layer: Layer, indexes: range, waiting: Callable[[], object]
    ) -> Iterator[bytes]:
        """Yield the nodes of pieces, by this thread's process if it has one."""
        done, buffer = 0, BlockBuffer()

        def hashed(index: int) -> bytes:
            leaves = buffer.leaves_at(file.read_full, *layer.span(index))
            return merkle_node(leaves, layer.piece_bytes // BLOCK_BYTES)

        try:
            if (process := self._process_for(file, layer)) is not None:
                for index, node in zip(indexes, process.nodes(indexes, waiting), strict=True):
                    if node != layer.node(index) and not process.is_proved:
                        process.prove(node, hashed(index))
                    yield node
                    done += 1
        except OSError:
            self._here.has_failed = True
        yield from map(hashed, itertools.islice(indexes, done, None))

    def _process_for(self, file: OpenFile, layer: Layer) -> "_HashProcess | None":
        """Return this thread's process, a new one for each large file that the thread comes to.

        Raises:
            OSError: None can be started.
        """
        here = self._here
        if here.has_failed or layer.size < PROCESS_BYTES:
            return None
        if here.process is None or not here.process.is_for(file, layer):
            if here.process is None and not self._may_have_one():
                return None
            if here.process is not None:
                here.process.close()
            here.process = _HashProcess(file, layer)
            self._started.append(here.process)
        return here.process

    def _may_have_one(self) -> bool:
        with self._changing:
            self._left -= 1
            return self._left >= 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; no thread may be checking any more."""
        for process in self._started:
            process.close()


class _HashProcess:
    """A process that hashes pieces of one open file.

    Args:
        file: The file.
        layer: Has its size, and the length of its pieces.

    Attributes:
        is_proved: Whether a piece that it found wrong was hashed to the same node here. One that it
            finds right needs no proof: nobody can guess a node.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, file: OpenFile, layer: Layer) -> None:
        from subprocess import DEVNULL, PIPE, Popen  # noqa: PLC0415 - few runs check so much

        numbers = file.descriptor, layer.size, layer.piece_bytes
        self._is_for: object = (file.identity, layer.root)
        self.is_proved = False
        self._process: Popen[bytes] = Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", "-S", merkle.__file__, *map(str, numbers)],
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            bufsize=0,
            pass_fds=[file.descriptor],
            start_new_session=True,  # Ctrl-C is for us
        )
        assert self._process.stdout is not None
        self._answers = select.poll()  # select() takes no descriptor over 1023
        self._answers.register(self._process.stdout, select.POLLIN)

    def is_for(self, file: OpenFile, layer: Layer) -> bool:
        """Whether it hashes that file, with pieces of that length."""
        return self._is_for == (file.identity, layer.root)

    def nodes(self, indexes: range, waiting: Callable[[], object]) -> Iterator[bytes]:
        """Yield the nodes of pieces, one after the other.

        Args:
            indexes: The pieces.
            waiting: Called now and then while there is no answer.

        Raises:
            OSError: It has ended, or does nothing.
        """
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        self._is_for, is_for = None, self._is_for  # until all that was asked for was read
        try:
            asked.write(SPAN.pack(indexes.start, indexes.stop))
            for _ in indexes:
                self._await_answer(waiting)
                node = answers.read(HASH_BYTES)  # it is written as a whole: less than PIPE_BUF
                if len(node or b"") < HASH_BYTES:
                    raise BrokenPipeError
                yield node
            self._is_for = is_for
        finally:
            if self._is_for is None:  # after Ctrl-C, perhaps nobody comes to close it
                self._process.kill()

    def _await_answer(self, waiting: Callable[[], object]) -> None:
        """Return when there is something to read, or the process has ended."""
        for _ in range(MOST_LOOKS):
            if self._answers.poll(LOOK_SECONDS * 1000):
                return
            waiting()
        raise TimeoutError

    def prove(self, node: bytes, hashed: bytes) -> None:
        """Trust it from now on if what it found wrong was hashed to the same node here.

        Raises:
            OSError: It was not: whoever wraps the interpreter may print something, for example.
        """
        if node != hashed:
            raise BrokenPipeError
        self.is_proved = True

    def close(self) -> None:
        """End it, whatever it is at, and also if it is stopped."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()


def _can_start_python() -> bool:
    """Whether there is an interpreter to start, and it can be given a descriptor.

    A program that embeds Python, or is frozen, names itself there.
    """
    name = Path(sys.executable or "").name
    return os.name == "posix" and hasattr(os, "preadv") and name.startswith("python")
