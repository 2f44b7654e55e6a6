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


DOITS = {
    "fetch --frce": "doit: option --frce not recognized. See `doit help`.",
    "fetch:one --frce": "doit: option --frce not recognized. See `doit help`.",
    "list --stats": (
        "doit list: option --stats not recognized. Did you mean --status? See `doit help list`."
    ),
    "clean --frce": "doit clean: option --frce not recognized. See `doit help clean`.",
    "forget -x": "doit forget: option -x not recognized. See `doit help forget`.",
    "--lst": "doit: option --lst not recognized. Did you mean list? See `doit help run`.",
    "--plan": "doit: option --plan not recognized. Did you mean plan? See `doit help run`.",
    "-j 4": "doit: option -j not recognized. Did you mean -n? See `doit help run`.",
    "--proccess=4": (
        "doit: option --proccess not recognized. Did you mean --process? See `doit help run`."
    ),
    "-n many": "doit: option -n is 'many'; it must be a whole number. See `doit help run`.",
}


@pytest.mark.parametrize(("line", "told"), DOITS.items())
def test_a_mistyped_option_of_doit(
    project: Project, server: FaultyServer, line: str, told: str
) -> None:
    """Of doit and its commands, and where there are none: one line, and nothing done."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(*line.split())
    assert (run.status, run.stdout, run.stderr) == (3, "", f"ERROR: {told}\n")
    assert server.connections == 0


@pytest.mark.parametrize("template", ["{x", "{0}", "{name.x}", "{nosuch}", "{name:d}"])
def test_a_template_that_cannot_be_filled(
    project: Project, server: FaultyServer, template: str
) -> None:
    """It is Python's own form, in which slips are many kinds of error."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit("list", "--template", "{name}.").stdout.startswith("adopt.\n")
    run = project.doit("list", "--template", template)
    assert (run.status, run.stdout, run.stderr.count("\n")) == (3, "", 1), run.text
    assert run.stderr.startswith("ERROR: doit list: the template cannot be filled: ")


FILES = {
    "-o no/such.txt": "doit: no/such.txt: No such file or directory. See `doit help run`.",
    "-o sub": "doit: sub: Is a directory. See `doit help run`.",
    "list -f models.yaml": "doit list: No module named 'models'. See `doit help list`.",
}


@pytest.mark.parametrize(("line", "told"), FILES.items())
def test_a_file_that_doit_cannot_use(
    project: Project, server: FaultyServer, line: str, told: str
) -> None:
    """It is an error of who typed it, and ends in no traceback."""
    project.declare({"one": toy(server, ["a.bin"])})
    (project.folder / "sub").mkdir()
    run = project.doit(*line.split())
    assert (run.status, run.stderr.count("\n")) == (3, 1), run.text
    assert run.stderr.startswith(f"ERROR: {told}")
    assert server.connections == 0


def test_a_database_that_is_not_there(project: Project, server: FaultyServer) -> None:
    """In `modelmake`; a `doit dumpdb` loads nothing of ours."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.modelmake("dumpdb")
    assert (run.status, run.stderr.count("\n")) == (3, 1), run.text
    assert run.stderr.startswith("ERROR: modelmake dumpdb: db file doesn't exist; ")


@pytest.mark.parametrize("words", [("--foo",), ("clean", "--frce"), ("-n", "x")])
@pytest.mark.parametrize("place", [".", "sub", "elsewhere"])
def test_an_interpreter_that_just_started_answers_so_too(
    project: Project, server: FaultyServer, words: tuple[str, ...], place: str
) -> None:
    """What rewords doit must be loaded before doit looks at its command line."""
    project.declare({"one": toy(server, ["a.bin"])})
    project.before = ["env"]
    project.cwd = project.folder / place
    project.cwd.mkdir(exist_ok=True)
    if place == "elsewhere":
        manifest = project.folder / "models.yaml"
        project.variables["MODELMAKE_MANIFEST"] = str(manifest.rename(project.folder / "my.yaml"))
    run = project.doit(*words)
    assert (run.status, run.stderr.count("\n")) == (3, 1), run.text
    assert run.stderr.endswith(f". See `doit help {'clean' if 'clean' in words else 'run'}`.\n")


@pytest.mark.parametrize("code", ["import no_such_module", "open('no/such.txt')"])
def test_an_error_in_dodo_py_is_shown_with_its_place(
    project: Project, server: FaultyServer, code: str
) -> None:
    """It is the user's own code."""
    project.declare({"one": toy(server, ["a.bin"])})
    dodo = project.folder / "dodo.py"
    dodo.write_text(f"{dodo.read_text()}\n{code}\n")
    run = project.doit("list")
    assert run.status == 3
    assert "Traceback" in run.stderr
    assert code in run.stderr


def test_elsewhere_the_errors_are_doits(project: Project) -> None:
    """A folder without models is left alone."""
    assert "CmdOption" in project.doit("clean", "--frce").stderr
    project.cwd = project.folder / "sub"
    project.cwd.mkdir()
    assert "Could not find dodo file" in project.doit().stderr


MINE = """
def task_mine():
    count = {"name": "count", "short": "c", "long": "count", "type": int, "default": 1}
    return {"actions": None, "params": [count]}
"""


@pytest.mark.parametrize("has_models", [True, False])
def test_options_of_a_task_of_the_user_are_doits(
    project: Project, server: FaultyServer, has_models: bool
) -> None:
    """With models beside it, and in a project that has nothing to do with ours."""
    dodo = project.folder / "dodo.py"
    if has_models:
        project.declare({"one": toy(server, ["a.bin"])})
    dodo.write_text(dodo.read_text() * has_models + MINE)
    run = project.doit("mine", "--count", "abc")
    assert run.status == 3
    assert "Error parsing parameter 'count'" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("words", [[], ["list"], ["clean"]])
def test_in_a_subfolder_modelmake_is_named(
    project: Project, server: FaultyServer, words: list[str]
) -> None:
    """`doit` looks into the working directory only, `modelmake` upwards too."""
    project.declare({"one": toy(server, ["a.bin"])})
    project.cwd = project.folder / "sub"
    project.cwd.mkdir()
    run = project.doit(*words)
    what = f"There is no dodo.py in {project.cwd}. `modelmake` works in any folder of a project."
    assert (run.status, run.stderr) == (3, f"ERROR: {what}\n")
    assert "Could not find dodo file" in project.doit("-f", "other.py").stderr


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
