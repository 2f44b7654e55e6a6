"""Share bytes with other projects: targets from and for the store, and piece layers.

A store on another file system is looked into, and what is there copied; but what is downloaded goes
straight to the target then, and is on one disk only. Trouble with the store itself is reported
once, and the run continues without it: one that cannot be written is still read.

A new name is made in the model's private folder, and is then renamed to the target.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from downloader.artifact import Artifact
from downloader.errors import ModelmakeError, Stop, StoreError
from downloader.fs import scratch
from downloader.fs.commit import Commit
from downloader.fs.digests import (
    MOST_PIECE_BYTES,
    Layer,
    dump_layer,
    is_line_of,
    joined_layers,
    layer_lines,
    load_layer,
)
from downloader.fs.files import (
    Private,
    is_same,
    looks_same,
    private_folder,
    write_file,
)
from downloader.fs.link import WAYS, How, Made, SourceUnreadable, link
from downloader.fs.open_file import OpenFile, nearest_folder
from downloader.fs.rooted_path import READ, RootedPath, read_own
from downloader.progress.streams import tell
from downloader.project import lockfile
from downloader.project.lockfile import Lockfile, alone
from downloader.project.project import Project
from downloader.store.blobs import Blob, Damaged, store_at
from downloader.store.claims import Claims
from downloader.store.projects import KnownProject, Projects, known
from downloader.urls import Location

if TYPE_CHECKING:
    from downloader.store.blobs import Store
    from downloader.transfer.fetch import Fetched


class FoundFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read, and is what an artifact is to be.

    Attributes:
        path: Where it is; no symlink.
        sha256: Of its bytes, in hex.
        status: How it looked while it was read.
        may_share: Whether a target may be the same file, as a hard link.
    """

    path: Path
    sha256: str
    status: os.stat_result
    may_share: bool = False

    def check(self) -> None:
        """Refuse a file that is not as it was when it was read.

        Raises:
            StoreError: It was changed, or is gone.
        """
        try:
            is_same = looks_same(self.path.lstat(), self.status)
        except OSError:
            is_same = False
        if not is_same:
            raise StoreError(
                f"{self.path} was changed while it was read, so it is not taken.",
                hint="Run the same command again once nobody writes to it.",
            )


def found_key(artifact: Artifact) -> str | None:
    """Return what tells an artifact's bytes: SHA-256, or another digest if its size is known."""
    if artifact.sha256 is not None:
        return artifact.sha256
    if artifact.size is None:
        return None
    if artifact.git_sha1 is not None:
        return f"git-sha1:{artifact.git_sha1}"
    return f"md5:{artifact.md5}" if artifact.md5 else None


class Linker:
    """Makes targets of one project; safe to share between threads.

    Args:
        project: Whose targets.
        stop: Ends every copy.
    """

    def __init__(self, project: Project, stop: Stop) -> None:
        self._project, self._stop = project, stop
        self._swept = set[RootedPath]()

    def place(
        self,
        name: str,
        source: Path | RootedPath,
        target: RootedPath,
        sha256: str,
        found: FoundFile | None = None,
    ) -> Made:
        """Put a file under the target's name that is made of another one.

        Args:
            name: The model.
            source: The file; it is not written to.
            target: The final name.
            sha256: What the bytes are.
            found: What is known of the source, if it was found to be adopted.

        Returns:
            Which way it was.

        Raises:
            SourceUnreadable: The source is gone, or cannot be read.
            StoreError: The disk refused, or the source was changed meanwhile.
            Interrupted: The run was stopped.
        """
        wish = self._project.named(name).entry.link
        ways = WAYS[way(wish, found) if found else wish]
        workspace = private_folder(self._project.folder(name)) / Private.LINKING
        own = workspace / scratch.own_name()
        with Commit(target) as place, own.held(makes=True) as new:
            if workspace not in self._swept:
                self._swept.add(workspace)
                scratch.sweep(workspace)
            made = link(source, new, ways, sha256, self._stop.check, told=target)
            try:
                if found:
                    found.check()
                with new.open(READ) as file:
                    place.take(file, sha256, self._stop.check)
            finally:
                with contextlib.suppress(StoreError):  # it is left if both names are one file
                    new.remove()
        return made


