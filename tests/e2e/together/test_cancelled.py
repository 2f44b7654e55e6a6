"""A run from Python that is cancelled while an archive still waits for its turn."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from downloader import Progress
from downloader import sync as sync_from_python
from downloader.operations import sync as python_api
from downloader.operations._pool import FilePool
from downloader.targets._archives import ArchiveSyncer
from tests.e2e.together.projects import bot, files
from tests.projects import sync
from tests.servers.together.server import TogetherServer

SECONDS = 20.0


class Enough(Exception):  # noqa: N818
    """What the callback raises."""


class OneByOne(FilePool):
    """Tells when a second file waits for its turn, and when it was cancelled."""

    one_waits, is_cancelled = threading.Event(), threading.Event()

    def submit(self, *args: Any, **named: Any) -> Future[Any]:
        """See above."""
        future = super().submit(*args, **named)
        if self._working and self._waiting:
            self.one_waits.set()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See above."""
        had_waiting = bool(self._waiting)
        super().shutdown(wait=wait, cancel_futures=cancel_futures)
        if had_waiting:
            self.is_cancelled.set()


def ended(folder: Path) -> type[BaseException] | None:
    """Cancel a run once an archive waits, and return what was raised; None: it did not end."""
    raised = list[type[BaseException]]()

    def cancelling(_: Progress) -> None:
        assert OneByOne.one_waits.wait(SECONDS)
        raise Enough

    def run() -> None:
        try:
            sync_from_python(folder=folder, progress=cancelling)
        except BaseException as error:  # noqa: BLE001 - the test judges it
            raised.append(type(error))

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(SECONDS)
    return raised[0] if raised else None


def test_what_waits_for_its_turn_does_not_hold_the_end_up(
    tmp_path: Path, together: TogetherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that never got its turn is not waited for, and the error is the callback's."""
    entry = bot(type="adapter", extract=True, keep_archive=False)
    sync(tmp_path, {"m": entry, "n": entry})
    for name in ("m", "n"):
        for path in files(tmp_path, name):
            (tmp_path / "models" / name / path).unlink()

    def held(*_: Any, **__: Any) -> Any:
        assert OneByOne.is_cancelled.wait(SECONDS)
        raise Enough

    monkeypatch.setattr(ArchiveSyncer, "_have", held)
    monkeypatch.setattr(python_api, "FilePool", OneByOne)
    monkeypatch.setattr(python_api, "FILES_AT_ONCE", 1)

    assert ended(tmp_path) is Enough
    assert not files(tmp_path)
