"""Which files a command line means."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy, toy_content
from tests.e2e.project import Project, Run
from tests.servers.faulty import FaultyServer

ALL = ["one/a.bin", "one/sub/b.bin", "two/c.bin"]


def declare_three(project: Project, server: FaultyServer) -> None:
    """Declare the models one, two, and spare, which is optional."""
    project.declare(
        {
            "one": toy(server, ["a.bin", "sub/b.bin"]),
            "two": toy(server, ["c.bin"]),
            "spare": toy(server, ["d.bin"], optional=True),
        }
    )


def present(project: Project) -> list[str]:
    """Return the targets that are there, below models/."""
    models = project.folder / "models"
    return sorted(
        path.relative_to(models).as_posix()
        for path in models.rglob("*.bin")
        if ".modelmake" not in path.parts
    )


@pytest.mark.sampled(keep=13)
@pytest.mark.parametrize("lock", ["none", "stale", "current"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ALL),
        (["fetch"], ALL),
        (["fetch:one"], ["one/a.bin", "one/sub/b.bin"]),
        (["fetch:one/sub/b.bin"], ["one/sub/b.bin"]),
        (["models/one/a.bin"], ["one/a.bin"]),
        (["fetch:one/*"], ["one/a.bin", "one/sub/b.bin"]),
        (["fetch:*/c.bin"], ["two/c.bin"]),
        (["fetch:spare"], ["spare/d.bin"]),
        (["fetch:spare/d.bin"], ["spare/d.bin"]),
        (["models/spare/d.bin", "models/two/c.bin"], ["spare/d.bin", "two/c.bin"]),
    ],
    ids=lambda each: " ".join(each) or "bare",
)
def test_exactly_what_is_named_is_fetched(
    project: Project, server: FaultyServer, lock: str, words: list[str], expected: list[str]
) -> None:
    """A name, a path or a wildcard means the same with no lock, a stale and a current one."""
    if lock == "stale":
        project.declare({"one": toy(server, ["a.bin"]), "left": toy(server, ["e.bin"])})
        assert project.doit("lock").status == 0
    declare_three(project, server)
    if lock == "current":
        assert project.doit("lock").status == 0
    run = project.doit(*words)
    assert run.status == 0, run.text
    assert present(project) == expected
    for path in expected:
        name = path.partition("/")[2]
        assert (project.folder / "models" / path).read_bytes() == toy_content(name)
    assert f"{len(expected)} fetched" in run.stdout


def test_a_wildcard_that_matches_nothing_is_told(project: Project, server: FaultyServer) -> None:
    """A mistyped wildcard does not look like success: doit itself says nothing of it."""
    declare_three(project, server)
    run = project.doit("fetch:on3*")
    assert (run.status, run.stdout) == (3, "")
    assert "No task matches 'fetch:on3*'" in run.stderr
    assert present(project) == []


@pytest.mark.parametrize("word", ["nope", "fetch:nope", "models/one/nope.bin"])
def test_an_unknown_name_moves_nothing(project: Project, server: FaultyServer, word: str) -> None:
    """The word is named; nothing moves, and the exit status is doit's own for that."""
    declare_three(project, server)
    run = project.doit(word)
    assert run.status == 3
    assert run.stderr.startswith(f"ERROR: no task or file {word!r}. ")
    assert "Traceback" not in run.text
    assert server.requests == []


def test_one_at_a_time_is_possible(project: Project, server: FaultyServer) -> None:
    """`doit -n 1` fetches the same, over fewer connections than files."""
    declare_three(project, server)
    assert project.doit("lock").status == 0
    before = server.connections
    run = project.doit("-n", "1")
    assert run.status == 0, run.text
    assert present(project) == ALL
    assert server.connections - before == 1


def test_doit_runs_from_a_subfolder(project: Project, server: FaultyServer) -> None:
    """With `-f ../dodo.py` the files go where they always go."""
    declare_three(project, server)
    elsewhere = project.folder / "notebooks"
    elsewhere.mkdir()
    project.cwd = elsewhere
    run = project.doit("-f", "../dodo.py", "fetch:two")
    assert run.status == 0, run.text
    assert present(project) == ["two/c.bin"]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("is_absolute", [True, False])
