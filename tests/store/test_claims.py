"""Who fetches which bytes: one of all threads and processes, however it ends."""

import errno
import fcntl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from downloader.errors import Interrupted, Stop
from downloader.fs import locks
from downloader.fs.rooted_path import RootedPath
from downloader.store import claims
from downloader.store.claims import NOTED_BYTES, Claims, noted_path
from tests.e2e.watching import wait_until

DIGEST, OTHER = "ab" * 32, "cd" * 32
LOOK_SECONDS = 0.3
"""How long somebody is watched who is to wait."""
HOLDER = """
import sys
from pathlib import Path
from downloader.errors import Stop
from downloader.fs.rooted_path import RootedPath
from downloader.store.claims import Claims
with Claims(RootedPath(Path(sys.argv[1])), Stop()).claimed(
    sys.argv[2], RootedPath.of(Path(sys.argv[3])), None, print
):
    print("has it", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test be the first to warn."""
    monkeypatch.setattr(locks, "_warned", threading.Lock())


@contextmanager
def held(folder: Path, partial: Path = Path("partial")) -> Iterator["subprocess.Popen[str]"]:
    """Have another process hold the claim on DIGEST."""
    command = [sys.executable, "-c", HOLDER, str(folder), DIGEST, str(partial)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        try:
            yield process
        finally:
            process.kill()


def claimed(
    folder: Path, stop: Stop | None = None, said: list[str] | None = None, **more: str
) -> threading.Event:
    """Claim DIGEST and give it up; returns a set event."""
    done = threading.Event()
    own = Claims(RootedPath.of(folder), stop or Stop())
    notice = (said if said is not None else []).append
    with own.claimed(more.get("sha256", DIGEST), RootedPath.of(folder / "ours"), 100, notice):
        done.set()
    return done


def test_two_threads_have_it_one_after_the_other(tmp_path: Path) -> None:
    """Also where they belong to two runs of one process: its locks would not keep these apart."""
    own = Claims(RootedPath.of(tmp_path), Stop())
    with ThreadPoolExecutor(1) as pool:
        with own.claimed(DIGEST, RootedPath.of(tmp_path / "p"), 1, print):
            waiting = pool.submit(claimed, tmp_path)
            with pytest.raises(TimeoutError):
                waiting.result(LOOK_SECONDS)
        assert waiting.result().is_set()


def test_other_bytes_are_not_waited_for(tmp_path: Path) -> None:
    """A claim is on one digest."""
    with held(tmp_path):
        assert claimed(tmp_path, sha256=OTHER).is_set()


def test_a_process_is_waited_for(tmp_path: Path) -> None:
    """Until it gives the claim up."""
    with held(tmp_path) as process, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(claimed, tmp_path)
        assert not waiting.done()
        assert process.stdin is not None
        process.stdin.close()
        assert waiting.result().is_set()


def test_a_killed_process_is_followed(tmp_path: Path) -> None:
    """Its claim is gone with it, and what it noted is no hindrance."""
    with held(tmp_path) as process:
        process.kill()
        process.wait()
        assert (tmp_path / "growing" / DIGEST).exists()
        assert claimed(tmp_path).is_set()


def test_ctrl_c_ends_the_wait(tmp_path: Path) -> None:
    """Whoever waits when the run is stopped ends at once."""
    stop = Stop()
    with held(tmp_path), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(claimed, tmp_path, stop)
        stop.set()
        with pytest.raises(Interrupted):
            waiting.result()


@pytest.mark.parametrize("is_large", [True, False])
def test_a_long_wait_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """One line says so, whether a file is seen to grow or not; its name is noise."""
    monkeypatch.setattr(locks, "QUIET_SECONDS", 0.0)
    said = list[str]()
    partial = tmp_path / ".modelmake" / "partials" / "growing.part"
    with held(tmp_path, partial) as process, ThreadPoolExecutor(1) as pool:
        if not is_large:
            (tmp_path / "growing" / DIGEST).unlink()
        waiting = pool.submit(claimed, tmp_path, None, said)
        wait_until(lambda: bool(said))
        process.kill()
        waiting.result()

    assert said == ["waiting for another process that is downloading it"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"/etc/passwd",
        b".modelmake/partials/a.part",
        b"/m/.modelmake/partials/a.journal",
        b"/m/.modelmake/partials/../../x.part",
        b"/m/../.modelmake/partials/a.part",
        b"/m/.modelmake/partials/\x1b[2Ja.part",
        b"/m/.modelmake/partials/a\0.part",
        b"/m/.modelmake/partials/\xff.part",
    ],
)
def test_a_note_that_names_no_partial_is_not_believed(text: bytes) -> None:
    """What it names would be opened, locked and shown."""
    assert noted_path(text) is None
    assert str(noted_path(b"/m/.modelmake/partials/a.part")) == "/m/.modelmake/partials/a.part"


def test_a_long_wait_for_a_thread_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of one run with the same bytes: the second says once why it does not begin."""
    monkeypatch.setattr(locks, "QUIET_SECONDS", 0.0)
    own, said = Claims(RootedPath.of(tmp_path), Stop()), list[str]()
    with ThreadPoolExecutor(1) as pool:
        with own.claimed(DIGEST, RootedPath.of(tmp_path / "p"), 1, print):
            waiting = pool.submit(claimed, tmp_path, None, said)
            wait_until(lambda: bool(said))
        waiting.result()
    assert said == ["waiting for another file of this run with the same bytes"]


def test_a_holder_that_stands_still_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers of network disks keep the locks of machines that are gone."""
    monkeypatch.setattr(locks, "STILL_SECONDS", 0.0)
    with held(tmp_path):
        assert claimed(tmp_path).is_set()


def test_useless_locks_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fetches for itself then."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    said = list[str]()
    for _ in range(2):
        assert claimed(tmp_path, said=said).is_set()
    assert len(said) == 1
    assert "locks do not work" in said[0]


def test_a_claim_leaves_no_file_of_its_own(tmp_path: Path) -> None:
    """There is one file for all, and a note only while a large file is fetched."""
    with Claims(RootedPath.of(tmp_path), Stop()).claimed(
        DIGEST, RootedPath.of(tmp_path / "p"), NOTED_BYTES, print
    ):
        assert (tmp_path / "growing" / DIGEST).read_text() == str(tmp_path / "p")
    claimed(tmp_path)

    assert sorted(each.name for each in tmp_path.rglob("*")) == ["claims", "growing"]


def test_a_forked_process_has_claims_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its parent holds is not held by it, whatever it took over of its memory."""
    ours = claims._claims_of(RootedPath.of(tmp_path))
    monkeypatch.setattr("downloader.store.claims.os.getpid", lambda: -1)

    assert claims._claims_of(RootedPath.of(tmp_path)) is not ours
