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
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from downloader.artifact import Artifact, task_name
from downloader.errors import (
    BadArchive,
    DigestMismatch,
    LockError,
    ManifestError,
    StoreError,
    shown,
)
from downloader.fs import scratch
from downloader.fs.digests import StopCheck, cores, sha256_of
from downloader.fs.files import look, looks_same, write_file
from downloader.fs.link import How, needs_room
from downloader.fs.rooted_path import RootedPath, open_own, read_own
from downloader.fs.space import DiskBudget
from downloader.project import lockfile
from downloader.project.lockfile import Lockfile
from downloader.project.project import Declaration, Model, Project, check_lock, compiled
from downloader.store.blobs import Damaged, Store

VERSION = 1
MARK, LOCK, MANIFEST, RECEIPTS = "bundle.json", "models.lock", "models.yaml", "receipts"
NAMES = (MARK, LOCK, MANIFEST, RECEIPTS)
AGAIN = "Copy the bundle once more, or write it anew with `doit bundle`."


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The content of bundle.json."""

    version: int = VERSION
    models: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Description of a bundle.

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
    with open_own(file) as opened:
        return opened.read()


def _mark(place: Path, text: bytes) -> Mark:
    try:
        mark = msgspec.json.decode(text, type=Mark)
        what = f"it was made by a newer modelmake, as version {mark.version}"
    except (ValueError, RecursionError):
        mark, what = None, f"its {MARK} cannot be read"
    if mark is None or mark.version != VERSION:
        raise BadArchive(f"The bundle {shown(place)} cannot be used: {what}.", hint=AGAIN)
    return mark


def check(bundle: Bundle) -> list[Declaration]:
    """Return the models of a bundle's manifest, if all that the bundle says fits together.

    Raises:
        LockError: Its models.lock does not follow from its models.yaml.
        BadArchive: Its models.yaml has an error, or it names a model that is not in its
            models.lock.
    """
    try:
        meant = compiled(bundle.manifest, f"{MANIFEST} of the bundle")
    except ManifestError as error:  # not a mistake of the user here
        raise BadArchive(str(error), hint=error.hint) from None
    check_lock(meant, bundle.lock)
    for name in bundle.models:
        if name not in bundle.lock.models:
            what = f"its {MARK} names {shown(name)}, which its models.lock does not"
            raise BadArchive(f"The bundle cannot be used: {what}.", hint=AGAIN)
    return meant


SHOWN = 10


class _Receipt(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSource:
    """One target whose bytes go into a bundle.

    Attributes:
        name: Model and path, for people.
        target: Where it is.
        size: Its bytes.
        sha256: What they must be, in hex.
        how: How the entry wants its links.
    """

    name: str
    target: RootedPath
    size: int
    sha256: str
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Content of a bundle.

    Attributes:
        texts: Its four files by name, in their order.
        blobs: A source for each blob, sorted by digest.
        files: How many targets they are.
    """

    texts: dict[str, bytes]
    blobs: tuple[BlobSource, ...]
    files: int

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)


def contents(project: Project, models: Sequence[Model]) -> Contents:
    """Return what a bundle of these models holds, judged by a stat of each file.

    Raises:
        LockError: A model is not locked, or not all of its files are here; names them.
        StoreError: models.yaml cannot be read.
    """
    if stale := [model.name for model in models if model.is_stale or model.locked is None]:
        raise LockError(f"models.lock is not up to date for {', '.join(stale)}.", hint=_go(stale))
    wanted = [(model, artifact) for model in models for artifact in model.artifacts]
    found = [_source(model, artifact) for model, artifact in wanted]
    if absent := [pair for pair, source in zip(wanted, found, strict=True) if source is None]:
        names = _shown([f"{model.name}/{artifact.path}" for model, artifact in absent])
        hint = _go(dict.fromkeys(model.name for model, _ in absent))
        raise LockError(f"Not here as models.lock says: {names}.", hint=hint)
    sources = [source for source in found if source]
    receipts = [
        _Receipt(model=model.name, path=artifact.path, size=source.size, sha256=source.sha256)
        for (model, artifact), source in zip(wanted, sources, strict=True)
    ]
    manifest = read_own(project.manifest_path)
    texts = {
        MARK: msgspec.json.encode(Mark(models=sorted(model.name for model in models))) + b"\n",
        LOCK: lockfile.dump(project.lockfile),
        MANIFEST: manifest,
        RECEIPTS: b"".join(sorted(msgspec.json.encode(line) + b"\n" for line in receipts)),
    }
    blobs = {source.sha256: source for source in reversed(sources)}
    ordered = tuple(blobs[sha256] for sha256 in sorted(blobs))
    return Contents(texts=texts, blobs=ordered, files=len(sources))


