"""Locking again: what stays, what an upgrade drops, and what may not be written."""

from pathlib import Path
from typing import Any

import pytest

from downloader.errors import LockError
from downloader.project import project as lock_check
from tests.projects import (
    Entry,
    edit_lock,
    gpt2,
    http,
    lock,
    lock_saying,
    locked,
    project,
    serve_gpt2,
    sha256,
    sync,
)
from tests.servers.azure_2009 import azure_2009
from tests.servers.faulty import FaultyServer


def put(server: FaultyServer, path: str, content: bytes, **headers: str) -> str:
    server.put(path, content, headers=headers)
    return server.url(path)


def test_a_current_lock_is_not_asked_about(tmp_path: Path, server: FaultyServer) -> None:
    """Locking again asks nobody and says nothing."""
    models = {"m": gpt2("355M", serve_gpt2(server, "355M"))}
    lock(tmp_path, models)
    before = len(server.requests)
    assert lock(tmp_path) == []
    assert len(server.requests) == before


@pytest.fixture
def pinned_pair(tmp_path: Path, server: FaultyServer) -> dict[str, Entry]:
    """Give two models, each with a file that was pinned on first use."""
    models = {name: http(put(server, f"/{name}.bin", name.encode() * 9)) for name in ("a", "b")}
    sync(tmp_path, models)
    assert locked(tmp_path, "a").files[0].first_use
    return models


def test_one_changed_entry_leaves_the_pins_of_the_others(
    tmp_path: Path, server: FaultyServer, pinned_pair: dict[str, Entry]
) -> None:
    """Only the changed model is resolved again, and only its new file is asked for."""
    before = locked(tmp_path, "a"), locked(tmp_path, "b").files[0]
    asked = len(server.requests)
    pinned_pair["b"]["files"].append({"url": put(server, "/c.bin", b"c")})
    said = lock(tmp_path, pinned_pair)
    assert said == [
        (
            "changed b: 1 file, 9 bytes -> 2 files, 10 bytes, "
            "1 without a digest (pinned on first download)"
        ),
        "  added c.bin: 1 byte",
    ]
    assert (locked(tmp_path, "a"), locked(tmp_path, "b").files[0]) == before
    assert [each.path for each in server.requests[asked:]] == ["/c.bin"]


def test_a_changed_url_drops_the_pin(
    tmp_path: Path, server: FaultyServer, pinned_pair: dict[str, Entry]
) -> None:
    """Another URL under the same path is another file."""
    pinned_pair["a"]["files"] = [{"url": put(server, "/v2/a.bin", b"A" * 9), "path": "a.bin"}]
    lock(tmp_path, pinned_pair)
    assert not locked(tmp_path, "a").files[0].is_pinned


def test_a_removed_model_leaves_the_lock(
    tmp_path: Path, server: FaultyServer, pinned_pair: dict[str, Entry]
) -> None:
    """What models.yaml no longer names is not locked any more; the rest stays, unasked."""
    kept = locked(tmp_path, "b")
    asked = len(server.requests)
    del pinned_pair["a"]
    lock(tmp_path, pinned_pair)
    assert len(server.requests) == asked
    assert project(tmp_path).lockfile.models == {"b": kept}


def test_an_upgrade_keeps_the_pin_of_what_the_server_still_shows(
    tmp_path: Path, server: FaultyServer, pinned_pair: dict[str, Entry]
) -> None:
    """`--upgrade` asks about pins of first use, and changes nothing where nothing changed."""
    before = (tmp_path / "models.lock").read_bytes()
    asked = len(server.requests)
    assert lock(tmp_path, upgrade=True) == [
        "same a: 1 file, 9 bytes",
        "same b: 1 file, 9 bytes",
    ]
    assert sorted(each.path for each in server.requests[asked:]) == ["/a.bin", "/b.bin"]
    assert (tmp_path / "models.lock").read_bytes() == before


