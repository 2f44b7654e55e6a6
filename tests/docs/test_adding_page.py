"""docs/adding-a-source.md, done as it says in a copy of this checkout: then the source works."""

import compileall
import os
import re
import shlex
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.docs.documents import blocks, page
from tests.docs.documents_edits import carry_out, edits
from tests.e2e.project import REPOSITORY, Project
from tests.examples import GIVEN, IN_CI
from tests.servers.faulty import FaultyServer

PAGE = page("adding-a-source.md")
EDITS = edits(PAGE)
COPIES = re.findall(r"^Copy \[([^\]]+)\]\(\.\./\1\) to `([^`]+)`", PAGE, re.MULTILINE)
WRITTEN = [edit.file for edit in EDITS if edit.file.endswith(".py")] + [new for _, new in COPIES]
IGNORED = shutil.ignore_patterns("__pycache__", ".packages")
COPIED = (
    "downloader",
    "tests",
    "bench",
    "demo",
    "docs",
    "pyproject.toml",
    "README.md",
    "dodo.py",
    "models.yaml",
)
(MANIFEST,) = blocks(PAGE, "yaml")
USED, CHECKS = (
    [shlex.split(line, comments=True) for line in block.splitlines()]
    for block in blocks(PAGE, "sh")
)
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
LINTERS = {
    "ruff": ("ruff", ["-m", "ruff"]),
    "mypy": ("mypy", ["-m", "mypy"]),
    "lint-imports": ("importlinter", ["-c", LINT_IMPORTS, "--no-cache"]),
}
"""Each with its module, and what Python is to be called with."""
CONTENTS = {"config.json": b"{}", "a folder/w.bin": b"weights" * 999, "old.onnx": b"not wanted"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this checkout in which the page was followed."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        found = REPOSITORY / name
        if found.is_dir():
            shutil.copytree(found, folder / name, ignore=IGNORED)
        else:
            shutil.copy(found, folder)
    for edit in EDITS:
        if edit.file != "models.yaml":
            carry_out(edit, folder)
    for source, target in COPIES:
        shutil.copy(REPOSITORY / source, folder / target)
    compileall.compile_dir(folder / "downloader", quiet=2)  # else each start may compile it
    return folder


@pytest.fixture
def project(checkout: Path, tmp_path: Path, server: FaultyServer) -> Project:
    """Give a project of the copy, with the page's models.yaml and a server in its place."""
    publish(server, CONTENTS)
    made = Project(tmp_path / "project", PYTHONPATH=str(checkout))
    made.write(MANIFEST.replace("https://models.example.org", server.url("")))
    return made


def publish(server: FaultyServer, contents: dict[str, bytes]) -> None:
    """Put files, and their list as `sha256sum` writes it."""
    lines = [f"{sha256(content).hexdigest()}  {path}\n" for path, content in contents.items()]
    for path, content in contents.items():
        server.put(f"/bge-small/{path}", content)
    server.put("/bge-small/SHA256SUMS", "".join(lines).encode())


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, whose package comes before any other."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=checkout,
        env={**environment, "PYTHONPATH": str(checkout)},
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_a_source_is_one_file_one_line_and_one_test() -> None:
    """Nothing else of the program is touched."""
    assert [edit.file for edit in EDITS] == ["downloader/sources/registry.py", "models.yaml"]
    new = ["downloader/sources/index.py", "tests/sources/test_index.py"]
    assert [target for _, target in COPIES] == new
    (table,) = blocks(PAGE, "diff")
    assert len([line for line in table.splitlines() if line.startswith(("+", "-"))]) == 1


def test_the_commands_of_the_page_work(project: Project) -> None:
    """Locked, fetched, nothing to do without a request, verified, nothing newer."""
    assert USED == [["doit", "lock"], ["doit"], ["doit"], ["doit", "verify"], ["doit", "outdated"]]
    ended = [project.doit(*words[1:]) for words in USED]

    assert [each.status for each in ended] == [0] * 5, "\n".join(each.text for each in ended)
    assert "locked bge-small: 2 files" in ended[0].stdout
    assert ended[2].stdout == "Nothing to do.\n"
    assert "bge-small: up to date" in ended[4].stdout
    locked = project.locked("bge-small")
    for path in ("config.json", "a folder/w.bin"):
        assert project.target("bge-small", path).read_bytes() == CONTENTS[path]
        assert locked[path] == {
            "path": path,
            "sha256": sha256(CONTENTS[path]).hexdigest(),
            "size": len(CONTENTS[path]),
        }
    assert not project.target("bge-small", "old.onnx").exists()


def test_a_second_run_asks_nobody(project: Project, server: FaultyServer) -> None:
    """What is locked and here needs no list."""
    assert project.doit().status == 0
    before = len(server.requests)
    assert project.doit().status == 0
    assert len(server.requests) == before


def test_a_list_that_changed_is_taken_when_it_is_asked_for(
    project: Project, server: FaultyServer
) -> None:
    """`doit` stays with the lock; `outdated` tells, `lock --upgrade` takes the digest over."""
    assert project.doit().status == 0
    publish(server, {**CONTENTS, "config.json": b"[1]"})

    assert project.doit().stdout == "Nothing to do.\n"
    outdated = project.doit("outdated")
    assert (outdated.status, outdated.stdout.split(":")[1]) == (1, " newer"), outdated.text
    assert project.doit("lock", "--upgrade").status == 0
    assert project.doit().status == 0
    assert project.target("bge-small", "config.json").read_bytes() == b"[1]"


def test_a_list_with_a_path_that_leads_out_is_not_locked(
    project: Project, server: FaultyServer
) -> None:
    """One line that says what, why and of which model; nothing is written."""
    server.put("/bge-small/SHA256SUMS", f"{'0' * 64}  ../../up\n".encode())
    run = project.doit()

    assert run.status == 1
    assert "failed fetch:bge-small: The provider's list cannot be used: '../../up'" in run.stderr
    assert not list(project.folder.glob("**/up*"))


def test_the_contract_passes(checkout: Path) -> None:
    """The schema is written anew, and the tests that the page names find nothing."""
    schema, tests, *_ = CHECKS
    assert (schema[:2], tests[0]) == (["python", "-m"], "pytest")
    written = run(checkout, *schema[1 : schema.index(">")])
    assert written.returncode == 0, written.stderr
    (checkout / schema[-1]).write_text(written.stdout, encoding="utf-8")

    tried = run(checkout, "-m", *tests, "-q", "-p", "no:cacheprovider", "-n", "0")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "passed" in tried.stdout


@pytest.mark.sweep
@pytest.mark.parametrize("words", CHECKS[2:], ids=" ".join)
def test_the_linters_pass(checkout: Path, words: list[str]) -> None:
    """Each command as the page has it, for the files that the page writes or changes."""
    module, start = LINTERS[words[0]]
    if not GIVEN.get(IN_CI):
        pytest.importorskip(module)
    written = [] if module == "importlinter" else sorted(WRITTEN)
    linted = run(checkout, *start, *(each for each in words[1:] if each != "."), *written)
    assert linted.returncode == 0, linted.stdout + linted.stderr
