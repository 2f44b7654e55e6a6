"""`doit publish` fills a place, and other machines use it instead of the provider."""

import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, pinned_toy, sha256, toy, toy_content
from tests.e2e.project import Project
from tests.e2e.run import Run
from tests.e2e.together.projects import bot
from tests.e2e.watching import injected
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

NAMES = ["a.bin", "deep/b.bin"]
ALL = {sha256(toy_content(name)) for name in NAMES}


@pytest.fixture
def full(project: Project, server: FaultyServer) -> Project:
    """Give a project whose two models are here, and an optional one that is not."""
    project.declare(
        {
            "one": toy(server, NAMES),
            "two": pinned_toy(server, ["a.bin"]),  # the same bytes as one/a.bin
            "spare": pinned_toy(server, ["c.bin"], optional=True),
        }
    )
    run = project.doit()
    assert run.status == 0, run.text
    return project


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a folder that is not there yet."""
    return tmp_path / "team models"


@pytest.fixture
def reader(full: Project, place: Path, tmp_path: Path) -> Project:
    """Give the project on another machine, which uses the place."""
    return elsewhere(full, tmp_path / "reader", MODELMAKE_MIRROR=str(place))


def elsewhere(project: Project, folder: Path, **variables: str) -> Project:
    """Return a checkout of a project, without its models."""
    other = Project(folder, **variables)
    shutil.copy(project.manifest, other.manifest)
    shutil.copy(project.lock, other.lock)
    return other


def blobs(place: Path) -> set[str]:
    """Return what is published, each blob checked to be what its name says."""
    found = [path for path in place.glob("sha256/*/*") if path.is_file()]
    for path in found:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        assert path.parent.name == path.name[:2]
    return {path.name for path in found}


def check_locks(place: Path) -> int:
    """Check that each lock in a place implies its blobs, and return how many there are."""
    locks = list(place.glob("locks/*.lock"))
    for path in locks:
        text = path.read_bytes()
        assert hashlib.sha256(text).hexdigest() == path.stem
        for model in json.loads(text)["models"].values():
            assert {file["sha256"] for file in model["files"]} <= blobs(place)
    return len(locks)


def is_whole(project: Project) -> bool:
    """Whether both models are in place."""
    files = [("one", name) for name in NAMES] + [("two", "a.bin")]
    return all(project.target(m, p).read_bytes() == toy_content(p) for m, p in files)


def test_what_is_here_is_published_once(full: Project, place: Path) -> None:
    """One blob for each digest and a lock of these models alone; a second run has nothing to do."""
    first = full.doit("publish", "--to", str(place))
    second = full.doit("publish", "--to", str(place))

    assert first.status == 0, first.text
    assert first.stdout == f"published 2 files (2.0 kB) to {place}\n"
    assert "published models/one/a.bin (1.0 kB)" in first.stderr
    assert second.stdout == f"published 0 files (0 B, 2 there already) to {place}\n"
    assert blobs(place) == ALL
    assert check_locks(place) == 1
    (lock,) = place.glob("locks/*.lock")
    assert json.loads(lock.read_text())["models"].keys() == {"one", "two"}
    assert sorted(path.name for path in place.iterdir()) == ["locks", "sha256"]


def test_named_models_only(full: Project, place: Path) -> None:
    """Each selection has a lock of its own, so that a lock implies its blobs."""
    full.doit("publish", "two", "--to", str(place))
    assert blobs(place) == {sha256(toy_content("a.bin"))}
    full.doit("publish", "one", "--to", str(place))
    assert blobs(place) == ALL
    assert check_locks(place) == 2


def test_a_dry_run_changes_nothing(full: Project, place: Path) -> None:
    """It names what is missing there, and how much that is."""
    full.doit("publish", "two", "--to", str(place))
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}

    run = full.doit("publish", "--to", str(place), "--dry-run")

    assert run.stdout == (
        "would publish one/deep/b.bin (1.0 kB)\n"
        f"would publish 1 file (1.0 kB, 1 there already) to {place}\n"
    )
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_events_tell_of_each_file(full: Project, place: Path) -> None:
    """A program sees the run as it sees a download."""
    run = full.doit("publish", "--to", str(place), MODELMAKE_PROGRESS="json")

    events = [json.loads(line) for line in run.error_lines]
    done = [event for event in events if event["event"] == "done"]
    start = next(event for event in events if event["event"] == "start")
    assert (start["files"], start["bytes"]) == (2, 2000)
    assert {(event["verb"], event["path"]) for event in done} == {
        ("published", name) for name in NAMES
    }
    assert {event["sha256"] for event in done} == ALL


REFUSED: dict[str, tuple[list[str], str, str]] = {
    "no place": (["publish"], "--to is required", "doit publish --to PLACE"),
    "no such place": (["publish", "--to", "ftp://e.org/m"], "begins with `ftp:`", "s3://"),
    "another name": (["publish", "--to", "gcs://b/p"], "`gcs:` is written `gs://`", "gs://bucket"),
    "another machine": (["publish", "--to", "host:/m"], "begins with `host:`", "Name a folder"),
    "no bucket": (["publish", "--to", "s3://"], "a name must follow `s3://`", "s3://bucket"),
    "spaces": (["publish", "--to", " "], "--to is required", "doit publish --to PLACE"),
    "a file": (["publish", "--to", "models.yaml"], "models.yaml is not a folder", "Name a folder"),
    "below a file": (["publish", "--to", "models.yaml/p"], "models.yaml is not a folder", "Name"),
    "one slash": (["publish", "--to", "s3:/b/p"], "a URL begins with `s3://`", "gs://"),
    "no repository": (["publish", "--to", "oci://e.org/m:v1"], "names no repository", "oci://"),
    "a password": (["publish", "--to", "s3://u:canary@b"], "has a user", "s3://"),
    "a web server": (["publish", "--to", "https://e.org/m"], "takes no files", "--to /path"),
    "not here": (
        ["publish", "spare", "--to", "P"],
        "Not here as models.lock says: spare/c.bin",
        "`doit fetch:spare`",
    ),
}


@pytest.mark.parametrize(("words", "what", "hint"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_published(
    full: Project, place: Path, words: list[str], what: str, hint: str
) -> None:
    """One line says what, the next what to do; nothing is written."""
    run = full.doit(*(str(place) if word == "P" else word for word in words))

    assert run.status == 1
    assert what in run.stderr
    assert hint in run.stderr
    assert "canary" not in run.text
    assert len(run.error_lines) == 2
    assert blobs(place) == set()


def test_what_is_not_locked_or_pinned_is_named(
    project: Project, server: FaultyServer, place: Path
) -> None:
    """All such models, or files, are in one error."""
    project.declare({"one": toy(server, NAMES), "two": toy(server, ["a.bin"])})
    unlocked = project.doit("publish", "--to", str(place))
    project.doit("lock")
    unpinned = project.doit("publish", "--to", str(place))

    assert "models.lock is not up to date for one, two." in unlocked.stderr
    assert "has no SHA-256 yet of one/a.bin, one/deep/b.bin, two/a.bin." in unpinned.stderr
    assert "Run `doit fetch:one fetch:two` first." in unpinned.stderr
    assert (unlocked.status, unpinned.status) == (1, 1)


def test_a_file_that_the_place_has_need_not_be_here(full: Project, place: Path) -> None:
    """Then there is nothing to upload of it."""
    full.doit("publish", "--to", str(place))
    full.target("one", "deep/b.bin").unlink()
    assert full.doit("publish", "--to", str(place)).status == 0


def test_a_changed_file_is_not_published(full: Project, place: Path) -> None:
    """Its receipt and its size vouch for it, its bytes do not; all others are published."""
    target = full.target("one", "deep/b.bin")
    status = target.stat()
    target.chmod(0o644)
    target.write_bytes(b"x" * status.st_size)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    run = full.doit("publish", "--to", str(place))

    assert run.status == 1
    assert "Not the bytes that models.lock says, so not published: one/deep/b.bin." in run.stderr
    assert "doit verify --repair" in run.stderr
    assert blobs(place) == {sha256(toy_content("a.bin"))}
    assert check_locks(place) == 0


def test_a_place_that_cannot_be_written(full: Project, place: Path) -> None:
    """A file stands in the folder's place: one error, not one a file."""
    place.write_bytes(b"")
    run = full.doit("publish", "--to", str(place))
    assert run.status == 1
    assert str(place) in run.stderr
    assert run.stderr.count("failed publish") == 1


