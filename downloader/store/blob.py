"""One blob as it looks: what is believed of it, and what is asked of the disk."""

import os
from typing import NamedTuple

from downloader.disk.durable import naming
from downloader.disk.hashing import sha256_of
from downloader.fs.rooted_path import RootedPath


class Blob(NamedTuple):
    """A blob whose bytes are right, and how it looked then."""

    path: RootedPath
    status: os.stat_result


class Damaged(Exception):  # noqa: N818 - no failure: the bytes are fetched again
    """A blob had other bytes than its name says.

    Attributes:
        told: What was done with it, a sentence.
        status: How it looked; targets that are hard links to it look the same.
    """

    def __init__(self, told: str, status: os.stat_result) -> None:
        super().__init__(told)
        self.told, self.status = told, status


def digest_of(blob: RootedPath) -> str | None:
    """Return a blob's digest; None when it was removed meanwhile."""
    with naming(blob, "read"):
        try:
            return sha256_of(blob)
        except FileNotFoundError:
            return None
