"""`python -m downloader`: a project begins with one command, and nothing is ever overwritten."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from downloader import __main__, __version__
from downloader import __main__ as starting
from downloader.artifact import bytes_text
from downloader.manifest import manifest, schema
from downloader.project.resolve import outline
from tests.docs.documents import blocks, first_cells, page
from tests.e2e.project import REPOSITORY, Project, Run

START = page("start.md")
COMMANDS = [
    words
    for block in blocks(START, "sh")
    for line in block.splitlines()
    if (words := shlex.split(line.partition("#")[0])) and words[0] != "source"
]
WRITTEN = ["models.yaml", "dodo.py", ".gitignore", schema.FILE]


def run(*arguments: str, cwd: Path) -> Run:
    """Run `python -m downloader` as a user would."""
    done = subprocess.run(
        [sys.executable, "-m", "downloader", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        each.relative_to(folder).as_posix(): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }


def test_an_empty_folder_becomes_a_project(tmp_path: Path) -> None:
    """After `init`, `doit list` shows the model, and `doit` locks it and begins to fetch."""
    begun = run("init", cwd=tmp_path)
    declared = manifest.load((tmp_path / "models.yaml").read_bytes()).models
    project = Project(tmp_path)  # copies the repository's dodo.py: the same, says a test below
    listed = project.doit("list")
    fetched = project.doit(MODELMAKE_RETRIES="1")

    assert (begun.status, begun.stderr) == (0, "")
    assert begun.stdout.splitlines()[:3] == [
        "wrote models.yaml",
        "wrote dodo.py",
        "wrote .gitignore: models/ .modelmake/ .doit.db*",
    ]
    assert len(begun.stdout.splitlines()) == 5
    assert "fetch:gpt2-124M   7 files,     499.7 MB, 7 of 7 to fetch" in listed.stdout
    assert declared["gpt2-355M"].optional
    assert "locked gpt2-124M: 7 files" in fetched.stderr
    assert "could not be reached" in fetched.stderr or "refused" in fetched.stderr


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    """What is there already is named and left, with exit status 0."""
    run("init", cwd=tmp_path)
    before = contents(tmp_path)
    again = run("init", cwd=tmp_path)

    assert sorted(before) == sorted(WRITTEN)
    assert contents(tmp_path) == before
    assert again.status == 0
    assert "\n  " not in again.stdout
    assert again.stdout.count("as it is") == 3


def test_files_of_others_are_left_with_a_hint(tmp_path: Path) -> None:
    """A models.yaml without the schema line and a dodo.py without our tasks are not touched."""
    mine = {"models.yaml": b"version: 1\nmodels: {}\n", "dodo.py": b"print('mine')\n"}
    for name, content in mine.items():
        (tmp_path / name).write_bytes(content)
    said = list(starting.init(tmp_path))

    assert {name: contents(tmp_path)[name] for name in mine} == mine
    assert said[0] == (
        "left models.yaml as it is: it is there already\n"
        f"  For completion in editors, make this its first line: {schema.LINE}"
    )
    assert "\n  from downloader.tasks import *\n" in said[1]
    assert "Then: `modelmake` downloads them" in said[3], "`doit` has no task for it yet"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"build", b"build\nmodels/\n.modelmake/\n.doit.db*\n"),
        (b"build\n/models/\n", b"build\n/models/\n.modelmake/\n.doit.db*\n"),
        (b"models\n.modelmake/\n.doit.db*", b"models\n.modelmake/\n.doit.db*"),
        (b"caf\xe9\r\n.doit.db*\r\n", b"caf\xe9\r\n.doit.db*\r\nmodels/\n.modelmake/\n"),
    ],
)
def test_gitignore_gets_what_is_missing_once(tmp_path: Path, before: bytes, after: bytes) -> None:
    """Lines are appended, however they were written before and however often it runs."""
    ignore = tmp_path / ".gitignore"
    ignore.write_bytes(before)
    for _ in range(2):
        list(starting.init(tmp_path))

    assert ignore.read_bytes() == after


def test_a_link_to_nowhere_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written through a symbolic link that stands in the place of a file."""
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "p").mkdir()
    (tmp_path / "p/models.yaml").symlink_to(elsewhere)
    said = list(starting.init(tmp_path / "p"))

    assert said[0] == "left models.yaml as it is: it is there already"
    assert not elsewhere.exists()


def test_another_folder_is_made(tmp_path: Path) -> None:
    """`init FOLDER` makes the folder, its parents too, and says how to get there."""
    begun = run("init", "a/b c", cwd=tmp_path)
    assert begun.status == 0
    assert "`cd 'a/b c'`" in begun.stdout
    (tmp_path / "a/b c").rename(tmp_path / "a/b")
    assert sorted(contents(tmp_path / "a/b")) == sorted(WRITTEN)


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    """A file where the folder is to be is told in one sentence, with exit status 1."""
    (tmp_path / "p").write_text("")
    failed = run("init", "p", cwd=tmp_path)

    assert failed.status == 1
    assert "Cannot make the folder" in failed.stderr
    assert "Traceback" not in failed.text