def test_the_manifest_may_lie_elsewhere(
    project: Project, server: FaultyServer, tmp_path: Path, is_absolute: bool
) -> None:
    """MODELMAKE_MANIFEST names it; the lock and the files lie beside it."""
    declare_three(project, server)
    other = tmp_path / "other"
    other.mkdir()
    shutil.move(project.manifest, other / "wanted.yaml")
    named = other / "wanted.yaml" if is_absolute else Path("../other/wanted.yaml")
    run = project.doit("fetch:two", MODELMAKE_MANIFEST=str(named))
    assert run.status == 0, run.text
    assert (other / "models/two/c.bin").read_bytes() == toy_content("c.bin")
    assert (other / "wanted.lock").exists()
    assert [each.name for each in project.folder.iterdir()] == ["dodo.py"]
    again = project.doit("fetch:two", MODELMAKE_MANIFEST=str(named))
    assert (again.status, again.stdout) == (0, "Nothing to do.\n")


def test_always_execute_verifies_and_moves_nothing(project: Project, server: FaultyServer) -> None:
    """`doit -a` takes each file in hand, finds it right, and sends no request."""
    project.declare({"one": pinned_toy(server, ["a.bin", "b.bin"])})
    assert project.doit().status == 0
    before = len(server.requests)
    run = project.doit("-a")
    assert run.status == 0, run.text
    assert run.stdout.startswith("2 verified in place in ")
    assert len(server.requests) == before


TOOL_NAMES = ["epoch=9-step=499.ckpt", "step:100/loss=0.5:last.bin"]
"""As PyTorch Lightning and others call checkpoints."""


def test_names_with_equals_sign_and_colon_go_through_every_command(
    project: Project, server: FaultyServer
) -> None:
    """They are fetched, found up to date, told, verified, adopted and removed as any other."""
    project.declare({"one": toy(server, TOOL_NAMES)})
    assert project.doit("fetch:one").status == 0
    assert [project.target("one", name).read_bytes() for name in TOOL_NAMES] == [
        toy_content(name) for name in TOOL_NAMES
    ]
    assert "Nothing to do." in project.doit("models/one/step:100/loss=0.5:last.bin").stdout
    assert "2 right" in project.doit("verify").stdout
    assert all(f"fetch:one/{name}" in project.doit("list", "--all").stdout for name in TOOL_NAMES)
    assert "all its files are up to date" in project.doit("info", "fetch:one").stdout
    aside = project.folder / "aside"
    project.target("one", "").rename(aside)
    assert project.doit("adopt", "--from", str(aside), MODELMAKE_STORE="off").status == 0
    for name in TOOL_NAMES:  # doit itself takes a word with `=` for a variable
        for word in (f"models/one/{name}", f"fetch:one/{name}"):
            cleaned = project.doit("clean", word)
            assert cleaned.status == 0, cleaned.text
            assert not project.target("one", name).exists()
            assert project.doit(word).status == 0
            assert project.target("one", name).exists()


def test_nothing_but_optional_models(project: Project, server: FaultyServer) -> None:
    """A run and a plan say why there is nothing to do, and how to download one."""
    why = "Every model is optional. Name one to download it, such as `doit one`.\n"
    project.declare({name: pinned_toy(server, [name], optional=True) for name in ("one", "two")})
    assert project.doit("lock").status == 0
    assert project.doit() == project.doit("fetch") == Run(0, "Nothing to do.\n", why)
    assert project.doit("plan") == Run(0, "Nothing to do.\n", why)
    assert "optional" not in project.doit("plan", "one").stderr
    assert project.doit("one").status == 0
    assert project.doit("one") == Run(0, "Nothing to do.\n", "")
    project.declare({"one": pinned_toy(server, ["one"])})
    assert project.doit("lock").status == 0
    assert project.doit() == Run(0, "Nothing to do.\n", "")


def test_no_models(project: Project) -> None:
    """An empty list of models is named, too."""
    project.declare({})
    assert project.doit() == Run(0, "Nothing to do.\n", "models.yaml declares no models.\n")
