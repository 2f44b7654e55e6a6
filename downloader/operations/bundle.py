"""Write and read bundles: what a machine without network needs of a project (docs/offline.md).

    bundle.json        that it is one, and whole; and the models it was made for
    models.lock        as it was in the project
    models.yaml        the same
    receipts           a line for each file that is in it, with its size and SHA-256
    sha256/ab/abcd…    the bytes, as in a store

A bundle is a folder. Its blobs are those of a store: linked if possible, each put in place in one
step and believed by the next run as long as its stat is the same, so that a killed run resumes.
Every file is read and compared with the lock on its way in. Whoever sends a bundle can make us
write nothing but what the lock wants.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from downloader.artifact import Artifact, shown
from downloader.errors import BadArchive, DigestMismatch, LockError, StoreError
from downloader.fs.digests import StopCheck, cores, feed_all, new_sha256
from downloader.fs.files import looks_same, make_folder, naming, write_file
from downloader.fs.link import How, has_reflinks
from downloader.fs.rooted_path import RootedPath, open_to_read
from downloader.fs.space import Room
from downloader.project import lockfile
from downloader.project.lockfile import Lockfile
from downloader.project.project import Model, Project
from downloader.store.blobs import Damaged, Store

VERSION = 1
MARK, LOCK, MANIFEST, RECEIPTS = "bundle.json", "models.lock", "models.yaml", "receipts"
NAMES = (MARK, LOCK, MANIFEST, RECEIPTS)
MOST_BYTES = 256 << 20
"""Of one of the four files: a lock of a million files."""
AGAIN = "Copy the bundle once more, or write it anew with `doit bundle`."


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in bundle.json."""

    version: int = VERSION
    models: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle says of itself.

    Attributes:
        models: The names of those that are in it whole.
        manifest: Its models.yaml.
        lock: Its models.lock.
    """

    models: tuple[str, ...]
    manifest: bytes
    lock: Lockfile


def read(place: Path) -> Bundle | None:
    """Return the bundle in a folder; None if it holds none.

    Raises:
        BadArchive: It is damaged, or of a newer version.
        LockError: Its models.lock cannot be used.
        StoreError: It cannot be read.
    """
    if not (place / MARK).is_file():
        return None
    texts = {name: _text(place / name) for name in NAMES}
    lock = lockfile.load(texts[LOCK], f"{LOCK} of {shown(place)}")
    models = tuple(_mark(place, texts[MARK]).models)
    return Bundle(models=models, manifest=texts[MANIFEST], lock=lock)


def _text(file: Path) -> bytes:
    with naming(file, "read"), file.open("rb") as opened:
        return opened.read(MOST_BYTES)


def _mark(place: Path, text: bytes) -> Mark:
    try:
        mark = msgspec.json.decode(text, type=Mark)
        what = f"it was made by a newer modelmake, as version {mark.version}"
    except (ValueError, RecursionError):
        mark, what = None, f"its {MARK} cannot be read"
    if mark is None or mark.version != VERSION:
        raise BadArchive(f"The bundle {shown(place)} cannot be used: {what}.", hint=AGAIN)
    return mark


SHOWN = 10


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
    target: RootedPath
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
        status = os.lstat(RootedPath(model.folder, artifact.path))
    except OSError:
        return False
    is_locked = artifact.is_pinned and artifact not in model.not_unpacked
    return is_locked and artifact.size in (None, status.st_size)


def _receipt(model: Model, each: Artifact) -> bytes:
    sha256, size = str(each.sha256), os.lstat(RootedPath(model.folder, each.path)).st_size
    line = _Receipt(model=model.name, path=each.path, size=size, sha256=sha256)
    return msgspec.json.encode(line) + b"\n"


def _piece(model: Model, each: Artifact) -> Piece:
    target = RootedPath(model.folder, each.path)
    return Piece(
        name=f"{model.name}/{each.path}",
        target=target,
        size=os.lstat(target).st_size,
        sha256=str(each.sha256),
        how=model.declared.entry.link,
    )


def damaged(pieces: Sequence[Piece]) -> DigestMismatch:
    """Return the error that names targets which are not what the lock says."""
    named = ", ".join(each.name for each in pieces[:SHOWN])
    more = f" and {len(pieces) - SHOWN:,} more" * (len(pieces) > SHOWN)
    return DigestMismatch(
        f"Not the bytes that models.lock says, so the bundle is not whole: {named}{more}.",
        hint="Run `doit verify --repair`, then the same command again.",
    )


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
