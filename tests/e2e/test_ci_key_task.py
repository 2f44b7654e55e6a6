"""`doit ci-key` prints one key, the same everywhere, or says in one sentence why there is none."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.e2e.watching import listing_modules, without_sockets
from tests.servers.faulty import FaultyServer


@pytest.fixture
def locked(project: Project, server: FaultyServer) -> Project:
    """Give a project with two models in its lock and nothing fetched, the second one optional."""
    project.declare(
        {
            "one": pinned_toy(server, ["a.bin", "sub/b.bin"]),
            "spare": pinned_toy(server, ["c.bin"], optional=True),
        }
    )
    assert project.doit("lock").status == 0
    return project


def test_the_key_alone_is_printed(locked: Project, server: FaultyServer, tmp_path: Path) -> None:
    """Standard output holds the key and nothing else; no socket is opened, nothing is fetched."""
    before = len(server.requests)
    run = locked.doit("ci-key", **without_sockets(tmp_path / "watch"))
    assert (run.status, run.stderr) == (0, "")
    assert run.stdout.startswith("modelmake-v1-")
    assert len(run.stdout.split()) == 1
    assert len(server.requests) == before
    assert not (locked.folder / "models").exists()


def test_all_of_it_as_json(locked: Project) -> None:
    """`--json` prints one document, with the same key."""
    run = locked.doit("ci-key", "--json")
    found = json.loads(run.stdout)
    assert (run.status, run.stderr) == (0, "")
    assert list(found) == ["key", "restore_prefix", "paths", "exclude", "bytes", "models"]
    assert found["key"] == locked.doit("ci-key").stdout.strip()
    assert found["paths"] == ["models/one"]
    assert found["bytes"] == 2000
    assert found["models"] == [{"name": "one", "folder": "models/one", "files": 2, "bytes": 2000}]


def test_models_by_name(locked: Project) -> None:
    """Named ones alone count, also an optional one, before or after the flag."""
    found = json.loads(locked.doit("ci-key", "--json", "spare").stdout)
    assert [model["name"] for model in found["models"]] == ["spare"]
    assert locked.doit("ci-key", "spare").stdout != locked.doit("ci-key").stdout


def test_another_machine_has_the_same_key(locked: Project, tmp_path: Path) -> None:
    """Another folder, clock, language, hash seed, service, and all fetched there: the same key."""
    key = locked.doit("ci-key").stdout
    other = Project(tmp_path / "elsewhere" / "clone", PYTHONHASHSEED="7", TZ="Asia/Tokyo", CI="1")
    for file in (locked.manifest, locked.lock):
        shutil.copyfile(file, other.folder / file.name)
    assert other.doit("ci-key", LC_ALL="C").stdout == key
    assert other.doit("fetch:one", "fetch:spare").status == 0
    assert other.doit("ci-key").stdout == key


def test_from_another_folder(locked: Project) -> None:
    """Paths are relative to models.yaml, wherever doit was started from."""
    printed = locked.doit("ci-key", "--json").stdout
    locked.cwd = locked.folder / "deeper"
    locked.cwd.mkdir()
    assert locked.doit("-f", "../dodo.py", "ci-key", "--json").stdout == printed


def test_no_network_code_is_loaded(locked: Project, tmp_path: Path) -> None:
    """A key is made of the lock alone, so neither HTTP nor YAML nor a display is imported."""
    assert locked.doit("ci-key").status == 0
    variables, listed = listing_modules(tmp_path / "watch")
    assert locked.doit("ci-key", "--json", **variables).status == 0
    loaded = set(listed.read_text().split())
    assert "downloader.operations.cache_key" in loaded
    assert not loaded & {"requests", "urllib3", "yaml", "rich", "downloader.network.client"}


def test_other_runs_do_not_load_it(locked: Project, tmp_path: Path) -> None:
    """What makes keys is imported by `ci-key` alone."""
    variables, listed = listing_modules(tmp_path / "watch")
    assert locked.doit("list", **variables).status == 0
    assert "downloader.operations.cache_key" not in listed.read_text().split()


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["key", "json"])
@pytest.mark.parametrize("why", ["missing", "stale", "unpinned"])
def test_no_key_of_what_is_not_pinned(
    locked: Project, server: FaultyServer, why: str, flags: list[str]
) -> None:
    """Without a lock, with a stale one or one without a SHA-256: status 1, two lines, no key."""
    if why != "stale":
        locked.lock.unlink()
    if why != "missing":
        locked.declare({"one": toy(server, ["a.bin"])})
    if why == "unpinned":
        assert locked.doit("lock").status == 0
    run = locked.doit("ci-key", *flags)
    assert (run.status, run.stdout) == (1, "")
    assert len(run.error_lines) == 2
    assert run.error_lines[0].startswith("failed ci-key: models.lock ")
    assert "commit models.lock" in run.error_lines[1]


def test_an_unknown_model(locked: Project) -> None:
    """The models that there are get named, with status 3 and nothing on standard output."""
    run = locked.doit("ci-key", "nope")
    assert (run.status, run.stdout) == (3, "")
    assert "one, spare" in run.stderr
