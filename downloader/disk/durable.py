"""Writing so that a kill or a power cut leaves the old file or the new one, never a half.

The order is restic's (local backend): write, fsync the file, rename, fsync the folder.
"""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from downloader.errors import StoreError

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # not on Windows, where making a symlink needs a privilege
BINARY = getattr(os, "O_BINARY", 0)  # only Windows would translate line ends without it


class naming:  # noqa: N801 - used as a function; a generator would cost more, a dozen times a file
    """Turn an OSError of the block into one line that names the file and what was tried.

    Args:
        path: The file or folder that is worked on.
        act: The verb for the message: "write", "replace".
        needed_bytes: Says how many bytes are still to be written there, when the disk is full.

    Raises:
        StoreError: In place of OSError.
    """

    __slots__ = ("_act", "_needed_bytes", "_path")

    def __init__(
        self, path: Path, act: str, needed_bytes: Callable[[], int | None] | None = None
    ) -> None:
        self._path, self._act, self._needed_bytes = path, act, needed_bytes

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise StoreError in place of an OSError."""
        if isinstance(error, OSError):
            raise self._named(error) from error

    def _named(self, error: OSError) -> StoreError:
        from downloader.disk.advice import advice  # noqa: PLC0415 - only on the way to an error

        reason = error.strerror or type(error).__name__
        needed = self._needed_bytes() if self._needed_bytes else None
        return StoreError(
            f"Cannot {self._act} {self._path}: {reason}.", hint=advice(error, self._path, needed)
        )


def make_folder(path: Path) -> None:
    """Make the folder and its parents, when they are not there.

    Raises:
        StoreError: It cannot be made, or something else stands there.
    """
    with naming(path, "make the folder"):
        if not path.is_dir():  # one look is cheaper than a refusal, and this is asked per file
            path.mkdir(parents=True, exist_ok=True)


def sync_folder(path: Path) -> None:
    """Make a rename in this folder survive a power cut; Windows cannot, and journals renames."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Replace the file's content in one step.

    Raises:
        StoreError: The disk refused; the old content is still there.
    """
    make_folder(path.parent)
    readable = path.name.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")
    unfinished = path.with_name(f".{readable}.{secrets.token_hex(4)}.new")
    with naming(path, "write"):
        try:
            _write_synced(unfinished, content)
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                unfinished.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
