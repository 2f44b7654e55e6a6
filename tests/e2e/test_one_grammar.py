"""Every command takes a model or file in every form, and says what is close to a mistyped one."""

import json

import pytest

from downloader import tasks
from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project, Run
from tests.e2e.together.projects import JOB, bot, usual_checkpoints
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

MODEL_FORMS = [
    "one-b",
    "fetch:one-b",
    "one-b/",
    "one-*",
    "fetch:one-*",
    "models/one-b",
    "models/one-b/",
    "./models/one-b",
    "models/../models/one-b",
    "models/one-*",
    "{folder}/models/one-b",
    "{folder}/models/one-*",
]
FILE_FORMS = [
    "one-b/sub/b.bin",
    "fetch:one-b/sub/b.bin",
    "one-*/sub/b.bin",
    "fetch:one-*/b.bin",
    "models/one-b/sub/b.bin",
    "./models/one-b/sub/b.bin",
    "models/one-b/sub",
    "models/*/sub/b.bin",
    "{folder}/models/one-b/sub/b.bin",
    "{folder}/models/one-b/sub/",
]
MODEL_COMMANDS = {
    "": "2 fetched",
    "fetch": "2 fetched",
    "-n 4": "2 fetched",
    "list": "fetch:one-b ",
    "info": "fetch:one-b\n",
    "clean -n": "models/one-b/sub/b.bin'\n",
    "forget": "forgetting fetch:one-b\n",
    "ignore": "ignoring fetch:one-b\n",
    "help": "fetch:one-b",
    "plan": "one-b",
    "verify": "not here: one-b (2 files)",
    "lock": "up to date for one-b.",
    "lock --check": "up to date for one-b.",
    "outdated": "one-b: ",
    "ci-key --json": '"one-b"',
    "bundle --out out": "one-b/a.bin",
    "adopt --from .": "one-b/a.bin",
}
"""Each command with what it says of the model, and of no other one."""
FILE_COMMANDS = {
    "": "1 fetched",
    "fetch": "1 fetched",
    "list": "fetch:one-b/sub/b.bin ",
    "info": "fetch:one-b/sub/b.bin\n",
    "clean -n": "",
    "forget": "forgetting fetch:one-b/sub/b.bin\n",
    "help": "fetch:one-b/sub/b.bin ",
    "verify": "verified 1 file: 1 missing",
    "plan": "one-b",
    "lock": "up to date for one-b.",
    "outdated": "one-b: ",
    "ci-key --json": '"one-b"',
}


@pytest.fixture
def locked(project: Project, server: FaultyServer) -> Project:
    """Give a project with three locked models, of which nothing was fetched."""
    project.declare(
        {
            "two": toy(server, ["c.bin"]),
            "one-b": pinned_toy(server, ["a.bin", "sub/b.bin"]),
            "spare": toy(server, ["d.bin"], optional=True),
        }
    )
    assert project.doit("lock").status == 0
    return project


@pytest.mark.sampled(keep=20)
@pytest.mark.parametrize("command", MODEL_COMMANDS)
@pytest.mark.parametrize("form", MODEL_FORMS)
def test_a_model(locked: Project, command: str, form: str) -> None:
    """By its name, its task, a wildcard and its folder: the same model, and no other."""
    run = locked.doit(*command.split(), form.format(folder=locked.folder))
    assert run.status in (0, 1), run.text
    if command != "clean -n":  # of what is not there it says nothing
        assert MODEL_COMMANDS[command] in run.text
    assert "two" not in run.text
    assert "no task" not in run.text
    assert not (locked.folder / "models/two").exists()


@pytest.mark.sampled(keep=16)
@pytest.mark.parametrize("command", FILE_COMMANDS)
@pytest.mark.parametrize("form", FILE_FORMS)
def test_a_file(locked: Project, command: str, form: str) -> None:
    """By its name, its task, a wildcard and its path; a folder is the files below it."""
    run = locked.doit(*command.split(), form.format(folder=locked.folder))
    assert run.status in (0, 1), run.text
    assert FILE_COMMANDS[command] in run.text
    assert "two" not in run.text
    if command in ("", "fetch", "verify"):
        assert "a.bin" not in run.text
        assert not locked.target("one-b", "a.bin").exists()


def test_clean_by_path(locked: Project) -> None:
    """`clean` removes what a path names, and nothing beside it."""
    assert locked.doit("one-b").status == 0
    assert locked.doit("clean", "./models/one-b/a.bin").status == 0
    assert not locked.target("one-b", "a.bin").exists()
    assert locked.target("one-b", "sub/b.bin").exists()
    assert locked.doit("clean", f"{locked.folder}/models/one-b/").status == 0
    assert not (locked.folder / "models/one-b").exists()


