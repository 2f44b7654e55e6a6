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
from downloader.errors import Interrupted, ModelmakeError, StoreError
from downloader.finding import Found
from downloader.project import Project
from downloader.store import Claims, Damaged, How, Known, Made, Projects, link, store_at
from downloader.streams import tell
from downloader.transfer.locked_file import is_alive, machine
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
        self._project, self._stop = project, stop
        self._near: dict[Path, bool] = {}
        self._swept = set[Path]()
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

    def adopt(self, name: str, found: Found, target: Path) -> Made:
        """Make a target of a file that was found elsewhere, which stays as it is; and keep it.

        Returns:
            Which way it was.

        Raises:
            StoreError: The disk refused, or the file was changed meanwhile.
            Interrupted: The run was stopped.
        """
        made = self._place(name, found.path, target, found.sha256, found)
        is_theirs = made == "hardlink" and not found.is_ours
        self.keep(name, target, found.sha256, leaves_mode=is_theirs)
        return made

    def keep(self, name: str, target: Path, sha256: str, *, leaves_mode: bool = False) -> None:
        """Take a verified target into the store, when it is on the same file system.

        Args:
            name: The model.
            target: Its place.
            sha256: What it was verified to be.
            leaves_mode: It is a hard link of somebody else's file, whose mode is not to change.
        """
        if self.is_near(name):
            with self._going_on_without():
                how = self._project.named(name).entry.link
                self._store.keep(target, sha256, how, leaves_mode=leaves_mode)

    def _found(self, sha256: str, target: Path, notice: Notice) -> Path | None:
        with self._going_on_without():
            try:
                return self._store.find(sha256, is_doubted=target.is_file())
            except Damaged as damage:
                notice(self._told(sha256, damage))
        return None

    def _place(
        self, name: str, source: Path, target: Path, sha256: str, found: Found | None = None
    ) -> Made:
        """Put a file under the target's name that is made of another one, and say how it was."""
        wish = self._project.named(name).entry.link
        how = way(wish, found) if found else wish
        place = Place(target)
        workspace = self._project.folder(name) / receipts.PRIVATE_FOLDER / LINKING
        make_folder(workspace)
        self._remove_abandoned(workspace)
        new = workspace / f"{machine()}-{os.getpid()}-{secrets.token_hex(8)}"
        with naming(target, "write"):
            made = link(source, new, how, sha256, self._check_stop)
            descriptor = os.open(new, os.O_RDONLY | NO_FOLLOW | BINARY)
            try:
                if found:
                    found.check()
                place.take(descriptor, new, sha256)
            finally:
                os.close(descriptor)
                with contextlib.suppress(OSError):  # it is left where both names are one file
                    new.unlink()
        return made

    def _remove_abandoned(self, workspace: Path) -> None:
        """Remove what killed processes of this machine left half copied; once a run."""
        if workspace in self._swept:
            return
        self._swept.add(workspace)
        for left in workspace.glob(f"{machine()}-*"):
            process = left.name.split("-")[1]
            if process.isdigit() and not is_alive(int(process)):
                with contextlib.suppress(OSError):
                    left.unlink()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Interrupted("Interrupted while a file was copied.")

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


def way(wish: How, found: Found) -> How:
    """Return how a target is to be made of a file that was found.

    A file of the user's is shared only where that was asked for: by `link: hardlink` too.
    """
    return "reflink" if wish == "auto" and not found.may_share else wish


def _is_same(target: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(target.lstat(), status)
    except OSError:
        return False
