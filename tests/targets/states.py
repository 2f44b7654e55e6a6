"""Files in every state that a run may find them in, and what a run then does of them."""

import os
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from downloader.artifact import Artifact
from downloader.errors import ModelmakeError
from downloader.fs.files import private_folder
from downloader.fs.locks import partial_path
from downloader.network.ranges import Range
from downloader.operations import plan as planning
from downloader.operations.plan import Plan
from downloader.project.project import Project
from downloader.store.blobs import Store
from downloader.targets import state as receipts
from downloader.targets._files import Outcome
from downloader.targets.engine import Engine
from downloader.targets.plan import stale_targets
from downloader.transfer import _journal
from tests.projects import sha256

TARGETS = ("present", "missing", "no receipt", "wrong", "short", "older", "folder", "link")
BLOBS = ("none", "good", "unnoted", "damaged")
PARTIALS = ("none", "half", "whole", "of other bytes", "without journal")
SIZE = 1000


@dataclass(frozen=True, slots=True)
class State:
    """What is there of one file before a run."""

    target: str = "missing"
    blob: str = "none"
    partial: str = "none"
    seed: int = 0
    """Two files of one seed have the same bytes."""

    @property
    def content(self) -> bytes:
        """The right bytes."""
        return random.Random(self.seed).randbytes(SIZE)


def make_all(project: Project, name: str, states: dict[str, State], store: Path | None) -> None:
    """Put every file of a model into its state."""
    for path, state in states.items():
        artifact = project.artifact(name, path)
        put_target(project.folder(name), path, state)
        put_partial(project, name, artifact, state)
        if store:
            put_blob(Store(store), state)


def put_target(folder: Path, path: str, state: State) -> None:
    """Put what the state says at a target."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if state.target == "folder":
        target.mkdir()
    elif state.target == "link":
        elsewhere = folder.parent / f"{folder.name}-{target.name}"
        elsewhere.write_bytes(state.content)
        target.symlink_to(elsewhere)
    elif state.target != "missing":
        target.write_bytes(_changed(state.content, state.target))
        if state.target in ("present", "older", "wrong"):
            receipts.append_receipt(folder, path, sha256(state.content))
        if state.target in ("older", "wrong"):
            os.utime(target, ns=(1, 1))


def put_partial(project: Project, name: str, artifact: Artifact, state: State) -> None:
    """Leave what an earlier run left of the file."""
    if state.partial == "none":
        return
    workspace = private_folder(project.folder(name))
    partial = partial_path(workspace, artifact.path)
    partial.parent.path.mkdir(parents=True, exist_ok=True)
    have = SIZE if state.partial == "whole" else SIZE // 2
    partial.path.write_bytes(state.content[:have])
    if state.partial == "without journal":
        return
    first = project.named(name).entry.source().locate(artifact, None)[0]
    meant = Artifact(path=artifact.path, size=SIZE, sha256=_bound(artifact, state))
    text = _journal.dump_head(_journal.binding_for(meant, first))
    partial.with_suffix(".journal").path.write_bytes(text + _journal.dump_ranges([Range(0, have)]))


def put_blob(store: Store, state: State) -> None:
    """Put the file's bytes, or damaged ones, into the store; one that is there already stays."""
    blob = store.path(sha256(state.content))
    if state.blob == "none" or blob.path.exists():
        return
    blob.parent.path.mkdir(parents=True, exist_ok=True)
    source = blob.with_name("source")
    source.path.write_bytes(state.content)
    if state.blob == "good":
        store.keep(source, blob.name, "copy")
    else:
        blob.path.write_bytes(_changed(state.content, "wrong" if state.blob == "damaged" else ""))
    source.path.unlink()


def _bound(artifact: Artifact, state: State) -> str | None:
    return "0" * 64 if state.partial == "of other bytes" else artifact.sha256


def _changed(content: bytes, how: str) -> bytes:
    if how == "wrong":
        return content[:-1] + bytes([content[-1] ^ 1])
    return content[:-1] if how == "short" else content


def plan(project: Project, *names: str) -> Plan:
    """Return the plan of a project."""
    return planning.make_plan(project, names, lambda _count, _bytes: None)


def told(made: Plan, name: str = "m") -> dict[str, tuple[str, int]]:
    """Return what a plan says that doit will say: verb and bytes moved of each file."""
    (model,) = [each for each in made.models if each.name == name]
    return {
        each.path: (each.outcome, each.bytes_to_move or 0) for each in model.files if each.outcome
    }


def done(project: Project, name: str = "m") -> dict[str, tuple[str, int]]:
    """Bring a model up to date as its tasks would, one by one; return what each said."""
    said: dict[str, tuple[str, int]] = {}
    with closing(Engine(project)) as syncer:
        (model,) = [each for each in project.models() if each.name == name]
        stale = stale_targets(model)
        for path, outcome in _outcomes(syncer, name, stale):
            if not outcome.is_repeat:
                said[path] = (outcome.verb, outcome.moved_bytes)
    return said


def _outcomes(syncer: Engine, name: str, stale: list[Artifact]) -> Iterator[tuple[str, Outcome]]:
    archives = sorted({each.archive for each in stale if each.archive})
    for act, paths in ((syncer.stage, archives), (syncer.sync, [each.path for each in stale])):
        for path in paths:
            try:
                yield path, act(name, path)
            except ModelmakeError:
                continue
