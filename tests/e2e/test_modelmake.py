"""The command `modelmake`: our tasks from any folder of a project, with or without a dodo.py."""

import os
from importlib import metadata
from pathlib import Path

import pytest

from downloader import __main__
from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project, Run
from tests.e2e.watching import listing_modules, without_sockets
from tests.servers.faulty import FaultyServer


@pytest.fixture
def bare(project: Project, server: FaultyServer) -> Project:
    """Give a project with two models and no dodo.py, and its subfolder as working directory."""
    (project.folder / "dodo.py").unlink()
    project.declare({"one": toy(server, ["a.bin"]), "two": toy(server, ["b.bin"], optional=True)})
    project.cwd = project.folder / "src/deep"
    project.cwd.mkdir(parents=True)
    return project


def test_it_is_installed() -> None:
    """The distribution's script is what `python -m downloader` runs."""
    (script,) = metadata.entry_points(group="console_scripts", name="modelmake")
    assert script.load() is __main__.main


def test_without_a_word_it_syncs(bare: Project, tmp_path: Path) -> None:
    """From a subfolder, without dodo.py; a second run opens no socket and loads no HTTP."""
    run = bare.modelmake()
    assert run.status == 0, run.text
    assert bare.target("one", "a.bin").exists()
    assert not bare.target("two", "b.bin").exists()
    assert bare.locked("one")["a.bin"]["sha256"]
    variables, listed = listing_modules(tmp_path / "watch")
    assert bare.modelmake(**variables) == Run(0, "Nothing to do.\n", "")
    assert not {"requests", "rich", "yaml"} & set(listed.read_text().split())
    assert bare.modelmake(**without_sockets(tmp_path / "no")).stdout == "Nothing to do.\n"
    assert list(bare.cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list"], "fetch:two   1 file, size unknown, 1 of 1 to fetch, optional"),
        (["plan", "two"], "two/b.bin"),
        (["lock"], "locked one"),
        (["info", "../../models/two/b.bin"], "fetch:two/b.bin"),
        (["help", "plan"], "modelmake plan [OPTION...] [NAME...]"),
        (["plan", "--help"], "modelmake plan [OPTION...] [NAME...]"),
        (["two"], "1 fetched"),
        (["-n", "4", "fetch:t*"], "1 fetched"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_every_task_runs(bare: Project, words: list[str], told: str) -> None:
    """All of the built-in dodo.py, and doit's own commands."""
    run = bare.modelmake(*words)
    assert run.status in (0, 1), run.text
    assert told in run.stdout


def test_its_advice_names_it(bare: Project) -> None:
    """A hint says `modelmake` where `doit` would find no dodo.py."""
    run = bare.modelmake("verify", "one")
    assert run.status == 1
    assert "Run `modelmake` to lock" in run.stderr
    assert "doit" not in run.text
    assert "`modelmake list`" in bare.modelmake("qqq").stderr
    assert "`modelmake help`" in bare.modelmake("list").stdout


def test_options_that_name_folders_start_from_where_they_were_typed(bare: Project) -> None:
    """`--out` and `--from` are relative to the working directory."""
    assert bare.modelmake().status == 0
    assert bare.modelmake("bundle", "--out", "out").status == 0
    assert (bare.cwd / "out/models.lock").exists() or list((bare.cwd / "out").iterdir())
    assert bare.modelmake("clean").status == 0
    run = bare.modelmake("adopt", "--from", "out")
    assert run.status == 0, run.text
    assert bare.target("one", "a.bin").exists()


def test_the_tasks_of_a_dodo_file_run_too(bare: Project) -> None:
    """If it brings ours; `modelmake` alone still syncs, whatever `doit` alone does."""
    (bare.folder / "dodo.py").write_text(
        "from downloader.tasks import DOIT_CONFIG as OURS, task_fetch\n"
        "DOIT_CONFIG = {**OURS, 'default_tasks': ['train']}\n"
        "def task_train():\n"
        "    return {'actions': ['echo trained > out.txt'], 'targets': ['out.txt']}\n"
    )
    assert bare.modelmake().status == 0
    assert not (bare.folder / "out.txt").exists()
    assert bare.modelmake("train").status == 0
    assert (bare.folder / "out.txt").exists()
    assert "would" not in bare.modelmake("plan").stderr, "it adds the tasks that are not imported"


def test_a_dodo_file_of_others_is_left_alone(bare: Project) -> None:
    """It is not read, so it can neither fail nor take a task's name."""
    (bare.folder / "dodo.py").write_text("raise SystemExit('not for us')\n")
    run = bare.modelmake("plan")
    assert run.status == 0, run.text


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root")
def test_the_dodo_file_of_another_user_is_not_run_from_below(bare: Project) -> None:
    """Anybody may put one into a folder such as /tmp; in its own folder it is doit's to run."""
    dodo = bare.folder / "dodo.py"
    dodo.write_text("from downloader.tasks import task_fetch\nopen('ran', 'w').close()\n")
    nobody = 65534
    os.chown(dodo, nobody, nobody)
    (bare.folder / "below").mkdir()
    bare.cwd = bare.folder / "below"
    run = bare.modelmake("list")
    assert run.status == 0, run.text
    assert f"Not run: {dodo} belongs to another user." in run.stderr
    assert not (bare.folder / "ran").exists()
    bare.cwd = bare.folder
    assert bare.modelmake("list").status == 0
    assert (bare.folder / "ran").exists()


def test_no_project_here(tmp_path: Path, project: Project) -> None:
    """The folder is named, and the command that begins one; status 2."""
    project.cwd = tmp_path
    for words in ([], ["list"], ["plan", "x"]):
        run = project.modelmake(*words)
        assert (run.status, run.stdout) == (2, "")
        assert f"There is no models.yaml in {tmp_path} or above it." in run.error_lines[0]
        assert "`modelmake init`" in run.error_lines[1]


def test_a_manifest_that_is_named(bare: Project, tmp_path: Path) -> None:
    """MODELMAKE_MANIFEST is obeyed, relative to the working directory."""
    named = os.path.relpath(bare.manifest, tmp_path)
    bare.cwd = tmp_path
    assert "fetch:one" in bare.modelmake("list", MODELMAKE_MANIFEST=named).stdout


def test_a_bundle_begins_a_project(bare: Project, tmp_path: Path) -> None:
    """`adopt` works in an empty folder."""
    assert bare.modelmake("bundle", "--out", str(tmp_path / "b")).status == 1, "nothing is here"
    assert bare.modelmake().status == 0
    assert bare.modelmake("bundle", "--out", str(tmp_path / "b")).status == 0
    bare.cwd = tmp_path / "empty"
    bare.cwd.mkdir()
    run = bare.modelmake("adopt", "--from", str(tmp_path / "b"))
    assert run.status == 0, run.text
    assert (bare.cwd / "models/one/a.bin").exists()


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_its_help_is_its_own(tmp_path: Path, project: Project, words: list[str]) -> None:
    """It fits 80 columns, names every command, and needs no project."""
    project.cwd = tmp_path
    run = project.modelmake(*words)
    assert (run.status, run.stderr) == (0, "")
    assert run.stdout.startswith("modelmake ")
    assert max(map(len, run.stdout.splitlines())) <= 80
    for name in ("init", "schema", "plan", "verify", "list", "clean", "--version"):
        assert f"\n  modelmake {name}" in run.stdout
    assert "dumpdb" not in run.stdout
    assert "usage: modelmake init" in project.modelmake("help", "init").stdout


def test_the_help_of_doit_begins_with_ours(project: Project, server: FaultyServer) -> None:
    """In a project of ours; elsewhere it is doit's own."""
    assert project.doit("help").stdout.startswith("doit -- automation tool")
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert "show help, first for fetch, lock," in project.doit("--help").stdout
    said = project.doit("help").stdout
    assert said.startswith("modelmake ")
    assert "  doit verify " in said
    assert " dumpdb " in said
    assert "config:" not in project.doit("help", "plan").stdout


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_a_task(project: Project, server: FaultyServer, word: str) -> None:
    """After a task's name it is shown, and nothing runs."""
    project.declare({"one": toy(server, ["a.bin"])})
    for task in ("plan", "fetch", "prune", "one"):
        run = project.doit(task, word)
        assert run.status == 0, run.text
        assert run.stdout.startswith("doit ")
    for command in ("list", "info", "clean", "forget"):
        run = project.doit(command, word)
        assert run.status == 0, run.text
        assert f" {command} " in run.stdout.partition("OPTIONS")[0]
    assert server.connections == 0


def test_list_is_one_screen(project: Project, server: FaultyServer) -> None:
    """Models stand first, in at most 80 columns, then the user's tasks, then the commands."""
    names = [f"llama-3.2-{number}b-instruct" for number in range(1, 11)]
    project.declare({name: toy(server, [f"{name}.bin"], optional=True) for name in names})
    with (project.folder / "dodo.py").open("a") as dodo:
        dodo.write("\ndef task_build():\n    'Build it.'\n    return {'actions': ['true']}\n")
    *rows, own, first, last = project.doit("list").stdout.splitlines()
    assert [row.split()[0] for row in rows] == sorted(f"fetch:{name}" for name in names)
    assert own.split(maxsplit=1) == ["build", "Build it."]
    assert first.startswith("commands: adopt bundle ")
    assert f"{first} {last.strip()}".endswith("; `doit help`")
    assert max(map(len, (*rows, own, first, last))) <= 80
    assert all(" " in row for row in rows)
    assert "commands" not in project.doit("list", "-q").stdout


def test_list_names_no_commands_if_the_dodo_file_has_none(
    project: Project, server: FaultyServer
) -> None:
    """As with README's own dodo.py, which imports the downloads alone."""
    project.declare({"one": toy(server, ["a.bin"])})
    (project.folder / "dodo.py").write_text(
        "from downloader.tasks import DOIT_CONFIG, task_fetch\n"
    )
    assert [line.split()[0] for line in project.doit("list").stdout.splitlines()] == ["fetch:one"]


def test_elsewhere_doit_is_its_own(project: Project) -> None:
    """In a project without our tasks its commands and errors are untouched."""
    (project.folder / "dodo.py").write_text(
        "def task_build():\n    'Build it.'\n    return {'actions': ['true']}\n"
    )
    assert project.doit("list").stdout == "build   Build it.\n"
    assert project.doit("help", "build").stdout == "build  Build it.\n"
    assert "Commands\n" in project.doit("help", "nosuch").stdout
    assert 'Invalid parameter: "nosuch"' in project.doit("nosuch").stderr
    assert project.doit("info", "build").stdout.startswith("\nbuild\n")


@pytest.mark.parametrize("words", [[""], ["publish", "--to", ""]], ids=" ".join)
def test_an_empty_word_is_an_error_and_no_traceback(project: Project, words: list[str]) -> None:
    """As of a shell variable that is not set."""
    run = project.modelmake(*words)
    assert (run.status, run.stdout) == (2, "")
    assert "A word of the command line is empty" in run.stderr
    assert "Traceback" not in run.stderr
