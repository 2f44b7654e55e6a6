"""State of the targets: what was noted about each, and what else lies in a model's folder.

`models/NAME/.modelmake/receipts`: {"path":…,"size":…,"mtime_ns":…,"sha256":…,"verified":…}

The last line of a path counts. A receipt is written after the target is in place; a torn or
foreign line is passed over, which costs one hashing and moves no byte.

What these facts mean for a target is decided in plan.py. Files that the lock does not name are
found and reported; nothing here removes one, since it may be somebody's work.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from downloader.artifact import Artifact, are_digests, are_safe, counted, is_digest, is_safe
from downloader.errors import StoreError
from downloader.fs.files import (
    PRIVATE_FOLDER,
    SMALL_BYTES,
    Private,
    append_line,
    append_soon,
    appending,
    look,
    private_folder,
    read_lines,
    write_file,
    write_waiting,
)
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath
from downloader.project.project import Model, Project


def kind(mode: int) -> str:
    """Return what stands there instead of a file."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"


FileKey = tuple[str, str]
"""A model's name and a file's path."""


def private_archives(folder: Path) -> RootedPath:
    """Return where a model's archives wait that are not to be kept."""
    return private_folder(folder) / Private.ARCHIVES


def archive_place(project: Project, name: str, archive: Artifact) -> RootedPath | None:
    """Return where an archive is looked for, and fetched to; None for its target."""
    folder = project.folder(name)
    if project.named(name).keeps_archives or RootedPath(folder, archive.path).is_file():
        return None
    return private_archives(folder) / archive.path


FILE_NAME = "receipts"


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Record of a verified target: its digest, size and time."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    verified: int
    """When, in seconds since 1970."""
    asked: str | None = None
    """Digest of the request, if the lock had no SHA-256 then."""

    def matches(self, status: os.stat_result) -> bool:
        """Whether the target still looks as it did."""
        return self.size == status.st_size and self.mtime_ns == status.st_mtime_ns


_decoder = msgspec.json.Decoder(Receipt)


def load_receipts(folder: Path) -> dict[str, Receipt]:
    """Return the receipts of a model's folder by path; none when there are none."""
    with contextlib.suppress(StoreError):  # that costs a hashing
        write_waiting(private_folder(folder) / FILE_NAME)
    return _written_receipts(folder)


def _written_receipts(folder: Path) -> dict[str, Receipt]:
    found = list(read_lines(private_folder(folder) / FILE_NAME, _decoder))
    paths = [each.path for each in found]
    if are_digests([each.sha256 for each in found]) and are_safe(paths):
        return dict(zip(paths, found, strict=True))
    return {each.path: each for each in found if _may_be_ours(each)}


def _may_be_ours(receipt: Receipt) -> bool:
    return is_digest(receipt.sha256) and is_safe(receipt.path)


def append_receipt(  # noqa: PLR0913 - most callers give three
    folder: Path,
    path: str,
    sha256: str,
    *,
    asked: str | None = None,
    target: RootedPath | None = None,
    opened: OpenFile | None = None,
) -> Receipt:
    """Note that the target was verified just now, and return what was noted.

    That of a small pinned file which has just come is written with others, a little later: to hash
    it again costs less than to write each alone.

    Args:
        folder: The model's folder.
        path: The artifact's path below it.
        sha256: What it was verified to be.
        asked: As in Receipt.
        target: Where it is, if its folder is held open.
        opened: The target that has just come, if it is still open.

    Raises:
        StoreError: The disk refused.
    """
    if opened:  # a rename or a link changes neither its size nor its time
        status = opened.seen or opened.status()
    else:
        status = (target or RootedPath(folder, path)).lstat()
    receipt = Receipt(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256,
        verified=int(time.time()),
        asked=asked,
    )
    if opened and asked is None and receipt.size <= SMALL_BYTES:
        append_soon(private_folder(folder) / FILE_NAME, _lines([receipt]))
    else:
        append_receipts(folder, [receipt])
    return receipt


def append_receipts(folder: Path, verified: Iterable[Receipt]) -> None:
    """Note what was verified, in one write.

    Raises:
        StoreError: The disk refused.
    """
    if lines := _lines(verified):
        append_line(private_folder(folder) / FILE_NAME, lines)


def forget_receipts(folder: Path, paths: Iterable[str]) -> None:
    """Drop the receipts of these paths, so that the next run hashes the targets.

    Raises:
        StoreError: The disk refused.
    """
    forgotten = frozenset(paths)
    file = private_folder(folder) / FILE_NAME
    write_waiting(file)
    with appending:
        known = _written_receipts(folder)
        kept = [receipt for path, receipt in known.items() if path not in forgotten]
        if len(kept) < len(known):
            write_file(file, _lines(kept))


