"""An archive's files in their places: unpacked aside, compared with the lock, then moved.

Nothing is visible under a final name before the whole archive was read and checked. The files go
in one by one, since the model's folder may hold others (docs/decisions/0015).
"""

import contextlib
import os
import secrets
import threading
from dataclasses import dataclass
from typing import Literal

from downloader.archive import Member, unpack
from downloader.artifact import Artifact
from downloader.disk.durable import naming
from downloader.disk.private_folder import private_folder
from downloader.errors import DigestMismatch, Interrupted, ManifestError
from downloader.fs.rooted_path import BINARY, RootedPath
from downloader.lock.resolve import is_chosen
from downloader.progress import Observer
from downloader.project import Project
from downloader.safe_path import check_path, find_collision
from downloader.transfer.locked_file import is_alive, machine
from downloader.transfer.placing import Place

_MADE: set[str] = set()
"""The names of folders that this process unpacked into."""

_CHOOSE = "Leave that file out of its archive with `exclude`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An archive that was unpacked aside.

    Attributes:
        folder: Where its files are for now.
        members: The ones that the entry wants, as they stand in models.lock.
        came: What the archive holds.
    """

    folder: RootedPath
    members: tuple[Artifact, ...]
    came: Literal["adapter", "model"]


class Unpacker:
    """Unpacks the archives of one project's models."""

    def __init__(self, project: Project, stop: threading.Event) -> None:
        self._project, self._stop = project, stop
        self._folders: list[RootedPath] = []

    def stage(self, name: str, archive: Artifact, file: RootedPath, observer: Observer) -> Staged:
        """Unpack an archive aside.

        Args:
            name: The model.
            archive: The archive, as in models.lock.
            file: Where it is, its bytes verified.
            observer: Told how it goes.

        Raises:
            BadArchive: It is damaged, or holds what is not taken.
            DigestMismatch: Other files came out than models.lock says.
            ManifestError: The patterns leave no file, or one that cannot be a target.
            StoreError: The disk refused.
        """
        workspace = private_folder(self._project.folder(name)) / "unpacking"
        remove_abandoned(workspace)
        folder = workspace / f"{machine()}-{os.getpid()}-{secrets.token_hex(4)}"
        _MADE.add(folder.name)
        self._folders.append(folder)
        found = unpack(file, folder, Watching(observer, self._stop))
        members = tuple(
            Artifact(
                path=f"{archive.into}/{each.path}" if archive.into else each.path,
                size=each.size,
                sha256=each.sha256,
                first_use=True,
                archive=archive.path,
            )
            for each in found
        )
        return Staged(
            folder=folder,
            members=self._checked(name, archive, members),
            came=_came(found),
        )

    def put(self, name: str, staged: Staged, member: Artifact, into: str | None) -> None:
        """Move one unpacked file to its target.

        Raises:
            StoreError: The disk refused, or something that is no file stands there.
        """
        target = RootedPath(self._project.folder(name), member.path)
        source = staged.folder / member.path.removeprefix(f"{into}/" if into else "")
        place = Place(target)
        with naming(source, "open"):
            descriptor = source.open(os.O_RDWR | BINARY)
        try:
            place.take(descriptor, source, str(member.sha256))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Remove what was unpacked and not wanted."""
        for folder in self._folders:
            folder.remove_tree()

    def _checked(
        self, name: str, archive: Artifact, members: tuple[Artifact, ...]
    ) -> tuple[Artifact, ...]:
        """Return the members that are wanted, which must be those that models.lock knows."""
        entry = self._project.named(name).entry
        chosen = tuple(each for each in members if is_chosen(each.path, entry))
        if not chosen:
            raise ManifestError(
                f"models.{name}: include and exclude leave none of the archive's files.",
                hint="The files are: " + ", ".join(each.path for each in members[:10]),
            )
        model = self._project.lockfile.models[name]
        others = (*model.not_from(archive.path), *model.archives)
        _check_paths(name, chosen, {each.path for each in others})
        locked = model.out_of(archive.path)
        if locked and {_bytes_of(each) for each in locked} != {_bytes_of(each) for each in chosen}:
            raise DigestMismatch(
                f"{archive.path} unpacks to other files than models.lock says.",
                hint="Restore models.lock from version control.",
            )
        return locked or chosen


def _came(found: tuple[Member, ...]) -> Literal["adapter", "model"]:
    """Tell an adapter from a whole model, as `what_came` does."""
    tops = {each.path.rpartition("/")[2] for each in found if each.path.count("/") <= 1}
    return "adapter" if "adapter_config.json" in tops else "model"


class Watching:
    """Tells an observer of the unpacking, and ends it when the run is stopped."""

    def __init__(self, observer: Observer | None, stop: threading.Event) -> None:
        self._observer, self._stop = observer, stop

    def moved(self, count_bytes: int) -> None:
        """So many more bytes came out of the archive."""
        if self._observer:
            self._observer.unpacked(count_bytes)

    def check_stop(self) -> None:
        """Raise Interrupted when the run was stopped."""
        if self._stop.is_set():
            raise Interrupted("Interrupted while unpacking.")


def _bytes_of(member: Artifact) -> tuple[str, int | None, str | None]:
    return member.path, member.size, member.sha256


def _check_paths(name: str, members: tuple[Artifact, ...], others: set[str]) -> None:
    """Refuse files that cannot be targets of this model beside its other ones.

    Raises:
        ManifestError: Names the path; the archive itself is good.
    """
    paths = [each.path for each in members]
    for path in paths:
        try:
            check_path(path)
        except ValueError as error:
            raise ManifestError(f"models.{name}: {error}.", hint=_CHOOSE) from None
    if found := find_collision([*paths, *others]):
        raise ManifestError(
            f"models.{name}: {found[0]} and {found[1]} would be one place on some disks.",
            hint=_CHOOSE,
        )


def remove_abandoned(workspace: RootedPath) -> None:
    """Remove what killed processes of this machine left half unpacked."""
    with contextlib.suppress(OSError):
        for name in workspace.names():
            if not name.startswith(f"{machine()}-"):
                continue
            process = name.split("-")[1]
            is_ours = process == str(os.getpid())  # or of an earlier one that had our number
            is_dead = process.isdecimal() and not is_alive(int(process))
            if is_dead or (is_ours and name not in _MADE):
                (workspace / name).remove_tree()
