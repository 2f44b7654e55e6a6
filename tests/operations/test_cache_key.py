"""What a cache key is made of, what leaves it alone, and when there is none."""

import hashlib
from pathlib import Path

import pytest

from downloader.errors import LockError, ModelmakeError
from downloader.operations import cache_key
from downloader.operations.cache_key import CachedModel, CacheKey
from tests.projects import (
    Entry,
    declare,
    edit_lock,
    gpt2,
    http,
    lock,
    project,
    sha256,
    sync,
)
from tests.servers.faulty import FaultyServer

CONTENT = b"some weights"


def pinned(server: FaultyServer, path: str = "w.bin", content: bytes = CONTENT) -> Entry:
    """Put a file on the server, and return what an entry says of it."""
    server.put(f"/{path}", content)
    return {"url": server.url(f"/{path}"), "path": path, "sha256": sha256(content)}


def made(folder: Path, models: dict[str, Entry], *names: str) -> CacheKey:
    """Lock these models, and return the key of some of them."""
    lock(folder, models)
    return cache_key.of_project(project(folder), names)


def test_the_key_is_the_documented_digest(tmp_path: Path, server: FaultyServer) -> None:
    """Folder, path and SHA-256 of each file, sorted: anybody can make it from models.lock."""
    models = {"m": http(pinned(server, "b.bin", b"b"), pinned(server, "a.bin", b"a"))}
    lines = [f"models/m\0{name}.bin\0{sha256(name.encode())}\n" for name in "ab"]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert made(tmp_path, models).key == f"modelmake-v1-{expected}"


def test_the_key_of_gpt2_never_changes(tmp_path: Path) -> None:
    """Bytes that are published for ever have one key for ever; only another format may change it.

    Every cache of every user is lost when this test has to be edited.
    """
    lock(tmp_path, {"gpt2-124M": gpt2("124M", "http://127.0.0.1:9")})
    key = cache_key.of_project(project(tmp_path)).key
    assert key == ("modelmake-v1-fe7986270cff2974737e453ea39fe2d7a9084e42b82ce6db0dfd5866a4eb5eab")


def test_everything_about_the_models(tmp_path: Path, server: FaultyServer) -> None:
    """Folders sorted and relative, what is not worth keeping, and how much there is to cache."""
    models = {
        "z": http(pinned(server, "z.bin", b"zz"), to="weights/z"),
        "a": http(pinned(server, "a.bin", b"a"), pinned(server, "b/c.bin", b"ccc")),
    }
    key = made(tmp_path, models)
    assert key == CacheKey(
        key=key.key,
        restore_prefix="modelmake-v1-",
        paths=["models/a", "weights/z"],
        exclude=[
            f"{folder}/.modelmake/{name}"
            for folder in ("models/a", "weights/z")
            for name in ("archives", "linking", "partials", "quarantine", "unpacking")
        ],
        total_bytes=6,
        models=[
            CachedModel(name="a", folder="models/a", files=2, total_bytes=4),
            CachedModel(name="z", folder="weights/z", files=1, total_bytes=2),
        ],
    )


@pytest.mark.parametrize(
    "change", ["another name", "another order", "another mirror", "an optional model", "a size"]
)
def test_what_changes_no_byte_changes_no_key(
    tmp_path: Path, server: FaultyServer, change: str
) -> None:
    """The key stays while the same bytes lie in the same places."""
    one, two = http(pinned(server, "1.bin"), to="m/1"), http(pinned(server, "2.bin"), to="m/2")
    before = made(tmp_path, {"one": one, "two": two}).key
    if change == "another name":
        models = {"uno": one, "two": two}
    elif change == "another order":
        models = {"two": two, "one": one}
    elif change == "another mirror":
        one["files"][0]["mirrors"] = ["https://mirror.example.org/1.bin"]
        models = {"one": one, "two": two}
    else:
        models = {"one": one, "two": two}
    if change == "an optional model":
        models["three"] = http(pinned(server, "3.bin"), optional=True)
    if change == "a size":
        edit_lock(tmp_path, f'"size":{len(CONTENT)},', "")
        assert cache_key.of_project(project(tmp_path)).total_bytes is None
    else:
        lock(tmp_path, models)
    assert cache_key.of_project(project(tmp_path)).key == before


def test_a_first_use_and_a_declared_digest_have_one_key(
    tmp_path: Path, server: FaultyServer
) -> None:
    """How a SHA-256 came to be known makes no difference."""
    file = pinned(server)
    declared = made(tmp_path, {"m": http(file)}).key
    del file["sha256"]
    (tmp_path / "models.lock").unlink()
    sync(tmp_path, {"m": http(file)})
    assert project(tmp_path).lockfile.models["m"].files[0].first_use
    assert cache_key.of_project(project(tmp_path)).key == declared


