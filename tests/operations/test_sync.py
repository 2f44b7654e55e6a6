"""All models brought up to date at once: who has a turn, and what stops it."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloader import ensure
from downloader.errors import ManifestError, ModelmakeError, NotFound
from downloader.operations.sync import sync_models
from downloader.settings import FILES_AT_ONCE, Settings
from tests.projects import (
    declare,
    http,
    lock,
    locked,
    sync,
)
from tests.servers.exchange import Exchange
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.targets.one_model import BYTES, target


def test_a_failed_file_leaves_the_target_and_the_others_alone(
    tmp_path: Path, server: FaultyServer
) -> None:
    """One 404 is raised after all other files had their turn; nothing of it is left behind."""
    server.put("/b.bin", BYTES)
    with pytest.raises(NotFound, match=r"/a\.bin: not found"):
        sync(tmp_path, {"m": http(server.url("/a.bin"), server.url("/b.bin"))})
    assert not target(tmp_path).exists()
    assert target(tmp_path, "b.bin").read_bytes() == BYTES
    assert locked(tmp_path).files[1].is_pinned


def test_a_current_project_asks_nobody(tmp_path: Path, url: str, server: FaultyServer) -> None:
    """A second sync sends no request and writes nothing, in the lock or beside the targets."""
    sync(tmp_path, {"m": http(url)})
    asked = len(server.requests)
    before = [(each, each.stat().st_mtime_ns) for each in sorted(tmp_path.rglob("*"))]
    sync(tmp_path)
    assert len(server.requests) == asked
    assert [(each, each.stat().st_mtime_ns) for each in sorted(tmp_path.rglob("*"))] == before


def test_optional_models_come_only_when_named(tmp_path: Path, server: FaultyServer) -> None:
    """Without names the optional ones are left alone; with a name only that one is brought."""
    for name in ("a", "b"):
        server.put(f"/{name}", BYTES)
    declare(
        tmp_path,
        {"m": http(server.url("/a")), "more": http(server.url("/b"), optional=True)},
    )
    assert sync_models(None, tmp_path) == {"m": tmp_path / "models/m"}
    assert not (tmp_path / "models/more").exists()
    assert sync_models(["more"], tmp_path) == {"more": tmp_path / "models/more"}
    assert (tmp_path / "models/more/b").read_bytes() == BYTES
    assert sync_models([], tmp_path) == {}


def test_a_name_that_is_not_declared_fetches_nothing(
    tmp_path: Path, url: str, server: FaultyServer
) -> None:
    """A misspelt name among right ones is an error before a byte moves."""
    declare(tmp_path, {"m": http(url)})
    with pytest.raises(ModelmakeError, match="no model 'n'"):
        sync_models(["m", "n"], tmp_path)
    assert not target(tmp_path).exists()


@pytest.fixture
def heard_sigint() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt: a shell's background jobs begin with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_ctrl_c_stops_every_transfer(
    tmp_path: Path, server: FaultyServer, heard_sigint: None
) -> None:
    """Ctrl-C in `ensure` ends within seconds, not when the last byte came."""
    main, paths = os.getpid(), [f"/{number:03}.bin" for number in range(5 * FILES_AT_ONCE)]
    slow = timing.drip(2000, 0.02)  # 100 kB/s: a minute for a file

    asked = itertools.count(1)

    def interrupting(exchange: Exchange, reply: Reply) -> Reply:
        if next(asked) == Settings().connections:  # no more is asked for now
            os.kill(main, signal.SIGINT)
        return slow(exchange, reply)

    for path in paths:
        server.put(path, bytes(6_000_000))
        server.always(path, interrupting)
    lock(tmp_path, {"m": http(*map(server.url, paths))}, is_offline=True)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sync(tmp_path)
    assert time.monotonic() - began < 10
    assert len(server.requests) <= 2 * FILES_AT_ONCE
    assert not any(target(tmp_path, path[1:]).exists() for path in paths)


def test_the_project_is_found_from_a_folder_below(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As git finds its repository; what comes back holds after another chdir."""
    declare(tmp_path, {"m": http(url)})
    below = tmp_path / "src/deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert ensure("m") == tmp_path / "models/m"
    assert target(tmp_path).read_bytes() == BYTES


def test_what_to_do_next_is_a_note_of_the_error(tmp_path: Path, url: str) -> None:
    """Python shows it below the message, as the command line does."""
    declare(tmp_path, {"bge": http(url)})
    with pytest.raises(ModelmakeError) as caught:
        ensure("bgf", folder=tmp_path)
    assert caught.value.__notes__ == [caught.value.hint]
    assert "bge" in caught.value.hint


def test_a_relative_folder_gives_an_absolute_path(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory may change before the path is used."""
    declare(tmp_path, {"m": http(url)})
    monkeypatch.chdir(tmp_path.parent)
    folder = ensure("m", folder=tmp_path.name)
    assert folder == tmp_path / "models/m"
    monkeypatch.chdir("/")
    assert (folder / "a.bin").read_bytes() == BYTES


def test_no_project_names_the_folder_that_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the working directory too, but never above a folder that was named."""
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(ManifestError, match=f"in {tmp_path}/below or above it"):
        ensure("m")
    declare(tmp_path, {"m": {"source": "http", "files": [{"url": "https://h/a"}]}})
    with pytest.raises(ManifestError, match=rf"no models.yaml in {tmp_path}/below\."):
        ensure("m", folder=tmp_path / "below")
