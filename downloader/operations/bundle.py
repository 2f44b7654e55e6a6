"""Write and read bundles: what a machine without network needs of a project (docs/offline.md).

    bundle.json        that it is one, and whole; and the models it was made for
    models.lock        as it was in the project
    models.yaml        the same
    receipts           a line for each file that is in it, with its size and SHA-256
    sha256/ab/abcd…    the bytes, as in a store; in a tar sorted, after the former

A folder has blobs as a store has them: linked if possible, each put in place in one step and
believed by the next run as long as its stat is the same, so that a killed run resumes. A tar is
written anew each time: beside its name, renamed when it is whole. Two of one lock are the same
bytes. Every file is read and compared with the lock on its way in. A tar is read by the parser that
reads Together's archives: plain files only, no name out of place, each blob compared with its name.
So whoever sends one can make us write nothing but what the lock wants.
"""

import contextlib
import os
import re
import secrets
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from downloader.archive.compression import Limits, Plain
from downloader.archive.tar import BLOCK_BYTES, Members, parse_header
from downloader.artifact import Artifact, shown
from downloader.errors import BadArchive, DigestMismatch, LockError, StoreError
from downloader.fs.commit import Place, check_target
from downloader.fs.digests import BUFFER_BYTES, StopCheck, cores, feed_all, new_sha256
from downloader.fs.files import looks_same, make_folder, naming, read_at, write_at, write_file
from downloader.fs.link import How, has_reflinks
from downloader.fs.locks import Turn, machine, open_locked
from downloader.fs.rooted_path import NEW_FILE, RootedPath, open_to_read
from downloader.fs.space import Room
from downloader.project import lockfile
from downloader.project.lockfile import Lockfile
from downloader.project.project import Model, Project
from downloader.store.blobs import Damaged, Store
from downloader.targets.shared import Found

VERSION = 1
MARK, LOCK, MANIFEST, RECEIPTS = "bundle.json", "models.lock", "models.yaml", "receipts"
NAMES = (MARK, LOCK, MANIFEST, RECEIPTS)
BLOB = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")
MOST_BYTES = 256 << 20
"""Of one of the four files: a lock of a million files."""
LIMITS = Limits(entries=1_000_000, names_bytes=128 << 20)
READ_AHEAD_BYTES = 1 << 20
AGAIN = "Copy the bundle once more, or write it anew with `doit bundle`."


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in bundle.json."""

    version: int = VERSION
    models: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle says of itself.

    Attributes:
        place: The folder or the tar.
        models: The names of those that are in it whole.
        manifest: Its models.yaml.
        lock: Its models.lock.
    """

    place: Path
    models: tuple[str, ...]
    manifest: bytes
    lock: Lockfile


def blob_name(sha256: str) -> str:
    """Return the name of a blob in a bundle."""
    return f"sha256/{sha256[:2]}/{sha256}"


def read(place: Path, watch: StopCheck) -> Bundle | None:
    """Return the bundle at a place; None where there is none.

    Args:
        place: A folder or a file.
        watch: Called often; raises Interrupted when the run is to stop.

    Raises:
        BadArchive: It is damaged, cut short, or of a newer version.
        LockError: Its models.lock cannot be used.
        StoreError: It cannot be read.
    """
    if is_tar(place):
        found = _from_tar(place, watch)
    elif (place / MARK).is_file():
        found = {name: _from_folder(place / name) for name in NAMES}
    else:
        return None
    with _named(place):
        mark = _mark(found[MARK])
    lock = lockfile.load(found[LOCK], f"{LOCK} of {shown(place)}")
    models = tuple(mark.models)
    return Bundle(place=place, models=models, manifest=found[MANIFEST], lock=lock)


def is_tar(place: Path) -> bool:
    """Whether a file begins as a bundle's tar does."""
    if not place.is_file():
        return False
    with naming(place, "read"), place.open("rb") as file, contextlib.suppress(BadArchive):
        block = file.read(BLOCK_BYTES)
        return len(block) == BLOCK_BYTES and parse_header(block).name == MARK.encode()
    return False


def unpacked(
    place: Path, wanted: Collection[str], folder_of: Callable[[str], RootedPath], watch: StopCheck
) -> Iterator[Found]:
    """Write blobs of a tar to disk, one after the other; each is gone when the next one is asked.

    Args:
        place: The tar.
        wanted: The SHA-256 of those that are.
        folder_of: Where each one goes.
        watch: As in `read`.

    Raises:
        BadArchive: It is damaged, or a blob has other bytes than its name says.
        StoreError: The disk refused.
        Interrupted: From the watch.
    """
    with _opened(place, watch) as members:
        for entry in members:
            blob = BLOB.fullmatch(entry.path)
            if not blob and entry.path not in NAMES and not entry.is_folder:
                raise BadArchive(f"{entry.path!a} is not for a bundle")
            if blob and blob[2] in wanted and not entry.is_folder:
                file = folder_of(blob[2]) / f"{machine()}-{os.getpid()}-{secrets.token_hex(8)}"
                try:
                    yield _written(members, file, blob[2])
                finally:
                    with contextlib.suppress(OSError):
                        file.remove()


def _written(members: Members, file: RootedPath, sha256: str) -> Found:
    make_folder(file.parent)
    digest, position = new_sha256(), 0
    with naming(file, "write"):
        descriptor = file.open(NEW_FILE)
        try:
            for chunk in members.data():
                write_at(descriptor, chunk, position)
                digest.update(chunk)
                position += len(chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if digest.hexdigest() != sha256:
            raise BadArchive("the bytes of a file are not those its name says")
        return Found(
            path=file.path, sha256=sha256, status=file.lstat(), may_share=True, is_ours=True
        )


def _from_tar(place: Path, watch: StopCheck) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _opened(place, watch) as members:
        for entry, wanted in zip(members, NAMES, strict=False):
            if entry.path != wanted or entry.is_folder or entry.size > MOST_BYTES:
                raise BadArchive(f"{wanted} does not stand where it is to be")
            found[wanted] = b"".join(map(bytes, members.data()))
            if len(found) == len(NAMES):
                return found
        raise BadArchive("it is cut short")


def _from_folder(file: Path) -> bytes:
    with naming(file, "read"), file.open("rb") as opened:
        return opened.read(MOST_BYTES)


def _mark(text: bytes) -> Mark:
    try:
        mark = msgspec.json.decode(text, type=Mark)
    except (ValueError, RecursionError):
        raise BadArchive(f"its {MARK} cannot be read") from None
    if mark.version != VERSION:
        raise BadArchive(f"it was made by a newer modelmake, as version {mark.version}")
    return mark


@contextmanager
def _opened(place: Path, watch: StopCheck) -> Iterator[Members]:
    with naming(place, "read"), place.open("rb", buffering=READ_AHEAD_BYTES) as file:
        members = Members(Plain(file, watch), LIMITS)
        with _named(place, members):
            yield members


@contextmanager
def _named(place: Path, members: Members | None = None) -> Iterator[None]:
    try:
        yield
    except BadArchive as error:
        where = members.place if members else ""
        what = f"The bundle {shown(place)} cannot be used: {error}{where}."
        raise BadArchive(what, hint=AGAIN) from error


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


TAR_BLOCK_BYTES = 512
END = bytes(2 * TAR_BLOCK_BYTES)
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
        self._put(bytes(-self._position % TAR_BLOCK_BYTES))

    def _put(self, data: bytes | memoryview) -> None:
        write_at(self._descriptor, memoryview(data), self._position)
        self._position += len(data)
