"""doit's own commands do with our tasks what its users expect."""

import pytest

from downloader.tasks._reporter import OURS
from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project, Run
from tests.servers.faulty import FaultyServer


@pytest.fixture
def fetched(project: Project, server: FaultyServer) -> Project:
    """Give a project whose two models are there, and a third that is optional and is not."""
    project.declare(
        {
            "one": pinned_toy(server, ["a.bin", "sub/b.bin"]),
            "two": toy(server, ["c.bin"]),
            "spare": toy(server, ["d.bin"], optional=True),
        }
    )
    assert project.doit().status == 0
    return project


def described(run: Run) -> dict[str, str]:
    """Return what `list` says of each task."""
    return dict(line.split(maxsplit=1) for line in run.stdout.splitlines())


def test_list_before_anything_is_locked(project: Project, server: FaultyServer) -> None:
    """The groups and their state stand there, nothing is written, no socket is opened."""
    project.declare({"one": toy(server, ["a.bin"]), "two": toy(server, ["b.bin"], optional=True)})
    run = project.doit("list")
    assert run.status == 0, run.text
    told = described(run)
    assert told["fetch:one"] == "1 file, size unknown, 1 of 1 to fetch"
    assert told["fetch:two"] == "1 file, size unknown, 1 of 1 to fetch, optional"
    assert server.connections == 0
    assert not project.lock.exists()


def test_list_after_a_run(fetched: Project) -> None:
    """Sizes and states stand there; `--all` shows every file with its digest."""
    listed = described(fetched.doit("list"))
    assert listed["fetch:one"] == "2 files, 2.0 kB, up to date"
    assert listed["fetch:spare"] == "1 file, 1.0 kB, 1 of 1 to fetch, optional"
    assert "fetch:one/a.bin" not in listed
    digest = fetched.locked("one")["a.bin"]["sha256"]
    assert described(fetched.doit("list", "--all"))["fetch:one/a.bin"] == f"1.0 kB, sha256:{digest}"


def test_list_with_states(fetched: Project) -> None:
    """`list -s` says U of what is up to date, a group too, and R of what would run."""
    fetched.target("one", "a.bin").unlink()
    lines = fetched.doit("list", "--all", "-s").stdout.splitlines()
    states = {line.split()[1]: line[0] for line in lines}
    commands = {name for name in OURS if not name.startswith("_")} - {"fetch"}
    assert states == dict.fromkeys(commands, "R") | {
        "fetch": "R",
        "fetch:one": "R",
        "fetch:one/a.bin": "R",
        "fetch:one/sub/b.bin": "U",
        "fetch:spare": "R",
        "fetch:spare/d.bin": "R",
        "fetch:two": "U",
        "fetch:two/c.bin": "U",
    }


def test_info_says_why(fetched: Project) -> None:
    """`info` ends with 0 for what is up to date, with 1 and the rule for what is not."""
    fresh = fetched.doit("info", "fetch:one/a.bin")
    assert fresh.status == 0
    assert "status     : up to date" in fresh.stdout
    fetched.target("one", "a.bin").unlink()
    stale = fetched.doit("info", "fetch:one/a.bin")
    assert stale.status == 1
    assert "why        : missing: it was here, verified " in stale.stdout
    group = fetched.doit("info", "fetch:one")
    assert group.status == 1
    assert "why        : 1 of 2 files are stale" in group.stdout
    assert "  fetch:one/a.bin: missing" in group.stdout


@pytest.mark.parametrize("command", ["verify", "plan", "lock", "ci-key", "outdated"])
def test_a_command_that_another_task_depends_on(fetched: Project, command: str) -> None:
    """It runs without names, for all models, as if it had been typed."""
    with (fetched.folder / "dodo.py").open("a") as dodo:
        dodo.write(
            f"\ndef task_mine():\n    return {{'actions': ['true'], 'task_dep': ['{command}']}}\n"
        )
    run = fetched.doit("mine")
    assert run.status == 0, run.text


