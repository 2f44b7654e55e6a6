"""What a plan says of single files is what a run then does: same files, verbs and bytes."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from downloader.store.blobs import Store
from tests.examples import examples
from tests.projects import http, lock, project, sha256
from tests.servers.faulty import FaultyServer
from tests.targets.states import BLOBS, PARTIALS, TARGETS, State, done, make_all, plan, told

STATES = st.builds(
    State,
    target=st.sampled_from(TARGETS),
    blob=st.sampled_from(BLOBS),
    partial=st.sampled_from(PARTIALS),
    seed=st.integers(0, 5),
)
FEW = settings(
    max_examples=examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


def prepare(
    folder: Path, server: FaultyServer, states: dict[str, State], store: Path | None, **keys: Any
) -> Any:
    """Return the settings of a locked project whose model m has its files in these states."""
    files = []
    for path, state in states.items():
        server.put(f"/{path}", state.content)
        files.append({"url": server.url(f"/{path}"), "sha256": sha256(state.content)})
    own: dict[str, Any] = {"store": str(store) if store else "off"}
    lock(folder, {"m": http(*files, **keys)}, **own)
    make_all(project(folder, **own), "m", states, store)
    return own


def snapshot(folder: Path) -> dict[str, Any]:
    """Return every file below a folder with its bytes and times."""
    found = {}
    for each in sorted(folder.rglob("*")):
        status = each.lstat()
        content = each.read_bytes() if each.is_file() else b""
        found[str(each)] = (content, status.st_mtime_ns, status.st_ctime_ns, status.st_mode)
    return found


def bodies(server: FaultyServer, since: int) -> int:
    """Return how many bytes of files were sent."""
    return sum(seen.body_bytes_sent for seen in server.requests[since:])


@FEW
@given(states=st.lists(STATES, min_size=1, max_size=6), has_store=st.booleans())
def test_a_run_does_what_the_plan_said(
    server: FaultyServer, states: list[State], has_store: bool
) -> None:
    """Whatever is there of targets, blobs and partials, and with the same bytes twice."""
    with TemporaryDirectory() as name:
        folder, store = Path(name), Path(name) / "store" if has_store else None
        by_path = {f"f{number}.bin": state for number, state in enumerate(states)}
        own = prepare(folder, server, by_path, store)
        before, asked = snapshot(folder), len(server.requests)
        made = plan(project(folder, **own))
        assert snapshot(folder) == before
        assert len(server.requests) == asked
        foreseen = told(made)
        assert done(project(folder, **own)) == foreseen
        assert bodies(server, asked) == made.bytes_to_move
        again = plan(project(folder, **own))
        assert {each.action for _, each in again.files("present", "refuse")} == {
            each.action if each.action == "refuse" else "present"
            for _, each in made.files("present", "adopt", "link", "fetch", "refuse")
        }
        assert told(again) == {}


@pytest.mark.parametrize(
    ("state", "action", "moved"),
    [
        (State("present"), "present", 0),
        (State("missing"), "fetch", 1000),
        (State("no receipt"), "adopt", 0),
        (State("older"), "adopt", 0),
        (State("wrong"), "fetch", 1000),
        (State("short"), "fetch", 1000),
        (State("link"), "fetch", 1000),
        (State("folder"), "refuse", 0),
        (State("missing", "good"), "link", 0),
        (State("wrong", "unnoted"), "link", 0),
        (State("missing", "damaged"), "fetch", 1000),
        (State("missing", "none", "half"), "fetch", 500),
        (State("missing", "none", "whole"), "fetch", 0),
        (State("missing", "none", "of other bytes"), "fetch", 1000),
        (State("missing", "none", "without journal"), "fetch", 1000),
    ],
    ids=str,
)
def test_each_state_has_its_action(
    tmp_path: Path, server: FaultyServer, state: State, action: str, moved: int
) -> None:
    """The table of docs/plan.md, state by state."""
    own = prepare(tmp_path, server, {"f.bin": state}, tmp_path / "store")
    (file,) = plan(project(tmp_path, **own)).models[0].files
    assert (file.action, file.bytes_to_move, file.bytes_resumed) == (
        action,
        moved,
        1000 - moved if action == "fetch" else 0,
    )
    assert bool(file.why) == (action != "present")


def test_the_same_bytes_are_fetched_once(tmp_path: Path, server: FaultyServer) -> None:
    """Two files of the same bytes: the second is a link, where there is a store."""
    states = {"a.bin": State(), "b.bin": State()}
    own = prepare(tmp_path, server, states, tmp_path / "store")
    (model,) = plan(project(tmp_path, **own)).models
    assert [each.action for each in model.files] == ["fetch", "link"]
    assert model.bytes_to_move == 1000
    off = plan(project(tmp_path, store="off"))
    assert off.bytes_to_move == 2000


def test_an_unpinned_file_that_was_fetched_for_the_same_wish_is_adopted(
    tmp_path: Path, server: FaultyServer
) -> None:
    """A run that was killed before it wrote the pin: its receipt says what was asked."""
    server.put("/a.bin", b"weights")
    lock(tmp_path, {"m": http(server.url("/a.bin"))})
    unpinned = (tmp_path / "models.lock").read_bytes()
    done(project(tmp_path))
    (tmp_path / "models.lock").write_bytes(unpinned)
    assert told(plan(project(tmp_path))) == {"a.bin": ("verified", 0)}
    assert done(project(tmp_path)) == {"a.bin": ("verified", 0)}


def test_a_lock_that_may_not_be_written_pins_nothing(tmp_path: Path, server: FaultyServer) -> None:
    """An unpinned file is refused, as a run refuses it."""
    server.put("/a.bin", b"weights")
    lock(tmp_path, {"m": http(server.url("/a.bin"))})
    made = plan(project(tmp_path, is_locked=True))
    assert [each.action for each in made.models[0].files] == ["refuse"]
    assert not made.is_possible
    assert done(project(tmp_path, is_locked=True)) == {}


def test_records_of_ten_thousand_links_are_not_rewritten(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look into the store writes nothing, even where its records are long; a link tidies them."""
    monkeypatch.setattr("downloader.fs.files.SPARE_LINES", 3)
    own = prepare(tmp_path, server, {"f.bin": State("missing", "good")}, tmp_path / "store")
    store, digest = Store(tmp_path / "store"), sha256(State().content)
    for _ in range(20):
        store._records.note(digest, store.path(digest).lstat())
    before = (tmp_path / "store/records").read_bytes()
    plan(project(tmp_path, **own))
    assert (tmp_path / "store/records").read_bytes() == before
    done(project(tmp_path, **own))
    assert len((tmp_path / "store/records").read_bytes()) < len(before)