def test_the_provider_is_not_asked(
    full: Project, reader: Project, server: FaultyServer, place: Path
) -> None:
    """A reader gets every file from the place: the provider sees no request at all."""
    full.doit("publish", "--to", str(place))
    before = len(server.requests)

    run = reader.doit()

    assert run.status == 0, run.text
    assert run.stdout.startswith("3 fetched (3.0 kB)")
    assert is_whole(reader)
    assert len(server.requests) == before
    assert reader.doit().stdout == "Nothing to do.\n"
    assert reader.lock.read_bytes() == full.lock.read_bytes()


def test_one_line_in_the_manifest(
    full: Project, reader: Project, server: FaultyServer, place: Path
) -> None:
    """`mirrors` of the defaults does the same, and makes no lock stale."""
    full.doit("publish", "--to", str(place))
    before = len(server.requests)
    del reader.variables["MODELMAKE_MIRROR"]
    line = f"defaults: {{mirrors: ['{place.as_uri()}'], mirror: only}}\n"
    reader.write(line + reader.manifest.read_text())

    run = reader.doit(MODELMAKE_LOCKED="1")

    assert run.status == 0, run.text
    assert is_whole(reader)
    assert len(server.requests) == before


class Quiet(http.server.SimpleHTTPRequestHandler):
    """The web server of the standard library, which answers no ranges."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(place: Path) -> Iterator[str]:
    """Serve the place, and give its URL."""
    place.mkdir()
    handler = partial(Quiet, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_any_web_server_serves_the_folder(
    full: Project, reader: Project, server: FaultyServer, place: Path, web: str
) -> None:
    """Also one that nobody wrote for this; with a folder before it that has nothing."""
    full.doit("publish", "--to", str(place))
    before = len(server.requests)

    run = reader.doit(MODELMAKE_MIRROR=f"{web}/nothing, {web}")

    assert run.status == 0, run.text
    assert is_whole(reader)
    assert len(server.requests) == before


def test_a_missing_blob_comes_from_the_provider(
    full: Project, reader: Project, server: FaultyServer, place: Path
) -> None:
    """Only that file, and nobody is told."""
    full.doit("publish", "two", "--to", str(place))
    before = len(server.requests)
    run = reader.doit()
    assert run.status == 0, run.text
    assert is_whole(reader)
    assert {seen.path for seen in server.requests[before:]} == {"/toy/deep/b.bin"}
    assert "mirror" not in run.stderr


def test_a_missing_blob_is_an_error_if_only_mirrors_may_be_asked(
    full: Project, reader: Project, server: FaultyServer, place: Path
) -> None:
    """It is named, with who forbids the provider and what to do; the others are there."""
    full.doit("publish", "two", "--to", str(place))
    before = len(server.requests)

    run = reader.doit(MODELMAKE_MIRROR_ONLY="1")
    planned = reader.doit("plan", MODELMAKE_MIRROR_ONLY="1", MODELMAKE_MIRROR="")

    assert run.status == 1
    assert (
        "failed models/one/deep/b.bin: No mirror gave one/deep/b.bin, and MODELMAKE_MIRROR_ONLY "
        "forbids to ask its provider.\n  Run `doit publish --to PLACE`" in run.stderr
    )
    assert reader.target("two", "a.bin").exists()
    assert len(server.requests) == before
    assert planned.status == 1
    assert "No mirror is named for one/deep/b.bin" in planned.text


def test_a_damaged_blob_is_named_and_not_taken(
    full: Project, reader: Project, server: FaultyServer, place: Path
) -> None:
    """The provider gives the file instead."""
    full.doit("publish", "--to", str(place))
    digest = sha256(toy_content("deep/b.bin"))
    (place / "sha256" / digest[:2] / digest).write_bytes(b"x" * 1000)
    before = len(server.requests)

    run = reader.doit()

    assert run.status == 0, run.text
    assert is_whole(reader)
    assert {seen.path for seen in server.requests[before:]} == {"/toy/deep/b.bin"}
    assert f"The mirror {place.as_uri()} has a damaged file" in run.stderr
    assert digest in run.stderr


def test_offline_asks_no_mirror(full: Project, reader: Project, place: Path) -> None:
    """MODELMAKE_OFFLINE forbids every request."""
    full.doit("publish", "--to", str(place))
    run = reader.doit(MODELMAKE_OFFLINE="1", MODELMAKE_MIRROR="http://127.0.0.1:9/")
    assert run.status == 1
    assert "neither here nor in the store" in run.stderr


def test_pieces_are_published_with_the_lock(
    project: Project, server: FaultyServer, place: Path
) -> None:
    """Those of the lock's own roots, in the form of models.pieces."""
    body = bytes_of("large", 17 << 20)
    server.put("/large.bin", body)
    project.declare({"m": {"source": "http", "url": server.url("/large.bin")}})
    assert project.doit().status == 0
    assert project.doit("lock", "--pieces").status == 0

    assert project.doit("publish", "--to", str(place)).status == 0

    (pieces,) = place.glob("locks/*.pieces")
    assert pieces.read_bytes() == project.lock.with_suffix(".pieces").read_bytes()
    assert pieces.with_suffix(".lock").exists()


