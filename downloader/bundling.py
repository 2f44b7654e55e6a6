"""Models into a bundle (bundles.py), every file read and held against the lock on its way.

A folder has blobs as a store has them: linked where that can be had, each put in place in one step
and believed by the next run as long as it looks the same, so that a killed run goes on. A tar is
written anew each time: beside its name, renamed when it is whole. Two of one lock are the same
bytes.
"""

import contextlib
import os
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from downloader import lockfile
from downloader.artifact import Artifact
from downloader.bundles import LOCK, MANIFEST, MARK, NAMES, RECEIPTS, Mark, blob_name
from downloader.durable import make_folder, naming, write_file
from downloader.errors import DigestMismatch, LockError, ModelmakeError, StoreError
from downloader.finding import LOOKING, Watch, feed_all, looks_same
from downloader.hashing import BUFFER_BYTES, new_sha256
from downloader.model import Model
from downloader.positioned import read_at, write_at
from downloader.project import Project
from downloader.store import Damaged, How, Store, has_reflinks
from downloader.transfer.locked_file import open_locked
from downloader.transfer.placing import Place, check_target
from downloader.transfer.preflight import Room
from downloader.transfer.turn import Turn

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
SHOWN = 10
PARTIAL = ".partial"


class _Receipt(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One target that goes into a bundle, for all that have its bytes.

    Attributes:
        name: Model and path, for people.
        target: Where it is.
        size: Its bytes.
        sha256: What they are to be, in hex.
        how: How the entry wants its links.
    """

    name: str
    target: Path
    size: int
    sha256: str
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        texts: Its four files by name, in their order.
        pieces: One for each blob, sorted by digest.
        files: How many targets they are.
    """

    texts: dict[str, bytes]
    pieces: tuple[Piece, ...]
    files: int

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(each.size for each in self.pieces)


def contents(project: Project, models: Sequence[Model]) -> Contents:
    """Return what a bundle of these models holds, as far as a look at each file tells.

    Raises:
        LockError: A model is not locked, or not all of its files are here; names them.
        StoreError: models.yaml cannot be read.
    """
    if stale := [model.name for model in models if model.is_stale or model.locked is None]:
        raise LockError(f"models.lock is not up to date for {', '.join(stale)}.", hint=_go(stale))
    wanted = [(model, artifact) for model in models for artifact in model.artifacts]
    if absent := [(model.name, each.path) for model, each in wanted if not _is_here(model, each)]:
        named = ", ".join(f"{name}/{path}" for name, path in absent[:SHOWN])
        more = f" and {len(absent) - SHOWN:,} more" * (len(absent) > SHOWN)
        what = f"Not here as models.lock says: {named}{more}."
        raise LockError(what, hint=_go(dict.fromkeys(name for name, _ in absent)))
    with naming(project.manifest_path, "read"):
        manifest = project.manifest_path.read_bytes()
    texts = {
        MARK: msgspec.json.encode(Mark(models=sorted(each.name for each in models))) + b"\n",
        LOCK: lockfile.dump(project.lockfile),
        MANIFEST: manifest,
        RECEIPTS: b"".join(sorted(_receipt(model, each) for model, each in wanted)),
    }
    pieces = {str(each.sha256): _piece(model, each) for model, each in reversed(wanted)}
    ordered = tuple(pieces[sha256] for sha256 in sorted(pieces))
    return Contents(texts=texts, pieces=ordered, files=len(wanted))


def _go(names: Iterable[str]) -> str:
    return f"Run `doit {' '.join(f'fetch:{name}' for name in names)}` first."


def _is_here(model: Model, artifact: Artifact) -> bool:
    try:
        status = (model.folder / artifact.path).lstat()
    except OSError:
        return False
    is_locked = artifact.is_pinned and artifact not in model.not_unpacked
    return is_locked and artifact.size in (None, status.st_size)


def _receipt(model: Model, each: Artifact) -> bytes:
    sha256, size = str(each.sha256), (model.folder / each.path).lstat().st_size
    line = _Receipt(model=model.name, path=each.path, size=size, sha256=sha256)
    return msgspec.json.encode(line) + b"\n"


def _piece(model: Model, each: Artifact) -> Piece:
    target = model.folder / each.path
    return Piece(
        name=f"{model.name}/{each.path}",
        target=target,
        size=target.lstat().st_size,
        sha256=str(each.sha256),
        how=model.declared.entry.link,
    )


def write_folder(what: Contents, out: Path, watch: Watch, *, is_watched: bool) -> int:
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
    make_folder(out)
    _check_folder(out)
    store = Store(out, is_cache=False, watch=watch)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        has = list(pool.map(lambda each: _has(store, each, watch), what.pieces))
        todo = [each for each, is_there in zip(what.pieces, has, strict=True) if not is_there]
        _check_room(out, todo, is_watched=is_watched)
        with naming(out, "write in"):
            (out / MARK).unlink(missing_ok=True)  # until it is whole again
        wrong = [each for each in pool.map(lambda each: _kept(store, each, watch), todo) if each]
    if wrong:
        raise _damaged(wrong)
    for name in reversed(NAMES):  # what says that it is whole comes last
        write_file(out / name, what.texts[name])
    return sum(has)


def _check_folder(out: Path) -> None:
    with naming(out, "look into"):
        names = {each.name for each in out.iterdir()}
    if names and not names & {MARK, "format"}:
        raise StoreError(
            f"{out} holds other things than a bundle.", hint="Name a new folder for it."
        )


def _has(store: Store, piece: Piece, watch: Watch) -> bool:
    watch()
    with contextlib.suppress(Damaged):  # it was set aside
        return store.find(piece.sha256) is not None
    return False


def _kept(store: Store, piece: Piece, watch: Watch) -> Piece | None:
    """Put one target's bytes into the bundle; return it when they are not what the lock says."""
    with naming(piece.target, "read"):
        before = piece.target.lstat()
        if _digest(piece, watch) != piece.sha256:
            return piece
        store.keep(piece.target, piece.sha256, piece.how)
        if looks_same(piece.target.lstat(), before):
            return None
    store.remove(piece.sha256)
    return piece


def _digest(piece: Piece, watch: Watch) -> str:
    descriptor = os.open(piece.target, LOOKING)
    try:
        digest = new_sha256()
        feed_all(descriptor, piece.size, (digest,), watch)
        return digest.hexdigest()
    finally:
        os.close(descriptor)


def _check_room(out: Path, todo: Iterable[Piece], *, is_watched: bool) -> None:
    """Refuse what does not fit, counted without what is linked.

    Raises:
        StoreError: It does not.
    """
    device, can_reflink = out.stat().st_dev, has_reflinks(out)
    Room(is_watched=is_watched).plan(
        (out / each.sha256, each.size)
        for each in todo
        if each.how == "copy"
        or each.target.lstat().st_dev != device
        or (each.how == "reflink" and not can_reflink)
    )


def _damaged(pieces: Sequence[Piece]) -> ModelmakeError:
    named = ", ".join(each.name for each in pieces[:SHOWN])
    more = f" and {len(pieces) - SHOWN:,} more" * (len(pieces) > SHOWN)
    return DigestMismatch(
        f"Not the bytes that models.lock says, so the bundle is not whole: {named}{more}.",
        hint="Run `doit verify --repair`, then the same command again.",
    )


def write_tar(what: Contents, out: Path, watch: Watch, *, is_watched: bool) -> None:
    """Write a bundle as one tar, in place of one that may be there.

    Args:
        what: What goes into it.
        out: Its name.
        watch: Called often; raises Interrupted when the run is to stop.
        is_watched: Whether what does not fit on the disk is refused.

    Raises:
        StoreError: The disk refused.
        DigestMismatch: A target is damaged; there is no new tar.
        Interrupted: From the watch.
    """
    make_folder(out.parent)
    check_target(out)
    partial, place = out.with_name(out.name + PARTIAL), Place(out)
    Room(is_watched=is_watched).plan([(partial, what.size)])
    with naming(partial, "write"):
        descriptor, partial = open_locked(partial, Turn())
        try:
            os.ftruncate(descriptor, 0)
            _Tar(descriptor, watch).write(what)
            os.fsync(descriptor)
            place.take(descriptor, partial, "")
        except (ModelmakeError, OSError):
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        finally:
            os.close(descriptor)


class _Tar:
    """A tar that is written: GNU's numbers for large files, no time, no owner."""

    def __init__(self, descriptor: int, watch: Watch) -> None:
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
            source = os.open(piece.target, LOOKING)
        try:
            while count := read_at(source, buffer[: piece.size - done], done):
                self._watch()
                digest.update(buffer[:count])
                self._put(buffer[:count])
                done += count
        finally:
            os.close(source)
        if done != piece.size or digest.hexdigest() != piece.sha256:
            raise _damaged([piece])

    def _pad(self) -> None:
        self._put(bytes(-self._position % BLOCK_BYTES))

    def _put(self, data: bytes | memoryview) -> None:
        write_at(self._descriptor, memoryview(data), self._position)
        self._position += len(data)
