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


def full(folder: Path) -> dict[str, str]:
    """Return the variables under which no further byte fits on the disk once a file is begun."""
    code = """
        import errno, os
        def refuse(*_, **__):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.pwrite = refuse
        write = os.write
        def write_some(file, data):
            is_disk = os.path.isfile(f"/proc/self/fd/{file}")
            return refuse() if is_disk else write(file, data)
        os.write = write_some
    """
    return injected(folder, code)


@pytest.mark.parametrize("count", [2, 6])
def test_a_full_disk_is_told_once(
    project: Project, server: FaultyServer, tmp_path: Path, count: int
) -> None:
    """On the way and at the end; not for each file, nor for receipts and models.lock too."""
    names = [f"{number}.bin" for number in range(count)]
    project.declare({"one": toy(server, ["first.bin", *names])})
    assert project.doit("fetch:one/first.bin").status == 0
    project.target("one", "0.bin").write_bytes(b"of an older version")
    run = project.doit(**full(tmp_path / "site"))
    assert run.status == 1
    *on_the_way, report = [line for line in run.error_lines if "No space left" in line]
    assert ": Cannot write" in report
    assert f"  The same for {count - 1} more: models/one/" in run.stderr
    assert len(on_the_way) <= 1, run.text
    assert all(line.startswith("failed models/one/") for line in on_the_way)
    assert f"{count} failed" in run.stdout


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
