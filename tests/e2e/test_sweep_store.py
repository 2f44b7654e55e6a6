"""SIGKILL at each call that puts a file into the store, or a target in place from it (I1, I8)."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import downloader
from downloader.fs.rooted_path import RootedPath
from downloader.store.blobs import Store
from tests.e2e.content import bytes_of, pinned_toy, sha256
from tests.projects import declare
from tests.servers.faulty import FaultyServer
from tests.strace import Blow, Call, Strace, calls, killed

CONTENT = bytes_of("swept", 70_000)
DIGEST = sha256(CONTENT)
CHILD = (
    "import sys, downloader; from pathlib import Path; downloader.sync(folder=Path(sys.argv[1]))"
)
MEANT = ("write", "pwrite64", "fsync", "rename", "unlink", "open", "mkdir", "link", "chmod")
RUN_SECONDS = 60.0
AT_LEAST = {"keep": 15, "take": 5}
"""At how many calls a run is killed, at the least."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A project of one file, and a store beside it."""

    folder: Path

    @property
    def store(self) -> Path:
        """Where the store is."""
        return self.folder / "store"

    @property
    def target(self) -> Path:
        """The project's file."""
        return self.folder / "project" / "models" / "m" / "a.bin"

    @property
    def blob(self) -> Path:
        """The store's file."""
        return self.store / "sha256" / DIGEST[:2] / DIGEST

    def is_about(self, call: Call) -> bool:
        """Whether a call is on the store, or on the way from it to the target."""
        path = call.path(self.folder)
        return path.is_relative_to(self.store) or "linking" in path.parts or path == self.target


@pytest.fixture(autouse=True)
def without_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every run as the first: Python writes no compiled modules. And restore the store."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MODELMAKE_STORE", "off")


@pytest.mark.sampled(keep=1)
@pytest.mark.parametrize(
    ("way", "link"), [("keep", "auto"), ("keep", "copy"), ("take", "auto"), ("take", "copy")]
)
def test_a_run_killed_anywhere(
    strace: Strace, server: FaultyServer, tmp_path: Path, way: str, link: str
) -> None:
    """A target and a blob are right or not there; the next run ends with both, and a third links.

    The failure text lists each call at which that was not so.
    """
    entry = pinned_toy(server, ["a.bin"], link=link)
    server.put("/toy/a.bin", CONTENT)
    entry["files"][0]["sha256"] = DIGEST
    wrong, points = [], 0
    for scene, call in kills(strace, tmp_path, (entry, way)):
        points += 1
        os.environ["MODELMAKE_STORE"] = str(scene.store)
        wrong += [f"{call.line}\n    {each}" for each in complaints(scene, server)]

    assert not wrong, "\n".join(wrong)
    assert points >= AT_LEAST[way]


def kills(
    strace: Strace, folder: Path, what: tuple[dict[str, object], str]
) -> Iterator[tuple[Scene, Call]]:
    """Run as often as there are calls on the store, and kill at one each time.

    Yields:
        Where it was killed, and at which call.
    """
    log = folder / "strace.log"
    first = scene_in(folder / "000", *what)
    run(strace.listening(log), first)
    for name, number in wanted(first, log):
        scene = scene_in(folder / f"{name}-{number}", *what)
        run(strace.striking(log, Blow(calls=(name,), number=number, effect="signal=KILL")), scene)
        if call := killed(log):
            yield scene, call


def scene_in(folder: Path, entry: dict[str, object], way: str) -> Scene:
    """Make a project, and where the way is "take" a store that has its file."""
    scene = Scene(folder)
    (folder / "project").mkdir(parents=True)
    declare(folder / "project", {"m": entry})
    if way == "take":
        given = folder / "given"
        given.write_bytes(CONTENT)
        Store(scene.store).keep(RootedPath.of(given), DIGEST, "auto")
    return scene


def run(before: list[str], scene: Scene) -> None:
    """Bring the project up to date, in a process of its own."""
    command = [*before, sys.executable, "-c", CHILD, str(scene.folder / "project")]
    variables = {**os.environ, "MODELMAKE_STORE": str(scene.store)}
    subprocess.run(command, check=False, timeout=RUN_SECONDS, env=variables, capture_output=True)


def wanted(scene: Scene, log: Path) -> list[tuple[str, int]]:
    """Return which calls are about the store; counted as strace does, by name in their thread."""
    count: Counter[tuple[str, str]] = Counter()
    found = []
    for call in calls(log):
        key = (call.thread, call.name)
        count[key] += 1
        is_making = call.family != "open" or "O_CREAT" in call.line
        if call.family in MEANT and is_making and scene.is_about(call):
            found.append((call.name, count[key]))
    return list(dict.fromkeys(found))


def complaints(scene: Scene, server: FaultyServer) -> Iterator[str]:
    """Yield what is wrong after a kill, and after runs that nobody disturbs."""
    for when in ("after the kill", "after the next run", "after one more"):
        for each in (scene.target, scene.blob):
            if each.exists() and each.read_bytes() != CONTENT:
                yield f"{each.name} holds something else {when}"
        downloader.sync(folder=scene.folder / "project")
    if not scene.target.exists():
        yield "the next run did not make the target good"
    asked, is_stored = len(server.requests), scene.blob.exists()
    if linked(scene).read_bytes() != CONTENT:
        yield "another project got something else"
    if is_stored and len(server.requests) > asked:
        yield "the store has it, and it was fetched"


def linked(scene: Scene) -> Path:
    """Bring another project with the same lock up to date, and return its file."""
    other = scene.folder / "other"
    other.mkdir()
    for name in ("models.yaml", "models.lock"):
        (other / name).write_bytes((scene.folder / "project" / name).read_bytes())
    downloader.sync(folder=other)
    return other / "models" / "m" / "a.bin"
