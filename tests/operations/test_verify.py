"""Every file read again: what is told of each."""

import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from downloader.errors import Interrupted, Stop
from downloader.fs import piece_check
from downloader.fs.merkle import BLOCK_BYTES
from downloader.fs.open_file import refused
from downloader.operations.verify import FileCheck, verify
from downloader.progress.tracker import Run
from downloader.targets import state as receipts
from tests.fs.test_merkle import content, of
from tests.projects import checked, http, lock, project, sha256

BYTES = b"weights"
URL = "http://127.0.0.1:9"


def judged(folder: Path) -> list[FileCheck]:
    return checked(project(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a project with one pinned file, the bytes of which are right."""
    lock(tmp_path, {"m": http({"url": f"{URL}/a.bin", "sha256": sha256(BYTES)})}, is_offline=True)
    (tmp_path / "models/m").mkdir(parents=True)
    (tmp_path / "models/m/a.bin").write_bytes(BYTES)
    return tmp_path


def verdict(folder: Path) -> tuple[str, int, bool]:
    (found,) = judged(folder)
    assert (found.model, found.path) == ("m", "a.bin")
    return found.state, found.size, found.is_bad


def test_the_right_bytes_are_ok(folder: Path, no_sockets: None) -> None:
    """A file is judged by its bytes alone: it needs no receipt and no network."""
    assert verdict(folder) == ("ok", len(BYTES), False)


@pytest.mark.parametrize("content", [BYTES[::-1], b"", BYTES + b"more"])
def test_other_bytes_are_changed(folder: Path, content: bytes) -> None:
    """One wrong byte, none at all or some too many make a file bad."""
    (folder / "models/m/a.bin").write_bytes(content)
    assert verdict(folder) == ("changed", len(content), True)


def test_rot_that_changed_neither_size_nor_mtime_is_found(folder: Path) -> None:
    """The bytes are read even where the stat says that nothing happened."""
    target = folder / "models/m/a.bin"
    status = target.stat()
    target.write_bytes(BYTES[::-1])
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert verdict(folder)[0] == "changed"


def test_a_file_that_is_not_there_is_missing(folder: Path) -> None:
    """A target that is gone is bad, with no size."""
    (folder / "models/m/a.bin").unlink()
    assert verdict(folder) == ("missing", 0, True)


def test_a_folder_in_its_place_is_of_the_wrong_kind(folder: Path) -> None:
    """A folder is no file."""
    (folder / "models/m/a.bin").unlink()
    (folder / "models/m/a.bin").mkdir()
    state, _, is_bad = verdict(folder)
    assert (state, is_bad) == ("wrong kind", True)


@pytest.mark.parametrize("leads_to", ["right", "nowhere"])
def test_a_link_in_its_place_is_of_the_wrong_kind(folder: Path, leads_to: str) -> None:
    """A symlink is told as such, wherever it leads; it is never followed."""
    (folder / "right").write_bytes(BYTES)
    (folder / "models/m/a.bin").unlink()
    try:
        (folder / "models/m/a.bin").symlink_to(folder / leads_to)
    except OSError:
        pytest.skip("symlinks are not allowed here")
    assert verdict(folder)[0] == "wrong kind"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_its_place_does_not_hang(folder: Path) -> None:
    """A named pipe is not opened, since nobody may ever write to it."""
    (folder / "models/m/a.bin").unlink()
    os.mkfifo(folder / "models/m/a.bin")
    assert verdict(folder)[0] == "wrong kind"


def test_a_file_nothing_is_known_of_is_unpinned(tmp_path: Path) -> None:
    """Without a digest no bytes can be called right; a missing file is missing all the same."""
    lock(tmp_path, {"m": http(f"{URL}/a.bin", f"{URL}/b.bin")}, is_offline=True)
    (tmp_path / "models/m").mkdir(parents=True)
    (tmp_path / "models/m/a.bin").write_bytes(BYTES)
    assert [each.state for each in judged(tmp_path)] == ["unpinned", "missing"]
    assert all(each.is_bad for each in judged(tmp_path))


def test_verdicts_come_in_the_order_of_the_models(tmp_path: Path) -> None:
    """However long each file takes, the verdicts come in one order."""
    files = [{"url": f"{URL}/{name}", "sha256": sha256(BYTES)} for name in "abcdefgh"]
    lock(tmp_path, {"n": http(*files), "m": http(*files)}, is_offline=True)
    for model in ("m", "n"):
        (tmp_path / "models" / model).mkdir(parents=True)
        for name in "abcdefgh":
            (tmp_path / "models" / model / name).write_bytes(BYTES)
    assert [(each.model, each.path, each.state) for each in judged(tmp_path)] == [
        (model, name, "ok") for model in ("n", "m") for name in "abcdefgh"
    ]


def test_the_largest_is_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So no core stands idle at the end while the last large file is read."""
    files = [{"url": f"{URL}/{name}", "sha256": sha256(BYTES)} for name in "abc"]
    lock(tmp_path, {"m": http(*files)}, is_offline=True)
    (tmp_path / "models/m").mkdir(parents=True)
    for name, count in (("a", 2), ("b", 9), ("c", 5)):
        (tmp_path / "models/m" / name).write_bytes(BYTES * count)
    read: list[str] = []
    monkeypatch.setattr("downloader.operations.verify.cores", lambda: 1)

    def noted(path: Path, _: object) -> str:
        read.append(path.name)
        return sha256(BYTES)

    monkeypatch.setattr("downloader.operations.verify.sha256_of", noted)
    judged(tmp_path)
    assert read == ["b", "c", "a"]


def test_a_file_that_cannot_be_read_is_told_as_such(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a bad disk, or a permission, refuses is neither right nor changed."""

    def refuse(*_: object) -> str:
        raise refused(PermissionError(13, "Permission denied"), "read", folder)

    monkeypatch.setattr("downloader.operations.verify.sha256_of", refuse)
    (found,) = judged(folder)
    assert (found.state, found.is_bad) == ("unreadable", True)
    assert found.line == "unreadable: m/a.bin cannot be read: Permission denied"


def test_a_file_replaced_while_it_was_read_is_not_noted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt is of the bytes that were hashed; what stands there now was not."""
    target = folder / "models/m/a.bin"

    def replaced(path: Path, _: object) -> str:
        (folder / "other").write_bytes(BYTES)
        shutil.copystat(path, folder / "other")
        (folder / "other").replace(path)
        return sha256(BYTES)

    monkeypatch.setattr("downloader.operations.verify.sha256_of", replaced)
    assert verdict(folder)[0] == "ok"
    assert target.exists()
    assert not receipts.load_receipts(folder / "models/m")


def test_a_set_stop_ends_the_reading(folder: Path) -> None:
    """Who asks for the end gets it before the next bytes are hashed."""
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        checked(project(folder), stop)


def test_a_set_stop_starts_no_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of stretches of a large file may still wait for a thread."""
    (folder / "models/m/a.bin").write_bytes(content(9 * BLOCK_BYTES))
    layer = replace(of(content(9 * BLOCK_BYTES), BLOCK_BYTES), is_proof=True)
    started: list[object] = []

    def start(*_: object, **__: object) -> object:
        started.append(None)
        raise BlockingIOError

    monkeypatch.setattr("subprocess.Popen", start)
    monkeypatch.setattr(piece_check, "PROCESS_BYTES", 1)
    monkeypatch.setattr("downloader.operations.verify.cores", lambda: 2)
    stop, models = Stop(), list(project(folder).models())
    (right,) = verify(models, Run().reading("verifying"), stop, lambda _: layer)
    assert right.state == "ok"
    assert started or os.name != "posix"
    started.clear()
    stop.set()
    with pytest.raises(Interrupted):
        verify(models, Run().reading("verifying"), stop, lambda _: layer)
    assert not started


def test_a_stop_ends_the_search_for_wrong_pieces(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong file is read once more to tell where it is wrong; that may take as long."""
    (folder / "models/m/a.bin").write_bytes(content(9 * BLOCK_BYTES))
    layer, stop = of(content(9 * BLOCK_BYTES), BLOCK_BYTES), Stop()

    def stopped_at_the_end(*_: object) -> str:
        stop.set()
        return sha256(BYTES[::-1])

    monkeypatch.setattr("downloader.operations.verify.sha256_of", stopped_at_the_end)
    with pytest.raises(Interrupted):
        verify(list(project(folder).models()), Run().reading("verifying"), stop, lambda _: layer)
