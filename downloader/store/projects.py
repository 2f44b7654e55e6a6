"""The projects that sync with a store: remembered, so that what their locks name is kept."""

import contextlib
import hashlib
import os
from pathlib import Path

import msgspec

from downloader.artifact import is_absolute, is_below, is_clean, is_name
from downloader.errors import StoreError
from downloader.fs import scratch
from downloader.fs.files import write_file
from downloader.fs.open_file import refused
from downloader.fs.rooted_path import RootedPath


class KnownProject(msgspec.Struct, frozen=True, kw_only=True):
    """One project, by absolute paths."""

    lock: str
    manifest: str
    folders: dict[str, str]
    """Each model's folder."""
    former: tuple[str, ...] = ()
    """Folders of models that were declared once."""
    mount: str = ""
    """Mount point of its disk."""
    machine: str = ""
    """Which machine it was seen on."""

    @property
    def is_gone(self) -> bool:
        """Whether its folder is there no more: on this machine, on a disk that is mounted.

        A folder without models.yaml and models.lock may be one where another branch is checked out.

        Raises:
            StoreError: One may not look there.
        """
        is_there = _is_there(Path(self.lock).parent)
        return not is_there and self.machine == scratch.machine() and os.path.ismount(self.mount)

    @property
    def has_no_lock(self) -> bool:
        """Whether its models.lock is there no more, and it itself is.

        Raises:
            StoreError: One may not look there.
        """
        return not _is_there(Path(self.lock)) and _is_there(Path(self.manifest))


def _is_there(path: Path) -> bool:
    """Whether something is there; only a clear no is one, and no error of a disk or a right."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise refused(error, "look at", path) from error
    return True


def known(lock: Path, manifest: Path, folders: dict[str, str]) -> KnownProject:
    """Return a project as it is noted.

    Args:
        lock: Its models.lock; this and all paths absolute.
        manifest: Its models.yaml.
        folders: Each model's folder.
    """
    mount = next(each for each in lock.parents if os.path.ismount(each) or each.parent == each)
    return KnownProject(
        lock=str(lock),
        manifest=str(manifest),
        folders=folders,
        mount=str(mount),
        machine=scratch.machine(),
    )


PROJECTS = "projects"


class Projects:
    """The projects that a store remembers, in its folder `projects`.

    Args:
        store: The store's folder.
    """

    def __init__(self, store: Path) -> None:
        self._folder = RootedPath(store, PROJECTS)

    def remember(self, project: KnownProject) -> None:
        """Note a project, unless it was noted as it is; folders that were noted are kept.

        Raises:
            StoreError: The disk refused.
        """
        file = self.file(project)
        before = None
        with contextlib.suppress(StoreError):  # none yet, or one that is torn
            before = _read(file)
        folders = {*project.folders.values()}
        former = {*before.former, *before.folders.values()} - folders if before else set[str]()
        there = tuple(sorted(each for each in former if os.path.isdir(each)))  # noqa: PTH112 - False if one may not look
        now = msgspec.structs.replace(project, former=there)
        if now != before:
            write_file(file, msgspec.json.encode(now))

    def forget(self, project: KnownProject) -> None:
        """Drop a project.

        Raises:
            StoreError: The disk refused.
        """
        self.file(project).remove(missing_ok=True)

    def look(self) -> tuple[list[KnownProject], list[StoreError]]:
        """Return the projects that were noted, and why others could not be read.

        Raises:
            StoreError: The folder cannot be listed.
        """
        found, errors = [], []
        for file in self._files():
            try:
                found.append(_read(file))
            except StoreError as error:
                errors.append(error)
        return found, errors

    def file(self, project: KnownProject) -> RootedPath:
        """Return where a project is noted."""
        digest = hashlib.sha256(project.lock.encode(), usedforsecurity=False).hexdigest()
        return self._folder / f"{digest[:32]}.json"

    def _files(self) -> list[RootedPath]:
        names = self._folder.names()
        return [self._folder / each for each in names if each.endswith(".json") and each[0] != "."]


def _read(file: RootedPath) -> KnownProject:
    content = file.read_bytes()
    try:
        found = msgspec.json.decode(content, type=KnownProject)
    except (ValueError, RecursionError):
        found = None
    if found is None or not _may_be_ours(found):
        raise StoreError(
            f"{file} cannot be read, so nobody can tell which bytes its project needs.",
            hint="Remove that file, and run `doit` in the project it was of.",
        )
    return found


def _may_be_ours(found: KnownProject) -> bool:
    """Whether a note is one that we may have written: files are removed below its folders."""
    manifest = Path(found.manifest)
    return (
        is_absolute(found.lock)
        and is_absolute(found.manifest)
        and found.lock == str(manifest.with_suffix(".lock"))
        and all(is_name(each) for each in found.folders)
        and all(
            is_below(each, manifest.parent) for each in (*found.folders.values(), *found.former)
        )
        and (not found.mount or is_absolute(found.mount))
        and is_clean(found.machine)
    )
