"""Take files that are on this machine already instead of downloading them: by size, then by digest.

    in its place, or in the store   as `doit` would
    in the folder that you name     found, then reflinked, linked or copied
    in an archive that was found    unpacked

Only a file whose size some wanted artifact has is opened; if the lock knows no size, one of the
same name. It is then read once, however many names lead to it, with all cores. Links to files are
followed, those to folders are not, so that every walk ends; what is not a regular file is never
opened. A file goes the way of a download: claim, place, receipt, pin, store. No request is made.
"""

import functools
import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from downloader.artifact import Artifact, LockedModel, bytes_text, counted
from downloader.errors import Interrupted, ModelmakeError, StoreError, shown
from downloader.fs.digests import (
    StopCheck,
    cores,
    feed_all,
    new_git_sha1,
    new_md5,
    new_sha256,
)
from downloader.fs.files import (
    PRIVATE_FOLDER,
    Private,
    looks_same,
    private_folder,
    write_file,
)
from downloader.fs.link import needs_room
from downloader.fs.rooted_path import RootedPath, open_to_read, read_own
from downloader.fs.space import DiskBudget
from downloader.operations.bundle import Bundle, check
from downloader.operations.lock import stale, write_locked
from downloader.project import lockfile
from downloader.project.lockfile import dump
from downloader.project.project import Declaration, Model, Project, check_lock, check_locked
from downloader.targets.engine import Engine, Outcome
from downloader.targets.plan import stale_targets
from downloader.targets.shared import FoundFile, found_key, way


def take_lock(project: Project, bundle: Bundle) -> list[str]:
    """Take what the project lacks of a bundle's manifest and lock.

    Both if it has no models.yaml; else what is locked in the bundle for the very entries that
    are not locked here. What is locked here already stays as it is. The whole bundle is checked
    before anything is written.

    Returns:
        What was done, a line each.

    Raises:
        ModelmakeError: What the bundle has cannot be used, or models.lock may not be written.
    """
    meant = check(bundle)
    if not project.manifest_path.exists():
        if project.lock_path.exists():
            text = read_own(project.lock_path)
            check_lock(meant, lockfile.load(text, project.lock_path.name))
        else:
            write_file(RootedPath.of(project.lock_path), dump(bundle.lock))
        write_file(RootedPath.of(project.manifest_path), bundle.manifest)
        return [f"{project.manifest_path.name} and {project.lock_path.name} are the bundle's"]
    models = bundle.lock.models
    taken = {model.name: models[model.name] for model in stale(project) if _has(models, model)}
    return write_locked(project, taken)


def _has(models: Mapping[str, LockedModel], model: Declaration) -> bool:
    if not model.is_current(models.get(model.name)):
        return False
    check_locked(model, models[model.name])
    return True


SHA256 = "sha256"
SHARED_FROM_BYTES = 1 << 20
"""Smaller files are never shared with a cache: they cost no room, and are those people edit."""
HUGGING_FACE = ("models--", "datasets--", "spaces--")


