"""The progress callback of `ensure` and `sync`: what it is told, by whom, and where it may fail."""

import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader import Progress, ensure, sync
from downloader.errors import ModelmakeError, NotFound
from downloader.progress import callbacks
from downloader.progress.events import Done
from downloader.progress.tracker import Run
from tests.e2e.content import bytes_of
from tests.projects import declare, http, lock, sha256
from tests.servers.faults import honest, statuses, timing
from tests.servers.faulty import FaultyServer

LARGE = bytes_of("large", 3_000_000)


@pytest.fixture
def heard() -> list[Progress]:
    """Give the list that a test hands to `sync` as `heard.append`."""
    return []


def of_path(heard: list[Progress], path: str) -> list[Progress]:
    """Return what was told of one file."""
    return [event for event in heard if event.path == path]


def test_each_file_is_told_from_beginning_to_end(
    tmp_path: Path, server: FaultyServer, heard: list[Progress]
) -> None:
    """Expected, start, movement and done, with what is there of how much; never past the total."""
    server.put("/large", LARGE)
    server.always("/large", timing.drip(30_000, 0.01))
    server.put("/small", b"small")
    lock(tmp_path, {"m": http(server.url("/large"), server.url("/small"))})
    sync(folder=tmp_path, progress=heard.append)

    large = of_path(heard, "large")
    kinds = [event.kind for event in large]
    assert kinds[:2] == ["expected", "start"]
    assert kinds[-1] == "done"
    assert set(kinds[2:-1]) == {"progress"}
    assert {event.total_bytes for event in large} == {len(LARGE)}
    counts = [event.done_bytes for event in large]
    assert counts == sorted(counts)
    assert counts[-1] == len(LARGE)
    assert [event.kind for event in of_path(heard, "small") if event.kind != "progress"] == [
        "expected",
        "start",
        "done",
    ]
    assert {event.model for event in heard} == {"m"}


def test_it_is_called_in_the_thread_of_the_caller(tmp_path: Path, server: FaultyServer) -> None:
    """Whatever thread that is; so a callback needs no lock."""
    server.put("/a", b"a")
    declare(tmp_path, {"m": http(server.url("/a"))})
    threads = set[threading.Thread]()
    caller = threading.Thread(
        target=sync,
        kwargs={
            "folder": str(tmp_path),
            "progress": lambda _: threads.add(threading.current_thread()),
        },
    )
    caller.start()
    caller.join()

    assert threads == {caller}


def test_nothing_to_do_is_told_by_silence(
    tmp_path: Path, server: FaultyServer, heard: list[Progress]
) -> None:
    """A model that is up to date has no event."""
    server.put("/a", b"a")
    declare(tmp_path, {"m": http(server.url("/a"))})
    ensure("m", folder=tmp_path)
    ensure("m", folder=tmp_path, progress=heard.append)

    assert heard == []


def test_a_file_that_is_only_read_again_is_done(
    tmp_path: Path, server: FaultyServer, heard: list[Progress]
) -> None:
    """Where the right bytes are there already no start is told: none came."""
    server.put("/a", b"abc")
    declare(tmp_path, {"m": http(server.url("/a"))})
    target = ensure("m", folder=tmp_path) / "a"
    target.write_bytes(target.read_bytes())
    ensure("m", folder=tmp_path, progress=heard.append)

    assert [(event.kind, event.done_bytes) for event in heard] == [("expected", 0), ("done", 3)]


def test_a_retry_tells_its_cause(
    tmp_path: Path, server: FaultyServer, heard: list[Progress]
) -> None:
    """A server that is busy once is a `retry` with its reason, and the file is done after it."""
    server.put("/a", b"abc")
    lock(tmp_path, {"m": http(server.url("/a"))})
    server.script("/a", statuses.busy("1"))
    sync(folder=tmp_path, progress=heard.append)

    (retry,) = [event for event in heard if event.kind == "retry"]
    assert "503" in retry.text
    assert heard[-1].kind == "done"


def test_every_failure_is_told_and_kept(
    tmp_path: Path, server: FaultyServer, heard: list[Progress]
) -> None:
    """The error raised has all others by MODEL/PATH, as the callback had; the rest is fetched."""
    server.put("/b", b"b")
    files = [server.url(f"/{name}") for name in "abc"]
    declare(tmp_path, {"m": http(*files), "n": http(server.url("/d"))})
    with pytest.raises(NotFound) as caught:
        sync(folder=tmp_path, progress=heard.append)

    failures = caught.value.failures
    assert sorted(failures) == ["m/a", "m/c", "n/d"]
    assert next(iter(failures.values())) is caught.value
    assert {
        f"{event.model}/{event.path}": event.text for event in heard if event.kind == "failed"
    } == {name: str(error) for name, error in failures.items()}
    *others, hint = caught.value.__notes__
    assert [note.split(":")[0] for note in others] == ["m/c", "n/d"]
    assert hint == caught.value.hint
    assert (tmp_path / "models/m/b").read_bytes() == b"b"


def test_an_error_is_whole_in_another_process(tmp_path: Path, server: FaultyServer) -> None:
    """Pickled, as between worker processes, it keeps text, hint and failures."""
    declare(tmp_path, {"m": http(server.url("/a"), server.url("/b"))})
    with pytest.raises(NotFound) as caught:
        sync(folder=tmp_path)
    copy = pickle.loads(pickle.dumps(caught.value))

    assert (str(copy), copy.hint) == (str(caught.value), caught.value.hint)
    assert copy.report() == caught.value.report()
    assert [*map(str, copy.failures.values())] == [*map(str, caught.value.failures.values())]