def way(wish: How, found: FoundFile) -> How:
    """Return how a target is to be made of a file that was found.

    A file of the user's is shared only if that was asked for: by `link: hardlink` too.
    """
    return "reflink" if wish == "auto" and not found.may_share else wish


SMALLEST_BYTES = MOST_PIECE_BYTES
"""Files up to that length have no root: they are hashed, and fetched again, in no time."""


class KnownLayers:
    """Finds and keeps layers for one project; safe to share between threads.

    Args:
        project: Whose models.lock names the roots.
        notice: Takes a line about a layer that is wrong.
    """

    def __init__(self, project: Project, notice: Callable[[str], None] = tell) -> None:
        self._project, self._notice = project, notice
        self._told = set[RootedPath]()
        self._telling = threading.Lock()

    @property
    def beside(self) -> Path:
        """The path of models.pieces."""
        return self._project.lock_path.with_suffix(".pieces")

    def find(self, artifact: Artifact) -> Layer | None:
        """Return a file's layer; None if models.lock has no root of it, or no layer is here."""
        if artifact.root is None or not can_have_root(artifact):
            return None
        size = int(artifact.size or 0)
        for path, line in self._lines(artifact.root):
            if layer := load_layer(line, artifact.root, size):
                return structs.replace(layer, is_proof=artifact.is_proven_by_root)
            self._tell(path, artifact)
        return None

    def keep(self, layers: Iterable[Layer]) -> bool:
        """Put layers into the store and into models.pieces; return whether the latter is changed.

        Of models.pieces, what belongs to no root of models.lock is dropped.

        Raises:
            StoreError: The disk refused.
        """
        layers = list(layers)
        if store := self._store:
            with contextlib.suppress(StoreError):  # models.pieces has them too
                for layer in layers:
                    store.put_layer(layer.root, dump_layer(layer))
        models = self._project.lockfile.models.values()
        roots = {a.root for model in models for a in (*model.files, *model.archives) if a.root}
        with alone(self.beside):
            before = list(layer_lines(RootedPath.of(self.beside)))
            text = joined_layers(layers, before, roots | {each.root for each in layers})
            is_changed = text != b"".join(before)
            if is_changed:
                write_file(RootedPath.of(self.beside), text)
        return is_changed

    @cached_property
    def _store(self) -> "Store | None":

        try:
            return store_at(self._project.settings.store)
        except StoreError:  # reported when files are put into it
            return None

    def _lines(self, root: str) -> Iterator[tuple[RootedPath, bytes]]:
        """Yield every line that claims to be of the root, with the file that it stands in."""
        own = [self._store.layer_path(root)] if self._store else []
        for path in (*own, RootedPath.of(self.beside)):
            with contextlib.suppress(StoreError):
                for line in layer_lines(path):
                    if is_line_of(line, root):
                        yield path, line

    def _tell(self, path: RootedPath, artifact: Artifact) -> None:
        with self._telling:
            is_news = path not in self._told
            self._told.add(path)
        if is_news:
            self._notice(
                f"{path} has a piece layer of {artifact.path} that does not lead to the root in "
                f"{self._project.lock_path.name}: it is not used. `doit lock --pieces` makes it."
            )


def can_have_root(artifact: Artifact) -> bool:
    """Whether the exact bytes are known, and enough of them to be checked by pieces."""
    return artifact.is_pinned and artifact.size is not None and artifact.size > SMALLEST_BYTES


Notice = Callable[[str], None]

TWICE = frozenset({"reflink", "copy"})
"""Wishes that may take the room of a second file; whether a reflink can be had is not asked."""
ELSEWHERE = "MODELMAKE_STORE names another folder, or `off`."


