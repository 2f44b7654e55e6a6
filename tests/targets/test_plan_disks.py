"""What a plan says of each disk."""

from pathlib import Path
from typing import Any

import pytest

from downloader.operations.plan import outlook
from tests.projects import http, lock, project, sha256
from tests.servers.faulty import FaultyServer
from tests.targets.states import State, done, plan
from tests.targets.test_exact import prepare

URL = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("how", "state", "peak"),
    [
        ("auto", State(), 1000),
        ("hardlink", State(), 1000),
        ("copy", State(), 2000),
        ("auto", State("missing", "good"), 0),
        ("copy", State("missing", "good"), 1000),
        ("auto", State("no receipt"), 0),
    ],
)
def test_a_hard_link_takes_no_room_and_a_copy_does(
    tmp_path: Path, server: FaultyServer, how: str, state: State, peak: int
) -> None:
    """What is fetched is stored too, as a second file where `link` says copy."""
    own = prepare(tmp_path, server, {"f.bin": state}, tmp_path / "store", link=how)
    made = plan(project(tmp_path, **own))
    assert sum(each.peak_bytes for each in made.volumes) == peak


def test_what_a_partial_holds_takes_no_room_again(tmp_path: Path, server: FaultyServer) -> None:
    """Its blocks are on the disk already."""
    own = prepare(tmp_path, server, {"f.bin": State("missing", "none", "half")}, None)
    partial = next((tmp_path / "models/m/.modelmake/partials").glob("*.part"))
    before = partial.stat().st_blocks
    (volume,) = plan(project(tmp_path, **own)).volumes
    blocks = {before, partial.stat().st_blocks}  # ext4 may give them out in between
    assert volume.peak_bytes in {max(0, 1000 - each * 512) for each in blocks}


def test_a_blob_on_another_file_system_is_a_copy(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the file's whole room on the project's disk, and moves no byte over the wire."""
    own = prepare(tmp_path, server, {"f.bin": State("missing", "good")}, tmp_path / "store")
    monkeypatch.setattr("downloader.targets.shared.SharedStore.is_near", lambda _self, _name: False)
    made = plan(project(tmp_path, **own))
    assert (made.bytes_to_move, made.volumes[0].peak_bytes) == (0, 1000)


def disk_with(monkeypatch: pytest.MonkeyPatch, free_bytes: int | None) -> None:
    """Let every disk have so many bytes free."""
    places = ("downloader.fs.space.free_bytes", "downloader.operations.plan.free_bytes")
    for place in places:
        monkeypatch.setattr(place, lambda _folder: free_bytes)


@pytest.mark.parametrize(("free", "fits"), [(1999, False), (2000, True), (None, True)])
def test_what_does_not_fit_is_refused_in_the_words_of_the_run(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch, free: int, fits: bool
) -> None:
    """Preflight is asked itself; a disk that tells nothing refuses nothing."""
    states = {"a.bin": State(seed=1), "b.bin": State(seed=2)}
    own = prepare(tmp_path, server, states, None)
    disk_with(monkeypatch, free)
    made = plan(project(tmp_path, **own))
    assert (made.fits, made.is_possible, made.refusal is None) == (fits, fits, fits)
    if not fits:
        assert "Not enough room: this run has still to write 2.0 kB (2,000 bytes)" in str(
            made.refusal
        )


def test_the_same_bytes_twice_need_room_once(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second file is a link; without a store it is another file."""
    own = prepare(tmp_path, server, {"a.bin": State(), "b.bin": State()}, tmp_path / "store")
    disk_with(monkeypatch, 1500)
    assert plan(project(tmp_path, **own)).is_possible
    assert not plan(project(tmp_path, store="off")).is_possible


def test_preflight_that_is_off_refuses_nothing_and_it_does_not_fit_all_the_same(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would begin, and end with a full disk."""
    own = prepare(tmp_path, server, {"a.bin": State()}, None)
    disk_with(monkeypatch, 10)
    made = plan(project(tmp_path, is_preflight=False, **own))
    assert (made.refusal, made.fits, made.is_possible) == (None, False, False)


def test_without_network_no_room_is_asked_for_what_will_not_come(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the store is linked on a full disk, and the rest is missing."""
    states = {"a.bin": State("missing", "good", seed=1), "b.bin": State(seed=2)}
    own = prepare(tmp_path, server, states, tmp_path / "store") | {"is_offline": True}
    disk_with(monkeypatch, 0)
    made = plan(project(tmp_path, **own))
    assert [each.action for each in made.models[0].files] == ["link", "missing"]
    assert made.refusal is None
    assert done(project(tmp_path, **own)) == {"a.bin": ("linked", 0)}


def strangers(folder: Path, **own: Any) -> list[tuple[str, str]]:
    """Return what a plan says that nobody declared."""
    made = plan(project(folder, **own))
    return [(model.name, each.path) for model in made.models for each in model.extraneous]


def file(name: str) -> dict[str, str]:
    """Return a file of an entry."""
    return {"url": f"{URL}/{name}", "path": name, "sha256": sha256(name.encode())}


def test_files_that_no_model_names_are_extraneous(tmp_path: Path) -> None:
    """Also in folders below, links and what an older lock named; never what is private."""
    lock(tmp_path, {"m": http(file("a.bin"), file("old.bin"))}, is_offline=True)
    folder = tmp_path / "models/m"
    (folder / ".modelmake").mkdir(parents=True)
    (folder / "d/.modelmake").mkdir(parents=True)
    for path in ("a.bin", "old.bin", "d/x.bin", ".modelmake/receipts", "d/.modelmake/y"):
        (folder / path).write_bytes(b"12")
    (folder / "to").symlink_to(tmp_path)
    lock(tmp_path, {"m": http(file("a.bin"))}, is_offline=True)
    (model,) = plan(project(tmp_path, store="off")).models
    assert [each.path for each in model.extraneous] == ["d/x.bin", "old.bin", "to"]
    assert model.extraneous[0].size == 2


def test_models_that_share_a_folder_know_each_others_files(tmp_path: Path) -> None:
    """What is left over is told once; a model in a folder below is nobody's leftover."""
    models = {
        "a": http(file("a.bin"), to="models"),
        "b": http(file("b.bin"), to="models"),
        "c": http(file("c.bin"), to="models/c", optional=True),
    }
    lock(tmp_path, models, is_offline=True)
    (tmp_path / "models/c").mkdir(parents=True)
    for name in ("a.bin", "b.bin", "c/c.bin", "left.bin"):
        (tmp_path / "models" / name).write_bytes(b"x")
    assert strangers(tmp_path, store="off") == [("a", "left.bin")]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    """Neither does an empty one."""
    lock(tmp_path, {"m": http(file("a.bin"))}, is_offline=True)
    assert strangers(tmp_path, store="off") == []
    (tmp_path / "models/m").mkdir(parents=True)
    assert strangers(tmp_path, store="off") == []


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (State(), "fetch (1.0 kB)"),
        (State("missing", "none", "half"), "fetch (1.0 kB, 500 B of it here already)"),
        (State("missing", "good"), "link (1.0 kB)"),
        (State("no receipt"), "verify (1.0 kB)"),
    ],
)
def test_outlook(tmp_path: Path, server: FaultyServer, state: State, told: str) -> None:
    """One file's decision in the words of a plan; nothing is read for it."""
    own = prepare(tmp_path, server, {"f.bin": state}, tmp_path / "store")
    assert outlook(project(tmp_path, **own), "m", "f.bin") == told