@pytest.fixture
def together(project: Project, together: TogetherServer) -> TogetherServer:
    """Give the fake, whose job's unpacked adapter is in the project."""
    project.declare({"bot": bot(type="adapter", extract=True)})
    run = project.doit()
    assert run.status == 0, run.text
    return together


@pytest.mark.parametrize("keeps_archive", [True, False])
def test_a_fine_tune_needs_no_key(
    project: Project,
    together: TogetherServer,
    place: Path,
    tmp_path: Path,
    *,
    keeps_archive: bool,
) -> None:
    """Files of an archive are published by themselves, and read without it and without its key."""
    project.declare({"bot": bot(type="adapter", extract=True, keep_archive=keeps_archive)})
    assert project.doit().status == 0
    published = project.doit("publish", "--to", str(place))
    assert published.status == 0, published.text
    warning = f"whoever can read {place} can read your private models: bot\n"
    assert published.stdout.endswith(warning)
    reader = elsewhere(project, tmp_path / "reader", MODELMAKE_MIRROR=str(place))
    reader.variables["TOGETHER_BASE_URL"] = together.url
    before = len(together.requests)

    run = reader.doit(MODELMAKE_LOCKED="1")

    assert run.status == 0, run.text
    assert len(together.requests) == before
    assert reader.doit().stdout == "Nothing to do.\n"
    for path in project.locked("bot"):
        assert reader.target("bot", path).read_bytes() == project.target("bot", path).read_bytes()


