"""The law of `doit outdated`: it names exactly what `doit lock --upgrade` then changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.errors import LockError
from downloader.network import failures
from downloader.operations.outdated import Outdated, look
from tests.e2e.together.projects import JOB, LOOK, bot, usual_checkpoints
from tests.examples import examples
from tests.projects import Entry, declare, gpt2, http, lock, project, serve_gpt2, session, sha256
from tests.projects import sync as sync_all
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer
from tests.servers.together.archives import lora_archive, merged_archive
from tests.servers.together.server import TogetherServer

World = tuple[FaultyServer, TogetherServer]


def looked(folder: Path) -> dict[str, Outdated]:
    """Return what upstream has of each model, as a process of its own sees it."""
    found = project(folder)
    with session(found) as own:
        return {each.model: each for each in look(found, found.declared, own)}


def locked_files(folder: Path) -> dict[tuple[str, str], Any]:
    """Return each file, or archive, of models.lock by model and path."""
    models = json.loads((folder / "models.lock").read_text())["models"]
    return {
        (name, each["path"]): each
        for name, model in models.items()
        for each in (model.get("archives") or model["files"])
    }


def new_step(world: World) -> None:
    job = world[1].job(JOB)
    job.checkpoints = {**job.checkpoints, 30: {"merged": merged_archive(30)}}


def other_final(world: World) -> None:
    job = world[1].job(JOB)
    merged = merged_archive(21, weights_bytes=9000)
    job.checkpoints = {**job.checkpoints, 20: {"adapter": lora_archive(20), "merged": merged}}


CHANGES: dict[str, Callable[[World], None]] = {
    "another size": lambda world: world[0].put("/used.bin", b"longer than before"),
    "another ETag alone": lambda world: world[0].put("/used.bin", b"used"[::-1]),
    "a weak ETag": lambda world: world[0].put("/used.bin", b"used", etag='W/"2"'),
    "no ETag": lambda world: world[0].put("/new.bin", b"new", etag=None),
    "a file never fetched": lambda world: world[0].put("/new.bin", b"newer"),
    "a pinned file": lambda world: world[0].put("/pinned.bin", b"another"),
    "a pinned file gone": lambda world: world[0].always("/pinned.bin", statuses.status(404)),
    "a file that is gone": lambda world: world[0].always("/new.bin", statuses.status(404)),
    "a file that is refused": lambda world: world[0].always("/used.bin", statuses.status(403)),
    "a GPT-2": lambda world: world[0].put("/gpt-2/355M/hparams.json", b"{}"),
    "a new step": new_step,
    "another final model": other_final,
    "a deleted job": lambda world: world[1].api.always(LOOK, statuses.status(404)),
}  # fmt: skip


def models(world: World) -> dict[str, Entry]:
    """Return an entry of each kind, all there."""
    server = world[0]
    for name in ("used", "new", "pinned"):
        server.put(f"/{name}.bin", name.encode())
    pinned = {"url": server.url("/pinned.bin"), "sha256": sha256(b"pinned")}
    return {
        "used": http(server.url("/used.bin")),
        "new": http(server.url("/new.bin"), pinned),
        "gpt2": gpt2("355M", serve_gpt2(server, "355M")),
        "final": bot(),
        "last": bot(checkpoint={"last": 2}, extract=True),
    }


@given(st.lists(st.sampled_from(sorted(CHANGES)), unique=True))
@settings(max_examples=examples(25))
def test_what_is_newer_is_what_an_upgrade_changes(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """Whatever changed upstream: before, it is named; after, nothing is newer."""
    folder = tmp_path_factory.mktemp("agrees")
    with (
        FaultyServer() as server,
        TogetherServer() as together,
        pytest.MonkeyPatch.context() as set_,
    ):
        set_.setattr(failures, "FIRST_DELAY_SECONDS", 0.01)
        set_.setenv("TOGETHER_API_KEY", together.key)
        set_.setenv("TOGETHER_BASE_URL", together.url)
        together.add_job(JOB, checkpoints=usual_checkpoints())
        world = server, together
        wanted = models(world)
        sync_all(folder, {"used": wanted["used"]})
        declare(folder, wanted)
        lock(folder)
        assert {each.state for each in looked(folder).values()} == {"up-to-date"}
        for name in names:
            CHANGES[name](world)
        text = (folder / "models.lock").read_bytes()
        before, named = locked_files(folder), looked(folder)
        assert (folder / "models.lock").read_bytes() == text, "it only looks"
        upgrade(folder, fails=not {"a deleted job", "a file that is gone"}.isdisjoint(names))
        after = locked_files(folder)
        again = looked(folder)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    said = {
        (name, file.path)
        for name, each in named.items()
        for file in each.files
        if file.state in ("added", "removed", "changed")
    }
    assert said == changed
    assert not [each.model for each in again.values() if each.is_upgradable]


def upgrade(folder: Path, *, fails: bool) -> None:
    """Lock anew what can be; a job that was deleted, and a file that nobody has, fail alone."""
    if not fails:
        lock(folder, upgrade=True)
        return
    with pytest.raises(LockError, match=r"knows no job|new\.bin cannot be downloaded"):
        lock(folder, upgrade=True)
