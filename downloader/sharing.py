"""What one project has in common with others: targets taken from the store, and put into it.

A store on another file system is looked into, and what is there copied; but what is fetched goes
straight to the target then, and is on one disk only. Trouble with the store itself is told once,
and the run goes on without it.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from downloader import receipts
from downloader.artifact import Artifact
from downloader.disk_advice import nearest_folder
from downloader.durable import BINARY, NO_FOLLOW, make_folder, naming
from downloader.errors import ModelmakeError, StoreError
from downloader.project import Project
from downloader.store import Claims, Damaged, Known, Projects, link, store_at
from downloader.streams import tell
from downloader.transfer.placing import Place

Notice = Callable[[str], None]

LINKING = "linking"
TWICE = frozenset({"reflink", "copy"})
"""Wishes that may take the room of a second file; whether a reflink can be had is not asked."""


class Sharing:
    """The way between one project's targets and the store; safe to share between threads.

    Args:
        project: Whose targets.
        stop: Ends every wait.
    """

    def __init__(self, project: Project, stop: threading.Event) -> None:
        self._project = project
        self._near: dict[Path, bool] = {}
        self._is_on = False
        with self._going_on_without():
            if store := store_at(project.settings.store):
                self._store = store
                self._claims = Claims(store.root / "claims", stop)
                self._projects = Projects(store.root / "projects")
                self._is_on = True

    def remember(self) -> None:
        """Note that this project is one of those whose locks name blobs."""
        if self._is_on:
            with self._going_on_without():
                root = self._project.root.absolute()
                folders = {each.name: str(root / each.folder) for each in self._project.declared}
                lock = str(self._project.lock_path.absolute())
                self._projects.remember(Known(lock=lock, folders=folders))

    def is_near(self, name: str) -> bool:
        """Whether there is a store, on the file system of the model's folder."""
        if not self._is_on:
            return False
        folder = self._project.folder(name)
        if folder not in self._near:
            devices = {nearest_folder(each).stat().st_dev for each in (self._store.root, folder)}
            self._near[folder] = len(devices) == 1
        return self._near[folder]

    def has(self, name: str, artifact: Artifact) -> bool:
        """Whether the store has these bytes, where they take no room when they are linked."""
        if artifact.sha256 is None or not self.is_near(name):
            return False
        return self._store.has(artifact.sha256)

    @contextmanager
    def claimed(
        self, name: str, artifact: Artifact, partial: Path, notice: Notice
    ) -> Iterator[None]:
        """Keep everybody else who shares the store from fetching the same bytes meanwhile.

        Raises:
            Interrupted: The run was stopped while others had the claim.
        """
        with contextlib.ExitStack() as closing:
            if artifact.sha256 and self.is_near(name):
                with self._going_on_without():
                    claim = self._claims.claimed(artifact.sha256, partial, notice)
                    closing.enter_context(claim)
            yield

    def take(self, name: str, artifact: Artifact, target: Path, notice: Notice) -> bool:
        """Make a target of the blob that has its bytes, where there is one.

        Args:
            name: The model.
            artifact: The file.
            target: Its place. Where a file of the same length stands, which is wrong, the blob is
                read again: they may be one file.
            notice: Takes one line for the user, about a blob that was changed.

        Returns:
            Whether the target is in place.

        Raises:
            StoreError: The target's disk refused.
        """
        if not self._is_on or artifact.sha256 is None:
            return False
        blob = self._found(artifact.sha256, target, notice)
        if blob is None or artifact.size not in (None, blob.stat().st_size):
            return False
        self._place(name, blob, target, artifact.sha256)
        self._store.note(artifact.sha256)
        return True

    def foresee(self, artifact: Artifact, target: Path) -> Path | None:
        """Return the blob that `take` would make the target of, and change nothing."""
        if not self._is_on or artifact.sha256 is None:
            return None
        with self._going_on_without():
            blob = self._store.peek(artifact.sha256, is_doubted=target.is_file())
            if blob and artifact.size in (None, blob.stat().st_size):
                return blob
        return None

    def must_read(self, artifact: Artifact, target: Path) -> bool:
        """Whether `take` would hash a blob for this target."""
        if not self._is_on or artifact.sha256 is None:
            return False
        return self._store.must_read(artifact.sha256, is_doubted=target.is_file())

    def copies(self, name: str) -> bool:
        """Whether a file of the model and its blob may be two on the disk."""
        return not self.is_near(name) or self._project.named(name).entry.link in TWICE

    def keep(self, name: str, target: Path, sha256: str) -> None:
        """Take a verified target into the store, when it is on the same file system."""
        if self.is_near(name):
            with self._going_on_without():
                self._store.keep(target, sha256, self._project.named(name).entry.link)

    def _found(self, sha256: str, target: Path, notice: Notice) -> Path | None:
        with self._going_on_without():
            try:
                return self._store.find(sha256, is_doubted=target.is_file())
            except Damaged as damage:
                notice(self._told(sha256, damage))
        return None

    def _place(self, name: str, blob: Path, target: Path, sha256: str) -> None:
        place = Place(target)
        workspace = self._project.folder(name) / receipts.PRIVATE_FOLDER / LINKING
        make_folder(workspace)
        new = workspace / secrets.token_hex(8)
        with naming(target, "write"):
            link(blob, new, self._project.named(name).entry.link, sha256)
            descriptor = os.open(new, os.O_RDONLY | NO_FOLLOW | BINARY)
            try:
                place.take(descriptor, new, sha256)
            finally:
                os.close(descriptor)
                with contextlib.suppress(OSError):  # it is left where both names are one file
                    new.unlink()

    def _told(self, sha256: str, damage: Damaged) -> str:
        """Say what was done with a blob that was changed, and which targets are the same file."""
        same = [str(each) for each in self._targets(sha256) if _is_same(each, damage.status)]
        also = f" Changed with it: {', '.join(same)}; `doit` there mends them." if same else ""
        return f"the stored copy was changed. {damage.told}{also}"

    def _targets(self, sha256: str) -> Iterator[Path]:
        for project in self._projects.all():
            with contextlib.suppress(ModelmakeError):
                yield from project.targets(sha256)

    @contextmanager
    def _going_on_without(self) -> Iterator[None]:
        """Tell of trouble with the store, and use it no more in this run."""
        try:
            yield
        except StoreError as error:
            self._is_on = False
            tell(f"The shared store is not used: {error}")


def _is_same(target: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(target.lstat(), status)
    except OSError:
        return False
