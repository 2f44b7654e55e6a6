"""Where this program keeps what is its own, beside models and models.yaml."""

import functools
from pathlib import Path

from downloader.fs.rooted_path import RootedPath

PRIVATE_FOLDER = ".modelmake"
"""Its name; no file of a model may have it (safe_path.py)."""


@functools.lru_cache(256)  # asked at every step of a file's way
def private_folder(folder: Path) -> RootedPath:
    """Return the private folder of a model's folder, or of a project's: its workspace.

    What is on its way, receipts, locks: all that may be deleted without losing a model's bytes.
    """
    return RootedPath(folder, PRIVATE_FOLDER)
