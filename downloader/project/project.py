"""One models.yaml with its lock and its models: the state that every command works on.

Reading YAML takes longer than everything else in a run with nothing to do. So what models.yaml
means is kept compiled as `.modelmake/manifest.json`, bound to the digest of its text and to this
version of the program. It is a cache: you may delete it at any time.

The lock is stale if it is missing, or does not know a model as models.yaml declares it; never
because upstream moved. If it must not be written it must also name the SHA-256 of every file.
"""

import contextlib
import errno
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from downloader import __version__
from downloader.artifact import (
    MODEL_NAME,
    Artifact,
    LockedModel,
    are_safe,
    check_paths,
    counted,
    is_hex,
    task_name,
)
from downloader.errors import (
    RESTORE_HINT,
    LockError,
    ManifestError,
    ModelmakeError,
    SettingError,
    StoreError,
)
from downloader.fs.files import look, looks_same, private_folder
from downloader.fs.rooted_path import RootedPath, open_own, read_own
from downloader.project import lockfile
from downloader.project.lockfile import Lockfile, check_asked, check_follows, tampered
from downloader.settings import Settings, named_manifest

if TYPE_CHECKING:
    from downloader.sources.interface import Entry

CACHE_FORMAT = 5


class Declaration(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One model of models.yaml: what every run needs, and its entry for when it is asked for.

    Attributes:
        name: Its key.
        source: The name of its source.
        digest: The digest of the entry, as models.lock notes it.
        folder: Where its files go, relative to models.yaml, posix.
        is_optional: Whether it is fetched only when it is named.
        keeps_archives: Whether archives stay once their files are in place.
        outlined: What follows from the entry; None if only the provider can tell.
        raw: The entry as JSON.
    """

    name: str
    source: str
    digest: str
    folder: str
    is_optional: bool
    keeps_archives: bool
    outlined: LockedModel | None
    raw: msgspec.Raw

    @cached_property
    def entry(self) -> "Entry":
        """The part of models.yaml about it.

        Raises:
            ManifestError: The compiled manifest was changed by somebody.
        """
        from downloader.sources.registry import entry_type  # noqa: PLC0415 - a run with nothing to do asks no entry

        try:
            return msgspec.json.decode(self.raw, type=entry_type(self.source))
        except (KeyError, ValueError, RecursionError):
            raise ManifestError(
                f"The compiled manifest says of {self.name} what models.yaml cannot.",
                hint="Delete .modelmake/manifest.json, which is a cache.",
            ) from None

    def is_current(self, locked: LockedModel | None) -> bool:
        """Whether what is locked of the model was locked for the entry as it is now."""
        return locked is not None and locked.entry == self.digest


class _Compiled(msgspec.Struct, frozen=True, kw_only=True):
    binding: str
    models: list[Declaration]


def load_declared(manifest: Path, cache: RootedPath) -> list[Declaration]:
    """Return the manifest's models, compiled.

    Args:
        manifest: Path of models.yaml.
        cache: Where the compiled form is kept.

    Raises:
        ManifestError: It is missing or says something it may not.
    """
    try:
        with open_own(manifest) as file:
            status, text = file.status(), file.read()
    except StoreError as error:
        if error.errno == errno.ENOENT:
            raise no_manifest(manifest) from None
        raise ManifestError(f"{manifest} cannot be read: {error.reason}.") from None
    binding = _binding(text, status)
    if (found := _cached(cache, binding)) is not None:
        return found
    from downloader.fs.files import write_file  # noqa: PLC0415

    _give_schema(text, cache.parent)
    models = compiled(text, manifest.name)
    with contextlib.suppress(StoreError):
        write_file(cache, msgspec.json.encode(_Compiled(binding=binding, models=models)))
    return models


def _binding(text: bytes, status: os.stat_result) -> str:
    file = f"{status.st_dev} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
    return f"{CACHE_FORMAT} {__version__} {hashlib.sha256(text).hexdigest()} {file}"


def _cached(cache: RootedPath, binding: str) -> list[Declaration] | None:
    try:
        found = msgspec.json.decode(cache.read_bytes(), type=_Compiled)
    except (StoreError, ValueError, RecursionError):  # gone, torn, or not even text
        return None
    is_meant = found.binding == binding and _may_be_used(found.models)
    return found.models if is_meant else None


def _may_be_used(models: list[Declaration]) -> bool:
    """Whether names, paths and digests are such as a manifest that was just compiled has."""
    outlined = [model.outlined for model in models if model.outlined]
    files = [file for model in outlined for file in (*model.archives, *model.files)]
    places = [text for model in models for text in (model.name, model.folder)]
    return (
        all(MODEL_NAME.fullmatch(model.name) for model in models)
        and are_safe(places)
        and are_safe([file.path for file in files])  # alone: models.lock names the same
        and is_hex("".join([file.sha256 or "" for file in files]))
    )


def compiled(text: bytes, name: str) -> list[Declaration]:
    """Return what a manifest's text means; nothing is read or written.

    Args:
        text: Of models.yaml.
        name: What it is called in messages.

    Raises:
        ManifestError: It says something it may not.
    """
    from downloader.manifest import manifest  # noqa: PLC0415 - only a changed manifest is parsed

    return [_declared(key, entry) for key, entry in manifest.load(text, name).models.items()]


def _give_schema(text: bytes, private: RootedPath) -> None:
    """Write the schema that the manifest names for editors, also for one that is wrong.

    It is not in git: so a fresh clone gets it here, and an older one that of this program.
    """
    from downloader.manifest import schema  # noqa: PLC0415

    if schema.is_named_in(text):
        with contextlib.suppress(StoreError):
            schema.write(private / Path(schema.FILE).name)


def _declared(name: str, entry: "Entry") -> Declaration:
    from downloader.project import resolve  # noqa: PLC0415

    outlined = resolve.outline(name, entry)
    return Declaration(
        name=name,
        source=entry.source_name,
        digest=outlined.entry if outlined else entry.digest(),
        folder=entry.folder(name),
        is_optional=entry.optional,
        keeps_archives=entry.keeps_archives,
        outlined=outlined,
        raw=msgspec.Raw(msgspec.json.encode(entry)),
    )


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it stands now.

    Attributes:
        declared: What models.yaml says.
        locked: What models.lock says, or will say as far as is known; None when unknown. Of a
            model whose provider has to be asked it is what was locked for the entry as it is now.
        is_stale: Whether models.lock has to be brought up to date for it.
        folder: Where its files go.
    """

    declared: Declaration
    locked: LockedModel | None
    is_stale: bool
    folder: Path

    @property
    def name(self) -> str:
        """Its key in models.yaml."""
        return self.declared.name

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Its targets, none when they are not known yet.

        An archive is one of them if it is kept, and as long as nobody knows its files.
        """
        if self.locked is None or not self.locked.archives:
            return self.locked.files if self.locked else ()
        if self.declared.keeps_archives:
            return (*self.locked.files, *self.locked.archives)
        return (*self.locked.files, *self.not_unpacked)

    @property
    def not_unpacked(self) -> tuple[Artifact, ...]:
        """Its archives whose files are not known yet."""
        if self.locked is None:
            return ()
        return tuple(each for each in self.locked.archives if not self.locked.out_of(each.path))

    @property
    def must_ask(self) -> bool:
        """Whether only its provider can tell which files it has."""
        return self.is_stale and self.declared.outlined is None


def check_lock(declared: Iterable[Declaration], lock: Lockfile) -> None:
    """Refuse a lock that does not follow from the manifest.

    A model that is stale is passed over: it will be locked again, and what is kept of it then is
    compared with the new entry. So is one that is declared no more: nothing obeys it.

    Raises:
        LockError: Names the model that does not follow.
    """
    current = [model for model in declared if model.is_current(lock.models.get(model.name))]
    for model in current:
        check_locked(model, lock.models[model.name])
    if any(model.outlined is None for model in current):
        _check_targets_apart(current, lock)


def check_locked(each: Declaration, found: LockedModel) -> None:
    """Refuse what a lock says of a model if it does not follow from the entry.

    Raises:
        LockError: It does not.
    """
    if each.outlined:
        check_follows(each.name, found, each.outlined)
        return
    if found.source != each.source:
        raise tampered(each.name, "its source differs")
    from downloader.sources.registry import asking_source_for  # noqa: PLC0415 - most locks follow from their entries

    source = asking_source_for(each.entry)
    check_asked(each.name, found, source.check(found) if source else "")
    for file in found.files:
        if not each.entry.wants(file.path):
            raise tampered(f"{each.name}/{file.path}", "include and exclude leave it out")


def _check_targets_apart(current: Iterable[Declaration], lock: Lockfile) -> None:
    """Refuse a file in the place of another model's, if a provider gave its path.

    Raises:
        LockError: Names both.
    """
    targets = [
        f"{each.folder}/{artifact.path}"
        for each in current
        for artifact in chain(lock.models[each.name].archives, lock.models[each.name].files)
    ]
    if problem := check_paths(targets):
        raise LockError(
            f"models.lock: {problem}.",
            hint="Give one of the models another `to`, or take models.lock back from version "
            "control.",
        )


MANIFEST_NAME = "models.yaml"


def find_manifest() -> Path:
    """Return what MODELMAKE_MANIFEST names, or models.yaml in the working directory or above it.

    Raises:
        ManifestError: There is none; names the folder searched first.
    """
    if named := named_manifest():
        return Path(named)
    here = Path.cwd()
    for each in (here, *here.parents):
        if os.path.lexists(each / MANIFEST_NAME):
            return each / MANIFEST_NAME
    raise no_manifest(here / MANIFEST_NAME, above=True)


def no_manifest(path: Path, *, above: bool = False) -> ManifestError:
    """Return the error for a models.yaml that does not exist.

    Args:
        path: Where it was looked for.
        above: Whether the folders above were searched too.
    """
    whole = path.absolute()
    hint = "`modelmake init` begins a project; MODELMAKE_MANIFEST names a manifest elsewhere."
    for other in (f"{whole.stem}.yml", "model.yaml", "model.yml"):
        if (whole.parent / other).is_file():
            hint = f"{other} is here: rename it to {whole.name}."
            break
    return ManifestError(
        f"There is no {whole.name} in {whole.parent}{' or above it' * above}.", hint=hint
    )


def _check_encodable(models: Iterable[LockedModel], paths: Iterable[str] = ()) -> None:
    """Refuse names that cannot be given to the system, under a locale that is not UTF-8.

    Raises:
        SettingError: Names the first one.
    """
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return
    every = [each for model in models for each in (*model.archives, *model.files)]
    for path in (*paths, *(each.path for each in every)):
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise SettingError(
                f"This process cannot use the file name {path!a}: its locale has the encoding "
                f"{encoding}.",
                hint="Set LC_ALL=C.UTF-8, or PYTHONUTF8=1.",
            ) from None


class Project:
    """One models.yaml and its models.lock. Makes no request.

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
        self._copies: dict[str, tuple[str, ...]] = {}
        self._indexed: tuple[Lockfile | None, lockfile.Pins] = (None, {})
        self._lock_status: os.stat_result | None = None

    @classmethod
    def of_environment(cls, folder: Path | None = None, *, above: bool = False) -> "Project":
        """Return the project of a folder, or else of MODELMAKE_MANIFEST or the working directory.

        Args:
            folder: Where models.yaml is.
            above: Whether to look for it also above the working directory.

        Raises:
            SettingError: An environment variable has an unusable value.
            ManifestError: There is no models.yaml in any of the folders searched.
        """
        if folder is None and above:
            manifest = find_manifest()
        elif folder is None:
            manifest = Path(named_manifest() or MANIFEST_NAME)
        else:
            manifest = folder / MANIFEST_NAME
        return cls(manifest, Settings.from_environment())

    @cached_property
    def lockfile(self) -> Lockfile:
        """models.lock as it was read and checked; empty when there is none.

        Raises:
            ManifestError: models.yaml cannot be used.
            LockError: It cannot be used, or does not follow from models.yaml.
        """
        self._lock_status = look(self.lock_path)
        try:
            text = read_own(self.lock_path)
        except StoreError as error:
            if error.errno == errno.ENOENT:
                return lockfile.EMPTY
            raise LockError(
                f"{self.lock_path} cannot be read: {error.reason}.", hint=RESTORE_HINT
            ) from None
        found = lockfile.load(text, self.lock_path.name)
        check_lock(self.declared, found)
        _check_encodable(found.models.values())
        return found

    def reread_lock(self) -> None:
        """Have models.lock read again if it was replaced; what is pinned here stays."""
        now, before = look(self.lock_path), self._lock_status
        if now is None or before is None or not looks_same(now, before):
            self.__dict__.pop("lockfile", None)

    @cached_property
    def declared(self) -> list[Declaration]:
        """The models of models.yaml.

        Raises:
            ManifestError: It is missing or says something it may not.
        """
        found = load_declared(self.manifest_path, private_folder(self.root) / "manifest.json")
        folders = [each.folder for each in found]
        _check_encodable([each.outlined for each in found if each.outlined], folders)
        return found

    @cached_property
    def is_read_only(self) -> bool:
        """Whether models.lock may not be written: asked for, or in CI if there is a lock."""
        return self.settings.is_locked or (self.settings.is_ci and self.lock_path.exists())

    @property
    def is_stale(self) -> bool:
        """Whether models.lock says other than models.yaml asks for."""
        return self._is_stale(lambda _: True)

    @property
    def is_outline_stale(self) -> bool:
        """Whether models.lock is stale for more than models whose provider has to be asked."""
        return self._is_stale(lambda model: model.outlined is not None)

    def is_current(self, model: Declaration) -> bool:
        """Whether models.lock says what a model is, for its entry as it is now."""
        return model.is_current(self.lockfile.models.get(model.name))

    def _is_stale(self, counts: Callable[[Declaration], bool]) -> bool:
        """Whether the lock misses a model that counts, or has one that is declared no more."""
        locked = self.lockfile.models
        known = {model.name: model for model in self.declared}
        return bool(locked.keys() - known.keys()) or any(
            not model.is_current(locked.get(model.name))
            for model in known.values()
            if counts(model)
        )

    def models(self) -> list[Model]:
        """Return every model.

        Raises:
            ManifestError: models.yaml cannot be used.
            LockError: models.lock cannot be used, or was changed by hand.
        """
        return [self._model(each) for each in self.declared]

    def model(self, name: str) -> Model:
        """Return one model.

        Raises:
            ModelmakeError: models.yaml declares none of that name; or as `models`.
        """
        return self._model(self.named(name))

    def named(self, name: str) -> Declaration:
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

    def copies(self, name: str) -> tuple[str, ...]:
        """Return the URLs of the published copies that are asked for the model's files, in order.

        Raises:
            ModelmakeError: As `named`.
        """
        if (known := self._copies.get(name)) is None:
            urls = (*self.settings.mirrors, *self.named(name).entry.copies)
            known = self._copies[name] = tuple(dict.fromkeys(urls))
        return known

    @cached_property
    def _by_name(self) -> dict[str, Declaration]:
        return {each.name: each for each in self.declared}

    def replace_lock(self, changed: Lockfile) -> bool:
        """Write models.lock when it would change, and return whether it did.

        What another run changed since it was read is kept there; this run continues with its own.

        Raises:
            LockError: It may not be written now.
            StoreError: The disk refused.
        """
        from downloader.project.lockfile import replace  # noqa: PLC0415 - not needed when nothing is

        is_new = replace(self.lock_path, self.lockfile, changed, self.refuse_to_write)
        self.lockfile = changed
        return is_new

    def put_locked(self, models: Mapping[str, LockedModel], *, drops: bool = True) -> bool:
        """Take models into models.lock; `drops` what is declared no more. As replace_lock.

        Raises:
            ModelmakeError: As `replace_lock`.
        """
        with self._writing:
            known = {each.name for each in self.declared}
            locked = self.lockfile.models.items()
            kept = {name: each for name, each in locked if name in known or not drops}
            return self.replace_lock(Lockfile(models={**kept, **models}))

    def drop_locked(self, names: Iterable[str]) -> None:
        """Take models out of models.lock, and leave all others there. As replace_lock.

        Raises:
            ModelmakeError: As `replace_lock`.
        """
        with self._writing:
            gone = set(names)
            locked = self.lockfile.models.items()
            if gone & self.lockfile.models.keys():
                self.replace_lock(Lockfile(models={n: each for n, each in locked if n not in gone}))

    def edit_manifest(self, edit: Callable[[bytes], bytes]) -> None:
        """Replace models.yaml in one step; another run that edits it meanwhile waits.

        Args:
            edit: Returns the new text for the one that is there now.

        Raises:
            ManifestError: The new text says something that it may not; nothing was written.
            StoreError: The disk refused.
        """
        from downloader.fs.files import write_file  # noqa: PLC0415 - a run that reads has no use for it

        place = Path(os.path.realpath(self.manifest_path))
        with lockfile.alone(self.manifest_path):
            text = edit(read_own(self.manifest_path))
            self.declared = compiled(text, self.manifest_path.name)
            self.__dict__.pop("_by_name", None)
            self._folders.clear()
            self._copies.clear()
            write_file(RootedPath.of(place), text)

    def put_unpacked(self, name: str, archive: Artifact, members: Sequence[Artifact]) -> None:
        """Note in models.lock what an archive proved to hold, and which files came out of it.

        Raises:
            LockError: models.lock may not be written now.
            StoreError: The disk refused.
        """
        with self._writing:
            self.replace_lock(lockfile.with_unpacked(self.lockfile, name, archive, members))

    def refuse_to_write(self) -> None:
        """Raise LockError if models.lock must not be written."""
        if self.is_read_only:
            raise LockError(
                f"{self.lock_path.name} would change, and {self.settings.who_forbids} forbids it.",
                hint=self.advice("the same command"),
            )

    def advice(self, command: str) -> str:
        """Return how a person brings models.lock up to date; never suggest that in CI.

        Args:
            command: What does that, in backticks.
        """
        if not self.is_read_only:
            return f"Run {command}, and commit {self.lock_path.name}."
        without = ", without MODELMAKE_LOCKED" * self.settings.is_locked
        return f"On your machine{without}: {command}, then commit {self.lock_path.name}."

    def refused(self, what: str, hint: str) -> LockError:
        """Return why models.lock cannot be obeyed: one error, which is reported once."""
        return self._refusals.setdefault(what, LockError(what, hint=hint))

    def artifact(self, name: str, path: str) -> Artifact:
        """Return one file of the lock, with what was pinned in this run.

        Raises:
            LockError: The lock has no such file.
        """
        of, index = self._indexed
        if of is not (now := self.lockfile):
            # Kept beside the lockfile it is made of: another thread may replace that one meanwhile.
            models = now.models.items()
            index = {(model, a.path): a for model, m in models for a in (*m.archives, *m.files)}
            self._indexed = (now, index)
        found = self._pins.get((name, path)) or index.get((name, path))
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

    def _model(self, declared: Declaration) -> Model:
        locked = self.lockfile.models.get(declared.name)
        is_stale = not declared.is_current(locked)
        return Model(
            declared=declared,
            locked=declared.outlined if is_stale else locked,
            is_stale=is_stale,
            folder=self.folder(declared.name),
        )


def check_current(project: Project, names: Sequence[str] = ()) -> None:
    """Refuse a lock that is missing or stale, and, if it must not be written, an unpinned one.

    Args:
        project: Whose lock.
        names: The models that are looked at; all, and what is declared no more, when there is none.

    Raises:
        LockError: Names the models, and the one command that mends it.
        ModelmakeError: There is no model of a name.
    """
    for name in names:
        project.named(name)
    refuse_stale(project, names)
    if project.is_read_only:
        _refuse_unpinned(project, names)


def refuse_stale(project: Project, names: Sequence[str] = ()) -> None:
    """Refuse a lock that is missing or stale.

    Raises:
        LockError: As `check`.
    """
    name = project.lock_path.name
    hint = project.advice("`doit lock`")
    if not project.lock_path.exists():
        raise project.refused(f"{name} is missing.", hint)
    said = [
        f"{each.name} {_how_stale(project, each.name)}"
        for each in _meant(project, names)
        if each.is_stale
    ]
    if not names:
        gone = sorted(project.lockfile.models.keys() - {each.name for each in project.declared})
        said += [f"{each} is no longer in models.yaml" for each in gone]
    if said:
        raise project.refused(f"{name} is stale: {', '.join(said)}.", hint)


def _refuse_unpinned(project: Project, names: Sequence[str]) -> None:
    """Refuse a lock that leaves the SHA-256 of files to their first fetch.

    Optional models count if they are named: nobody else fetches them.
    """
    wanted = [each for each in _meant(project, names) if names or not each.declared.is_optional]
    unpinned = {each.name: count for each in wanted if (count := _unpinned(each))}
    if unpinned:
        said = ", ".join(f"{counted(count, 'file')} of {each}" for each, count in unpinned.items())
        command = " ".join(["doit", *(task_name(each) for each in names if each in unpinned)])
        raise LockError(
            f"{project.lock_path.name} pins no SHA-256 for {said}.",
            hint=project.advice(f"`{command}`"),
        )


def _unpinned(model: Model) -> int:
    from downloader.project.changes import moved  # noqa: PLC0415 - a run with nothing to do has no use for it

    return sum(not each.is_pinned for each in (moved(model.locked) if model.locked else ()))


def _meant(project: Project, names: Sequence[str]) -> list[Model]:
    wanted = {project.named(each).name for each in names}
    return [each for each in project.models() if not wanted or each.name in wanted]


def _how_stale(project: Project, name: str) -> str:
    return "changed" if name in project.lockfile.models else "is not locked yet"
