"""Merkle roots and piece layers of files that are here: `doit lock --pieces`.

Each file is read once. Its SHA-256 and its layer come of the same bytes in memory, and a root is
written only if that SHA-256 is the one in models.lock: so the two can never mean different
bytes, whatever happens to the file meanwhile.
"""

import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from downloader.artifact import Artifact, bytes_text, counted
from downloader.errors import Stop, StoreError
from downloader.fs.digests import (
    PIECE_BYTES,
    Layer,
    cores,
    layer_of,
    new_sha256,
)
from downloader.fs.files import look
from downloader.fs.merkle import BLOCK_BYTES, merkle_leaves, merkle_node
from downloader.fs.rooted_path import READ, RootedPath
from downloader.progress.tracker import Reading
from downloader.project.project import Model, Project
from downloader.targets.shared import SMALLEST_BYTES, KnownLayers, can_have_root

Seen = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the lock that can have a root."""

    model: str
    artifact: Artifact
    target: RootedPath

    @property
    def is_here(self) -> bool:
        """Whether a regular file of the locked size is in place."""
        status = look(self.target)
        if status is None or not stat.S_ISREG(status.st_mode):
            return False
        return status.st_size == self.artifact.size

    @property
    def name(self) -> str:
        """Model and path, as in `doit NAME`."""
        return f"{self.model}/{self.artifact.path}"


def add_pieces(
    project: Project,
    models: Iterable[Model],
    say: Callable[[str], None],
    stop: Stop,
    reading: Reading,
) -> None:
    """Write root and layer of every large file that is here and right, unless they are known.

    Args:
        project: Whose models.lock gets the roots, and models.pieces the layers.
        models: Whose files.
        say: Told what was done, a line each.
        stop: Ends the reading when it is set.
        reading: Counts what is read.

    Raises:
        LockError: models.lock may not be written.
        StoreError: The disk refused.
        Interrupted: It was stopped.
    """
    known = KnownLayers(project)
    files = [
        _File(model.name, artifact, RootedPath(model.folder, artifact.path))
        for model in models
        for artifact in model.artifacts
        if can_have_root(artifact) and not model.is_stale
    ]
    layers = {file: layer for file in files if (layer := known.find(file.artifact))}
    to_read = [each for each in files if each not in layers and each.is_here]
    if to_read:
        project.refuse_to_write()
        layers |= _read(to_read, say, stop, reading)
    for file in to_read:
        if file in layers:
            rooted = msgspec.structs.replace(file.artifact, root=layers[file].root)
            project.pin(file.model, rooted)
    is_changed = bool(layers) and not project.is_read_only and known.keep(layers.values())
    project.write_pins()
    absent = sum(each not in layers and each not in to_read for each in files)
    say(_summary(len(layers), absent, known.beside.name, is_changed=is_changed))


def _read(
    files: Sequence[_File], say: Callable[[str], None], stop: Stop, reading: Reading
) -> dict[_File, Layer]:
    """Return the layers of those files whose bytes are right."""
    seen = reading.counting(stop)
    reading.started(sum(int(each.artifact.size or 0) for each in files))
    layers: dict[_File, Layer] = {}
    try:
        with ThreadPoolExecutor(cores()) as pool:  # hashlib releases the GIL
            digests = [(each, pool.submit(_layer_of, each, seen)) for each in files]
            for file, digest in digests:
                layer, why = digest.result()
                if layer is not None:
                    layers[file] = layer
                say(f"left out {file.name}: {why}" if why else f"pieces of {file.name}")
    finally:
        reading.ended()
    return layers


def _layer_of(file: _File, seen: Seen) -> tuple[Layer | None, str]:
    """Return a file's layer; None, and why, if its bytes are not those of models.lock."""
    try:
        sha256, nodes, size = _digests_of(file.target, seen)
    except StoreError as error:
        return None, f"cannot be read: {error.reason}"
    if (sha256, size) != (file.artifact.sha256, file.artifact.size):
        return None, "is not as models.lock says; `doit verify --repair` fetches it again"
    return layer_of(nodes, size), ""


def _digests_of(path: RootedPath, seen: Seen) -> tuple[str, bytes, int]:
    """Return SHA-256, nodes of the pieces and length of a file, of one reading."""
    sha256, nodes, size = new_sha256(), [], 0
    buffer = memoryview(bytearray(PIECE_BYTES))
    with path.open(READ) as file:
        while count := file.read_full(buffer, size):
            piece = buffer[:count]
            sha256.update(piece)
            leaves = merkle_leaves(piece)
            nodes.append(merkle_node(leaves, PIECE_BYTES // BLOCK_BYTES))
            size += count
            seen(count)
    return sha256.hexdigest(), b"".join(nodes), size


def _summary(count: int, absent: int, name: str, *, is_changed: bool) -> str:
    has = "has its pieces" if count == 1 else "have their pieces"
    told = f"{counted(count, 'large file')} {has} in {name}{' already' * (not is_changed)}"
    if not count:
        told = f"no file over {bytes_text(SMALLEST_BYTES)} has its pieces in {name}"
    return f"{told}{f'; {absent:,} not here' * bool(absent)}"
