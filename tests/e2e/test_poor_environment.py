"""What the environment lacks: the files come all the same, or one line says why not.

docs/environment.md names each fallback.
"""

import sys
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy, toy_content
from tests.e2e.project import Project, Run
from tests.e2e.watching import injected
from tests.servers.faulty import FaultyServer

COMMANDS = [(), ("list",), ("plan",), ("verify",), ("info", "fetch:one"), ("ci-key",), ("prune",)]
COMMANDS += [("lock", "--check"), ("outdated",)]


def in_one_line(run: Run) -> bool:
    """Whether nothing in what was said shows our code."""
    return "Traceback" not in run.text and "an error in modelmake itself" not in run.text


@pytest.fixture
def homeless(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Give a project of a user without HOME and without an entry in passwd, as in containers."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("MODELMAKE_STORE")
    code = """
        import pwd
        def nobody(number):
            raise KeyError(f"getpwuid(): uid not found: {number}")
        pwd.getpwuid = nobody
    """
    project.variables |= injected(tmp_path / "site", code)
    return project


def test_without_a_home_there_is_no_store(homeless: Project, server: FaultyServer) -> None:
    """Every command works as with `MODELMAKE_STORE=off`, and nothing is said of a store."""
    homeless.declare({"one": toy(server, ["a.bin"])})
    run = homeless.doit()
    assert run.status == 0, run.text
    assert "store" not in run.text
    assert homeless.target("one", "a.bin").read_bytes() == toy_content("a.bin")
    for command in COMMANDS:
        run = homeless.doit(*command)
        assert (run.status, in_one_line(run)) == (0, True), (command, run.text)


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({"MODELMAKE_STORE": "~/store"}, ()),
        ({}, ("bundle", "--out", "~/bundle")),
        ({}, ("adopt", "--from", "~/models")),
        ({}, ("adopt", "--from", "huggingface")),
    ],
)
def test_a_tilde_without_a_home_is_a_mistake_in_the_usage(
    homeless: Project, server: FaultyServer, variables: dict[str, str], command: tuple[str, ...]
) -> None:
    """It cannot be meant literally, and the message says what helps."""
    homeless.declare({"one": toy(server, ["a.bin"])})
    run = homeless.doit(*command, **variables)
    assert run.status == 2, run.text
    assert "HOME is not set" in run.stderr
    assert in_one_line(run)


def test_a_cache_that_cannot_be_written_costs_one_line(
    project: Project, server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files come without the store."""
    monkeypatch.delenv("MODELMAKE_STORE")
    (tmp_path / "file").write_text("no folder")
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    run = project.doit(HOME=str(tmp_path / "file"), PYTHONUSERBASE=str(tmp_path))
    assert run.status == 0, run.text
    assert run.stderr.count("shared store") == 1


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_the_locale_cannot_write_is_named(
    project: Project, server: FaultyServer, command: tuple[str, ...]
) -> None:
    """Only where Python was told not to take UTF-8 for a locale without an encoding."""
    entry = pinned_toy(server, ["a.bin"])
    entry["files"][0]["path"] = "müll/模.bin"
    project.declare({"one": entry})
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = project.doit(*command, **ascii_only)
    assert run.status == 2, run.text
    assert r"'m\xfcll/\u6a21.bin'" in run.stderr
    assert "LC_ALL=C.UTF-8" in run.stderr
    assert in_one_line(run)
    assert "its locale" not in project.doit(*command, LC_ALL="C", PYTHONUTF8="").text


def test_no_locale_at_all(project: Project, server: FaultyServer) -> None:
    """Python then takes UTF-8, and so any name will do."""
    entry = pinned_toy(server, ["a.bin"])
    entry["files"][0]["path"] = "müll/模.bin"
    project.declare({"one": entry})
    run = project.doit(LC_ALL="", LANG="", LC_CTYPE="")
    assert run.status == 0, run.text
    assert project.target("one", "müll/模.bin").is_file()


def read_only(tmp_path: Path) -> dict[str, str]:
    """Return the variables under which nothing below a project can be written."""
    code = """
        import errno, os
        open_ = os.open
        def refuse(path, flags, *args, **named):
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not str(path).startswith("/dev/"):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return open_(path, flags, *args, **named)
        def refuse_folder(*args, **named):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        os.open, os.mkdir, os.replace = refuse, refuse_folder, refuse_folder
    """
    return injected(tmp_path / "site", code)


def test_a_read_only_project_is_used(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """What is there is up to date; what is missing is one failure, and nothing else is said."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    assert project.doit().status == 0
    without_writing = read_only(tmp_path)
    for command in COMMANDS:
        run = project.doit(*command, **without_writing)
        assert (run.status, in_one_line(run)) == (0, True), (command, run.text)
    project.target("one", "a.bin").unlink()
    run = project.doit(**without_writing)
    assert run.status == 1
    failures = [line for line in run.error_lines if not line.startswith("  ")]
    assert len(failures) == 1, run.text
    assert "Read-only file system" in failures[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere semaphores are no files")
def test_processes_without_semaphores_are_refused(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """As without /dev/shm: doit itself would end in a traceback."""
    project.declare({"one": toy(server, ["a.bin"])})
    code = """
        import _multiprocessing, errno, os
        class None_:
            SEM_VALUE_MAX = _multiprocessing.SemLock.SEM_VALUE_MAX
            def __init__(self, *_):
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        _multiprocessing.SemLock = None_
    """
    without = injected(tmp_path / "site", code)
    for words in (("-n", "2", "-P", "process"), ("-n", "2", "--parallel-type=process")):
        run = project.doit(*words, **without)
        assert run.status == 2, run.text
        assert "/dev/shm" in run.stderr
        assert in_one_line(run)
    assert project.doit("-n", "2", **without).status == 0


@pytest.mark.parametrize("command", [("lock",), ("plan",), ("verify",), ("outdated",), ()])
def test_a_system_without_a_thread_left_is_no_bug(
    project: Project, server: FaultyServer, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """As with a low `ulimit -u`, or in a container with few processes: one line says what to do."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    if command == ("verify",):
        assert project.doit().status == 0
    code = """
        import threading
        start = threading.Thread.start
        def refusing(self):
            if self.name.startswith("ThreadPoolExecutor"):
                raise RuntimeError("can't start new thread")
            start(self)
        threading.Thread.start = refusing
    """
    run = project.doit(*command, **injected(tmp_path / "site", code))
    assert run.status == 1, run.text
    assert in_one_line(run)
    assert "no further thread" in run.stderr
    assert "`ulimit -u`" in run.stderr
    run = project.doit()
    assert run.status == 0, run.text
