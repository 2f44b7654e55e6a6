"""An archive written out into a folder of its own, every file hashed on the way.

The folder is fresh and nobody else's, no link is ever made in it, and each file is created with
O_EXCL and O_NOFOLLOW: no name can lead out of it. Nothing is synced before the last byte of the
archive was seen, so that what is refused in the end cost no more than its writing.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from downloader.archive.compression import USUAL, Compressed, Limits
from downloader.archive.tar import Entry, Members, shown
from downloader.errors import BadArchive
from downloader.fs.digests import new_sha256
from downloader.fs.files import PRIVATE_FOLDER
from downloader.fs.rooted_path import BINARY, NEW_FILE, RootedPath, open_to_read

_READ_AHEAD_BYTES = 1 << 20
_SHOWN_CHARACTERS = 200
_ADAPTER_FILE = "adapter_config.json"
_ASIDE = PRIVATE_FOLDER  # no member may have this name, so it is free for a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file that was unpacked.

    Attributes:
        path: Where it lies below the folder, as a posix path.
        size: Its bytes.
        sha256: Its SHA-256 in hex.
    """

    path: str
    size: int
    sha256: str


class Watch(Protocol):
    """Observer of an extraction."""

    def moved(self, count_bytes: int) -> None:
        """So many more bytes are written to files."""

    def check_stop(self) -> None:
        """Raise Interrupted when the run is to stop; called at least for each MiB."""


def unpack(
    archive: Path | RootedPath, folder: RootedPath, watch: Watch, *, limits: Limits = USUAL
) -> tuple[Member, ...]:
    """Unpack an archive into a new folder.

    If everything is in one top-level folder, that folder is dropped: PEFT loads an adapter from the
    model's folder only. On any error the folder is removed.

    Args:
        archive: The `.tar.zst` or `.tar.gz`; its first bytes say which, not its name.
        folder: Where to; it must not exist.
        watch: Told how it goes, and asked whether to stop.
        limits: What the archive may ask of us.

    Returns:
        The files in the archive's order, every one of them on disk and synced.

    Raises:
        BadArchive: The archive is damaged, cut short, or holds what is not taken.
        StoreError: The disk refused.
        Interrupted: From the watch.
    """
    folder.parent.make_folder()
    folder.make_new_folder()
    try:
        return _unpack(archive, folder, watch, limits)
    except BaseException:
        folder.remove_tree()
        raise


def what_came(
    archive: Path | RootedPath, watch: Watch, *, limits: Limits = USUAL
) -> Literal["adapter", "model"]:
    """Tell an adapter from a whole model, by the names in the archive.

    An adapter is known by its adapter_config.json, at the top or in a top-level folder, and no
    more is read then; to call it a model, all of the archive has to be read.

    Args:
        archive: As in `unpack`.
        watch: As in `unpack`; nothing is written, so `moved` is not called.
        limits: As in `unpack`.

    Raises:
        BadArchive: As far as it was read, `unpack` would refuse it; an UnsafeArchive where
            nothing says that its bytes are wrong.
        StoreError: It cannot be read.
        Interrupted: From the watch.
    """
    with _opened(archive, watch, limits) as members:
        for entry in members:
            *folders, last = entry.path.split("/")
            if last == _ADAPTER_FILE and len(folders) <= 1 and not entry.is_folder:
                return "adapter"
    return "model"


@contextmanager
def _opened(archive: Path | RootedPath, watch: Watch, limits: Limits) -> Iterator[Members]:
    with open_to_read(archive) as file:
        stream, size = file.stream(_READ_AHEAD_BYTES), file.status().st_size
        members = Members(Compressed(stream, size, limits, watch.check_stop), limits)
        try:
            yield members
        except BadArchive as error:
            raise type(error)(
                f"The archive {shown(archive.name)} is refused: {error}{members.place}."
            ) from error


def _unpack(
    archive: Path | RootedPath, folder: RootedPath, watch: Watch, limits: Limits
) -> tuple[Member, ...]:
    with _opened(archive, watch, limits) as members:
        written = tuple(_written(members, folder, watch))
        if not written:
            raise BadArchive("there is no file in it")
        top = members.only_folder()
    if top is not None:
        _flatten(folder, top)
        written = tuple(replace(each, path=each.path.removeprefix(f"{top}/")) for each in written)
    _sync(folder, watch)
    return written


def _written(members: Members, folder: RootedPath, watch: Watch) -> Iterator[Member]:
    made = folder
    for entry in members:
        target = folder / entry.path
        watch.check_stop()
        inner = target if entry.is_folder else target.parent
        if inner != made:
            inner.make_folder(told=_shown_path(folder, entry))
            made = inner
        if not entry.is_folder:
            yield _write(members, entry, folder, watch)


def _shown_path(folder: RootedPath, entry: Entry) -> Path:
    """Return a member's place as messages show it: escaped, and not too long."""
    return folder.path / ascii(entry.path)[1:-1][:_SHOWN_CHARACTERS]


def _write(members: Members, entry: Entry, folder: RootedPath, watch: Watch) -> Member:
    sha256, size = new_sha256(), 0
    target = folder / entry.path
    with target.open(NEW_FILE, told=_shown_path(folder, entry)) as file:  # no mode of the archive's
        for chunk in members.data():
            file.write_at(chunk, size)
            sha256.update(chunk)
            size += len(chunk)
            watch.moved(len(chunk))
    return Member(path=entry.path, size=size, sha256=sha256.hexdigest())


def _flatten(folder: RootedPath, top: str) -> None:
    """Move what lies in the only folder up; there may be a thing of the same name in it."""
    aside = folder / _ASIDE
    (folder / top).move_to(aside)
    for name in aside.names():
        (aside / name).move_to(folder / name)
    aside.remove_folder()


def _sync(folder: RootedPath, watch: Watch) -> None:
    for below in (folder / name for name in folder.names()):
        watch.check_stop()
        if stat.S_ISDIR(below.lstat().st_mode):
            _sync(below, watch)
        else:
            with below.open(os.O_RDWR | BINARY) as file:  # Windows syncs what it may write
                file.sync()
    folder.sync_folder()
