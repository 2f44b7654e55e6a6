"""Models into a bundle (bundles.py), every file read and held against the lock on its way.

A folder has blobs as a store has them: linked where that can be had, each put in place in one step
and believed by the next run as long as it looks the same, so that a killed run goes on. A tar is
written anew each time: beside its name, renamed when it is whole. Two of one lock are the same
bytes.
"""

import contextlib
import os
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from downloader.bundling.bundles import MARK, NAMES, blob_name
from downloader.bundling.contents import Contents, Piece, damaged
from downloader.disk.durable import make_folder, naming, write_file
from downloader.disk.hashing import BUFFER_BYTES, cores, new_sha256
from downloader.disk.looks import looks_same
from downloader.disk.positioned import read_at, write_at
from downloader.errors import StoreError
from downloader.finding import StopCheck, feed_all
from downloader.fs.rooted_path import RootedPath, open_to_read
from downloader.store import Damaged, Store, has_reflinks
from downloader.transfer.locked_file import open_locked
from downloader.transfer.placing import Place, check_target
from downloader.transfer.preflight import Room
from downloader.transfer.turn import Turn

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
PARTIAL = ".partial"


def write_folder(what: Contents, out: Path, watch: StopCheck, *, is_watched: bool) -> int:
    """Write a bundle as a folder, or go on with one.

    Args:
        what: What goes into it.
        out: The folder: none yet, an empty one, or a bundle, whose blobs all stay.
        watch: Called often; raises Interrupted when the run is to stop.
        is_watched: Whether what does not fit on the disk is refused.

    Returns:
        How many blobs were there already.

    Raises:
        StoreError: It is a folder with other things in it, or the disk refused.
        DigestMismatch: A target is damaged; the whole ones are in the folder.
        Interrupted: From the watch.
    """
    folder = RootedPath(out)
    make_folder(folder)
    _check_folder(folder)
    store = Store(out, is_cache=False, watch=watch)
    with ThreadPoolExecutor(cores()) as pool:
        has = list(pool.map(lambda each: _has(store, each, watch), what.pieces))
        todo = [each for each, is_there in zip(what.pieces, has, strict=True) if not is_there]
        _check_room(folder, todo, is_watched=is_watched)
        with naming(out, "write in"):
            (folder / MARK).remove(missing_ok=True)  # until it is whole again
        wrong = [each for each in pool.map(lambda each: _kept(store, each, watch), todo) if each]
    if wrong:
        raise damaged(wrong)
    for name in reversed(NAMES):  # what says that it is whole comes last
        write_file(folder / name, what.texts[name])
    return sum(has)


def _check_folder(out: RootedPath) -> None:
    with naming(out, "look into"):
        names = set(out.names())
    if names and not names & {MARK, "format"}:
        raise StoreError(
            f"{out} holds other things than a bundle.", hint="Name a new folder for it."
        )


def _has(store: Store, piece: Piece, watch: StopCheck) -> bool:
    watch()
    with contextlib.suppress(Damaged):  # it was set aside
        return store.find(piece.sha256) is not None
    return False


def _kept(store: Store, piece: Piece, watch: StopCheck) -> Piece | None:
    """Put one target's bytes into the bundle; return it when they are not what the lock says."""
    with naming(piece.target, "read"):
        before = os.lstat(piece.target)
        if _digest(piece, watch) != piece.sha256:
            return piece
        store.keep(piece.target, piece.sha256, piece.how, leaves_mode=True)
        if looks_same(os.lstat(piece.target), before):
            return None
    store.remove(piece.sha256)
    return piece


def _digest(piece: Piece, watch: StopCheck) -> str:
    descriptor = open_to_read(piece.target)
    try:
        digest = new_sha256()
        feed_all(descriptor, piece.size, (digest,), watch)
        return digest.hexdigest()
    finally:
        os.close(descriptor)


def _check_room(out: RootedPath, todo: Iterable[Piece], *, is_watched: bool) -> None:
    """Refuse what does not fit, counted without what is linked.

    Raises:
        StoreError: It does not.
    """
    device, can_reflink = out.path.stat().st_dev, has_reflinks(out)
    Room(is_watched=is_watched).plan(
        (out.path / each.sha256, each.size)
        for each in todo
        if each.how == "copy"
        or os.lstat(each.target).st_dev != device
        or (each.how == "reflink" and not can_reflink)
    )


def write_tar(what: Contents, out: Path, watch: StopCheck, turn: Turn, *, is_watched: bool) -> None:
    """Write a bundle as one tar, in place of one that may be there.

    Args:
        what: What goes into it.
        out: Its name.
        watch: Called often; raises Interrupted when the run is to stop.
        turn: Waits while another process writes it.
        is_watched: Whether what does not fit on the disk is refused.

    Raises:
        StoreError: The disk refused.
        DigestMismatch: A target is damaged; there is no new tar.
        Interrupted: From the watch.
    """
    target = RootedPath.of(out)
    make_folder(target.parent)
    check_target(target)
    partial, place = target.with_name(target.name + PARTIAL), Place(target)
    Room(is_watched=is_watched).plan([(partial.path, what.size)])
    with naming(partial, "write"):
        descriptor, partial = open_locked(partial, turn)
        try:
            os.ftruncate(descriptor, 0)
            _Tar(descriptor, watch).write(what)
            os.fsync(descriptor)
            place.take(descriptor, partial, "")
        except BaseException:  # nothing goes on from what is there
            with contextlib.suppress(OSError):
                partial.remove()
            raise
        finally:
            os.close(descriptor)


class _Tar:
    """A tar that is written: GNU's numbers for large files, no time, no owner."""

    def __init__(self, descriptor: int, watch: StopCheck) -> None:
        self._descriptor, self._watch = descriptor, watch
        self._position = 0

    def write(self, what: Contents) -> None:
        for name, text in what.texts.items():
            self._header(name, len(text))
            self._put(text)
            self._pad()
        for each in what.pieces:
            self._header(blob_name(each.sha256), each.size)
            self._piece(each)
            self._pad()
        self._put(END)

    def _header(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        self._put(info.tobuf(tarfile.GNU_FORMAT))

    def _piece(self, piece: Piece) -> None:
        buffer, digest, done = memoryview(bytearray(BUFFER_BYTES)), new_sha256(), 0
        with naming(piece.target, "read"):
            source = open_to_read(piece.target)
        try:
            while count := read_at(source, buffer[: piece.size - done], done):
                self._watch()
                digest.update(buffer[:count])
                self._put(buffer[:count])
                done += count
        finally:
            os.close(source)
        if done != piece.size or digest.hexdigest() != piece.sha256:
            raise damaged([piece])

    def _pad(self) -> None:
        self._put(bytes(-self._position % BLOCK_BYTES))

    def _put(self, data: bytes | memoryview) -> None:
        write_at(self._descriptor, memoryview(data), self._position)
        self._position += len(data)