def files_at(place: Path, tell: Callable[[str], None]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every regular file at or below a place, with its stat.

    Args:
        place: A file or a folder; our own private folders in it are left out.
        tell: Takes a line about a folder that cannot be read.
    """
    if not place.is_dir():
        yield place, place.stat()
        return
    waiting = [place]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            tell(f"skipped: {shown(here)}: {error.strerror}")
            continue
        for entry in listed:
            if not entry.is_dir(follow_symlinks=False):
                if status := _of_regular(entry):
                    yield Path(entry.path), status
            elif entry.name != PRIVATE_FOLDER:
                waiting.append(Path(entry.path))


def _of_regular(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        # Windows gives a DirEntry's own stat no inode.
        status = os.stat(entry.path) if os.name == "nt" else entry.stat()  # noqa: PTH116
    except OSError:  # a link that leads nowhere, or to itself
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def is_cached(path: Path, status: os.stat_result) -> bool:
    """Whether a file is one of a cache that never writes to a file again: it replaces them.

    A blob of the Hugging Face cache (`models--O--N/blobs/ETAG`, `blobs/XX/HASH`), or of a store or
    bundle of ours (`sha256/XX/DIGEST`).
    """
    if status.st_size < SHARED_FROM_BYTES:
        return False
    folder, above = path.parent, path.parent.parent
    if folder.name == "blobs":
        return above.name.startswith(HUGGING_FACE)
    if not path.name.startswith(folder.name):
        return False
    return above.name == "blobs" or (above.name == "sha256" and (above.parent / "format").is_file())


@dataclass(slots=True)
class _Candidate:
    path: Path
    status: os.stat_result
    keys: set[str] = field(default_factory=set)

    def order(self) -> tuple[bool, int, Path]:
        """Return the sort key: files named by a wanted digest first, then the largest."""
        is_named = not self.keys.isdisjoint((self.path.name, f"git-sha1:{self.path.name}"))
        return not is_named, -self.status.st_size, self.path


class Search:
    """Search files for the bytes of artifacts; safe to share between threads.

    Args:
        wanted: The artifacts.
        watch: Called often; raises to stop the search.
        tell: Takes a line about a file that is skipped.
        shares: Whether a target may be the same file as any that is found.
    """

    def __init__(
        self,
        wanted: Iterable[Artifact],
        watch: StopCheck,
        tell: Callable[[str], None],
        *,
        shares: bool = False,
    ) -> None:
        self._watch, self._tell, self._shares = watch, tell, shares
        self._finding = threading.Lock()
        self._by_size: dict[int, set[str]] = defaultdict(set)
        self._by_name: dict[str, set[str]] = defaultdict(set)  # if no size is known
        self._nameless = set[str]()
        self.found: dict[str, FoundFile] = {}
        for artifact in wanted:
            self._add(artifact)

    def look(self, place: Path) -> dict[str, FoundFile]:
        """Read every file that may be wanted, and return those that are, by `found_key`.

        Args:
            place: A folder, with all below it, or a file.

        Raises:
            Interrupted: From the watch.
        """
        candidates = self._candidates(place)
        if candidates:
            total = bytes_text(sum(file.status.st_size for file in candidates))
            counts = counted(len(candidates), "file")
            self._tell(f"hashing up to {counts} ({total}) in {shown(place)}")
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(self._read, candidates):
                pass
        return self.found

    def _add(self, artifact: Artifact) -> None:
        wanted = found_key(artifact)
        if wanted is None:
            return
        if artifact.size is not None:
            self._by_size[artifact.size].add(wanted)
        else:
            self._by_name[artifact.path.rpartition("/")[2]].add(wanted)
            self._nameless.add(wanted)  # a cache may name it by its digest

    def _candidates(self, place: Path) -> list[_Candidate]:
        """Return the files to read: each once, and first those named by a digest that is wanted."""
        seen: dict[object, _Candidate] = {}
        for path, status in files_at(place, self._tell):
            self._watch()
            if keys := self._keys(path, status.st_size):
                real = Path(os.path.realpath(path))
                same = (status.st_dev, status.st_ino) if status.st_ino else real
                seen.setdefault(same, _Candidate(real, status)).keys.update(keys)
        return sorted(seen.values(), key=_Candidate.order)

    def _keys(self, path: Path, size: int) -> set[str]:
        """Return what a file of this size and name may be."""
        by_name = self._by_name.get(path.name, set()) | self._nameless & {path.name}
        return self._by_size.get(size, set()) | by_name

    def _read(self, candidate: _Candidate) -> None:
        self._watch()
        path, status = candidate.path, candidate.status
        with self._finding:
            wanted = candidate.keys - self.found.keys()
        if not wanted:
            return  # all that it may be was found elsewhere meanwhile
        try:
            kinds = {key.partition(":")[0] for key in wanted if ":" in key}
            digests = self._digests(path, status, kinds)
        except StoreError as error:
            self._tell(f"skipped: {shown(path)}: {error.reason}")
            return
        if digests is None:
            self._tell(f"skipped: {shown(path)} was changed while it was read")
            return
        may_share = self._shares or is_cached(path, status)
        sha256 = digests.pop(SHA256)
        one = FoundFile(path=path, sha256=sha256, status=status, may_share=may_share)
        keys = {sha256, *(f"{kind}:{digest}" for kind, digest in digests.items())}
        with self._finding:
            for key in wanted & keys:
                self.found.setdefault(key, one)

    def _digests(
        self, path: Path, status: os.stat_result, kinds: Collection[str]
    ) -> dict[str, str] | None:
        """Return the SHA-256 and these other digests; None when the file is not what it was."""
        with open_to_read(path) as file:
            if not looks_same(file.status(), status):
                return None
            hashes = {SHA256: new_sha256()}
            if "md5" in kinds:
                hashes["md5"] = new_md5()
            if "git-sha1" in kinds:
                hashes["git-sha1"] = new_git_sha1(status.st_size)
            size = feed_all(file, status.st_size, tuple(hashes.values()), self._watch)
            if size != status.st_size or not looks_same(file.status(), status):
                return None
        return {kind: each.hexdigest() for kind, each in hashes.items()}


AT_ONCE = 8
"""Files that are copied and synced at once."""

Want = tuple[str, Artifact]
"""A model's name and an artifact of it."""

SHOWN = 20
"""So many missing files are named."""


@dataclass(slots=True)
class AdoptReport:
    """Result for the files that were wanted.

    Attributes:
        done: What was done for each that is in place now.
        missing: Those whose bytes are not here.
        failed: How many could not be put in place.
    """

    done: list[Outcome] = field(default_factory=list)
    missing: list[Want] = field(default_factory=list)
    failed: int = 0

    def by(self, *verbs: str) -> list[Outcome]:
        """Return what was done in these ways."""
        return [each for each in self.done if each.verb in verbs]

    def lines(self) -> Iterator[str]:
        """Yield what is said of it: what is missing, and how many there are of each kind."""
        for name, artifact in self.missing[:SHOWN]:
            has_digest = artifact.sha256 or artifact.git_sha1 or artifact.md5
            why = "" if has_digest else ": models.lock has no digest of it yet"
            yield f"not found: {name}/{artifact.path}{why}"
        if len(self.missing) > SHOWN:
            yield f"not found: {len(self.missing) - SHOWN:,} more"
        taken = self.by("adopted", "unpacked")
        size = bytes_text(sum(outcome.size for outcome in taken))
        counts = {
            "linked from the store": len(self.by("linked")),
            "verified in place": len(self.by("verified")),
            "not found": len(self.missing),
            "failed": self.failed,
        }
        parts = [f"adopted {counted(len(taken), 'file')} ({size})"] * bool(taken)
        parts += [f"{counted(count, 'file')} {what}" for what, count in counts.items() if count]
        yield ", ".join(parts) or "Nothing to adopt: every file is up to date."


class Adopter:
    """Brings models up to date with what is at one place of this machine.

    Args:
        project: Whose models.
        syncer: What puts their files in place.
        watch: Called often; raises Interrupted when the run is to stop.
        tell: Takes a line about one file.
    """

    def __init__(
        self, project: Project, syncer: Engine, watch: StopCheck, tell: Callable[[str], None]
    ) -> None:
        self._project, self._syncer, self._watch, self._tell = project, syncer, watch, tell
        self._report = AdoptReport()
        self._settled = set[tuple[str, str]]()

    def adopt(self, models: Sequence[Model], place: Path, *, shares: bool = False) -> AdoptReport:
        """Bring models up to date, and tell each file.

        Args:
            models: Those that are locked.
            place: A folder, a file, or a bundle.
            shares: Whether a target may be the same file as the one that was found.

        Raises:
            StoreError: The disk has no room for what was found; nothing was written.
            Interrupted: The run was stopped.
        """
        wanted = [(model.name, each) for model in models for each in _files(model)]
        self._bring((each, None) for each in wanted)
        missing = self._left(wanted)
        packed = [(model.name, each) for model in models for each in _archives(model, missing)]
        self._bring((each, None) for each in packed)
        sought = [*missing, *self._left(packed)]
        search = Search((each for _, each in sought), self._watch, self._tell, shares=shares)
        found = search.look(place)
        keyed = [(want, str(found_key(want[1]))) for want in sought]
        chosen = [(want, found[key]) for want, key in keyed if key in found]
        self._check_room(chosen)
        self._bring(chosen)
        self._unpack(models, packed, missing)
        kept = {(model.name, each.path) for model in models for each in model.artifacts}
        self._report.missing = self._left(each for each in [*wanted, *packed] if _id(each) in kept)
        return self._report

    def _left(self, wanted: Iterable[Want]) -> list[Want]:
        return [each for each in wanted if _id(each) not in self._settled]

    def _bring(self, wanted: Iterable[tuple[Want, FoundFile | None]]) -> None:
        """Put files in place whose bytes are here, several at once."""

        def bring(each: tuple[Want, FoundFile | None]) -> None:
            (name, artifact), found = each
            act = functools.partial(self._syncer.adopt, name, artifact.path, found)
            self._do(each[0], act)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(bring, wanted):
                pass

    def _unpack(
        self, models: Iterable[Model], packed: Iterable[Want], missing: Sequence[Want]
    ) -> None:
        """Unpack the archives that are here now: nothing is fetched for them."""
        unknown = {(model.name, each.path) for model in models for each in model.not_unpacked}
        for name, archive in packed:
            if (name, archive.path) not in self._settled:
                continue
            members = [
                (of, each) for of, each in missing if (of, each.archive) == (name, archive.path)
            ]
            itself = [(name, archive)] * ((name, archive.path) in unknown)
            for want in self._left(members) or itself:
                self._do(want, functools.partial(self._syncer.sync, name, want[1].path))

    def _do(self, want: Want, act: Callable[[], Outcome | None]) -> None:
        """Do something for one file, and note how that went; a failure stops no other."""
        told = f"{want[0]}/{want[1].path}"
        try:
            self._watch()
            outcome = act()
        except Interrupted:
            raise
        except ModelmakeError as error:
            self._settled.add(_id(want))
            self._report.failed += 1
            self._tell(f"failed {told}: {error.report()}")
            return
        if outcome is None:
            return
        self._settled.add(_id(want))
        self._report.done.append(outcome)
        if outcome.verb != "verified":
            note = f", {outcome.note}" * bool(outcome.note)
            self._tell(f"{outcome.verb} {told} ({bytes_text(outcome.size)}{note})")

    def _workspace(self, name: str) -> RootedPath:
        return private_folder(self._project.folder(name)) / Private.LINKING

    def _check_room(self, chosen: Iterable[tuple[Want, FoundFile]]) -> None:
        budget = DiskBudget(is_watched=self._project.settings.is_preflight)
        budget.plan(
            ((self._workspace(name) / str(number)).path, found.status.st_size)
            for number, ((name, _), found) in enumerate(chosen)
            if self._needs_room(name, found)
        )

    def _needs_room(self, name: str, found: FoundFile) -> bool:
        """Whether a target of the file takes disk space of its own."""
        workspace = self._workspace(name)
        try:
            workspace.make_folder()
        except StoreError:  # reported when the file is to be placed, and stops no other
            return True
        return needs_room(way(self._project.named(name).entry.link, found), found.status, workspace)


def _files(model: Model) -> list[Artifact]:
    """Return what is stale of a model, but for archives that are to be unpacked."""
    assert model.locked is not None
    return [each for each in stale_targets(model) if each not in model.locked.archives]


def _archives(model: Model, missing: Collection[Want]) -> Iterator[Artifact]:
    """Yield the archives that are stale themselves, or that a missing file is in."""
    assert model.locked is not None
    stale = {artifact.path for artifact in stale_targets(model)}
    needed = {each.archive for name, each in missing if name == model.name}
    for archive in model.locked.archives:
        if archive.path in stale | needed:
            yield archive


def _id(want: Want) -> tuple[str, str]:
    return want[0], want[1].path