def test_a_write_that_fails_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A models.yaml that could not be written whole is removed: the next `init` writes it."""
    monkeypatch.setattr(starting, "MODELS_YAML", "\ud800")
    with pytest.raises(UnicodeEncodeError):
        list(starting.init(tmp_path))
    monkeypatch.undo()

    assert not (tmp_path / "models.yaml").exists()
    assert next(iter(starting.init(tmp_path))) == "wrote models.yaml"


def test_the_dodo_file_is_the_shipped_one() -> None:
    """`init` writes byte for byte the dodo.py of this repository."""
    assert starting.dodo_py() == (REPOSITORY / "dodo.py").read_text(encoding="utf-8")


def test_a_long_list_of_tasks_stands_a_name_a_line() -> None:
    """More tasks than fit on a line are written as ruff writes them."""
    names = [f"task_{n:030}" for n in range(3)]

    assert starting._listed("from a import ", names, "", "()") == (
        "from a import (\n" + "".join(f"    {each},\n" for each in names) + ")"
    )


def test_the_size_that_models_yaml_tells_is_right() -> None:
    """The comment on gpt2-124M says what the lock will say."""
    entry = manifest.load(starting.MODELS_YAML.encode()).models["gpt2-124M"]
    locked = outline("gpt2-124M", entry)

    assert locked is not None
    assert f": {bytes_text(sum(each.size or 0 for each in locked.files))}," in starting.MODELS_YAML


def test_what_stands_in_comments_is_ready_to_use() -> None:
    """models.yaml loads also when the `#` before its other examples are taken away."""
    plain = re.sub(r"^  # (?=[a-z ])", "  ", starting.MODELS_YAML, flags=re.MULTILINE)
    models = manifest.load(plain.encode()).models

    assert list(models) == ["gpt2-124M", "gpt2-355M", "bge-small", "whisper", "support-bot"]


def test_schema_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m downloader schema` writes it to standard output."""
    assert __main__.main(["schema"]) == 0
    assert capsys.readouterr().out == schema.text()


def test_the_commands_of_the_page_begin_a_project(tmp_path: Path) -> None:
    """docs/start.md, its commands one after the other: each is understood in the new folder."""
    said = [run(*words[1:], cwd=tmp_path) for words in COMMANDS if words[0] == "modelmake"]
    runs = [Project(tmp_path).doit(*words[1:]) for words in COMMANDS if words == ["doit", "list"]]

    assert [each.status for each in said + runs] == [0, 0, 0]
    assert {words[0] for words in COMMANDS} == {"pip", "modelmake", "doit"}
    assert [words for words in COMMANDS if words[0] == "pip"] == [["pip", "install", "."]]


def test_the_line_for_editors_on_the_page_is_the_written_one() -> None:
    """docs/start.md shows the line that `init` puts first, and names each file it writes."""
    assert blocks(START, "text") == [f"{schema.LINE}\n"]
    assert [cell.strip("`") for cell in first_cells(START)[1:]] == WRITTEN


def test_the_line_that_init_advises_for_another_dodo_file_brings_the_tasks(
    tmp_path: Path,
) -> None:
    """With it, `doit` lists the models beside the tasks that were there."""
    (tmp_path / "dodo.py").write_text("def task_mine():\n    return {'actions': ['true']}\n")
    line = run("init", cwd=tmp_path).stdout.splitlines()[3]
    project = Project(tmp_path / "other")
    dodo = (tmp_path / "dodo.py").read_text()
    (project.folder / "dodo.py").write_text(f"{line.strip()}\n{dodo}")
    (project.folder / "models.yaml").write_bytes((tmp_path / "models.yaml").read_bytes())
    listed = project.doit("list").stdout

    assert "fetch:gpt2-124M" in listed
    assert "mine" in listed


MINE = "def task_mine():\n    return {'actions': ['echo ran'], 'verbosity': 2}\n"
CONFIG = "DOIT_CONFIG = {'verbosity': 2}\n"


def advised(tmp_path: Path, dodo: str) -> tuple[Project, str]:
    """Return a project with what `init` advises for a dodo.py, and what it says of that."""
    (tmp_path / "dodo.py").write_text(dodo)
    said = run("init", cwd=tmp_path).stdout
    code = [line for line in said.splitlines() if " import *" in line or " = {" in line]
    project = Project(tmp_path / "other")
    imported, *config = (line.strip() + "\n" for line in code)
    changed = "".join([imported, dodo, *config]).replace("NAME-OF-YOUR-TASK", "mine")
    (project.folder / "dodo.py").write_text(changed)
    project.declare({})
    return project, said


def test_the_default_tasks_of_another_dodo_file(tmp_path: Path) -> None:
    """`init` says what becomes of them with its line, and how to have both."""
    project, said = advised(tmp_path, MINE)
    assert "`doit` alone then downloads the models, and no longer runs your own tasks." in said
    assert "ran" in project.doit().stdout, "both, with the second line"
    only = (project.folder / "dodo.py").read_text().rpartition("DOIT_CONFIG =")[0]
    (project.folder / "dodo.py").write_text(only)
    assert project.doit().stdout == "Nothing to do.\n"


def test_the_default_tasks_of_a_dodo_file_with_a_configuration(tmp_path: Path) -> None:
    """It wins over ours, so without `default_tasks` every command would run."""
    project, said = advised(tmp_path, CONFIG + MINE)
    assert "give that `default_tasks`: else `doit` alone runs every command." in said
    assert ".  adopt" in project.doit().stdout
    dodo = (project.folder / "dodo.py").read_text().replace("{'", "{'default_tasks': ['mine'], '")
    (project.folder / "dodo.py").write_text(
        dodo.replace("{'default_tasks': ['mine'], 'act", "{'act")
    )
    assert "ran" in project.doit().stdout


def test_version_is_the_distributions(tmp_path: Path) -> None:
    """`--version` names the distribution, wherever it is asked for."""
    assert run("--version", cwd=tmp_path).stdout == f"modelmake {__version__}\n"
    assert contents(tmp_path) == {}