def test_many_failures_do_not_fill_the_screen(tmp_path: Path, server: FaultyServer) -> None:
    """A traceback names ten others and counts the rest."""
    declare(tmp_path, {"m": http(*(server.url(f"/{number}") for number in range(14)))})
    with pytest.raises(NotFound) as caught:
        sync(folder=tmp_path)

    assert len(caught.value.failures) == 14
    *named, rest, hint = caught.value.__notes__
    assert len(named) == 10
    assert rest == "and 3 more: see `failures`"
    assert hint == caught.value.hint


class Enough(Exception):  # noqa: N818
    """What a callback raises to cancel."""


def raising(when: Callable[[Progress], bool]) -> Callable[[Progress], None]:
    """Return a callback that raises at the first event of its choice."""

    def callback(event: Progress) -> None:
        if when(event):
            raise Enough(event.path)

    return callback


def test_an_exception_in_it_stops_the_run_and_breaks_no_file(
    tmp_path: Path, server: FaultyServer
) -> None:
    """It is raised as it is; nothing wrong has a final name, and the next call goes on."""
    server.put("/large", LARGE)
    server.always("/large", timing.drip(30_000, 0.05))
    lock(tmp_path, {"m": http({"url": server.url("/large"), "sha256": sha256(LARGE)})})
    callback = raising(lambda event: event.kind == "progress" and event.done_bytes > 100_000)
    with pytest.raises(Enough):
        ensure("m", folder=tmp_path, progress=callback)

    assert not (tmp_path / "models/m/large").exists()
    server.always("/large", honest)
    heard: list[Progress] = []
    folder = ensure("m", folder=tmp_path, progress=heard.append)
    assert (folder / "large").read_bytes() == LARGE
    assert next(event for event in heard if event.kind == "start").done_bytes > 0


def done(path: str, size: int) -> Done:
    """Return the end of a file that was fetched."""
    return Done(
        model="m",
        path=path,
        target=f"models/m/{path}",
        verb="fetched",
        bytes=size,
        moved_bytes=size,
        seconds=1.0,
    )


def test_movement_is_told_in_turns_and_seldom(heard: list[Progress]) -> None:
    """However much moves, one file a tenth of a second is told, each in its turn."""
    now = 100.0
    run = Run(lambda: now)
    watch = callbacks.CallbackDispatcher(run, heard.append)
    files = [run.file("m", path, 1000) for path in "abc"]
    for _ in range(36):
        for file in files:
            file.moved(1)
        watch.hand_on()
        now += callbacks.EVERY_SECONDS / 9 + 1e-6  # every ninth call is due

    assert [event.path for event in heard] == ["a", "b", "c", "a"]
    assert [event.done_bytes for event in heard] == [1, 10, 19, 28]


def test_unpacking_is_told_as_such(heard: list[Progress]) -> None:
    """What came out of an archive is counted for itself; how much it will be nobody knows."""
    run = Run()
    watch = callbacks.CallbackDispatcher(run, heard.append)
    with run.file("m", "a.tar.zst", 10) as archive:
        archive.started(0, 10)
        archive.moved(10)
        archive.unpacked(300)
        archive.unpacked(400)
        watch.hand_on()
    run.done(done("a.tar.zst", 10))
    watch.hand_on(is_last=True)

    assert [(event.kind, event.done_bytes, event.total_bytes) for event in heard] == [
        ("start", 0, 10),
        ("unpacking", 700, None),
        ("done", 10, 10),
    ]


def test_a_misspelt_name_fetches_nothing(tmp_path: Path, server: FaultyServer) -> None:
    """A text in place of a list of names is one name, not its letters."""
    server.put("/a", b"a")
    declare(tmp_path, {"m": http(server.url("/a")), "n": http(server.url("/a"), optional=True)})

    assert list(sync("n", folder=tmp_path)) == ["n"]
    with pytest.raises(ModelmakeError, match="no model 'mn'"):
        sync("mn", folder=tmp_path)


def test_true_shows_lines_if_there_is_no_terminal(
    tmp_path: Path, server: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was locked, each file, and the sum, on standard error; nothing if nothing is to do."""
    server.put("/a", b"abc")
    declare(tmp_path, {"m": http(server.url("/a"))})
    ensure("m", folder=tmp_path, progress=True)
    shown = capsys.readouterr()
    locked, fetched, total = shown.err.splitlines()
    assert locked.startswith("locked m: 1 file")
    assert fetched.startswith("fetched ")
    assert "/models/m/a (3 B" in fetched
    assert total.startswith("1 fetched (3 B) in ")
    assert shown.out == ""

    ensure("m", folder=tmp_path, progress=True)
    assert capsys.readouterr() == ("", "")


def test_true_leaves_failures_to_the_exception(
    tmp_path: Path, server: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the reason and the advice; the sum says how many failed."""
    declare(tmp_path, {"m": http(server.url("/a"))})
    with pytest.raises(NotFound):
        ensure("m", folder=tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1].startswith("1 failed in ")
    assert "failed fetch:" not in shown


def test_true_obeys_the_environment(
    tmp_path: Path,
    server: FaultyServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MODELMAKE_PROGRESS says in which form, or that nothing is to be shown."""
    kinds = {"json": ["notice", "start", "done", "summary"], "quiet": []}
    for mode, expected in kinds.items():
        monkeypatch.setenv("MODELMAKE_PROGRESS", mode)
        server.put(f"/{mode}", b"abc")
        declare(tmp_path, {mode: http(server.url(f"/{mode}"))})
        ensure(mode, folder=tmp_path, progress=True)
        shown = capsys.readouterr()
        assert [json.loads(line)["event"] for line in shown.err.splitlines()] == expected
        assert shown.out == ""
