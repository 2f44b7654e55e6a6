"""`doit info`, `doit list` and a verbose run say which rule makes a target stale, or why none."""

import re

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.e2e.together.projects import JOB, STEM, bot, usual_checkpoints
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d"


@pytest.fixture
def fetched(project: Project, server: FaultyServer) -> Project:
    """Give a project with two models that are there, and an optional one that is not."""
    project.declare(
        {
            "one": pinned_toy(server, ["a.bin", "b.bin"]),
            "twelve": toy(server, [f"{number}.bin" for number in range(12)]),
            "spare": toy(server, ["d.bin"], optional=True),
        }
    )
    assert project.doit().status == 0
    return project


def why(project: Project, task: str = "fetch:one/a.bin") -> str:
    """Return what `info` says of a task that would run."""
    run = project.doit("info", task)
    assert run.status == 1, run.text
    assert "status     : run\n" in run.stdout
    (line,) = re.findall(r"^why +: (.*)$", run.stdout, re.MULTILINE)
    return str(line)


def test_up_to_date_since_when(fetched: Project) -> None:
    """It says when the file was verified, as what, and what has not changed since."""
    run = fetched.doit("info", "fetch:one/a.bin")
    assert run.status == 0
    digest = fetched.locked("one")["a.bin"]["sha256"]
    verified = rf"^why +: verified {WHEN} as sha256:{digest}; size and time unchanged since$"
    assert re.search(verified, run.stdout, re.MULTILINE)
    assert "target     : models/one/a.bin" in run.stdout


def test_not_here(fetched: Project) -> None:
    """Of a file that is not here, nobody knows whether it ever was: it may have been cleaned."""
    assert why(fetched, "fetch:spare/d.bin") == "not here"
    assert fetched.doit("clean", "one").status == 0
    assert why(fetched) == "not here"
    assert "to do      : fetch (1.0 kB)\n" in fetched.doit("info", "one/a.bin").stdout
    offline = fetched.doit("info", "one/a.bin", MODELMAKE_OFFLINE="1").stdout
    assert "to do      : nothing: it is not here, and MODELMAKE_OFFLINE is set\n" in offline


@pytest.mark.usefixtures("store")
def test_what_the_store_has(fetched: Project) -> None:
    """It is to be linked: `list`, `info`, `plan` and the run say so."""
    assert fetched.doit("clean", "one").status == 0
    assert re.search("^fetch:one .*, 2 of 2 to link$", fetched.doit("list").stdout, re.MULTILINE)
    assert "to do      : link (1.0 kB)\n" in fetched.doit("info", "one/a.bin").stdout
    assert "link    one/a.bin (1.0 kB, not here)" in fetched.doit("plan").stdout
    assert fetched.doit().stdout.startswith("2 linked")


def test_what_is_to_be_read(fetched: Project) -> None:
    """`info` reads nothing itself."""
    fetched.target("one", "a.bin").touch()
    assert "to do      : verify (1.0 kB)\n" in fetched.doit("info", "one/a.bin").stdout
    assert ", 1 of 2 to verify" in fetched.doit("list", "one").stdout


def test_missing(fetched: Project) -> None:
    """A file that was here is told with when."""
    fetched.target("one", "a.bin").unlink()
    assert re.fullmatch(f"missing: it was here, verified {WHEN}", why(fetched))


def test_another_size(fetched: Project) -> None:
    """Both sizes are told."""
    fetched.target("one", "a.bin").write_bytes(b"short")
    assert why(fetched) == "size: 5 bytes there, and models.lock wants 1,000"


def test_touched(fetched: Project) -> None:
    """A file whose time changed is to be read again."""
    fetched.target("one", "a.bin").touch()
    assert re.fullmatch(f"changed since it was verified {WHEN}", why(fetched))


def test_the_lock_changed(fetched: Project) -> None:
    """Another digest in the lock is told as such."""
    text = fetched.lock.read_text()
    digest = fetched.locked("twelve")["0.bin"]["sha256"]
    fetched.lock.write_text(text.replace(digest, digest[::-1]))
    assert why(fetched, "fetch:twelve/0.bin").startswith("models.lock changed: ")


def test_a_target_by_its_path(fetched: Project) -> None:
    """`info` takes the path of a target, as a run does."""
    assert fetched.doit("info", "models/one/a.bin").stdout.startswith("fetch:one/a.bin\n")


def test_a_task_that_is_not_there(fetched: Project) -> None:
    """A slip is a message and doit's status for it, no traceback."""
    run = fetched.doit("info", "fetch:nope")
    assert run.status == 3
    assert "Traceback" not in run.text
    assert "no task or file 'fetch:nope'" in run.stderr


def test_no_attributes_of_objects(fetched: Project) -> None:
    """What `info` says of a command and of groups is for people."""
    for task in ("fetch", "fetch:one", "fetch:twelve/0.bin", "lock", "verify"):
        said = fetched.doit("info", task).stdout
        assert not re.search(r"uptodate|args=|<class|setup_tasks|\{'", said), said
    assert "option     : --repair: download again what is bad" in said


