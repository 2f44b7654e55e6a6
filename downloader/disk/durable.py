"""Writing so that a kill or a power cut leaves the old file or the new one, never a half.

The order is restic's (local backend): write, fsync the file, rename, fsync the folder.
"""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from downloader.errors import StoreError
from downloader.fs.rooted_path import RootedPath


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
        self,
        path: Path | RootedPath,
        act: str,
        needed_bytes: Callable[[], int | None] | None = None,
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
            f"Cannot {self._act} {self._path}: {reason}.",
            hint=advice(error, Path(self._path), needed),
        )


def make_folder(path: RootedPath) -> None:
    """Make the folder and its parents, when they are not there.

    Raises:
        StoreError: It cannot be made, or something else stands there.
    """
    with naming(path, "make the folder"):
        path.make_folder()


def write_file(path: RootedPath, content: bytes) -> None:
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
            unfinished.move_to(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                unfinished.remove(missing_ok=True)
            raise
        path.parent.sync_folder()


def _write_synced(path: RootedPath, content: bytes) -> None:
    with path.open_file("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
