"""Where everything lies while it is measured (memory, when there is any), and what is served."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Failed

MEMORY = Path("/dev/shm")
MOUNTS = Path("/proc/mounts")
BLOCK_BYTES = 1 << 20
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A file the origin serves: `name` is its path below the root."""

    path: Path
    name: str
    size: int
    sha256: str


@dataclass(slots=True)
class Arrived:
    """A check that the targets are what was served: the size each time, the bytes once."""

    pairs: Sequence[tuple[Payload, Path]]
    _is_compared: bool = field(default=False, init=False)

    def __call__(self) -> None:
        """Look at the targets.

        Raises:
            Failed: One is missing or different.
        """
        for payload, target in self.pairs:
            if not target.is_file() or target.stat().st_size != payload.size:
                raise Failed(f"{target.name} is missing or has another size")
            if not self._is_compared and digest_of(target) != payload.sha256:
                raise Failed(f"{target.name} holds other bytes")
        self._is_compared = True


def memory_folder() -> Path | None:
    """Return the folder of a tmpfs, or None when this machine has none for us."""
    try:
        mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return None
    is_there = any(fields[1:3] == [str(MEMORY), "tmpfs"] for fields in mounts)
    return MEMORY if is_there and os.access(MEMORY, os.W_OK) else None


@contextlib.contextmanager
def scratch_folder(needed_bytes: int) -> Iterator[Path]:
    """Make the folder everything lies in, and remove it at the end.

    Raises:
        Failed: There is less room than `needed_bytes`.
    """
    base = memory_folder() or Path(tempfile.gettempdir())
    free = shutil.disk_usage(base).free
    if free < needed_bytes:
        raise Failed(f"{base} has {free:,} bytes free, and {needed_bytes:,} are needed: see --size")
    with tempfile.TemporaryDirectory(prefix="modelmake-bench-", dir=base) as folder:
        yield Path(folder)


def variables(scratch: Path) -> dict[str, str]:
    """Return the environment of every contender: no proxy, no settings, a home of its own."""
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "HOME": str(home), "TMPDIR": str(home)}


def payload(root: Path, name: str, size: int) -> Payload:
    """Make a file of random bytes: one block of them, over and over, under a number.

    Nothing on the way compresses or deduplicates, so that repeating is as good as chance.
    """
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(usedforsecurity=False)
    block = bytearray(os.urandom(min(size, BLOCK_BYTES)))
    with path.open("wb") as file:
        for start in range(0, size, BLOCK_BYTES):
            block[:8] = start.to_bytes(8)
            piece = block[: size - start]
            digest.update(piece)
            file.write(piece)
    return Payload(path=path, name=name, size=size, sha256=digest.hexdigest())


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def emptied(folder: Path) -> None:
    """Make the folder anew, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
