"""A disk that refuses what lies beside the models: exit status 1, and a later run makes it good."""

from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.e2e.watching import injected
from tests.servers.faulty import FaultyServer


def refusing(folder: Path, name: str, module: str, on: str) -> dict[str, str]:
    """Return the variables that make a function fail with ENOSPC for paths that end in `on`."""
    code = f"""
        import errno, os
        call = {module}.{name}
        def refuse(*args, **named):
            if any(str(each).endswith({on!r}) for each in args):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **named)
        {module}.{name} = refuse
    """
    return injected(folder, code)


def test_pins_that_cannot_be_written_are_a_failure(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """The files are there, models.lock is not what it should be: told once, exit status 1."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    assert project.doit("lock").status == 0
    run = project.doit(**refusing(tmp_path / "site", "replace", "os", "models.lock"))
    assert run.status == 1
    assert run.stderr.count("Cannot write models.lock: No space left on device.") == 1
    assert "The disk of " in run.stderr
    assert "Traceback" not in run.text
    before = len(server.requests)
    assert project.doit().status == 0
    assert "sha256" in project.locked("one")["a.bin"]
    assert len(server.requests) == before


def test_a_receipt_that_cannot_be_written_is_a_failure(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """The file is in place, and the next run moves nothing."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    run = project.doit(**refusing(tmp_path / "site", "open", "os", "receipts"))
    assert run.status == 1
    assert "Cannot write models/one/.modelmake/receipts: No space left" in run.stderr
    before = len(server.requests)
    assert project.doit().status == 0
    assert len(server.requests) == before


@pytest.mark.parametrize(("name", "on"), [("unlink", "a.bin"), ("rmdir", "one")])
def test_clean_says_what_it_cannot_remove(
    project: Project, server: FaultyServer, tmp_path: Path, name: str, on: str
) -> None:
    """One error with the path, exit status 1, and no traceback."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert project.doit().status == 0
    run = project.doit("clean", "fetch:one", **refusing(tmp_path / "site", name, "os", on))
    assert run.status == 1
    assert "Cannot remove " in run.stderr
    assert "Traceback" not in run.text
    assert project.doit("clean", "fetch:one").status == 0
    assert not project.target("one", "a.bin").exists()
