"""Options that nobody knows are told in words: what, what was meant perhaps, and where to read."""

import json

import pytest

from tests.e2e.content import toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

MOST_LINES = 3
TYPOS = {
    "fetch --frce": "`doit fetch` has no option --frce.\n  It takes none.",
    "fetch:one --frce": "`doit fetch:one` has no option --frce.\n  It takes none.",
    "verify --repare": (
        "`doit verify` has no option --repare. Did you mean --repair?\n"
        "  It takes --repair; `doit help verify` says more."
    ),
    "verify one --repare": (
        "`doit verify` has no option --repare. Did you mean --repair?\n"
        "  It takes --repair; `doit help verify` says more."
    ),
    "lock --chekc": (
        "`doit lock` has no option --chekc. Did you mean --check?\n"
        "  It takes --check, --upgrade, --allow-downgrade, --pieces; `doit help lock` says more."
    ),
    "lock one --check=3": (
        "`doit lock`: option --check must not have an argument.\n"
        "  It takes --check, --upgrade, --allow-downgrade, --pieces; `doit help lock` says more."
    ),
    "adopt --from": (
        "`doit adopt`: option --from requires argument.\n"
        "  It takes --from, --hardlink; `doit help adopt` says more."
    ),
    "list --alll": (
        "`doit list` has no option --alll. Did you mean --all?\n"
        "  `doit help list` shows what it takes."
    ),
    "--foo": "`doit` has no option --foo.\n  `doit help run` shows what it takes.",
    "-n many": (
        "`doit`: -n ARG, --process=ARG takes a number.\n  `doit help run` shows what it takes."
    ),
}


@pytest.mark.parametrize(("line", "told"), TYPOS.items())
def test_a_mistyped_option(project: Project, server: FaultyServer, line: str, told: str) -> None:
    """At most three lines, without doit's objects, and doit's exit status for usage: 3."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(*line.split())
    assert (run.status, run.stdout) == (3, "")
    assert run.stderr.rstrip() == f"ERROR: {told}"
    assert len(run.error_lines) <= MOST_LINES
    assert server.connections == 0


def test_a_mistyped_option_for_programs(project: Project, server: FaultyServer) -> None:
    """With MODELMAKE_PROGRESS=json it comes as events, also before dodo.py was read."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit("--foo", MODELMAKE_PROGRESS="json")
    assert run.status == 3, run.text
    assert "no option --foo" in json.loads(run.error_lines[0])["text"]


def test_options_after_names(project: Project, server: FaultyServer) -> None:
    """Our commands take them there too, with their values in the next word or behind an equals."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    project.target("one", "a.bin").write_bytes(b"damaged")
    assert "repaired one/a.bin" in project.doit("verify", "one", "--repair").stderr
    (project.folder / "out").mkdir()
    assert project.doit("bundle", "one", "--out", "out").status == 0
    assert project.doit("adopt", "one", "--from=out", "--hardlink").status == 0
