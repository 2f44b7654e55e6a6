"""Several projects of one user, with the same model and one store."""

import os
import shutil
from pathlib import Path
from typing import Any

from tests.e2e.content import bytes_of, pinned_toy, sha256
from tests.e2e.project import Entry, Project
from tests.servers.faulty import FaultyServer

BIG = bytes_of("big", 1 << 20) * 6
FILES = ["big.bin", "small.bin"]
BLOCK_BYTES = 512
ONE = {"MODELMAKE_CONNECTIONS": "1"}
"""On one connection: of a reply that another one takes over, more is sent than is received."""


def entry(server: FaultyServer, **more: Any) -> Entry:
    """Return the entry of a model of two files, one of 6 MiB."""
    found = pinned_toy(server, FILES, **more)
    server.put("/toy/big.bin", BIG)
    found["files"][0]["sha256"] = sha256(BIG)
    return found


def declaring(folder: Path, model: Entry, **variables: str) -> Project:
    """Return a project with one model."""
    project = Project(folder, **ONE, **variables)
    project.declare({"one": model})
    return project


def cloned(first: Project, folder: Path, **variables: str) -> Project:
    """Return another project with the same models.yaml and models.lock, as after `git clone`."""
    second = Project(folder, **ONE, **variables)
    for each in (first.manifest, first.lock):
        shutil.copy(each, folder)
    return second


def bodies(server: FaultyServer) -> list[str]:
    """Return the paths whose bytes were asked for, as a sorted list."""
    return sorted(seen.path for seen in server.requests if seen.body_bytes_sent > 1)


def used_bytes(*folders: Path) -> int:
    """Return what lies on the disk below the folders, each file once, as `du` counts."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for each in folder.rglob("*"):
            status = each.lstat()
            if not each.is_dir():
                seen[status.st_dev, status.st_ino] = status.st_blocks * BLOCK_BYTES
    return sum(seen.values())


def blob(store: Path, content: bytes) -> Path:
    """Return where the blob of some bytes lies."""
    digest = sha256(content)
    return store / "sha256" / digest[:2] / digest


def edit(target: Path, *, is_unseen: bool = False) -> bytes:
    """Change a byte in place, as a program that ignores permissions does; returns the wrong bytes.

    Args:
        target: The file.
        is_unseen: Whether its time is put back.
    """
    before, mode = target.stat(), target.stat().st_mode
    target.chmod(0o644)
    wrong = b"x" + target.read_bytes()[1:]
    with target.open("r+b") as file:
        file.write(wrong[:1])
    target.chmod(mode)
    if is_unseen:
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    return wrong
