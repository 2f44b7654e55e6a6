"""The projects that sync with a store: remembered, so that what their locks name is kept."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from downloader import lockfile
from downloader.durable import naming, write_file
from downloader.errors import StoreError
from downloader.lockfile import Lockfile


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One project, by absolute paths."""

    lock: str
    folders: dict[str, str]
    """Each model's folder."""

    @property
    def is_gone(self) -> bool:
        """Whether its models.lock is there no more, in a folder that can be looked at."""
        lock = Path(self.lock)
        return not lock.exists() and lock.parent.parent.is_dir()

    def locked(self) -> Lockfile:
        """Return its models.lock.

        Raises:
            LockError: It cannot be used.
            StoreError: It cannot be read.
        """
        with naming(Path(self.lock), "read"):
            return lockfile.load(Path(self.lock).read_bytes(), self.lock)

    def targets(self, sha256: str) -> Iterator[Path]:
        """Yield where files of this digest belong.

        Raises:
            ModelmakeError: As `locked`.
        """
        for name, model in self.locked().models.items():
            for each in (*model.files, *model.archives):
                if each.sha256 == sha256 and name in self.folders:
                    yield Path(self.folders[name]) / each.path


class Projects:
    """What is remembered in a store's folder `projects`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remember(self, project: Known) -> None:
        """Note a project, where it was not noted as it is.

        Raises:
            StoreError: The disk refused.
        """
        file, content = self._file(project), msgspec.json.encode(project)
        if not file.exists() or file.read_bytes() != content:
            write_file(file, content)

    def forget(self, project: Known) -> None:
        """Drop a project.

        Raises:
            StoreError: The disk refused.
        """
        with naming(self._file(project), "remove"):
            self._file(project).unlink(missing_ok=True)

    def all(self) -> list[Known]:
        """Return the projects that were noted.

        Raises:
            StoreError: One cannot be read: nobody can tell then what is still needed.
        """
        return [_read(each) for each in sorted(self._folder.glob("*.json"))]

    def _file(self, project: Known) -> Path:
        digest = hashlib.sha256(project.lock.encode(), usedforsecurity=False).hexdigest()
        return self._folder / f"{digest[:32]}.json"


def _read(file: Path) -> Known:
    with naming(file, "read"):
        content = file.read_bytes()
    try:
        return msgspec.json.decode(content, type=Known)
    except (ValueError, RecursionError):
        raise StoreError(
            f"{file} cannot be read, so nobody can tell which bytes its project needs.",
            hint="Remove that file, and run `doit` in the project it was of.",
        ) from None