def _lines(found: Iterable[Receipt]) -> bytes:
    return b"".join(msgspec.json.encode(receipt) + b"\n" for receipt in found)


SHOWN_NAMES = 3


class ExtraFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a model's folder that models.lock does not name.

    Attributes:
        model: The model's name.
        path: The file's path below the model's folder.
        size: Its length in bytes, 0 if it is not a regular file.
        detail: What is there, to be read after the path.
    """

    model: str
    path: str
    size: int
    detail: str


def extra(models: Iterable[Model], every: Sequence[Model]) -> Iterator[ExtraFile]:
    """Yield what lies in the models' folders and belongs to no model, by name; each once.

    A folder that a model shares whose files are not known yet tells nothing, and is passed over.

    Args:
        models: Whose folders.
        every: All models of the project: one may have its files in another's folder.
    """
    named, unknown = _named(every), _unknown(every)
    seen = set[str]()
    for model in models:
        folder = model.folder.as_posix()
        found = list(_below(folder))
        links = [name for name in found if os.path.isdir(name)]  # noqa: PTH112 - as `_named`
        named |= set(_behind(folder, links, named))
        for name in found:
            if name in named or name in seen:
                continue
            seen.add(name)
            path = Path(name)
            status = None if any(map(path.is_relative_to, unknown)) else look(path)
            if status is not None:
                yield _extra(model, path, status)


def outlived(model: Model, every: Sequence[Model]) -> Iterator[str]:
    """Yield the paths of what was fetched for a model once, and that models.lock names no longer.

    The receipts tell what was fetched; what was changed since is the user's own.

    Args:
        model: Whose folder.
        every: As `extra`.
    """
    named, unknown = _named(every), _unknown(every)
    for path, receipt in sorted(load_receipts(model.folder).items()):
        target = model.folder / path
        if target.as_posix() in named or any(map(target.is_relative_to, unknown)):
            continue
        status = look(target)
        if status is not None and receipt.matches(status):
            yield path


def outlived_line(model: Model, every: Sequence[Model]) -> str:
    """Return a line about `outlived`, empty when there is none."""
    paths = list(outlived(model, every))
    if not paths:
        return ""
    names = ", ".join(paths[:SHOWN_NAMES]) + ", …" * (len(paths) > SHOWN_NAMES)
    verb = "is" if len(paths) == 1 else "are"
    return (
        f"{counted(len(paths), 'file')} in {model.folder} {verb} no longer named by models.lock, "
        f"and left there: {names}"
    )


def _named(every: Iterable[Model]) -> set[str]:
    """Return every place that a model has, as posix text: a Path for each costs more than a look.

    An archive that is not to be kept is a place too: it is extracted from there.
    """
    return {
        f"{model.folder.as_posix()}/{each.path}"
        for model in every
        for each in (*model.artifacts, *(model.locked.archives if model.locked else ()))
    }


def _unknown(every: Iterable[Model]) -> list[Path]:
    """Return the folders where a model has files, and nobody knows which."""
    return [each.folder for each in every if each.is_stale or not each.locked or each.not_unpacked]


def _below(folder: str) -> Iterator[str]:
    """Yield all but folders below a folder, in order, but for what modelmake keeps of its own."""
    try:
        entries = sorted(os.scandir(folder), key=lambda each: each.name)
    except OSError:
        return
    for entry in entries:
        if entry.name == PRIVATE_FOLDER and entry.is_dir():
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(f"{folder}/{entry.name}")
        else:
            yield f"{folder}/{entry.name}"


def _behind(folder: str, links: Iterable[str], named: Iterable[str]) -> Iterator[str]:
    """Yield symlinks to folders that targets lie in, and where in the model's folder those are.

    Such a symlink is the folder that it leads to, and no file too many.
    """
    root = os.path.realpath(folder)
    for link in links:
        if below := [name for name in named if name.startswith(f"{link}/")]:
            yield link
            real = os.path.realpath(link)
            if real.startswith(f"{root}/"):
                inside = f"{folder}{real[len(root) :]}"
                yield from (f"{inside}{name[len(link) :]}" for name in below)


def _extra(model: Model, path: Path, status: os.stat_result) -> ExtraFile:
    is_file = stat.S_ISREG(status.st_mode)
    what = f"{status.st_size:,} bytes" if is_file else kind(status.st_mode)
    return ExtraFile(
        model=model.name,
        path=path.relative_to(model.folder).as_posix(),
        size=status.st_size if is_file else 0,
        detail=f"is {what}, and not in models.lock",
    )