def test_an_upgrade_drops_the_pin_of_another_size(
    tmp_path: Path, server: FaultyServer, pinned_pair: dict[str, Entry]
) -> None:
    """A file that grew upstream is to be pinned anew; the other model's pin stays."""
    put(server, "/a.bin", b"longer than before")
    kept = locked(tmp_path, "b")
    said = lock(tmp_path, upgrade=True)
    assert said == [
        (
            "changed a: 1 file, 9 bytes -> 1 file, 18 bytes, "
            "1 without a digest (pinned on first download)"
        ),
        "  changed a.bin: 9 bytes -> 18 bytes",
        "same b: 1 file, 9 bytes",
    ]
    assert (locked(tmp_path, "a").files[0].sha256, locked(tmp_path, "b")) == (None, kept)


def test_an_upgrade_drops_the_pin_of_another_md5(tmp_path: Path) -> None:
    """The same size with another MD5 is another file, and is fetched anew."""
    with azure_2009() as azure:
        url = put(azure, "/a.bin", b"old!")
        sync(tmp_path, {"m": http(url)})
        lock(tmp_path, upgrade=True)
        assert locked(tmp_path).files[0].sha256 == sha256(b"old!")
        put(azure, "/a.bin", b"new!")
        lock(tmp_path, upgrade=True)
        assert locked(tmp_path).files[0].sha256 is None
        sync(tmp_path)
    assert (tmp_path / "models/m/a.bin").read_bytes() == b"new!"
    assert locked(tmp_path).files[0].sha256 == sha256(b"new!")


def test_a_read_only_lock_that_is_current_is_fine(tmp_path: Path, no_sockets: None) -> None:
    """MODELMAKE_LOCKED has no objection to a lock that needs no change."""
    lock(tmp_path, {"gpt2": gpt2("124M")})
    lock_check.check_current(project(tmp_path))
    lock(tmp_path, is_locked=True)


STALE: dict[str, tuple[dict[str, Entry], str]] = {
    "changed": ({"a": gpt2("355M"), "b": gpt2("124M", to="b")}, "a changed."),
    "left": ({"a": gpt2("124M")}, "b is no longer in models.yaml."),
    "both": (
        {"c": gpt2("124M")},
        "c is not locked yet, a is no longer in models.yaml, b is no longer in models.yaml.",
    ),
}


@pytest.mark.parametrize(("models", "why"), STALE.values(), ids=list(STALE))
def test_a_read_only_lock_that_is_stale_is_refused(
    tmp_path: Path, no_sockets: None, models: dict[str, Any], why: str
) -> None:
    """`--check` and MODELMAKE_LOCKED name the models, write nothing and ask nobody."""
    lock(tmp_path, {"a": gpt2("124M"), "b": gpt2("124M", to="b")})
    before = (tmp_path / "models.lock").read_bytes()
    project(tmp_path, models)
    for act in (lock_check.check_current, lock_saying):
        with pytest.raises(LockError, match=r"models\.lock is stale") as caught:
            act(project(tmp_path, is_locked=True))
        assert str(caught.value).endswith(why)
        assert "without MODELMAKE_LOCKED" in caught.value.hint
    assert (tmp_path / "models.lock").read_bytes() == before


def test_a_lock_that_is_not_there_is_refused_where_it_may_not_be_written(tmp_path: Path) -> None:
    """MODELMAKE_LOCKED without a lock is an error, and leaves none behind."""
    with pytest.raises(LockError):
        lock(tmp_path, {"a": gpt2("124M")}, is_locked=True)
    assert not (tmp_path / "models.lock").exists()


def test_a_lock_changed_by_hand_is_refused_by_the_check_too(tmp_path: Path) -> None:
    """`--check` looks at what the lines say, not only at the digests of the entries."""
    lock(tmp_path, {"gpt2": gpt2("124M")})
    edit_lock(tmp_path, '"size":77,', '"size":78,')
    with pytest.raises(LockError, match="does not follow"):
        lock_check.check_current(project(tmp_path))
