"""What one project has in common with others: targets taken from the store, and put into it.

A store on another file system is looked into, and what is there copied; but what is fetched goes
straight to the target then, and is on one disk only. Trouble with the store itself is told once,
and the run goes on without it: one that cannot be written is still read.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from downloader.artifact import Artifact
from downloader.disk.advice import nearest_folder
from downloader.disk.looks import is_same
from downloader.errors import ModelmakeError, StoreError
from downloader.finding import Found
from downloader.fs.rooted_path import RootedPath
from downloader.project import Project
from downloader.store import (
    Blob,
    Claims,
    Damaged,
    Known,
    Made,
    Projects,
    SourceUnreadable,
    known,
    store_at,
)
from downloader.streams import tell
from downloader.syncing.linker import Linker

Notice = Callable[[str], None]

PROJECTS = "projects"
TWICE = frozenset({"reflink", "copy"})
"""Wishes that may take the room of a second file; whether a reflink can be had is not asked."""
ELSEWHERE = "MODELMAKE_STORE names another folder, or `off`."


class Sharing:
    """The way between one project's targets and the store; safe to share between threads.

    Args:
        project: Whose targets.
        stop: Ends every wait.
    """

    def __init__(self, project: Project, stop: threading.Event) -> None:
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
            self._projects = Projects(RootedPath(store.root, PROJECTS))

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
            is_near: Only where they take no further room.
        """
        if artifact.sha256 is None or not self._is_read:
            return False
        return (self.is_near(name) or not is_near) and self._store.has(artifact.sha256)

    @contextmanager
    def claimed(
        self, name: str, artifact: Artifact, partial: RootedPath, notice: Notice
    ) -> Iterator[None]:
        """Keep everybody else who shares the store from fetching the same bytes meanwhile.

        Raises:
            Interrupted: The run was stopped while others had the claim.
        """
        with contextlib.ExitStack() as closing:
            if artifact.sha256 and self._is_written and self.is_near(name):
                with self._writing():
                    claim = self._claims.claimed(artifact.sha256, partial, artifact.size, notice)
                    closing.enter_context(claim)
            yield

    def take(self, name: str, artifact: Artifact, target: RootedPath, notice: Notice) -> bool:
        """Make a target of the blob that has its bytes, where there is one.

        Args:
            name: The model.
            artifact: The file.
            target: Its place. Where a wrong file stands there, the blob is read again when both are
                one file.
            notice: Takes one line for the user, about a blob that was changed.

        Returns:
            Whether the target is in place.

        Raises:
            StoreError: The target's disk refused.
        """
        if not self._is_read or artifact.sha256 is None:
            return False
        blob = self._found(artifact.sha256, target, notice)
        if blob is None or artifact.size not in (None, blob.status.st_size):
            return False
        try:
            self._linker.place(name, blob.path, target, artifact.sha256)
        except SourceUnreadable:
            if blob.path.is_file():  # otherwise it was pruned a moment ago
                with self._reading():
                    raise
            return False
        self._store.linked(blob)
        return True

    def foresee(self, artifact: Artifact, target: RootedPath) -> RootedPath | None:
        """Return the blob that `take` would make the target of, and change nothing."""
        if not self._is_read or artifact.sha256 is None:
            return None
        with self._reading():
            blob = self._store.peek(artifact.sha256, target)
            if blob and artifact.size in (None, blob.status.st_size):
                return blob.path
        return None

    def must_read(self, artifact: Artifact, target: RootedPath) -> bool:
        """Whether `take` would hash a blob for this target."""
        if not self._is_read or artifact.sha256 is None:
            return False
        return self._store.must_read(artifact.sha256, target)

    def copies(self, name: str) -> bool:
        """Whether a file of the model and its blob may be two on the disk."""
        return not self.is_near(name) or self._project.named(name).entry.link in TWICE

    def adopt(self, name: str, found: Found, target: RootedPath, *, is_kept: bool) -> Made:
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
        is_theirs = made == "hardlink" and not found.is_ours
        if is_kept:
            self.keep(name, target, found.sha256, leaves_mode=is_theirs)
        return made

    def keep(
        self,
        name: str,
        target: RootedPath,
        sha256: str,
        *,
        leaves_mode: bool = False,
        is_hashed: bool = True,
    ) -> None:
        """Take a verified target into the store, when it is on the same file system.

        Args:
            name: The model.
            target: Its place.
            sha256: What it was verified to be.
            leaves_mode: It is a hard link of somebody else's file, whose mode is not to change.
            is_hashed: Whether that was found by hashing it; else the next user does so.
        """
        if self._is_written and self.is_near(name):
            with self._writing():
                how = self._project.named(name).entry.link
                self._store.keep(target, sha256, how, leaves_mode=leaves_mode, is_hashed=is_hashed)

    def _found(self, sha256: str, target: RootedPath, notice: Notice) -> Blob | None:
        with self._reading():
            try:
                return self._store.find(sha256, target)
            except Damaged as damage:
                notice(self._told(sha256, damage))
        return None

    def is_near(self, name: str) -> bool:
        """Whether there is a store, on the file system of the model's folder."""
        if not self._is_read:
            return False
        if name not in self._near:
            places = (self._store.root, self._project.folder(name))
            devices = {nearest_folder(each).stat().st_dev for each in places}
            self._near[name] = len(devices) == 1
        return self._near[name]

    def _told(self, sha256: str, damage: Damaged) -> str:
        """Say what was done with a blob that was changed, and which targets are the same file."""
        same = [str(each) for each in self._targets(sha256) if is_same(each, damage.status)]
        also = f" Changed with it: {', '.join(same)}; `doit` there mends them." if same else ""
        return f"the stored copy was changed. {damage.told}{also}"

    def _targets(self, sha256: str) -> Iterator[Path]:
        with contextlib.suppress(StoreError):
            for project in self._projects.look()[0]:
                with contextlib.suppress(ModelmakeError):
                    yield from project.targets(sha256)

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


def known_as(project: Project) -> Known:
    """Return a project as it is noted in a store."""
    root = project.root.absolute()
    root = root.resolve() if ".." in root.parts else root
    folders = {each.name: str(root / each.folder) for each in project.declared}
    return known(root / project.lock_path.name, root / project.manifest_path.name, folders)
