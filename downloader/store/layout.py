"""Where everything lies in a store, and that it is the store's own: no symlink leads elsewhere.

The root itself may be a symlink, as users make one to a larger disk.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from downloader.disk.durable import make_folder, naming, write_file
from downloader.disk.quarantine import FOLDER as QUARANTINE
from downloader.errors import StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.gate import is_digest, shown

BLOBS = "sha256"
LAYERS = "pieces"
OWN = (BLOBS, QUARANTINE, LAYERS, "records", "growing", "projects")
"""What is read and written without a further look."""
FORMAT = b"1\n"
CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n"
"""What tells backups to leave a folder out (bford.info/cachedir)."""


class Layout:
    """The folders of one store.

    Args:
        root: Its folder; made when something is put in.
        is_cache: Whether backups are told to leave it out.

    Attributes:
        blob: Returns where the blob of a digest is, if it is there; asked for several times a file.

    Raises:
        StoreError: It is of a newer version, or no folder, or cannot be read, or a symlink leads
            elsewhere from it.
    """

    def __init__(self, root: Path, *, is_cache: bool = True) -> None:
        self.root, self._is_cache = RootedPath(root), is_cache
        self._own = set[RootedPath]()
        self.blob = functools.lru_cache(1024)(self._blob)
        self._made = set[RootedPath]()
        self._check_format()
        for name in OWN:
            self.check_own(self.root / name)

    def _blob(self, sha256: str) -> RootedPath:
        return self.root / f"{BLOBS}/{sha256[:2]}/{_checked(sha256)}"

    def make_room(self, folder: RootedPath) -> None:
        """Make a folder for blobs, and with the first one the store.

        Raises:
            StoreError: The disk refused, or as `check_own`.
        """
        if folder in self._made:
            return
        if not os.path.exists(self.root / "format"):  # noqa: PTH110 - no error where one may not look
            make_folder(self.root)
            if self._is_cache:
                write_file(self.root / "CACHEDIR.TAG", CACHE_TAG)
            write_file(self.root / "format", FORMAT)
        make_folder(folder)
        self.check_own(folder)
        self._made.add(folder)

    def check_own(self, folder: RootedPath) -> None:
        """Refuse what a symlink leads to elsewhere.

        Raises:
            StoreError: It is one, or below one.
        """
        if folder in self._own:
            return
        for each in (folder, *folder.above()):
            if os.path.islink(each):  # noqa: PTH114 - no error where one may not look
                raise StoreError(f"{each} is a symlink, and nobody knows where to.")
        if os.path.isdir(folder):  # noqa: PTH112 - no error where one may not look
            self._own.add(folder)

    def digests(self) -> Iterator[str]:
        """Yield the names of all blobs; what is none of ours is passed over.

        Raises:
            StoreError: They cannot be listed.
        """
        with naming(self.root, "list"):
            for shard in _folders(self.root / BLOBS):
                for each in os.scandir(shard):
                    is_blob = is_digest(each.name) and each.name[:2] == shard.name
                    if is_blob and each.is_file(follow_symlinks=False):
                        yield each.name

    def layer(self, root: str) -> RootedPath:
        """Return where the piece layer of a root is, if it is there."""
        return self.root / f"{LAYERS}/{_checked(root)}"

    def roots(self) -> Iterator[str]:
        """Yield the roots of all layers; what is none of ours is passed over.

        Raises:
            StoreError: They cannot be listed.
        """
        with naming(self.root, "list"), contextlib.suppress(FileNotFoundError):
            for each in os.scandir(self.root / LAYERS):
                if is_digest(each.name) and each.is_file(follow_symlinks=False):
                    yield each.name

    def _check_format(self) -> None:
        file = self.root / "format"
        with naming(file, "read"):
            try:
                found = file.read_bytes()
            except FileNotFoundError:
                return
        if found != FORMAT:
            raise StoreError(f"{self.root} was made by a newer modelmake; update this one.")


def _checked(digest: str) -> str:
    """Return a digest that may be a file's name.

    Raises:
        StoreError: It is none.
    """
    if not is_digest(digest):
        raise StoreError(
            f"{shown(repr(digest))} is no SHA-256: nothing in the store has that name."
        )
    return digest


def _folders(parent: RootedPath) -> Iterator[Path]:
    """Yield the folders in a folder, and no symlink to one."""
    with contextlib.suppress(FileNotFoundError):
        if not os.path.islink(parent):  # noqa: PTH114 - as above
            yield from (Path(e.path) for e in os.scandir(parent) if e.is_dir(follow_symlinks=False))
