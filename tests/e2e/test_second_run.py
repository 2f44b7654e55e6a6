"""A run with nothing to do: no socket, no import of what is slow, nothing written."""

import inspect
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from downloader import tasks
from tests.e2e.content import gpt2, pinned_toy, put_all, small_gpt2, toy
from tests.e2e.project import Project, Run
from tests.e2e.watching import (
    REFUSED_STATUS,
    counting_calls,
    injected,
    listing_modules,
    without_dialling,
    without_sockets,
)
from tests.servers.buckets import S3Server
from tests.servers.faulty import FaultyServer

NO_NETWORK = ("unshare", "--map-root-user", "--net")

READ_ONLY = """
    import errno, os, sys
    ROOT = {root!r}
    WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink")
    def refuse(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            is_change = bool((flags or 0) & WRITES)
        elif event in CHANGES:
            path, is_change = arguments[0], True
        else:
            return
        if is_change and isinstance(path, (str, bytes, os.PathLike)):
            if os.path.abspath(os.fsdecode(path)).startswith(ROOT):
                raise OSError(errno.EROFS, "Read-only file system", path)
    sys.addaudithook(refuse)
"""
"""The system's own means do not hold back root, as whom tests in containers run."""


def has_namespaces() -> bool:
    """Whether a process without a network can be made here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0


def assert_nothing_done(run: Run) -> None:
    """Check that a run had nothing to do."""
    assert (run.status, run.stdout, run.stderr) == (0, "Nothing to do.\n", "")


def test_a_second_run_opens_no_socket(fetched: Project, tmp_path: Path) -> None:
    """Nothing to do is found out from files alone, and models.lock stays as it is."""
    lock = fetched.lock.read_bytes()
    assert_nothing_done(fetched.doit(**without_sockets(tmp_path / "watch")))
    assert fetched.lock.read_bytes() == lock


def test_the_first_run_does_open_one(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """The check of the test above can fail: a run that has to move something is ended by it."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(**without_sockets(tmp_path / "watch"))
    assert run.status == REFUSED_STATUS


@pytest.mark.skipif(not has_namespaces(), reason="no namespace can be made here")
def test_a_second_run_needs_no_network(fetched: Project) -> None:
    """In a network namespace without any interface there is nothing to do either."""
    fetched.before = NO_NETWORK
    assert_nothing_done(fetched.doit())


@pytest.mark.parametrize("words", [["list"], ["list", "--all", "-s"], ["info", "fetch:one"]])
def test_looking_opens_no_socket(
    project: Project, server: FaultyServer, tmp_path: Path, words: list[str]
) -> None:
    """Also with no lock yet, `list` and `info` ask nobody."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(*words, **without_sockets(tmp_path / "watch"))
    assert run.status in (0, 1), run.text  # 1 is `info` of what is not up to date


@pytest.mark.parametrize("word", ["", "list"])
def test_slow_modules_are_not_loaded(fetched: Project, tmp_path: Path, word: str) -> None:
    """Neither HTTP nor YAML is imported when nothing changed, nor what only other runs need."""
    variables, listed = listing_modules(tmp_path / "watch")
    assert fetched.doit(*word.split(), **variables).status == 0
    loaded = set(listed.read_text().split())
    assert "downloader.tasks" in loaded
    slow = {"rich", "requests", "urllib3", "yaml", "http.client", "downloader.network.client"}
    slow |= {"multiprocessing.util", "secrets"}
    assert not loaded & slow


def test_a_doit_of_others_loads_none_of_our_tasks(project: Project, tmp_path: Path) -> None:
    """It loads what our entry point for a database names, in each run, and has no use for it."""
    dodo = "def task_their():\n    return {'actions': ['echo done']}\n"
    (project.folder / "dodo.py").write_text(dodo, encoding="utf-8")
    variables, listed = listing_modules(tmp_path / "watch")
    run = project.doit(**variables)
    assert "their" in run.stdout
    ours = {name for name in listed.read_text().split() if name.partition(".")[0] == "downloader"}
    assert ours == {"downloader"}


MANY_FILES, FEW_FILES = 60, 10
MOST_CALLS, MOST_CALLS_BESIDE = 13, 56
"""Of Python functions for one file that is up to date; three of the first are doit's. The second:
beside a file that has to be fetched, for which doit looks at each."""


@pytest.mark.parametrize(
    ("is_one_missing", "most_calls"), [(False, MOST_CALLS), (True, MOST_CALLS_BESIDE)]
)
def test_a_file_that_is_up_to_date_costs_few_calls(
    project: Project,
    server: FaultyServer,
    tmp_path: Path,
    is_one_missing: bool,
    most_calls: int,
) -> None:
    """What a run costs once falls out of the difference; no file is looked at once more."""
    names = [f"{number}.bin" for number in range(MANY_FILES)]
    counts = []
    for count in (MANY_FILES, FEW_FILES):
        project.declare({"one": pinned_toy(server, names[:count])})
        assert project.doit().status == 0
        if is_one_missing:
            (project.folder / "models" / "one" / names[0]).unlink()
        variables, counted = counting_calls(tmp_path / f"watch{count}")
        run = project.doit("-n", "0", **variables)
        assert run.status == 0, run.text
        assert run.stdout.startswith("1 fetched" if is_one_missing else "Nothing to do"), run.text
        counts.append(int(counted.read_text()))
    assert 0 < counts[0] - counts[1] <= most_calls * (MANY_FILES - FEW_FILES)


USERS_OWN = """
import gc

def task_mine():
    return {"actions": [lambda: print(f"collecting: {gc.isenabled()}")], "verbosity": 2}
