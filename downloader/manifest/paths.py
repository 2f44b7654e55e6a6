"""Where an entry's files go, and whether they may go there."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

from downloader.gate import NAME
from downloader.manifest.entries import AnyEntry, HttpEntry, HttpFile, TogetherEntry
from downloader.manifest.wording import Fault, Keys
from downloader.safe_path import check_path, collision_key, find_collision

ARCHIVE_HINT = "Give one of the two another `to`, or an `archive` name of its own."
_NAME_HINT = "A name holds letters, digits and . _ + @ - and begins with a letter or digit."


def folder(name: str, entry: AnyEntry) -> str:
    """Return the model's target folder, a posix path relative to models.yaml."""
    return entry.to.replace("{name}", name)


def file_path(file: HttpFile) -> str:
    """Return the file's posix path below the model's folder.

    Without `path` it is the last part of the URL, percent-decoded once.

    Raises:
        ValueError: That part is not UTF-8; a loaded manifest holds no such file.
    """
    if file.path is not None:
        return file.path
    return unquote(urlsplit(file.url).path.rpartition("/")[2], errors="strict")


def check_name(name: str) -> None:
    """Accept a model's name that is safe as a part of a path and of a task's name.

    Raises:
        Fault: It is not.
    """
    if not NAME.fullmatch(name):
        raise Fault((), "this cannot be a model's name", _NAME_HINT)
    try:
        check_path(name)
    except ValueError as error:
        raise Fault((), str(error), _NAME_HINT) from None


def check_paths(name: str, entry: AnyEntry) -> None:
    """Accept an entry whose folder and file paths are safe on every platform.

    Raises:
        Fault: One is not.
    """
    target = folder(name, entry)
    if found := re.search(r"\{.*?(?:\}|\Z)|\}", target):
        shown = ascii(found[0][:80])
        raise Fault(("to",), f"{shown} is not known here; only {{name}} is put in")
    try:
        check_path(target)
    except ValueError as error:
        hint = "It is a folder below the one of models.yaml, such as models/{name}."
        raise Fault(("to",), str(error), hint) from None
    if isinstance(entry, HttpEntry):
        for index, file in enumerate(entry.files):
            _check_file(index, file)


def _check_file(index: int, file: HttpFile) -> None:
    if file.path is None:
        _check_last_part(("files", index, "url"), file)
        return
    try:
        check_path(file.path)
    except ValueError as error:
        hint = "It is a path below the model's folder."
        raise Fault(("files", index, "path"), str(error), hint) from None


def _check_last_part(keys: Keys, file: HttpFile) -> None:
    """Accept a URL whose last part can be the file's name."""
    hint = "Give the file a `path` of its own."
    try:
        path = file_path(file)
    except UnicodeDecodeError:
        raise Fault(keys, "the last part of the URL is not UTF-8", hint) from None
    if not path or "/" in path:
        raise Fault(keys, f"the URL's last part, {path!a}, is not one file name", hint)
    try:
        check_path(path)
    except ValueError as error:
        raise Fault(keys, f"the URL's last part cannot be a file name: {error}", hint) from None


def _check_unpacked_folders(models: Mapping[str, AnyEntry]) -> None:
    unpacked = [name for name, entry in models.items() if getattr(entry, "extract", False)]
    folders = [(collision_key(folder(name, entry)), name) for name, entry in models.items()]
    for name in unpacked:
        key = collision_key(folder(name, models[name]))
        for other, of in folders:
            if of != name and (other == key or other.startswith(f"{key}/")):
                what = f"its archive would be unpacked into the folder of `{of}`"
                raise Fault(("models", name), what, "Give one of the two another `to`.")


def check_collisions(models: Mapping[str, AnyEntry]) -> None:
    """Accept models whose known files can all exist at once, on every file system.

    Only `http` entries name all their files, and `together` entries at most an archive; the others
    are compared when they are locked. What an archive unpacks to is known too late for that, so
    its folder must be one model's alone.

    Raises:
        Fault: Two files would be one, or one would have to be a folder too.
    """
    _check_unpacked_folders(models)
    _check_same_archives(models)
    targets = [target for name, entry in models.items() for target in _known_targets(name, entry)]
    pair = find_collision(target for target, _ in targets)
    if pair is None:
        return
    (first, named), (second, keys) = [found for found in targets if found[0] in pair][:2]
    what = f"its target {second!a} cannot exist beside that of {_as_path(named)} ({first!a})"
    hint = "Give one another `path`. Names that differ only in case are one file on many disks."
    if keys[-1] == "archive":
        hint = ARCHIVE_HINT
    raise Fault(keys, what, hint)


def _known_targets(name: str, entry: AnyEntry) -> Iterator[tuple[str, Keys]]:
    """Give each target that the entry names, and where it does."""
    if isinstance(entry, HttpEntry):
        for index, file in enumerate(entry.files):
            keys: Keys = ("models", name, "files", index)
            yield f"{folder(name, entry)}/{file_path(file)}", keys
    elif isinstance(entry, TogetherEntry) and entry.archive is not None:
        yield f"{folder(name, entry)}/{entry.archive}", ("models", name, "archive")


def _as_path(keys: Keys) -> str:
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(parts).removeprefix(".")


def _check_same_archives(models: Mapping[str, AnyEntry]) -> None:
    """Refuse two entries whose archives Together gives one name, in one folder."""
    seen: dict[object, str] = {}
    for name, entry in models.items():
        if not isinstance(entry, TogetherEntry) or entry.archive is not None:
            continue
        job, _, step = entry.job.partition(":")
        checkpoint = int(step) if step else entry.checkpoint
        meant = collision_key(folder(name, entry)), job, checkpoint, entry.type
        other = seen.setdefault(meant, name)
        if other != name:
            what = f"its archive would have the name and the folder of that of `{other}`"
            raise Fault(("models", name), what, ARCHIVE_HINT)
