"""A mistyped option ends the run before anything is done, in words that name it."""

import json

import pytest

from tests.e2e.content import toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

REPAIR = "Its options: --repair; see `doit help verify`."
LOCK = "Its options: --check, --upgrade, --allow-downgrade, --pieces; see `doit help lock`."
TYPOS = {
    "verify --repare": f"doit verify: option --repare not recognized. {REPAIR}",
    "verify one --repare": f"doit verify: option --repare not recognized. {REPAIR}",
    "verify one -r": f"doit verify: option -r not recognized. {REPAIR}",
    "lock --chekc": f"doit lock: option --chekc not recognized. {LOCK}",
    "lock one --check=3": f"doit lock: option --check must not have an argument. {LOCK}",
    "adopt --from": (
        "doit adopt: option --from requires argument. "
        "Its options: --from, --hardlink; see `doit help adopt`."
    ),
    "prune --dryrun": (
        "doit prune: option --dryrun not recognized. "
        "Its options: --dry-run, --unused, --older-than; see `doit help prune`."
    ),
}


@pytest.mark.parametrize(("line", "told"), TYPOS.items())
def test_a_mistyped_option(project: Project, server: FaultyServer, line: str, told: str) -> None:
    """Of a command of ours: one line, with the options that there are, and doit's exit status 3."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(*line.split())
    assert (run.status, run.stdout) == (3, "")
    assert run.stderr == f"ERROR: {told}\n"
    assert server.connections == 0


@pytest.mark.parametrize("line", ["fetch --frce", "fetch:one --frce", "list --frce", "--frce"])
def test_a_mistyped_option_of_doit(project: Project, server: FaultyServer, line: str) -> None:
    """Of doit and its commands, and where there are none: doit's message, and nothing done."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(*line.split())
    assert (run.status, run.stdout) == (3, "")
    assert "option --frce not recognized" in run.stderr
    assert len(run.error_lines) == 1
    assert server.connections == 0


def test_a_mistyped_option_for_programs(project: Project, server: FaultyServer) -> None:
    """With MODELMAKE_PROGRESS=json it comes as events, also before dodo.py was read."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit("--foo", MODELMAKE_PROGRESS="json")
    assert run.status == 3, run.text
    assert "option --foo not recognized" in json.loads(run.error_lines[0])["text"]


def test_options_after_names(project: Project, server: FaultyServer) -> None:
    """Our commands take them there too, with their values in the next word or behind an equals."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    project.target("one", "a.bin").write_bytes(b"damaged")
    assert "repaired one/a.bin" in project.doit("verify", "one", "--repair").stderr
    (project.folder / "out").mkdir()
    assert project.doit("bundle", "one", "--out", "out").status == 0
    assert project.doit("adopt", "one", "--from=out", "--hardlink").status == 0
