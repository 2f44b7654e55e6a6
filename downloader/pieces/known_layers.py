"""The piece layers that are here: in the store, and in models.pieces beside models.lock."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from downloader.artifact import Artifact
from downloader.disk.durable import naming, write_file
from downloader.errors import StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.lock.writing import alone
from downloader.pieces import piece_layers
from downloader.pieces.merkle import MOST_PIECE_BYTES, Layer
from downloader.project import Project
from downloader.streams import tell

if TYPE_CHECKING:
    from downloader.store import Store

SMALLEST_BYTES = MOST_PIECE_BYTES
"""Files up to that length have no root: they are hashed, and fetched again, in no time."""


class KnownLayers:
    """Finds and keeps layers for one project; safe to share between threads.

    Args:
        project: Whose models.lock names the roots.
        notice: Takes a line about a layer that is wrong.
    """

    def __init__(self, project: Project, notice: Callable[[str], None] = tell) -> None:
        self._project, self._notice = project, notice
        self._told = set[RootedPath]()
        self._telling = threading.Lock()

    @property
    def beside(self) -> Path:
        """Where models.pieces is, or would be."""
        return self._project.lock_path.with_suffix(".pieces")

    def find(self, artifact: Artifact) -> Layer | None:
        """Return a file's layer; None where models.lock has no root of it, or no layer is here."""
        if artifact.root is None or not can_have_root(artifact):
            return None
        size = int(artifact.size or 0)
        for path, line in self._lines(artifact.root):
            if layer := piece_layers.load(line, artifact.root, size):
                return replace(layer, is_proof=artifact.is_proven_by_root)
            self._tell(path, artifact)
        return None

    def keep(self, layers: Iterable[Layer]) -> bool:
        """Put layers into the store and into models.pieces; return whether the latter is changed.

        Of models.pieces, what belongs to no root of models.lock is dropped.

        Raises:
            StoreError: The disk refused.
        """
        layers = list(layers)
        if store := self._store:
            with contextlib.suppress(StoreError):  # models.pieces has them too
                for layer in layers:
                    store.put_layer(layer.root, piece_layers.dump(layer))
        models = self._project.lockfile.models.values()
        roots = {a.root for model in models for a in (*model.files, *model.archives) if a.root}
        with alone(self.beside):
            with naming(self.beside, "read"):
                before = list(piece_layers.lines_of(RootedPath.of(self.beside)))
            text = piece_layers.joined(layers, before, roots | {each.root for each in layers})
            is_changed = text != b"".join(before)
            if is_changed:
                write_file(RootedPath.of(self.beside), text)
        return is_changed

    @cached_property
    def _store(self) -> "Store | None":
        from downloader.store import store_at  # noqa: PLC0415 - `verify` mostly has no use for it

        try:
            return store_at(self._project.settings.store)
        except StoreError:  # told by who puts files into it
            return None

    def _lines(self, root: str) -> Iterator[tuple[RootedPath, bytes]]:
        """Yield every line that claims to be of the root, with the file that it stands in."""
        own = [self._store.layer_path(root)] if self._store else []
        for path in (*own, RootedPath.of(self.beside)):
            with contextlib.suppress(OSError):
                for line in piece_layers.lines_of(path):
                    if piece_layers.is_about(line, root):
                        yield path, line

    def _tell(self, path: RootedPath, artifact: Artifact) -> None:
        with self._telling:
            is_news = path not in self._told
            self._told.add(path)
        if is_news:
            self._notice(
                f"{path} has a piece layer of {artifact.path} that does not lead to the root in "
                f"{self._project.lock_path.name}: it is not used. `doit lock --pieces` makes it."
            )


def can_have_root(artifact: Artifact) -> bool:
    """Whether the exact bytes are known, and enough of them to be checked by pieces."""
    return artifact.is_pinned and artifact.size is not None and artifact.size > SMALLEST_BYTES
