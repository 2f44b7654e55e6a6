"""docs/offline.md is held against the code: its commands run as they stand there."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from downloader.manifest import manifest
from tests.docs.documents import blocks, page
from tests.e2e.content import bytes_of
from tests.e2e.project import Project, Run
from tests.servers.faulty import FaultyServer

OFFLINE = page("offline.md")
LINES = [line for block in blocks(OFFLINE, "sh") for line in block.splitlines()]
COMMANDS = [shlex.split(line) for line in LINES]


def told(project: Project, *beginning: str) -> Run:
    """Run the one command of the page that begins so, with its variables, without network."""
    (words,) = (each for each in COMMANDS if tuple(each)[: len(beginning)] == beginning)
    variables = dict(each.split("=", 1) for each in words if "=" in each and each[0].isupper())
    arguments = words[words.index("doit") + 1 :]
    return project.doit(*arguments, **{"MODELMAKE_OFFLINE": "1", **variables})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project with dodo.py and no models.yaml yet."""
    return Project(tmp_path / "project")


@pytest.fixture
def full(project: Project, server: FaultyServer, store: Path) -> Project:
    """Give a project of one model, called as on the page, whose bytes are here and in the store."""
    server.put("/w.bin", bytes_of("weights", 5000))
    files = [{"url": server.url("/w.bin"), "path": "w.bin"}]
    project.declare({"gpt2-124M": {"source": "http", "files": files}})
    assert project.doit().status == 0
    return project


@pytest.fixture
def other(tmp_path: Path) -> Project:
    """Give a machine without network and with a store of its own: dodo.py alone."""
    own = str(tmp_path / "own-store")
    return Project(tmp_path / "other", MODELMAKE_OFFLINE="1", MODELMAKE_STORE=own)


def is_whole(project: Project) -> bool:
    """Whether the first command of the page finds nothing to do, and the bytes are right."""
    whole = project.target("gpt2-124M", "w.bin").read_bytes() == bytes_of("weights", 5000)
    return whole and told(project, *COMMANDS[0]).stdout == "Nothing to do.\n"


def test_every_command_of_the_page_is_run_here() -> None:
    """The tests below run each command of the page."""
    text = Path(__file__).read_text(encoding="utf-8")
    for words in COMMANDS[1:]:
        quoted = ", ".join(f'"{word}"' for word in words)
        assert quoted in text, quoted


@pytest.mark.parametrize("packs", [False, True], ids=["as it is", "as a tar"])
def test_a_bundle(full: Project, other: Project, *, packs: bool) -> None:
    """The folder goes to the other side, as it is or as one tar."""
    assert told(full, "doit", "bundle", "--out", "bundle").status == 0
    if packs:
        subprocess.run(["tar", "-cf", "models.tar", "bundle"], cwd=full.folder, check=True)
        shutil.copy(full.folder / "models.tar", other.folder)
        subprocess.run(["tar", "-xf", "models.tar"], cwd=other.folder, check=True)
    else:
        shutil.copytree(full.folder / "bundle", other.folder / "bundle")

    run = told(other, "doit", "adopt", "--from", "bundle")

    assert run.status == 0, run.text
    assert is_whole(other)


def declared(full: Project, other: Project) -> None:
    for name in ("models.yaml", "models.lock"):
        shutil.copy(full.folder / name, other.folder)


def test_a_folder_of_old_models(full: Project, other: Project) -> None:
    """Files of a folder are taken with the project's own lock."""
    declared(full, other)
    (other.folder / "old-models").mkdir()
    shutil.copy(full.target("gpt2-124M", "w.bin"), other.folder / "old-models" / "any")

    assert told(other, "doit", "adopt", "--from", "old-models").status == 0
    assert is_whole(other)


def test_the_cache_of_hugging_face(full: Project, other: Project) -> None:
    """Its folder is found by HF_HOME."""
    declared(full, other)
    blobs = other.folder / "hf" / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    shutil.copy(full.target("gpt2-124M", "w.bin"), blobs / "etag")
    other.variables["HF_HOME"] = str(other.folder / "hf")

    assert told(other, "doit", "adopt", "--from", "huggingface", "gpt2-124M").status == 0
    assert is_whole(other)


def test_a_copied_store(full: Project, other: Project, store: Path) -> None:
    """A store from elsewhere serves a run that may not dial."""
    declared(full, other)
    shutil.copytree(store, other.folder / "copied-store")

    run = told(other, "MODELMAKE_STORE=copied-store", "MODELMAKE_OFFLINE=1", "doit")

    assert run.status == 0, run.text
    assert is_whole(other)


def test_what_is_missing_offline_is_named(full: Project, other: Project) -> None:
    """With nothing to take it from, the first command names the file."""
    declared(full, other)

    run = told(other, *COMMANDS[0])

    assert run.status == 1
    assert "w.bin" in run.stderr


@pytest.mark.parametrize("text", blocks(OFFLINE, "yaml"))
def test_the_manifest_of_the_page_loads(text: str) -> None:
    """The snippet on mirrors is a whole manifest."""
    assert manifest.load(text.encode()).models
