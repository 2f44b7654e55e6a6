"""Archives and locks that may not be unpacked from, and disks that refuse."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from downloader.archive.compression import LimitExceeded, UnsafeArchive
from downloader.errors import BadArchive, DigestMismatch, LockError, ManifestError, StoreError
from downloader.fs import open_file
from downloader.fs.rooted_path import RootedPath
from downloader.fs.scratch import machine
from downloader.targets._archives import Unpacker
from downloader.targets.engine import Engine
from tests.e2e.together.projects import (
    ARCHIVE,
    DOWNLOAD,
    LORA_FILES,
    bot,
    files,
    locked_archives,
    private_files,
    serve,
    sync,
    sync_adapter,
)
from tests.projects import declare, edit_lock, lock_saying, project, sha256
from tests.projects import sync as sync_all
from tests.servers.together.archives import lora_archive
from tests.servers.together.server import TogetherServer

MEMBER = '{"path":"tokenizer.json"'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((MEMBER, '{"path":"../evil"'), "not a safe path"),
        ((MEMBER, '{"path":"/etc/evil"'), "not a safe path"),
        ((MEMBER, '{"path":".modelmake/receipts"'), "not a safe path"),
        ((MEMBER, '{"path":"Tokenizer_config.json"'), "would be one place"),
        (('"archive":"', '"archive":"x'), "not in the list of archives"),
        ((', "archives": [', ', "archives": [], "x": ['), "cannot be read"),
        ((MEMBER, f'{MEMBER},"url":"https://evil.example/x"'), "a field of a file"),
        ((MEMBER, f'{MEMBER},"md5":"{"0" * 32}"'), "a field of a file"),
        ((MEMBER, f'{MEMBER},"etag":"x"'), "a field of a file"),
        ((MEMBER, f'{MEMBER},"into":"x"'), "into is for archives only"),
        (('"checkpoint":', '"url":"https://evil.example/x","checkpoint":'), "list of archives"),
        (('"source": "together"', '"source": "http"'), "its source differs"),
    ],
)
def test_a_list_of_files_that_was_tampered_with_is_refused(
    tmp_path: Path, together: TogetherServer, change: tuple[str, str], said: str
) -> None:
    """No path in models.lock leads out of the folder, and each file is of an archive in it."""
    sync_adapter(tmp_path)
    edit_lock(tmp_path, *change)
    with pytest.raises(LockError, match=said):
        project(tmp_path).models()


@pytest.mark.parametrize("change", ["digest", "missing", "renamed"])
def test_a_list_that_the_archive_does_not_give_is_refused(
    tmp_path: Path, together: TogetherServer, change: str
) -> None:
    """Another digest, a file too few or of another name: told, and nothing is put in place."""
    sync_adapter(tmp_path)
    member = next(
        each
        for each in project(tmp_path).lockfile.models["m"].files
        if each.path == "tokenizer.json"
    )
    if change == "digest":
        edit_lock(tmp_path, str(member.sha256), "0" * 64)
    elif change == "renamed":
        edit_lock(tmp_path, MEMBER, '{"path":"other.json"')
    else:
        text = (tmp_path / "models.lock").read_text().splitlines(keepends=True)
        (tmp_path / "models.lock").write_text("".join(e for e in text if MEMBER not in e))
        (tmp_path / "models/m/adapter_config.json").unlink()
    before = {path: (tmp_path / "models/m" / path).read_bytes() for path in files(tmp_path)}
    with pytest.raises(DigestMismatch, match="unpacks to other files"):
        sync_adapter(tmp_path)

    after = {path: (tmp_path / "models/m" / path).read_bytes() for path in files(tmp_path)}
    assert after == before


UNSAFE: list[dict[str, bytes]] = [
    {"a": b"1", "../evil": b"2"},
    {"a": b"1", "/evil": b"2"},
    {"a": b"1", ".modelmake/receipts": b"2"},
    {"a": b"1", "x/../../evil": b"2"},
    {"a": b"1", "A": b"2"},
    {"a": b"1", "con": b"2"},
]


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("content", UNSAFE, ids=lambda content: "-".join(content)[:30])
def test_an_archive_that_may_not_be_unpacked_is_not_fetched_again(
    tmp_path: Path, together: TogetherServer, content: dict[str, bytes], keeps: bool
) -> None:
    """Whatever it names: no file of it in place, none outside; and it is whole, so it stays."""
    serve(together, content)
    home = tmp_path / "home"
    home.mkdir()
    for _ in range(2):
        with pytest.raises(UnsafeArchive) as caught:
            sync_adapter(home, keep_archive=keeps)

    assert "`extract: false`" in caught.value.hint
    assert whole_downloads(together) == 1
    assert files(home) == ({ARCHIVE} if keeps else set())
    assert {each.name for each in tmp_path.iterdir()} == {"home"}
    assert {each.name for each in home.iterdir()} <= {
        ".modelmake",
        "models",
        "models.lock",
        "models.yaml",
    }
    assert not [each for each in private_files(home) if each.startswith("unpacking/")]
    assert locked_archives(home)[0].is_pinned


@pytest.mark.parametrize("content", [{}, b"none", lora_archive(20)[:-9]], ids=["0", "none", "cut"])
def test_a_damaged_archive_leaves_nothing(
    tmp_path: Path, together: TogetherServer, content: Any
) -> None:
    """It is set aside and not pinned, since the next one may be whole."""
    serve(together, content)
    with pytest.raises(BadArchive) as caught:
        sync_adapter(tmp_path)

    assert "set aside" in caught.value.hint
    assert not files(tmp_path)
    assert not locked_archives(tmp_path)[0].is_pinned


@pytest.mark.parametrize(
    ("refused", "way"),
    [
        ({}, {"unpack_limits": 1000}),
        ({"keep_archive": False}, {"keep_archive": False, "unpack_limits": 1000}),
        ({}, {"extract": False}),
        ({"keep_archive": False}, {"extract": False}),
        ({"keep_archive": False}, {"unpack_limits": 1000}),
    ],
)
def test_each_way_out_that_a_limit_names_needs_no_second_download(
    tmp_path: Path, together: TogetherServer, refused: dict[str, Any], way: dict[str, Any]
) -> None:
    """What was refused for its ratio is unpacked, or kept packed, from where it is."""
    zeros = bytes(12_000_000)
    serve(together, {"zeros.bin": zeros})
    with pytest.raises(LimitExceeded, match="more than 200 times its size") as caught:
        sync_adapter(tmp_path, **refused)
    assert "`unpack_limits: 10`" in caught.value.hint
    assert "`extract: false`" in caught.value.hint
    sync_adapter(tmp_path, **way)

    unpacked = way.get("extract", True)
    kept = {ARCHIVE} if way.get("keep_archive", True) else set()
    assert files(tmp_path) == kept | ({"zeros.bin"} if unpacked else set())
    assert whole_downloads(together) == 1
    assert private_files(tmp_path) == {"receipts"}


def whole_downloads(together: TogetherServer) -> int:
    """Return how many requests asked for a whole archive; `doit lock` asks for two bytes."""
    asked = [seen.headers for seen in together.requests if seen.path == DOWNLOAD]
    return len([headers for headers in asked if "Range" not in headers])


@pytest.mark.parametrize(
    ("content", "keys", "said"),
    [
        ({"a": b"1"}, {"include": ["*.safetensor"]}, "leave none of the archive's files"),
        ({"a": b"1", ARCHIVE: b"2"}, {}, "holds a file of its own name"),
    ],
)
def test_a_good_archive_stays_where_the_entry_does_not_fit_it(
    tmp_path: Path, together: TogetherServer, content: dict[str, bytes], keys: Any, said: str
) -> None:
    """What models.yaml can mend is its error; the archive stays pinned and is not fetched again."""
    serve(together, content)
    for _ in range(2):
        with pytest.raises(ManifestError, match=said):
            sync_adapter(tmp_path, **keys)
        asked = len(together.requests)

    assert files(tmp_path) == {ARCHIVE}
    assert private_files(tmp_path) == {"receipts"}
    assert locked_archives(tmp_path)[0].is_pinned
    exclude = {"exclude": [ARCHIVE]} if ARCHIVE in content else {}
    sync_adapter(tmp_path, **exclude)
    assert len([each for each in together.requests[asked:] if "Range" not in each.headers]) == 1


def test_an_archive_that_stays_packed_may_hold_anything(
    tmp_path: Path, together: TogetherServer
) -> None:
    """Members that would not be unpacked are no damage: it is kept, and its kind is not told."""
    serve(together, {"a": b"1", "../evil": b"2"})
    sync(tmp_path, type="adapter")

    assert files(tmp_path) == {ARCHIVE}
    assert locked_archives(tmp_path)[0].is_pinned
    assert locked_archives(tmp_path)[0].checkpoint.came is None


def test_something_in_the_way_is_told(tmp_path: Path, together: TogetherServer) -> None:
    """A folder where a file goes stops that, and the archive that came is not lost."""
    (tmp_path / "models/m/tokenizer.json/x").mkdir(parents=True)
    with pytest.raises(StoreError, match="is a folder"):
        sync_adapter(tmp_path, keep_archive=False)
    shutil.rmtree(tmp_path / "models/m/tokenizer.json")
    asked = len(together.requests)
    sync_adapter(tmp_path, keep_archive=False)

    assert len(together.requests) == asked
    assert files(tmp_path) == LORA_FILES


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path, together: TogetherServer) -> None:
    """The error names it; nothing else is touched."""
    serve(together, {"a/b.bin": b"1", "c.bin": b"2"})
    (tmp_path / "models/m").mkdir(parents=True)
    (tmp_path / "models/m/a").write_text("mine")
    with pytest.raises(StoreError, match="models/m/a"):
        sync_adapter(tmp_path)

    assert (tmp_path / "models/m/a").read_text() == "mine"


def test_a_full_disk_is_one_clear_error(
    tmp_path: Path, together: TogetherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC while unpacking: no half of it stays, the archive does, and the next run ends it."""
    pwrite = os.pwrite

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        if "/unpacking/" not in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            return pwrite(descriptor, data, offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(open_file, "_pwrite", full)
        with pytest.raises(StoreError, match="No space left on device"):
            sync_adapter(tmp_path, keep_archive=False)
    assert not files(tmp_path)
    assert not [each for each in private_files(tmp_path) if each.startswith("unpacking/")]
    asked = len(together.requests)
    sync_adapter(tmp_path, keep_archive=False)
    assert len(together.requests) == asked
    assert files(tmp_path) == LORA_FILES


def test_a_stop_while_files_are_placed_keeps_the_archive(
    tmp_path: Path, together: TogetherServer
) -> None:
    """What is not in place yet needs it: the next run does not fetch it again."""
    sync_adapter(tmp_path, keep_archive=False)
    for path in LORA_FILES:
        (tmp_path / "models/m" / path).unlink()
    here = project(tmp_path)
    syncer = Engine(here)
    syncer.sync("m", "tokenizer.json")
    syncer.interrupt()
    syncer.close()
    asked = len(together.requests)
    assert files(tmp_path) == {"tokenizer.json"}
    sync_adapter(tmp_path, keep_archive=False)

    assert len(together.requests) == asked
    assert private_files(tmp_path) == {"receipts"}


def test_one_bad_archive_stops_no_other(tmp_path: Path, together: TogetherServer) -> None:
    """Two models, one of them refused: the other is there, and the error is told at the end."""
    together.add_job("ft-00", checkpoints={1: {"merged": b"no archive"}})
    with pytest.raises(BadArchive):
        sync_all(tmp_path, {"a": bot(job="ft-00"), "b": bot(extract=True)})

    assert "config.json" in files(tmp_path, "b")


def test_what_two_processes_do_at_once_is_whole(tmp_path: Path, together: TogetherServer) -> None:
    """Both unpack for themselves, and end with the same files."""
    declare(tmp_path, {"m": bot(type="adapter", extract=True)})
    one, other = project(tmp_path), project(tmp_path)
    for each in (one, other):
        lock_saying(each)
    syncers = [Engine(each) for each in (one, other)]
    for syncer in syncers:
        syncer.sync("m", ARCHIVE)
    for syncer in syncers:
        syncer.close()

    assert files(tmp_path) == LORA_FILES | {ARCHIVE}
    assert sha256((tmp_path / "models/m" / ARCHIVE).read_bytes()) == sha256(lora_archive(20))
    assert not [each for each in private_files(tmp_path) if "unpacking" in each]


def test_what_a_killed_run_left_is_removed_by_the_next_sync(
    tmp_path: Path, together: TogetherServer
) -> None:
    """All was in place when it was killed: not by a run with nothing to do, by one that looks."""
    sync_adapter(tmp_path, keep_archive=False)
    private = tmp_path / "models/m/.modelmake"
    left = [private / "archives" / ARCHIVE, private / f"unpacking/{machine()}-999999999-aa/x"]
    for each in left:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_bytes(b"left")
    sync_adapter(tmp_path, keep_archive=False)
    assert all(each.exists() for each in left)
    os.utime(tmp_path / "models/m/tokenizer.json", (1, 1))
    sync_adapter(tmp_path, keep_archive=False)

    assert private_files(tmp_path) == {"receipts"}


def test_an_archive_that_another_process_removes_is_had_once_more(
    tmp_path: Path, together: TogetherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its fetch and its unpacking somebody else had all files in place."""
    stage, taken = Unpacker.stage, list[RootedPath]()

    def stolen(self: Any, name: str, archive: Any, file: RootedPath, observer: Any) -> Any:
        if not taken:
            taken.append(file)
            file.remove()
        return stage(self, name, archive, file, observer)

    monkeypatch.setattr(Unpacker, "stage", stolen)
    sync_adapter(tmp_path, keep_archive=False)
    assert files(tmp_path) == LORA_FILES


def test_another_machines_unpacking_is_left_alone(tmp_path: Path, together: TogetherServer) -> None:
    """On a shared disk a process's number says nothing of another machine's; our dead ones go."""
    base = tmp_path / "models/m/.modelmake/unpacking"
    ours, theirs = base / f"{machine()}-999999999-aa", base / "abcdef-999999999-aa"
    same_number = base / f"{machine()}-{os.getpid()}-aa"
    for each in (ours, theirs, same_number):
        each.mkdir(parents=True)
    sync_adapter(tmp_path)

    assert not ours.exists()
    assert not same_number.exists()
    assert theirs.exists()