@pytest.mark.parametrize("change", ["bytes", "path", "folder", "one more", "one less"])
def test_bytes_or_places_change_the_key(tmp_path: Path, server: FaultyServer, change: str) -> None:
    """Other bytes, another path, another folder, a file more or less: another key."""
    files = [pinned(server, "1.bin"), pinned(server, "2.bin")]
    before = made(tmp_path, {"m": http(*files)}).key
    keys = {}
    if change == "bytes":
        files[0] = pinned(server, "1.bin", b"other weights")
    elif change == "path":
        files[0]["path"] = "sub/1.bin"
    elif change == "folder":
        keys["to"] = "elsewhere"
    elif change == "one more":
        files.append(pinned(server, "3.bin"))
    else:
        files.pop()
    assert made(tmp_path, {"m": http(*files, **keys)}).key != before


def test_a_file_that_moves_between_folder_and_path_changes_the_key(
    tmp_path: Path, server: FaultyServer
) -> None:
    """`a` + `b/w` is not `a/b` + `w`: its receipt lies elsewhere."""
    file = pinned(server)
    one = made(tmp_path, {"m": http({**file, "path": "b/w"}, to="a")}).key
    assert made(tmp_path, {"m": http({**file, "path": "w"}, to="a/b")}).key != one


def test_named_models_alone_count(tmp_path: Path, server: FaultyServer) -> None:
    """Their order and repetition do not; an optional model counts when it is named."""
    models = {name: http(pinned(server, f"{name}.bin", name.encode())) for name in "abc"}
    models["c"]["optional"] = True
    declare(tmp_path, models)
    lock(tmp_path)
    both = made(tmp_path, models)
    assert made(tmp_path, models, "b", "a", "b") == both
    assert [each.name for each in made(tmp_path, models, "a", "c").models] == ["a", "c"]
    assert len({both.key, made(tmp_path, models, "a").key, made(tmp_path, models, "c").key}) == 3


def test_a_model_that_is_here_counts_no_more_than_elsewhere(
    tmp_path: Path, server: FaultyServer
) -> None:
    """An optional model that was fetched on this machine does not change its key."""
    models = {"a": http(pinned(server)), "b": http(pinned(server, "b.bin"), optional=True)}
    before = made(tmp_path, models).key
    sync(tmp_path)
    receipts = tmp_path / "models/b/.modelmake/receipts"
    receipts.parent.mkdir(parents=True)
    receipts.write_bytes((tmp_path / "models/a/.modelmake/receipts").read_bytes())
    assert cache_key.of_project(project(tmp_path)).key == before


def test_no_lock(tmp_path: Path, server: FaultyServer) -> None:
    """It says so, and which command writes one."""
    declare(tmp_path, {"m": http(pinned(server))})
    with pytest.raises(LockError, match=r"models\.lock is missing") as caught:
        cache_key.of_project(project(tmp_path))
    assert "`doit lock`" in caught.value.hint


def test_a_stale_lock(tmp_path: Path, server: FaultyServer) -> None:
    """The models it is stale for are named; those that are not meant may be stale."""
    models = {"a": http(pinned(server)), "b": http(pinned(server, "b.bin"))}
    lock(tmp_path, models)
    models["b"] = http(pinned(server, "b2.bin"))
    declare(tmp_path, models)
    with pytest.raises(LockError, match="stale for b"):
        cache_key.of_project(project(tmp_path))
    assert cache_key.of_project(project(tmp_path), ["a"]).key


def test_an_unpinned_file(tmp_path: Path, server: FaultyServer) -> None:
    """A key that would stay when the bytes change is none; in CI the hint says how to write."""
    for name in ("1.bin", "2.bin"):
        server.put(f"/{name}", CONTENT)
    lock(tmp_path, {"m": http(server.url("/1.bin"), server.url("/2.bin"))})
    with pytest.raises(LockError, match=r"m/1\.bin and 1 more") as caught:
        cache_key.of_project(project(tmp_path, is_ci=True))
    assert "On your machine: `doit fetch:m`, then commit models.lock." in caught.value.hint


def test_nothing_to_cache(tmp_path: Path, server: FaultyServer) -> None:
    """A key of nothing would name an empty cache: it asks for names."""
    lock(tmp_path, {"m": http(pinned(server), optional=True)})
    with pytest.raises(ModelmakeError, match="no model that is not optional"):
        cache_key.of_project(project(tmp_path))


def test_an_unknown_name(tmp_path: Path, server: FaultyServer) -> None:
    """The models that there are get named."""
    lock(tmp_path, {"m": http(pinned(server))})
    with pytest.raises(ModelmakeError, match="declares no model 'x'"):
        cache_key.of_project(project(tmp_path), ["x"])
