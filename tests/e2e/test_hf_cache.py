"""`layout: hf-cache`: a model's folder is a cache of the Hugging Face tools."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from downloader.project import lockfile
from tests.e2e.project import Project
from tests.servers.hub.server import HubServer

REPO = "BAAI/bge"
FOLDER = "models--BAAI--bge"
HEADER = b'{"w":{"dtype":"F32","shape":[3,25],"data_offsets":[0,300]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(range(100)) * 3
"""A file of the format safetensors (its README, "Format"): one tensor."""
FIRST = {
    "config.json": b'{"version": 1}',
    "model.safetensors": WEIGHTS,
    "1_Pooling/config.json": b"{}",
    "README.md": b"# one",
}
SECOND = {**FIRST, "config.json": b'{"version": 2}', "tokenizer.json": b'{"model": 1}'}
CLIENT = os.environ.get("MODELMAKE_HUGGINGFACE_HUB", "")
"""A Python that has huggingface_hub, in an environment of its own."""
ASK = """
import sys
import safetensors
from huggingface_hub import hf_hub_download, snapshot_download
print(snapshot_download(sys.argv[2], cache_dir=sys.argv[1], local_files_only=True))
print(hf_hub_download(sys.argv[2], sys.argv[3], cache_dir=sys.argv[1], local_files_only=True))
found = hf_hub_download(
    sys.argv[2], "model.safetensors", cache_dir=sys.argv[1], local_files_only=True
)
((name, tensor),) = safetensors.deserialize(open(found, "rb").read())
print(name, tensor["shape"], bytes(tensor["data"][:4]).hex())
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Give a Hub with the first commit of the repository."""
    with HubServer() as started:
        started.add(REPO, FIRST)
        yield started


@pytest.fixture
def project(tmp_path: Path, hub: HubServer) -> Project:
    """Give a project that declares the repository as a cache in the folder `hub`."""
    made = Project(
        tmp_path / "project", HF_ENDPOINT=hub.url, MODELMAKE_STORE=str(tmp_path / "store")
    )
    made.declare({"bge": entry()})
    return made


def entry(**keys: Any) -> dict[str, Any]:
    """Return the model's entry."""
    return {"source": "huggingface", "repo": REPO, "layout": "hf-cache", "to": "hub", **keys}


def commit_of(project: Project) -> str:
    """Return the commit that the cache has for the branch."""
    return (project.folder / "hub" / FOLDER / "refs/main").read_text()


def snapshot(project: Project, commit: str) -> dict[str, bytes]:
    """Return the files of a commit in the cache."""
    folder = project.folder / "hub" / FOLDER / "snapshots" / commit
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_file_is_where_the_tools_look(project: Project, hub: HubServer) -> None:
    """The snapshot of the commit, and the branch that names it; a second run asks nothing."""
    assert project.doit().status == 0
    commit = commit_of(project)
    assert snapshot(project, commit) == FIRST
    before = len(hub.requests)

    assert project.doit().stdout == "Nothing to do.\n"
    assert project.doit("verify").status == 0
    assert len(hub.requests) == before


def test_an_update_leaves_the_old_commit_and_downloads_what_is_new(
    project: Project, hub: HubServer
) -> None:
    """The same bytes are linked from the store, for files in LFS and others."""
    project.doit()
    old = commit_of(project)
    hub.add(REPO, SECOND)
    assert project.doit("lock", "--upgrade").status == 0
    asked = len(hub.requests)
    run = project.doit()

    new = commit_of(project)
    assert run.status == 0
    assert new != old
    assert snapshot(project, new) == SECOND
    assert snapshot(project, old) == FIRST
    resolved = [each.target for each in hub.requests[asked:] if "/resolve/" in each.target]
    assert sorted(each.partition(f"{new}/")[2] for each in resolved) == [
        "config.json",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("how", ["doit", "doit -n 0", "sync"])
def test_the_branch_is_written_last(project: Project, hub: HubServer, how: str) -> None:
    """An update that misses a file leaves the branch at the commit that is whole."""
    project.doit()
    old = commit_of(project)
    new = hub.add(REPO, SECOND)
    project.doit("lock", "--upgrade")
    commits = hub.repositories[f"models/{REPO}"].commits
    commits[new] = {path: each for path, each in SECOND.items() if path != "tokenizer.json"}

    assert run_by(how, project) != 0
    assert commit_of(project) == old
    assert "config.json" in snapshot(project, new)

    commits[new] = SECOND
    assert run_by(how, project) == 0
    assert commit_of(project) == new


def run_by(how: str, project: Project) -> int:
    """Sync, and return the exit status."""
    if how != "sync":
        return project.doit(*how.split()[1:]).status
    script = "import downloader; downloader.sync()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project.folder,
        env=project.environment({}),
        capture_output=True,
        check=False,
    )
    return done.returncode


