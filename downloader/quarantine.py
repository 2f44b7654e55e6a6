"""Where bytes that proved wrong are set aside: for people to look at, never used again."""

from pathlib import Path

from downloader.durable import make_folder, naming

FOLDER = "quarantine"


def set_aside(path: Path, workspace: Path, size: int, sha256: str) -> str:
    """Move a file out of the way; nothing that was set aside before is lost.

    Args:
        path: The file.
        workspace: The model's private folder.
        size: How many bytes of it came.
        sha256: Their SHA-256 in hex.

    Returns:
        A sentence for the error: how many bytes, which, and where they are.

    Raises:
        StoreError: The disk refused.
    """
    aside = _free(workspace / FOLDER, f"{path.name.removesuffix('.part')}-{sha256[:12]}")
    make_folder(aside.parent)
    with naming(aside, "set aside"):
        path.replace(aside)
    return f"Its {size:,} bytes, SHA-256 {sha256}, were set aside as {aside}."


def _free(folder: Path, name: str) -> Path:
    """Return the first path of this name, or numbered, where nothing is."""
    aside, number = folder / name, 1
    while aside.exists():
        number += 1
        aside = folder / f"{name}-{number}"
    return aside