def test_forget_by_wildcard(locked: Project) -> None:
    """`forget` takes wildcards, as a run does."""
    assert locked.doit("one-b").status == 0
    assert locked.doit("forget", "fetch:*").status == 0
    assert "2 verified in place" in locked.doit("one-b").stdout


def test_verify_reads_only_the_files_that_are_named(locked: Project) -> None:
    """A damaged file beside the named one is not reported, and not read."""
    assert locked.doit("one-b").status == 0
    locked.target("one-b", "a.bin").chmod(0o644)
    locked.target("one-b", "a.bin").write_bytes(b"damaged")
    assert locked.doit("verify", "models/one-b/sub/b.bin").status == 0
    assert locked.doit("verify", "models/one-b/a.bin").status == 1


def test_a_path_is_relative_to_where_it_was_typed(locked: Project) -> None:
    """`doit -k` from a model's folder takes a name that the shell completes there."""
    (locked.folder / "models/one-b/sub").mkdir(parents=True)
    locked.cwd = locked.folder / "models/one-b"
    run = locked.doit("-k", "sub/b.bin")
    assert run.status == 0, run.text
    assert "1 fetched" in run.stdout
    assert "1 fetched" in locked.doit("-k", "models/one-b/a.bin").stdout, "or to the project"


def test_a_folder_behind_a_symlink(locked: Project) -> None:
    """Both paths of a folder name it."""
    (locked.folder / "disk").mkdir()
    (locked.folder / "models").symlink_to("disk")
    run = locked.doit("disk/one-b/a.bin")
    assert run.status == 0, run.text
    assert "1 fetched" in run.stdout


def test_two_models_in_one_folder(project: Project, server: FaultyServer) -> None:
    """Their folder names both."""
    project.declare(
        {
            "a": {**toy(server, ["a.bin"]), "to": "models/both"},
            "b": {**toy(server, ["b.bin"]), "to": "models/both"},
            "c": toy(server, ["c.bin"]),
        }
    )
    assert "2 fetched" in project.doit("models/both").stdout


def test_a_file_that_only_the_provider_knows(project: Project) -> None:
    """Its path is believed until the provider was asked, in every form."""
    with TogetherServer() as server:
        server.add_job(JOB, checkpoints=usual_checkpoints())
        project.variables |= {
            "TOGETHER_API_KEY": server.key,
            "TOGETHER_BASE_URL": server.url,
            "MODELMAKE_RETRIES": "1",
        }
        project.declare({"bot": bot()})
        for form in ("bot/nope", "./models/bot/nope", "fetch:bot/nope"):
            run = project.doit(form)
            assert run.status == 1, run.text
            assert "models.lock knows no file nope of bot" in run.stderr
            project.lock.unlink()


@pytest.mark.parametrize("word", ["models/m/epoch=9-step=499.ckpt", "fetch:m/epoch=9*"])
def test_a_file_with_an_equals_sign(project: Project, server: FaultyServer, word: str) -> None:
    """What doit takes for a variable is the file of that name; other variables stay."""
    entry = toy(server, ["epoch=9-step=499.ckpt"])
    project.declare({"m": entry, "n": toy(server, ["b.bin"])})
    run = project.doit(word, "some=value")
    assert run.status == 0, run.text
    assert project.target("m", "epoch=9-step=499.ckpt").exists()
    assert not project.target("n", "b.bin").exists()
    assert project.doit("verify", word).status == 0
    assert project.doit("clean", word).status == 0
    assert not project.target("m", "epoch=9-step=499.ckpt").exists()


def test_users_own_tasks_keep_their_words(locked: Project) -> None:
    """A task's name wins over a model's, and what follows it stays its own."""
    with (locked.folder / "dodo.py").open("a") as dodo:
        dodo.write(
            "\ndef task_two():\n"
            "    params = [{'name': 'n', 'long': 'n', 'type': int, 'default': 0}]\n"
            "    return {'actions': [lambda n, rest: print(n, rest)], 'params': params,\n"
            "            'pos_arg': 'rest', 'verbosity': 2}\n"
            "def task_made():\n"
            "    return {'actions': ['echo made > a=b.txt'], 'targets': ['a=b.txt']}\n"
        )
    run = locked.doit("two", "--n", "3", "one-b", "x")
    assert (run.status, run.stdout) == (0, ".  two\n3 ['one-b', 'x']\n"), run.text
    run = locked.doit("./a=b.txt", "one-b", "other=value")
    assert run.status == 0, run.text
    assert (locked.folder / "a=b.txt").exists(), "doit takes it for a variable"
    assert locked.target("one-b", "a.bin").exists()