def test_a_lost_branch_is_written_again_without_a_request(project: Project, hub: HubServer) -> None:
    """models.lock holds it; also offline."""
    project.doit()
    commit = commit_of(project)
    (project.folder / "hub" / FOLDER / "refs/main").unlink()
    before = len(hub.requests)

    run = project.doit(MODELMAKE_OFFLINE="1", MODELMAKE_STORE="off")
    assert run.status == 0, run.text
    assert commit_of(project) == commit
    assert len(hub.requests) == before


def test_a_commit_as_revision_has_no_branch(project: Project, hub: HubServer) -> None:
    """As in the tools' own cache."""
    commit = hub.repositories[f"models/{REPO}"].refs["main"]
    project.declare({"bge": entry(revision=commit)})

    assert project.doit().status == 0
    assert snapshot(project, commit) == FIRST
    assert not (project.folder / "hub" / FOLDER / "refs").exists()


def test_repositories_share_one_cache(project: Project, hub: HubServer) -> None:
    """Each has a folder of its own there; one repository twice is refused."""
    hub.add("BAAI/other", FIRST)
    project.declare({"bge": entry(), "other": entry(repo="BAAI/other")})
    assert project.doit().status == 0
    assert (project.folder / "hub/models--BAAI--other/refs/main").is_file()

    project.declare({"bge": entry(), "again": entry(revision="v2")})
    assert "again" in project.doit("list").stderr


@pytest.mark.parametrize(
    "change",
    [
        {"content": "0" * 40},
        {"content": None},
        {"content": "x" * 40, "sha256": "1" * 64},
        {"path": f"{FOLDER}/refs/other"},
    ],
)
def test_a_branch_that_the_lock_does_not_vouch_for_is_refused(
    project: Project, change: dict[str, str | None]
) -> None:
    """Its text must be what its digest says, and the commit of the lock."""
    project.doit()
    lock = lockfile.load(project.lock.read_bytes())
    model = lock.models["bge"]
    files = tuple(
        msgspec.structs.replace(each, **change) if each.content else each for each in model.files
    )
    changed = msgspec.structs.replace(model, files=files)
    project.lock.write_bytes(lockfile.dump(lockfile.Lockfile(models={"bge": changed})))

    run = project.doit()
    assert run.status != 0
    assert "models.lock" in run.stderr


@pytest.mark.skipif(not CLIENT, reason="MODELMAKE_HUGGINGFACE_HUB names no Python")
def test_the_real_client_finds_and_loads_all_without_a_network(
    project: Project, hub: HubServer
) -> None:
    """Before and after an update to another commit."""
    for files in (FIRST, SECOND):
        hub.add(REPO, files)
        project.doit("lock", "--upgrade")
        assert project.doit().status == 0
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        found = subprocess.run(
            [CLIENT, "-c", ASK, str(project.folder / "hub"), REPO, "1_Pooling/config.json"],
            env={**environment, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.splitlines()
        folder = project.folder / "hub" / FOLDER / "snapshots" / commit_of(project)
        *paths, tensor = found
        assert [Path(each) for each in paths] == [folder, folder / "1_Pooling/config.json"]
        assert tensor == "w [3, 25] 00010203"
        assert snapshot(project, folder.name) == files
