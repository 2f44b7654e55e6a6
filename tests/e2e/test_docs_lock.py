"""docs/lock.md is held against real runs: its example, its diff, its commands, its tables."""

import difflib
import functools
import json
import re
import shlex
import subprocess

import pytest

from downloader import artifact
from downloader.artifact import Artifact, Checkpoint
from downloader.sources.registry import entry_types
from tests.docs.documents import blocks, first_cells, page
from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project, Run
from tests.servers.faulty import FaultyServer

PAGE = page("lock.md")
(EXAMPLE,) = blocks(PAGE, "json")
(DIFF,) = blocks(PAGE, "diff")
MERGE, IN_A_JOB = (
    [shlex.split(line, comments=True) for line in block.splitlines()]
    for block in blocks(PAGE, "sh")
)
HPARAMS = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 1024, "n_head": 16, "n_layer": 24}


def test_the_example_and_the_diff_are_of_real_runs(project: Project, server: FaultyServer) -> None:
    """Fetched, changed upstream, upgraded and fetched again: byte for byte what the page shows."""
    project.variables["OPENAI_GPT2_BASE_URL"] = server.url("/m")
    server.put("/m/355M/hparams.json", json.dumps(HPARAMS).encode() + b"\n")
    server.put("/m/355M/vocab.bpe", b"#version: 0.2\n")
    files = ["hparams.json", "vocab.bpe"]
    project.declare({"gpt2-355M": {"source": "openai-gpt2", "size": "355M", "include": files}})
    assert project.doit().status == 0
    assert project.lock.read_text() == EXAMPLE

    server.put("/m/355M/vocab.bpe", b"#version: 0.3\n")
    assert project.doit("lock", "--upgrade").status == 0
    assert project.doit().status == 0
    after = project.lock.read_text().splitlines(keepends=True)
    found = difflib.unified_diff(EXAMPLE.splitlines(keepends=True), after, n=0)
    assert "".join(line for line in found if re.match(r"[-+]\{", line)) == DIFF


def test_every_field_is_told() -> None:
    """Each is in a table's first column."""
    cells = " ".join(first_cells(PAGE))
    fields = {f"files[].{each}" for each in Artifact.__struct_encode_fields__}
    model = {"entry", "source", "revision", "archives[].path", "version", "gated", "left_out"}
    for field in fields | model | set(Checkpoint.__struct_encode_fields__):
        assert f"`{field}`" in cells, field
    assert set(artifact.LockedModel.__struct_encode_fields__) == {
        each.partition("[")[0] for each in fields | model - {"version"}
    }


def test_the_keys_that_make_no_lock_stale_are_told() -> None:
    """One list, the code's."""
    row = PAGE.partition("These keys never make a lock stale: ")[2].partition("\n\n")[0]
    found = frozenset().union(*(kind.not_about_bytes for kind in entry_types().values()))
    assert set(re.findall(r"`([^`]+)`", row)) == found | {"files[].mirrors"}


def test_commands_that_write_nothing_write_nothing(project: Project, server: FaultyServer) -> None:
    """Of the table's last row each, on a lock that leaves a pin to the first fetch."""
    project.declare({"m": toy(server, ["a.bin"]), "p": pinned_toy(server, ["b.bin"])})
    assert project.doit("lock").status == 0
    assert project.doit("fetch:p").status == 0
    before = project.lock.read_bytes()
    (row,) = (line for line in PAGE.splitlines() if line.endswith("| nothing |"))
    more = {
        "info": ["fetch:m"],
        "bundle": ["--out", "b", "p"],
        "publish": ["--to", "b", "p"],
        "prune": ["--dry-run"],
    }
    commands = [each.removeprefix("doit ") for each in re.findall(r"`([^`]+)`", row)]
    for words in map(str.split, commands):
        run = project.doit(*words, *more.get(words[0], []))
        assert run.status in (0, 1), run.text
        assert project.lock.read_bytes() == before, words
    assert len(commands) == 10


def git(project: Project, *words: str) -> Run:
    """Run git in a project, with nobody's settings."""
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *who, *words], cwd=project.folder, check=False, capture_output=True, text=True
    )
    return Run(done.returncode, done.stdout, done.stderr)


def commit(project: Project, server: FaultyServer, *names: str) -> None:
    """Declare models of one file, fetch them, and commit what is to be committed."""
    project.declare({name: toy(server, [f"{name}.bin"]) for name in names})
    run = project.doit()
    assert run.status == 0, run.text
    assert git(project, "add", "models.yaml", "models.lock").status == 0
    done = git(project, "commit", "-m", " ".join(names))
    assert done.status == 0, done.text


def test_a_conflict_is_settled_as_the_page_says(project: Project, server: FaultyServer) -> None:
    """Two branches added a model each: afterwards the lock has both, our pins and no marker."""
    git(project, "init")
    commit(project, server, "base")
    git(project, "checkout", "-b", "theirs")
    commit(project, server, "base", "m-theirs")
    git(project, "checkout", "-b", "ours", "HEAD~1")
    commit(project, server, "base", "m-ours")
    pinned = project.locked("m-ours")
    assert git(project, "merge", "theirs").status == 1
    project.declare({name: toy(server, [f"{name}.bin"]) for name in ("base", "m-ours", "m-theirs")})
    refused = project.doit()
    assert (refused.status, "conflict markers" in refused.stderr) == (1, True), refused.text

    for program, *words in MERGE:
        run = project.doit if program == "doit" else functools.partial(git, project)
        assert run(*words).status == 0, words

    assert project.locked("m-ours") == pinned
    assert "sha256" not in project.locked("m-theirs")["m-theirs.bin"]
    assert project.doit().status == 0
    assert "sha256" in project.locked("m-theirs")["m-theirs.bin"]
    assert "models.lock" in git(project, "diff", "--cached", "--name-only").stdout


@pytest.mark.parametrize("lack", ["is missing", "is stale", "has no `sha256` for a file"])
def test_a_job_refuses_what_the_table_says(
    project: Project, server: FaultyServer, lack: str
) -> None:
    """Each row of the table ends the command of the page with 1, and the lock stays."""
    assert lack in first_cells(PAGE)
    ((variable, *words),) = IN_A_JOB
    locked = dict([variable.split("=")])
    project.declare({"base": toy(server, ["base.bin"])})
    assert project.doit().status == 0
    assert project.doit(*words[1:], **locked).status == 0
    if lack == "is missing":
        project.lock.unlink()
    else:
        project.declare({"base": toy(server, ["base.bin"]), "new": toy(server, ["new.bin"])})
    if "sha256" in lack:
        assert project.doit("lock").status == 0
    before = project.lock.read_bytes() if project.lock.exists() else None
    run = project.doit(*words[1:], **locked)

    assert run.status == 1
    assert {"is missing": "is missing", "is stale": "is stale"}.get(
        lack, "pins no SHA"
    ) in run.stderr
    assert (project.lock.read_bytes() if project.lock.exists() else None) == before
