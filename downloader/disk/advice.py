"""What to do about a disk that refuses: a sentence or two for each reason that systems give."""

import errno
import os
import shutil
from pathlib import Path

from downloader.progress import bytes_text

GOES_ON = "run the same command again: it goes on from what is there."

TOO_MANY_OPEN = frozenset({errno.EMFILE, errno.ENFILE})

ADVICE = {
    "EDQUOT": f"Your disk quota is used up: free some space and {GOES_ON}",
    "EFBIG": "The file system (FAT32: 4 GiB) or `ulimit -f` allows no file so large: "
    "choose another `to` in models.yaml, or raise the limit.",
    "EROFS": "The file system is read-only: choose another `to` in models.yaml.",
    "EACCES": "You may not do that there: check who owns the file and its folder.",
    "EPERM": "You may not do that there: check who owns it, and whether it is immutable.",
    "EIO": f"The disk reports a fault: look at its health and the system's log, then {GOES_ON}",
    "ESTALE": f"The network disk lost it: see that it is mounted, then {GOES_ON}",
    "EMFILE": "Raise the limit with `ulimit -n`, or fetch fewer files at once with `doit -n 4`.",
    "ENFILE": "The whole machine has too many open: end other programs, or fetch fewer files at "
    "once with `doit -n 4`.",
    "ENAMETOOLONG": "This file system takes no name so long: choose a shorter `to` in models.yaml.",
    "ELOOP": "A symlink stands where none may: find out whose it is, and remove it.",
}


def advice(error: OSError, path: Path, needed_bytes: int | None = None) -> str:
    """Return what to do about the error, the empty string where nothing is known.

    Args:
        error: What the system said.
        path: Which file or folder was worked on.
        needed_bytes: How many bytes are still to be written there, where that is known.
    """
    name = errno.errorcode.get(error.errno or 0, "")
    return _about_space(path, needed_bytes) if name == "ENOSPC" else ADVICE.get(name, "")


def nearest_folder(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    for each in (path, *path.parents):
        if os.path.isdir(each):  # noqa: PTH112 - False, not an error, where one may not look
            return each
    return Path()


def _about_space(path: Path, needed_bytes: int | None) -> str:
    needed = f"It still needs {bytes_text(needed_bytes)}. " if needed_bytes else ""
    return f"{needed}{_free(nearest_folder(path))}Free some space and {GOES_ON}"


def _free(folder: Path) -> str:
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f"The disk of {folder} has {bytes_text(free_bytes)} free. "
