"""models.yaml that is not there, or is broken: one error, one exit status."""

import pytest

from downloader.tasks._reporter import OURS
from tests.e2e.project import Project

COMMANDS = [
    "",
    "fetch",
    "fetch:one",
    "list",
    "list --all",
    "info fetch",
    "clean",
    "forget",
    "ignore fetch",
    "lock",
    "lock --check",
    "lock --upgrade one",
    "plan",
    "plan --json",
    "verify",
    "verify --repair",
    "outdated",
    "adopt --from .",
    "bundle --out out",
    "prune",
    "prune --dry-run",
    "publish --to out",
    "ci-key",
    "ci-key --json",
    "serve --listen 127.0.0.1:9",
]
BROKEN = "version: 1\nmodels:\n  one:\n    source: nowhere\n"
MISSING_TEXT = "There is no models.yaml in "
BROKEN_TEXT = "models.yaml:4: models.one.source"


def test_every_command_is_tried() -> None:
    """The table below leaves none of ours out."""
    ours = {name for name in OURS if not name.startswith("_")}
    assert ours <= {line.partition(" ")[0] for line in COMMANDS}


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize(
    ("text", "told"), [(None, MISSING_TEXT), (BROKEN, BROKEN_TEXT)], ids=["missing", "broken"]
)
def test_no_usable_manifest(project: Project, text: str | None, told: str, line: str) -> None:
    """It is told once, with what to do next, and the exit status is that of usage: 2."""
    if text is not None:
        project.write(text)
    run = project.doit(*line.split())
    assert (run.status, run.stdout) == (2, ""), run.text
    assert run.stderr.count("models.yaml") == 1, run.stderr
    assert told in run.error_lines[0]
    if text is None:
        assert f"{told}{project.folder}." in run.error_lines[0]
        assert "`modelmake init`" in run.error_lines[1]
    assert len(run.error_lines) <= 2
