"""Whose turn it is while an archive is on its way."""

import threading
from pathlib import Path
from typing import Any

import pytest

from downloader.settings import FILES_AT_ONCE
from downloader.targets._archives import ArchiveSyncer
from tests.e2e.together.projects import bot, files, serve, sync_adapter
from tests.projects import http, lock
from tests.projects import sync as sync_all
from tests.servers.exchange import Exchange
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.servers.together.server import TogetherServer


def test_the_files_of_one_archive_take_no_turns_of_others(
    tmp_path: Path, together: TogetherServer, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More files than threads wait for their archive, and another model's file comes meanwhile."""
    serve(together, {f"{number}.bin": b"1" for number in range(2 * FILES_AT_ONCE)})
    sync_adapter(tmp_path, keep_archive=False)
    for path in files(tmp_path):
        (tmp_path / "models/m" / path).unlink()
    came, has_begun = threading.Event(), threading.Event()
    have = ArchiveSyncer._have

    def waiting(*args: Any, **keys: Any) -> Any:
        has_begun.set()
        assert came.wait(10), "the other model's file had no turn"
        return have(*args, **keys)

    def answer(_: Exchange, reply: Reply) -> Reply:
        has_begun.wait(10)
        came.set()
        return reply

    monkeypatch.setattr(ArchiveSyncer, "_have", waiting)
    server.put("/a.bin", b"weights")
    adapter = bot(type="adapter", extract=True, keep_archive=False)
    lock(tmp_path, {"m": adapter, "other": http(server.url("/a.bin"))})
    server.always("/a.bin", answer)
    sync_all(tmp_path)
    assert files(tmp_path, "other") == {"a.bin"}