UNKNOWN = {
    "fetch:ONE-b": "fetch:one-b?",
    "ONE-b": "one-b?",
    "one-c": "one-b?",
    "fetch:one": "fetch:one-b",
    "fetch:one-b/a.bim": "fetch:one-b/a.bin?",
    "models/one-b/a.bim": "models/one-b/a.bin?",
    "./models/one-b/a.bim": "models/one-b/a.bin?",
    "{folder}/models/one-b/a.bim": "models/one-b/a.bin?",
    "lst": "list?",
    "pln": "plan?",
    "status": "`doit list`?",
    "init": "`modelmake init`?",
    "version": "`modelmake --version`?",
    "download": "`doit fetch`?",
}


@pytest.mark.sampled(keep=6)
@pytest.mark.parametrize("command", ["", "list", "info", "clean", "forget", "help"])
@pytest.mark.parametrize("word", UNKNOWN)
def test_an_unknown_name(locked: Project, command: str, word: str) -> None:
    """One line with what is close, doit's exit status for it, and nothing done."""
    typed = word.format(folder=locked.folder)
    run = locked.doit(*command.split(), typed)
    assert (run.status, run.stdout) == (3, ""), run.text
    assert run.stderr.startswith(f"ERROR: no task or file {typed!r}. ")
    assert len(run.error_lines) == 1
    if command and word == "lst":
        return  # names of commands are offered where one may stand
    assert f"Did you mean {UNKNOWN[word]}" in run.stderr


COMMANDS = [name.removeprefix("task_") for name in tasks.__all__ if name.startswith("task_")]


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "fetch"])
def test_a_command_that_dodo_py_does_not_import(locked: Project, command: str) -> None:
    """With README's shortest dodo.py: the function to import is named, and no other task."""
    (locked.folder / "dodo.py").write_text("from downloader.tasks import DOIT_CONFIG, task_fetch\n")
    word = command.replace("_", "-")
    run = locked.doit(word)
    assert (run.status, run.stdout) == (3, "")
    what = f"ERROR: no task {word!r}: this dodo.py does not import task_{command}."
    hint = f"  Import it from downloader.tasks, or run `modelmake {word}`."
    assert run.error_lines == [what, hint]
    assert f"Did you mean {word}" in locked.doit(f"{word}x").stderr


@pytest.mark.parametrize("word", ["qqq", "..", "/"])
def test_a_name_that_nothing_is_close_to(locked: Project, word: str) -> None:
    """The message says where the names are listed."""
    run = locked.doit(word)
    lists = "`doit list` shows the models and commands."
    assert run == Run(3, "", f"ERROR: no task or file {word!r}. {lists}\n")


@pytest.mark.parametrize("words", [["q*"], ["fetch:q*"], ["models/q*/*"], ["clean", "q*"]])
def test_a_wildcard_that_matches_nothing(locked: Project, words: list[str]) -> None:
    """It does not look like success, of no command."""
    run = locked.doit(*words)
    shows = "`doit list --all` shows them."
    assert run == Run(3, "", f"ERROR: No task matches {words[-1]!r}; {shows}\n")


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize(
    "command",
    ["verify", "plan", "lock", "outdated", "ci-key", "bundle --out out", "adopt --from ."],
)
def test_an_unknown_name_after_a_command_of_ours(locked: Project, command: str) -> None:
    """The nearest model or file is named, with doit's exit status; nothing is done."""
    before, words = locked.lock.read_bytes(), command.split()
    close = locked.doit(*words, "oen-b")
    assert (close.status, close.stdout) == (3, "")
    assert "declares no model 'oen-b'.\n  Did you mean one-b?" in close.stderr
    file = locked.doit(words[0], "models/one-b/c.bin", *words[1:])
    assert file.status == 3
    assert "no model and no file 'models/one-b/c.bin'.\n  Did you mean models/" in file.stderr
    other = locked.doit(*words, "q*")
    assert (
        "No model of models.yaml matches 'q*'.\n  It declares: two, one-b, spare." in other.stderr
    )
    told = locked.doit(*words, "q*", MODELMAKE_PROGRESS="json").error_lines
    assert json.loads(told[-1])["code"] == "no-task"
    assert locked.lock.read_bytes() == before
    assert not (locked.folder / "out").exists()