def test_clean_removes_the_targets_of_the_default_models(
    fetched: Project, server: FaultyServer
) -> None:
    """Bare `clean` removes files, what is noted of them and empty folders; others stay."""
    assert fetched.doit("fetch:spare").status == 0
    fetched.target("two", "notes.txt").write_text("mine")
    run = fetched.doit("clean")
    assert run.status == 0, run.text
    assert not (fetched.folder / "models/one").exists()
    assert [each.name for each in (fetched.folder / "models/two").iterdir()] == ["notes.txt"]
    assert fetched.target("spare", "d.bin").exists()
    again = fetched.doit()
    assert "3 fetched" in again.stdout


def test_clean_of_one_model(fetched: Project) -> None:
    """`clean fetch:MODEL` removes that one's files, and no other's."""
    run = fetched.doit("clean", "fetch:one")
    assert run.status == 0, run.text
    assert not (fetched.folder / "models/one").exists()
    assert fetched.target("two", "c.bin").exists()


def test_clean_of_one_file(fetched: Project) -> None:
    """`clean fetch:MODEL/PATH` removes that file; the next run fetches it, and it alone."""
    run = fetched.doit("clean", "fetch:one/a.bin")
    assert run.status == 0, run.text
    assert not fetched.target("one", "a.bin").exists()
    assert fetched.target("one", "sub/b.bin").exists()
    assert "1 fetched (1.0 kB)" in fetched.doit().stdout


@pytest.mark.parametrize("words", [[], ["fetch:one"]])
def test_clean_may_be_tried_first(fetched: Project, words: list[str]) -> None:
    """`clean -n` names what it would remove, says nothing else, and removes nothing."""
    run = fetched.doit("clean", "-n", *words)
    assert run.status == 0, run.text
    assert "removing file 'models/one/a.bin'" in run.stdout
    assert all(" - removing file '" in line for line in run.stdout.splitlines())
    assert len(set(run.stdout.splitlines())) == len(run.stdout.splitlines())
    assert fetched.target("one", "a.bin").exists()
    assert fetched.doit().stdout == "Nothing to do.\n"


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize(
    ("words", "count"),
    [([], 3), (["fetch"], 3), (["fetch:one"], 2), (["fetch:one/a.bin"], 1), (["-a"], 3)],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_forget_makes_the_next_run_hash(
    fetched: Project, server: FaultyServer, words: list[str], count: int
) -> None:
    """What was forgotten is read again and found right; no request is sent for it."""
    before = len(server.requests)
    assert fetched.doit("forget", *words).status == 0
    run = fetched.doit()
    assert run.status == 0, run.text
    assert run.stdout.startswith(f"{count} verified in place in ")
    assert len(server.requests) == before
    assert fetched.doit().stdout == "Nothing to do.\n"


def test_ignore_holds_until_it_is_forgotten(fetched: Project) -> None:
    """An ignored file is left alone though it is missing; `forget` brings it back."""
    fetched.target("one", "a.bin").unlink()
    assert fetched.doit("ignore", "fetch:one/a.bin").status == 0
    assert fetched.doit().status == 0
    assert not fetched.target("one", "a.bin").exists()
    assert fetched.doit("forget", "fetch:one/a.bin").status == 0
    assert "1 fetched" in fetched.doit().stdout
    assert fetched.target("one", "a.bin").exists()


@pytest.mark.parametrize("reporter", ["console", "executed-only", "zero", "error-only"])
def test_doits_own_reporters_work(project: Project, server: FaultyServer, reporter: str) -> None:
    """Another reporter than ours tells it in its own way, and the files arrive."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit("-r", reporter)
    assert run.status == 0, run.text
    assert project.target("one", "a.bin").exists()
    assert "sha256" in project.locked("one")["a.bin"]


def test_help_tells_the_options(project: Project, server: FaultyServer) -> None:
    """`help lock` and `help verify` name what they take."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert "--upgrade" in project.doit("help", "lock").stdout
    assert "--repair" in project.doit("help", "verify").stdout