def test_a_users_own_task_is_told_by_doit(fetched: Project) -> None:
    """Tasks that are not ours have doit's own info."""
    with (fetched.folder / "dodo.py").open("a") as dodo:
        dodo.write(
            "\ndef task_mine():\n    return {'actions': ['true'], 'file_dep': ['dodo.py']}\n"
        )
    run = fetched.doit("info", "mine")
    assert run.status == 1
    assert "file_dep   : \n - dodo.py" in run.stdout


def test_an_ignored_file(fetched: Project) -> None:
    """`info` says that it is left alone, and how to change that."""
    fetched.target("one", "a.bin").unlink()
    assert fetched.doit("ignore", "fetch:one/a.bin").status == 0
    run = fetched.doit("info", "fetch:one/a.bin")
    assert run.status == 0
    assert "status     : ignored" in run.stdout
    assert "`doit forget fetch:one/a.bin`" in run.stdout


def test_a_verbose_run_says_the_rule_before_each_file(fetched: Project) -> None:
    """`doit -v 2` tells for each target why it is begun; other runs do not."""
    fetched.target("one", "a.bin").unlink()
    fetched.target("one", "b.bin").touch()
    run = fetched.doit("-v", "2")
    assert run.status == 0, run.text
    told = "\n".join(run.error_lines)
    assert re.search(f"models/one/a.bin: missing: it was here, verified {WHEN}\n", told)
    assert re.search(f"models/one/b.bin: changed since it was verified {WHEN}\n", told)
    assert told.index("models/one/a.bin: ") < told.index("fetched models/one/a.bin")
    fetched.target("one", "a.bin").unlink()
    assert "it was here" not in fetched.doit().text


def test_list_tells_what_is_to_be_read_from_what_is_to_come(fetched: Project) -> None:
    """Files that are there without a receipt are to be verified, the others to be fetched."""
    fetched.receipts("one").unlink()
    fetched.target("twelve", "0.bin").unlink()
    fetched.target("twelve", "1.bin").touch()
    said = fetched.doit("list").stdout
    assert re.search(r"^fetch:one +2 files, +2\.0 kB, 2 of 2 to verify$", said, re.MULTILINE)
    both = r"^fetch:twelve +12 files, 12\.0 kB, 1 of 12 to fetch, 1 of 12 to verify$"
    assert re.search(both, said, re.MULTILINE)


def test_list_has_columns(fetched: Project) -> None:
    """Numbers of files and sizes stand below one another."""
    lines = [line for line in fetched.doit("list").stdout.splitlines() if " kB," in line]
    assert len(lines) == 3
    assert len({line.index(" kB,") for line in lines}) == 1


def test_files_of_an_older_version_are_told_once(fetched: Project, server: FaultyServer) -> None:
    """What we fetched and the lock names no more stays, and the run that changed it says so."""
    fetched.target("one", "mine.txt").write_text("mine")
    fetched.declare({"one": pinned_toy(server, ["a.bin", "new.bin"])})
    run = fetched.doit()
    told = "1 file in models/one is no longer named by models.lock, and left there: b.bin"
    assert told in run.error_lines
    assert fetched.target("one", "b.bin").exists()
    assert "no longer named" not in fetched.doit().text


def test_a_file_that_was_changed_since_is_the_users_own(
    fetched: Project, server: FaultyServer
) -> None:
    """It is not told as one of ours."""
    fetched.target("one", "b.bin").write_text("mine")
    fetched.declare({"one": pinned_toy(server, ["a.bin", "new.bin"])})
    assert "no longer named" not in fetched.doit().text


@pytest.mark.parametrize("is_there", [True, False])
def test_one_file_of_a_model_whose_files_nobody_knows_yet(project: Project, is_there: bool) -> None:
    """`doit fetch:MODEL/PATH` asks the provider first; a path that it does not know is told."""
    with TogetherServer() as server:
        server.add_job(JOB, checkpoints=usual_checkpoints())
        project.variables |= {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url}
        project.declare({"bot": bot()})
        name = f"{STEM}.tar.zst" if is_there else "nope"
        run = project.doit(f"fetch:bot/{name}")
        assert run.status == int(not is_there), run.text
        assert project.target("bot", f"{STEM}.tar.zst").is_file() is is_there
        assert ("models.lock knows no file nope of bot" in run.stderr) is not is_there


def test_one_file_of_a_model_whose_provider_refuses(project: Project) -> None:
    """The provider's answer is told, not that there is no such task."""
    with TogetherServer() as server:
        project.variables |= {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url}
        project.declare({"bot": bot()})
        run = project.doit("fetch:bot/x.bin")
        assert run.status == 1
        assert JOB in run.stderr
        assert "known yet" in project.doit("info", "fetch:bot/x.bin").stdout


def test_clean_leaves_what_another_model_keeps_in_the_folder(
    project: Project, server: FaultyServer
) -> None:
    """A partial of one model survives the cleaning of another in the same folder."""
    project.declare(
        {"one": toy(server, ["a.bin"], to="all"), "two": toy(server, ["b.bin"], to="all")}
    )
    assert project.doit("fetch:one").status == 0
    partial = project.folder / "all/.modelmake/partials/b.bin.part"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(b"gigabytes")
    assert project.doit("clean", "fetch:one").status == 0
    assert not (project.folder / "all/a.bin").exists()
    assert partial.exists()
