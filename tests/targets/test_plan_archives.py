"""What a plan says of an archive and its files is what a run then does."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from downloader.targets import state
from tests.e2e.together.conftest import together
from tests.e2e.together.projects import ARCHIVE, LORA_FILES, bot, downloads, sync_adapter
from tests.examples import examples
from tests.projects import lock, project
from tests.servers.together.server import TogetherServer
from tests.targets.states import done, plan, told
from tests.targets.test_exact import snapshot

__all__ = ["together"]

MEMBERS = sorted(LORA_FILES)
CHANGES = ("as it is", "missing", "wrong", "no receipt")


def change(folder: Path, path: str, how: str) -> None:
    """Do to a target what the state says."""
    target = folder / path
    if how == "not here":
        target.unlink(missing_ok=True)
    elif how == "wrong" and target.exists():
        content = target.read_bytes()
        target.chmod(0o644)
        target.unlink()
        target.write_bytes(content[:-1] + b"!")
    elif how == "no receipt":
        state.forget_receipts(folder, [path])


def check(folder: Path, own: dict[str, Any], together: TogetherServer) -> None:
    """Hold a run against its plan."""
    before, asked = snapshot(folder), len(downloads(together))
    made = plan(project(folder, **own))
    assert snapshot(folder) == before
    assert len(downloads(together)) == asked
    found = done(project(folder, **own))
    assert sum(moved for _, moved in found.values()) == made.bytes_to_move
    verbs = {path: verb for path, (verb, _) in found.items()}
    assert verbs == {path: verb for path, (verb, _) in told(made).items()}
    assert told(plan(project(folder, **own))) == {}


@settings(
    max_examples=examples(12),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(
    members=st.lists(st.sampled_from(CHANGES), min_size=5, max_size=5),
    archive=st.sampled_from(CHANGES),
    keep=st.booleans(),
    has_store=st.booleans(),
)
@example(members=["as it is"] * 4 + ["wrong"], archive="no receipt", keep=True, has_store=False)
@example(members=["as it is"] * 4 + ["wrong"], archive="missing", keep=True, has_store=False)
def test_a_run_does_what_the_plan_said(
    together: TogetherServer, members: list[str], archive: str, keep: bool, has_store: bool
) -> None:
    """Whatever is there of the archive and of its files, kept or not, with a store or without."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        own = {"store": str(folder / "store") if has_store else "off"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODELMAKE_STORE", own["store"])
            sync_adapter(folder, keep_archive=keep)
        for path, how in zip((*MEMBERS, ARCHIVE), (*members, archive), strict=True):
            change(folder / "models/m", path, how)
        check(folder, own, together)


@pytest.mark.parametrize("keep", [False, True])
def test_an_archive_whose_files_are_not_known_yet(
    tmp_path: Path, together: TogetherServer, keep: bool
) -> None:
    """Locked and never fetched: only the archive can be told, and that more room is needed."""
    own: dict[str, Any] = {"store": "off"}
    lock(tmp_path, {"m": bot(type="adapter", extract=True, keep_archive=keep)}, **own)
    made = plan(project(tmp_path, **own))
    (file,) = made.models[0].files
    (volume,) = made.volumes
    assert (file.path, file.action, file.why) == (ARCHIVE, "fetch", "not here")
    assert volume.is_at_least
    assert volume.peak_bytes == file.size
    assert volume.freed_bytes == (0 if keep else file.size)
    check_first(tmp_path, own)


def check_first(folder: Path, own: dict[str, Any]) -> None:
    """Hold the first run against its plan."""
    foreseen = told(plan(project(folder, **own)))
    assert done(project(folder, **own)) == foreseen


@pytest.mark.parametrize("keep", [False, True])
def test_unpacking_needs_room_for_the_archive_and_for_its_files(
    tmp_path: Path, together: TogetherServer, keep: bool
) -> None:
    """At its peak both lie there; one that is not kept is freed at the end."""
    sync_adapter(tmp_path, keep_archive=keep)
    shutil.rmtree(tmp_path / "models")
    made = plan(project(tmp_path, store="off"))
    (volume,) = made.volumes
    sizes = {each.path: each.size or 0 for each in made.models[0].files}
    assert volume.peak_bytes == sum(sizes.values())
    assert volume.freed_bytes == (0 if keep else sizes[ARCHIVE])
    assert not volume.is_at_least
    assert made.bytes_to_move == sizes[ARCHIVE]


def test_a_model_that_is_not_locked_is_its_providers_to_tell(
    tmp_path: Path, no_sockets: None
) -> None:
    """Nobody is asked for a plan; it says so, and is at least what is known."""
    made = plan(project(tmp_path, {"m": bot()}, store="off"))
    (model,) = made.models
    assert (model.state, model.files) == ("unknown", ())
    assert "only its provider" in model.why
    assert made.is_at_least
    assert made.is_possible
    offline = plan(project(tmp_path, store="off", is_offline=True))
    assert offline.models[0].state == "refused"
    assert not offline.is_possible