def _go(names: Iterable[str]) -> str:
    return f"Run `doit {' '.join(map(task_name, names))}` first."


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _source(model: Model, artifact: Artifact) -> BlobSource | None:
    """Return a target as the source of its blob; None if it is not here as models.lock says."""
    target = RootedPath(model.folder, artifact.path)
    status = look(target)
    if status is None:
        return None
    size = status.st_size
    if not artifact.sha256 or artifact in model.not_unpacked or artifact.size not in (None, size):
        return None
    return BlobSource(
        name=f"{model.name}/{artifact.path}",
        target=target,
        size=size,
        sha256=artifact.sha256,
        how=model.declared.entry.link,
    )


def write(contents: Contents, out: Path, watch: StopCheck, *, is_watched: bool) -> int:
    """Write a bundle, or resume an unfinished one.

    Args:
        contents: What goes into it.
        out: The folder: none yet, an empty one, or a bundle, whose blobs all stay.
        watch: Called often; raises Interrupted when the run is to stop.
        is_watched: Whether to refuse what does not fit on the disk.

    Returns:
        How many blobs were there already.

    Raises:
        StoreError: It is a folder with other things in it, or the disk refused.
        DigestMismatch: A target is damaged; the whole ones are in the folder.
        Interrupted: From the watch.
    """
    folder = RootedPath(out)
    folder.make_folder()
    _check_folder(folder)
    store = Store(out, is_cache=False, watch=watch)
    with ThreadPoolExecutor(cores()) as pool:
        has = list(pool.map(lambda blob: _has(store, blob, watch), contents.blobs))
        todo = [blob for blob, is_there in zip(contents.blobs, has, strict=True) if not is_there]
        _check_room(folder, todo, is_watched=is_watched)
        (folder / MARK).remove(missing_ok=True)  # until it is whole again
        damaged = [name for name in pool.map(lambda blob: _put(store, blob, watch), todo) if name]
    if damaged:
        raise DigestMismatch(
            f"Not the bytes that models.lock says, so the bundle is not whole: {_shown(damaged)}.",
            hint="Run `doit verify --repair`, then the same command again.",
        )
    for name in reversed(NAMES):  # what says that it is whole comes last
        write_file(folder / name, contents.texts[name])
    return sum(has)


def _check_folder(out: RootedPath) -> None:
    names = {name for name in out.names() if not scratch.is_unfinished(name)}  # of a killed run
    if names and not names & {MARK, "format"}:
        raise StoreError(
            f"{out} holds other things than a bundle.", hint="Name a new folder for it."
        )


def _has(store: Store, blob: BlobSource, watch: StopCheck) -> bool:
    watch()
    with contextlib.suppress(Damaged):  # it was set aside
        return store.find(blob.sha256) is not None
    return False


def _put(store: Store, blob: BlobSource, watch: StopCheck) -> str:
    """Put one target's bytes into the bundle; return its name if they are not what they must be."""
    before = blob.target.lstat()
    if sha256_of(blob.target, lambda _: watch()) != blob.sha256:
        return blob.name
    store.keep(blob.target, blob.sha256, blob.how, leaves_mode=True)
    if looks_same(blob.target.lstat(), before):
        return ""
    store.remove(blob.sha256)
    return blob.name


def _check_room(out: RootedPath, todo: Iterable[BlobSource], *, is_watched: bool) -> None:
    """Refuse what does not fit, counted without what is linked.

    Raises:
        StoreError: It does not.
    """
    DiskBudget(is_watched=is_watched).plan(
        (out.path / blob.sha256, blob.size)
        for blob in todo
        if needs_room(blob.how, blob.target.lstat(), out)
    )