"""


def test_the_tasks_of_the_user_run_with_the_collector(fetched: Project) -> None:
    """It only rests while ours are imported and made."""
    with (fetched.folder / "dodo.py").open("a") as dodo:
        dodo.write(USERS_OWN)
    run = fetched.doit("fetch", "mine")
    assert "collecting: True" in run.stdout, run.text


def test_doit_parses_no_source_of_ours() -> None:
    """It looks for the line of each maker of tasks, which takes longer than a thousand files."""
    makers = [name for name in tasks.__all__ if name.startswith("task_")]
    assert {inspect.getsourcelines(getattr(tasks, name))[1] for name in makers} == {0}


def test_doits_database_is_not_needed(fetched: Project, tmp_path: Path) -> None:
    """With every database file deleted there still is nothing to do."""
    for file in fetched.folder.glob(".doit.db*"):
        file.unlink()
    assert_nothing_done(fetched.doit(**without_sockets(tmp_path / "watch")))


def test_no_database_is_left_where_only_our_tasks_ran(fetched: Project) -> None:
    """A project without tasks of its own has no database file."""
    assert list(fetched.folder.glob(".doit.db*")) == []


def test_the_compiled_manifest_is_not_needed(fetched: Project, tmp_path: Path) -> None:
    """With the project's private folder deleted there still is nothing to do."""
    shutil.rmtree(fetched.folder / ".modelmake")
    assert_nothing_done(fetched.doit(**without_sockets(tmp_path / "watch")))


@pytest.mark.parametrize("how", ["touched", "receipts deleted", "receipts torn"])
def test_what_is_not_proven_is_hashed_and_not_moved(
    fetched: Project, tmp_path: Path, how: str
) -> None:
    """Other times or lost receipts cost a reading of the files, no request, once."""
    lock = fetched.lock.read_bytes()
    for name in ("gpt2-355M", "one", "two"):
        receipts = fetched.receipts(name)
        if how == "receipts deleted":
            receipts.unlink()
        elif how == "receipts torn":
            receipts.write_bytes(receipts.read_bytes()[:20])
        else:
            for target in filter(Path.is_file, receipts.parents[1].rglob("*")):
                if target.parent != receipts.parent:
                    os.utime(target, (1, 1))
    variables = without_dialling(tmp_path / "watch")
    run = fetched.doit(**variables)
    assert run.status == 0, run.text
    assert run.stdout.startswith("9 verified in place in ")
    assert fetched.lock.read_bytes() == lock
    assert_nothing_done(fetched.doit(**variables))


def test_a_fresh_clone_with_its_files_restored_moves_nothing(
    fetched: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """models.yaml, models.lock and the targets are enough, as after a CI cache was restored."""
    clone = Project(tmp_path / "clone", **fetched.variables)
    shutil.copy(fetched.manifest, clone.folder)
    shutil.copy(fetched.lock, clone.folder)
    copied = shutil.copytree(
        fetched.folder / "models",
        clone.folder / "models",
        ignore=shutil.ignore_patterns(".modelmake"),
    )
    assert (copied / "one/a.bin").exists()
    run = clone.doit(CI="true", **without_dialling(tmp_path / "watch"))
    assert run.status == 0, run.text
    assert run.stdout.startswith("9 verified in place in ")


@pytest.mark.parametrize("has_compiled", [True, False])
def test_a_read_only_project_has_nothing_to_do(
    fetched: Project, tmp_path: Path, has_compiled: bool
) -> None:
    """Where nothing may be written, a run with nothing to write goes well."""
    if not has_compiled:
        shutil.rmtree(fetched.folder / ".modelmake")
    watch = injected(tmp_path / "watch", READ_ONLY.format(root=str(fetched.folder)))
    assert_nothing_done(fetched.doit(**watch))
    assert (fetched.folder / ".modelmake").exists() is has_compiled


def test_what_a_read_only_project_lacks_is_an_error(fetched: Project, tmp_path: Path) -> None:
    """A missing file that cannot be written is told in lines that name it, not in a traceback."""
    fetched.target("one", "a.bin").unlink()
    watch = injected(tmp_path / "watch", READ_ONLY.format(root=str(fetched.folder)))
    run = fetched.doit(**watch)
    assert run.status == 1
    assert "Read-only file system" in run.stderr
    assert "Traceback" not in run.text


def test_another_base_url_makes_nothing_stale(fetched: Project, tmp_path: Path) -> None:
    """Where a file could be had from does not decide whether it is there."""
    fetched.variables["OPENAI_GPT2_BASE_URL"] = "http://127.0.0.1:9/elsewhere"
    assert_nothing_done(fetched.doit(**without_sockets(tmp_path / "watch")))


def test_gpt2_of_a_base_url_in_the_manifest_is_done_too(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """The same holds with the place in models.yaml."""
    put_all(server.put, "/m/355M", small_gpt2())
    project.declare({"g": gpt2("355M", server.url("/m"))})
    assert project.doit(OPENAI_GPT2_BASE_URL="").status == 0
    assert_nothing_done(project.doit(**without_sockets(tmp_path / "watch")))


def test_a_model_in_an_object_store_is_done_without_what_asks_one(
    project: Project, tmp_path: Path
) -> None:
    """Nothing that lists, signs or reads profiles is imported, whatever keys there are."""
    with S3Server(is_public=True) as s3:
        s3.put("m/a.bin", b"weights")
        project.declare({"m": {"source": "object-store", "url": "s3://bucket/m/"}})
        project.variables |= s3.environment
        run = project.doit()
        assert run.status == 0, run.text
        variables, listed = listing_modules(tmp_path / "listing")
        assert project.doit(**variables).stdout == "Nothing to do.\n"
    loaded = set(listed.read_text().splitlines())
    assert "downloader" in loaded
    slow = {"requests", "obstore", "xml.etree.ElementTree", "downloader.network.client"}
    assert not slow & loaded
