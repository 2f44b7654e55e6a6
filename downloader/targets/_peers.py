"""Share the verified files of a project, and of the store, with the peers of a swarm.

A file can be shared if models.lock has its root and its piece layer is here. Models that are not
everybody's are shared only if models.yaml says so: gated and private repositories, which the lock
marks, and sources where a log-in may be what gives a model.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from downloader.artifact import Artifact
from downloader.fs.digests import Layer
from downloader.fs.rooted_path import RootedPath
from downloader.project.project import Model, Project
from downloader.targets.plan import decisions
from downloader.targets.shared import KnownLayers, SharedStore, can_have_root

if TYPE_CHECKING:
    from downloader.transfer.swarm import Swarm


class Unshared(NamedTuple):
    """A file that is not shared, and why."""

    model: str
    path: str
    why: str


class PeerSharing:
    """Says which files of a project may be shared, and shares them; safe to share between threads.

    Args:
        project: Whose files.
        store: The shared store's blobs are shared too, if the project's lock names them.
        layers: Knows the piece layers.
    """

    def __init__(self, project: Project, store: SharedStore, layers: KnownLayers) -> None:
        self._project = project
        self._store = store
        self._layers = layers

    def why_alone(self, name: str, artifact: Artifact, layer: Layer | None) -> str:
        """Return why a file's pieces are not exchanged with peers; empty if they are.

        Empty as well for a file that is too small to have pieces, since that is no news.
        """
        if why := self._why_not(name):
            return why
        if layer or not can_have_root(artifact):
            return ""
        what = "models.pieces has no layer" if artifact.root else "models.lock has no root"
        return f"{what} of this file; `doit lock --pieces` writes it where the file is"

    def share(self, swarm: "Swarm", shared: list[tuple[str, Artifact]]) -> Iterator[Unshared]:
        """Share what is here and right, and yield what is here and not shared.

        Args:
            swarm: With whom.
            shared: Gets model and artifact of each file that is shared.
        """
        for model in self._project.models():
            if model.is_stale or not model.locked:
                continue
            for artifact, place in self._present(model):
                layer = self._layers.find(artifact)
                if why := self.why_alone(model.name, artifact, layer):
                    yield Unshared(model.name, artifact.path, why)
                elif layer and swarm.share(place, layer):
                    shared.append((model.name, artifact))

    def _present(self, model: Model) -> Iterator[tuple[Artifact, RootedPath]]:
        """Yield what is in place as it was verified, or in the store."""
        assert model.locked
        folder = self._project.folder(model.name)
        large = [each for each in model.locked.files if can_have_root(each)]
        for artifact, found in decisions(folder, large, model.declared.digest):
            target = RootedPath(folder, artifact.path)
            if found.is_present:
                yield artifact, target
            elif blob := self._store.blob(artifact, target):
                yield artifact, blob.path

    def _why_not(self, name: str) -> str:
        entry = self._project.named(name).entry
        if entry.share:
            return ""
        locked = self._project.lockfile.models.get(name)
        if locked and locked.gated:
            kind = "gated or private"
        elif entry.may_be_private:
            kind = "from a source of private models too"
        else:
            return ""
        return f"{name} is {kind}; `share: true` in models.yaml allows it"