def test_a_stale_lock_is_planned_from_its_outline(tmp_path: Path, server: FaultyServer) -> None:
    """What the entry tells is planned, pins that hold are kept, and the lock is not written."""
    own = prepare(tmp_path, server, {"a.bin": State()}, None)
    before = (tmp_path / "models.lock").read_bytes()
    content = State().content
    files = [
        {"url": server.url("/a.bin"), "sha256": sha256(content)},
        {"url": server.url("/b.bin"), "sha256": sha256(b"b")},
    ]
    made = plan(project(tmp_path, {"m": http(*files)}, **own))
    assert (made.lock, made.models[0].state) == ("stale", "stale")
    assert [(each.path, each.size) for each in made.models[0].files] == [
        ("a.bin", 1000),
        ("b.bin", None),
    ]
    assert made.is_at_least
    assert made.is_possible
    assert (tmp_path / "models.lock").read_bytes() == before


def test_a_stale_lock_that_may_not_be_written_is_a_refusal(
    tmp_path: Path, server: FaultyServer
) -> None:
    """It begins with nothing, and the plan has the words of `doit`."""
    own = prepare(tmp_path, server, {"a.bin": State()}, None)
    files = [{"url": server.url("/b.bin"), "sha256": sha256(b"b")}]
    made = plan(project(tmp_path, {"m": http(*files)}, is_locked=True, **own))
    assert "models.lock is stale" in str(made.refusal)
    assert not made.is_possible