def test_an_archive_is_fetched_if_its_files_are_not_published(
    project: Project, together: TogetherServer, place: Path, tmp_path: Path
) -> None:
    """The mirror that has nothing costs a request a file, and the archive comes once."""
    (place / "sha256").mkdir(parents=True)
    shutil.rmtree(project.folder / "models")
    run = project.doit(MODELMAKE_MIRROR=str(place))
    assert run.status == 0, run.text
    assert project.doit().stdout == "Nothing to do.\n"


CONTENTS = {f"{number}.bin": bytes_of(str(number), 300_000 * number + 1) for number in range(1, 6)}
SITE = """
import itertools, os, signal
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath

count = itertools.count(1)
place, log = {place!r}, os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def counted(owner, name, path_of):
    act = getattr(owner, name)
    def counting(self, *arguments, **keys):
        if str(path_of(self)).startswith(place) and next(count) == {kill_at}:
            os.kill(os.getpid(), signal.SIGKILL)
        result = act(self, *arguments, **keys)
        if str(path_of(self)).startswith(place):
            os.write(log, b".")
            if next(count) == {kill_at}:
                os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, counting)

for name in ("append", "sync", "close"):
    counted(OpenFile, name, lambda file: file.path)
for name in ("make_folder", "move_to", "sync_folder", "remove", "open", "remove_folder"):
    counted(RootedPath, name, lambda path: path)
"""


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("seed", range(20))
def test_killed_anywhere(
    project: Project, server: FaultyServer, place: Path, tmp_path: Path, seed: int
) -> None:
    """No wrong blob and no lock without its blobs; the next run uploads only what is missing."""
    for name, content in CONTENTS.items():
        server.put(f"/{name}", content)
    files = [{"url": server.url(f"/{name}"), "sha256": sha256(CONTENTS[name])} for name in CONTENTS]
    project.declare({"m": {"source": "http", "files": files}})
    assert project.doit().status == 0
    log, chance, kills = tmp_path / "log", random.Random(seed), 0

    def publish(folder: Path, kill_at: int) -> Run:
        code = SITE.format(place=str(folder), log=str(log), kill_at=kill_at)
        site = injected(tmp_path / f"site {folder.name} {kill_at}", code)
        return project.doit("publish", "--to", str(folder), **site)

    assert publish(tmp_path / "undisturbed", 0).status == 0
    steps = 2 * log.stat().st_size
    assert steps > 2 * len(CONTENTS)
    for _ in range(3):
        there = {path: path.stat().st_ino for path in place.glob("sha256/*/*")}
        run = publish(place, chance.randint(1, max(2, steps - 10 * len(there))))
        kills += run.status == -signal.SIGKILL
        blobs(place)
        check_locks(place)
        assert all(path.stat().st_ino == inode for path, inode in there.items())
    missing = len(CONTENTS) - len(blobs(place))

    run = project.doit("publish", "--to", str(place))

    assert run.status == 0, run.text
    assert run.stdout.startswith(f"published {missing} file"), "what was there is not sent again"
    assert blobs(place) == {sha256(content) for content in CONTENTS.values()}
    assert check_locks(place) == 1
    assert not (place / "unfinished").exists()
    assert kills, f"seed {seed}"
