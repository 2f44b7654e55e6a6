"""The last step: verified bytes under their final name, durably, in one rename."""

import os
import stat
from pathlib import Path

from downloader.durable import naming, sync_folder
from downloader.errors import StoreError
from downloader.transfer.locked_file import is_same_file


def place(descriptor: int, path: Path, target: Path) -> None:
    """Rename an open file to its final name: the file is synced first, the folder afterwards.

    Args:
        descriptor: The open file, whose bytes were verified.
        path: Its name so far, on the target's file system.
        target: Its final name, which `check_target` let pass.

    Raises:
        StoreError: The disk refused, or somebody swapped the file.
    """
    with naming(target, "replace"):
        os.fsync(descriptor)
        if not is_same_file(descriptor, path):
            raise StoreError(f"{path} was replaced by somebody while it was written.")
        path.replace(target)
        sync_folder(target.parent)


def check_target(target: Path) -> None:
    """Refuse to put a file where a folder, a FIFO or a device stands; a symlink is replaced.

    Raises:
        StoreError: It is none of nothing, a file or a symlink.
    """
    with naming(target, "look at"):
        try:
            mode = target.lstat().st_mode
        except FileNotFoundError:
            return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise StoreError(f"{target} is {kind}.", hint="Move it away, or choose another `to`.")