class SharedStore:
    """The way between one project's targets and the store; safe to share between threads.

    Args:
        project: Whose targets.
        stop: Ends every wait.
    """

    def __init__(self, project: Project, stop: Stop) -> None:
        self._project, self._linker = project, Linker(project, stop)
        self._near: dict[str, bool] = {}
        self._is_read = self._is_written = True
        self._telling = threading.Lock()
        with self._reading():
            if (store := store_at(project.settings.store)) is None:
                self._is_read = self._is_written = False
                return
            self._store = store
            self._claims = Claims(RootedPath(store.root), stop)
            self._projects = Projects(store.root)

    def remember(self) -> None:
        """Note that this project is one of those whose locks name blobs."""
        if self._is_written:
            with self._writing():
                self._projects.remember(known_as(self._project))

    def has(self, name: str, artifact: Artifact, *, is_near: bool = False) -> bool:
        """Whether the store has these bytes.

        Args:
            name: The model.
            artifact: The file.
            is_near: Only if they take no further room.
        """
        if artifact.sha256 is None or not self._is_read:
            return False
        return (self.is_near(name) or not is_near) and self._store.has(artifact.sha256)

    def note_origin(self, name: str, done: "Fetched") -> None:
        """Note which URL gave a file, if the store has its bytes and the URL says which version."""
        if done.place and done.validator and self._is_written and self.is_near(name):
            self._store.origins.note(
                place=done.place, etag=done.validator, size=done.size, sha256=done.sha256
            )

    def write_origins(self) -> None:
        """Write what `note_origin` was told since the last time."""
        if self._is_written:
            with self._writing():
                self._store.origins.write()

    def of_url(self, artifact: Artifact, location: Location) -> Artifact | None:
        """Return a file that is not pinned as its URL gave it to another project, if it is stored.

        None as well if what models.lock says of it differs, or a credential goes to the URL. The
        server has to be asked whether it still has that version. A file with a digest of its
        provider is downloaded, and compared with that.
        """
        has_digest = artifact.is_pinned or artifact.git_sha1
        if has_digest or location.headers or not self._is_read:
            return None
        found = self._store.origins.find(location.place)
        if found is None or not self._store.has(found.sha256):
            return None
        if artifact.etag not in (None, found.etag) or artifact.size not in (None, found.size):
            return None
        return msgspec.structs.replace(
            artifact, size=found.size, etag=found.etag, sha256=found.sha256
        )

    def claim(
        self,
        closing: contextlib.ExitStack,
        name: str,
        artifact: Artifact,
        partial: RootedPath,
        notice: Notice,
    ) -> bool:
        """Keep everybody else who shares the store from fetching the same bytes meanwhile.

        Args:
            closing: Gives the claim up at its end.
            name: The model.
            artifact: The file.
            partial: Where it will grow.
            notice: Takes one line for the user, about a long wait.

        Returns:
            Whether others are kept out.

        Raises:
            Interrupted: The run was stopped while others had the claim.
        """
        if artifact.sha256 and self._is_written and self.is_near(name):
            with self._writing():
                claim = self._claims.claimed(artifact.sha256, partial, artifact.size, notice)
                return closing.enter_context(claim)
        return False

    def blob(
        self, artifact: Artifact, target: RootedPath, notice: Notice | None = None
    ) -> Blob | None:
        """Return the blob that a target can be linked to, its bytes right.

        Args:
            artifact: The file.
            target: Its place. If a wrong file stands there, the blob is read again when both are
                one file.
            notice: Takes one line for the user about a blob that was changed, and is set aside.
                Without it nothing is changed, and such a blob is passed over.
        """
        if not self._is_read or artifact.sha256 is None:
            return None
        with self._reading():
            try:
                look = self._store.find if notice else self._store.peek
                blob = look(artifact.sha256, target)
            except Damaged as damage:
                assert notice
                notice(self._damage_text(artifact.sha256, damage, target))
            else:
                is_meant = blob and artifact.size in (None, blob.status.st_size)
                return blob if is_meant else None
        return None

    def link(self, name: str, blob: Blob, target: RootedPath) -> bool:
        """Make a target of a blob, and return whether it is in place; it may be pruned meanwhile.

        Raises:
            StoreError: The target's disk refused.
            Interrupted: The run was stopped.
        """
        try:
            self._linker.place(name, blob.path, target, blob.path.name)
        except SourceUnreadable:
            if blob.path.is_file():  # otherwise it was pruned a moment ago
                with self._reading():
                    raise
            return False
        self._store.linked(blob)
        return True

    def must_read(self, artifact: Artifact, target: RootedPath) -> bool:
        """Whether `take` would hash a blob for this target."""
        if not self._is_read or artifact.sha256 is None:
            return False
        return self._store.must_read(artifact.sha256, target)

    def copies(self, name: str) -> bool:
        """Whether a file of the model and its blob may be two on the disk."""
        return not self.is_near(name) or self._project.named(name).entry.link in TWICE

    def adopt(self, name: str, found: FoundFile, target: RootedPath, *, is_kept: bool) -> Made:
        """Make a target of a file that was found elsewhere, which stays as it is; say which way.

        Args:
            name: The model.
            found: The file.
            target: The final name.
            is_kept: Whether the store gets it too.

        Raises:
            StoreError: The disk refused, or the file was changed meanwhile.
            Interrupted: The run was stopped.
        """
        made = self._linker.place(name, found.path, target, found.sha256, found)
        if is_kept:
            self.keep(name, target, found.sha256, leaves_mode=made == "hardlink")
        return made

    def keep(  # noqa: PLR0913 - as of the store's
        self,
        name: str,
        target: RootedPath,
        sha256: str,
        *,
        leaves_mode: bool = False,
        is_hashed: bool = True,
        opened: OpenFile | None = None,
    ) -> None:
        """Take a verified target into the store, when it is on the same file system.

        Args:
            name: The model.
            target: Its place.
            sha256: What it was verified to be.
            leaves_mode: It is a hard link of somebody else's file, whose mode is not to change.
            is_hashed: Whether that was found by hashing it; else the next user does so.
            opened: The target, if it is still open.
        """
        if self._is_written and self.is_near(name):
            with self._writing():
                how = self._project.named(name).entry.link
                self._store.keep(
                    target,
                    sha256,
                    how,
                    leaves_mode=leaves_mode,
                    is_hashed=is_hashed,
                    opened=opened,
                )

    def is_near(self, name: str) -> bool:
        """Whether there is a store, on the file system of the model's folder."""
        if not self._is_read:
            return False
        if name not in self._near:
            places = (self._store.root, self._project.folder(name))
            devices = {nearest_folder(each).stat().st_dev for each in places}
            self._near[name] = len(devices) == 1
        return self._near[name]

    def _damage_text(self, sha256: str, damage: Damaged, target: RootedPath) -> str:
        """Say what was done with a changed blob, and which other targets are the same file."""
        others = {str(each) for each in self._targets(sha256) if is_same(each, damage.status)}
        others.discard(str(target.path.absolute()))  # it gets the right bytes now
        names = ", ".join(sorted(others))
        also = f" Also changed: {names}. Run `doit` there to repair it." if others else ""
        return f"the stored copy was changed. {damage.told}{also}"

    def _targets(self, sha256: str) -> Iterator[Path]:
        with contextlib.suppress(StoreError):
            for project in self._projects.look()[0]:
                with contextlib.suppress(ModelmakeError):
                    yield from targets_of(project, sha256)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tell of trouble with the store, and use it no more in this run."""
        try:
            yield
        except StoreError as error:
            with self._telling:
                is_news, self._is_read, self._is_written = self._is_read, False, False
            if is_news:
                tell(f"The shared store is not used: {error} {ELSEWHERE}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Tell of trouble, and put nothing more into the store in this run; it is still read."""
        try:
            yield
        except StoreError as error:
            with self._telling:
                is_news, self._is_written = self._is_written, False
            if is_news:
                tell(f"Nothing more is put into the shared store: {error} {ELSEWHERE}")


def known_as(project: Project) -> KnownProject:
    """Return a project as it is noted in a store."""
    root = project.root.absolute()
    root = root.resolve() if ".." in root.parts else root
    folders = {each.name: str(root / each.folder) for each in project.declared}
    return known(root / project.lock_path.name, root / project.manifest_path.name, folders)


def lock_of(project: KnownProject) -> Lockfile:
    """Return a project's models.lock.

    Raises:
        LockError: It cannot be used.
        StoreError: It cannot be read.
    """
    return lockfile.load(read_own(Path(project.lock)), project.lock)


def targets_of(project: KnownProject, sha256: str) -> Iterator[Path]:
    """Yield where files of this digest belong.

    Raises:
        ModelmakeError: As `lock_of`.
    """
    for name, model in lock_of(project).models.items():
        for each in (*model.files, *model.archives):
            if each.sha256 == sha256 and name in project.folders:
                yield Path(project.folders[name]) / each.path
