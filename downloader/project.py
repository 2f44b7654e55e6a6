"""One models.yaml with its lock and its targets: the state that every task works on."""

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from downloader import declared
from downloader.artifact import Artifact
from downloader.declared import Declared
from downloader.disk.private_folder import private_folder
from downloader.errors import LockError, ModelmakeError
from downloader.lock import lockfile
from downloader.lock.admitting import check_lock
from downloader.lock.lock_gate import RESTORE_HINT
from downloader.lock.lockfile import LockedModel, Lockfile
from downloader.model import Model
from downloader.settings import Settings

MANIFEST_VARIABLE = "MODELMAKE_MANIFEST"
MANIFEST_NAME = "models.yaml"


class Project:
    """What stands in and beside one models.yaml. Opens no socket.

    Args:
        manifest: Path of models.yaml; relative paths in it start from its folder.
        settings: The environment's wishes.
    """

    def __init__(self, manifest: Path, settings: Settings) -> None:
        self.manifest_path, self.root = manifest, manifest.parent
        self.lock_path, self.settings = manifest.with_suffix(".lock"), settings
        self._writing = threading.Lock()
        self._pins: lockfile.Pins = {}
        self._refusals: dict[str, LockError] = {}
        self._folders: dict[str, Path] = {}
        self._indexed: tuple[Lockfile | None, lockfile.Pins] = (None, {})

    @classmethod
    def of_environment(cls, folder: Path | None = None) -> "Project":
        """Return the project of a folder, or of MODELMAKE_MANIFEST.

        Raises:
            SettingError: An environment variable has an unusable value.
        """
        named = Path(os.environ.get(MANIFEST_VARIABLE) or MANIFEST_NAME)
        manifest = named if folder is None else folder / MANIFEST_NAME
        return cls(manifest, Settings.from_environment())

    @cached_property
    def lockfile(self) -> Lockfile:
        """models.lock as it was read and checked; empty when there is none.

        Raises:
            ManifestError: models.yaml cannot be used.
            LockError: It cannot be used, or does not follow from models.yaml.
        """
        try:
            text = self.lock_path.read_bytes()
        except FileNotFoundError:
            return lockfile.EMPTY
        except OSError as error:
            raise LockError(
                f"{self.lock_path} cannot be read: {error.strerror}.", hint=RESTORE_HINT
            ) from None
        found = lockfile.load(text, self.lock_path.name)
        check_lock(self.declared, found)
        return found

    @cached_property
    def declared(self) -> list[Declared]:
        """The models of models.yaml.

        Raises:
            ManifestError: It is missing or says something it may not.
        """
        return declared.load(self.manifest_path, private_folder(self.root) / "manifest.json")

    @cached_property
    def is_read_only(self) -> bool:
        """Whether models.lock may not be written: asked for, or in CI where there is a lock."""
        return self.settings.is_locked or (self.settings.is_ci and self.lock_path.exists())

    @property
    def is_stale(self) -> bool:
        """Whether models.lock says other than models.yaml asks for."""
        known = [each for each in self.declared if each.is_known]
        names = {each.name for each in known}
        return names != self.lockfile.models.keys() or any(map(self._is_stale, known))

    @property
    def is_outline_stale(self) -> bool:
        """Whether models.lock is stale for more than models whose provider has to be asked."""
        declared = {each.name for each in self.declared if each.is_known}
        outlined = [each for each in self.declared if each.outlined]
        return bool(self.lockfile.models.keys() - declared) or any(map(self._is_stale, outlined))

    def models(self) -> list[Model]:
        """Return every model.

        Raises:
            ManifestError: models.yaml cannot be used.
            LockError: models.lock cannot be used, or was changed by hand.
        """
        return [self._model(each) for each in self.declared]

    def named(self, name: str) -> Declared:
        """Return what models.yaml says of one model.

        Raises:
            ModelmakeError: It says nothing of it, or as `models`.
        """
        found = self._by_name.get(name)
        if found is None:
            raise ModelmakeError(
                f"{self.manifest_path.name} declares no model {name!r}.",
                hint=f"It declares: {', '.join(self._by_name)}.",
            )
        return found

    def folder(self, name: str) -> Path:
        """Return where the model's files go.

        Raises:
            ModelmakeError: As `named`.
        """
        if (known := self._folders.get(name)) is None:
            known = self._folders[name] = self.root / self.named(name).folder
        return known

    @cached_property
    def _by_name(self) -> dict[str, Declared]:
        return {each.name: each for each in self.declared}

    def replace_lock(self, changed: Lockfile) -> bool:
        """Write models.lock when it would change, and return whether it did.

        What another run changed since it was read is kept there; this run goes on with its own.

        Raises:
            LockError: It may not be written now.
            StoreError: The disk refused.
        """
        from downloader.lock.writing import replace  # noqa: PLC0415 - not needed when nothing is

        is_new = replace(self.lock_path, self.lockfile, changed, self.refuse_to_write)
        self.lockfile = changed
        return is_new

    def put_locked(self, models: Mapping[str, LockedModel], *, drops: bool = True) -> bool:
        """Take models into models.lock; `drops` what is declared no more. As replace_lock.

        Raises:
            ModelmakeError: As `replace_lock`.
        """
        with self._writing:
            known = {each.name for each in self.declared if each.is_known}
            locked = self.lockfile.models.items()
            kept = {name: each for name, each in locked if name in known or not drops}
            return self.replace_lock(Lockfile(models={**kept, **models}))

    def put_unpacked(self, name: str, archive: Artifact, members: Sequence[Artifact]) -> None:
        """Note in models.lock what an archive proved to hold, and which files came out of it.

        Raises:
            LockError: models.lock may not be written now.
            StoreError: The disk refused.
        """
        with self._writing:
            self.replace_lock(lockfile.with_unpacked(self.lockfile, name, archive, members))

    def refuse_to_write(self) -> None:
        """Raise LockError where models.lock may not be written."""
        if self.is_read_only:
            raise LockError(
                f"{self.lock_path.name} would change, and {self.settings.who_forbids} forbids it.",
                hint=f"Run the same command {self.settings.way_to_write}, and commit models.lock.",
            )

    def refused(self, what: str, hint: str) -> LockError:
        """Return why models.lock cannot be obeyed: one error, which is reported once."""
        return self._refusals.setdefault(what, LockError(what, hint=hint))

    def artifact(self, name: str, path: str) -> Artifact:
        """Return one file of the lock, with what was pinned in this run.

        Raises:
            LockError: The lock has no such file.
        """
        found = self._pins.get((name, path)) or self._index.get((name, path))
        if found is None:
            raise LockError(f"models.lock has no file {name}/{path}.")
        return found

    def pin(self, name: str, artifact: Artifact) -> None:
        """Take over what a first verified fetch brought; `write_pins` puts it into models.lock."""
        with self._writing:
            self._pins[name, artifact.path] = artifact

    def write_pins(self) -> None:
        """Write what was pinned since the last time.

        Raises:
            LockError: models.lock may not be written now.
            StoreError: The disk refused.
        """
        with self._writing:
            if self._pins:
                self.replace_lock(lockfile.with_pins(self.lockfile, self._pins))
            self._pins = {}

    @property
    def _index(self) -> dict[tuple[str, str], Artifact]:
        """What models.lock has, by model and path.

        Kept beside the lockfile it is made of: another thread may replace that one meanwhile.
        """
        of, index = self._indexed
        if of is not (now := self.lockfile):
            models = now.models.items()
            index = {(name, a.path): a for name, m in models for a in (*m.archives, *m.files)}
            self._indexed = (now, index)
        return index

    def _is_stale(self, each: Declared) -> bool:
        found = self.lockfile.models.get(each.name)
        return found is None or found.entry != each.digest

    def _model(self, each: Declared) -> Model:
        is_stale = self._is_stale(each)
        locked = each.outlined
        if each.is_known and not is_stale:
            locked = self.lockfile.models[each.name]
        return Model(declared=each, locked=locked, is_stale=is_stale, folder=self.folder(each.name))
