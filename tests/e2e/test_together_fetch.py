"""Together's models through `doit`, as people use it."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.content import toy, toy_content
from tests.e2e.project import Project
from tests.e2e.together.projects import ADAPTER, STEM, TOKENIZER, bot
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer


def test_the_main_job(project: Project, together: TogetherServer) -> None:
    """`doit` locks, fetches and says what came; the second run does nothing."""
    project.declare({"bot": bot()})
    run = project.doit()

    assert run.status == 0, run.text
    assert "locked bot: 1 file" in run.stderr
    assert "SHA-256 pinned on first use, holds a whole model" in run.stderr
    assert project.target("bot", f"{STEM}.tar.zst").is_file()
    before = len(together.requests)
    assert project.doit().stdout == "Nothing to do.\n"
    assert len(together.requests) == before


def test_a_step_that_comes_as_another_type_is_told(
    project: Project, together: TogetherServer
) -> None:
    """The API ignores the type for a step, and the line about the file says so."""
    project.declare({"bot": bot(checkpoint=10, type="merged")})
    run = project.doit()

    assert run.status == 0, run.text
    assert "holds an adapter, although merged was asked for" in run.stderr
    info = project.doit("info", f"fetch:bot/{STEM}-checkpoint-10-merged.tar.zst")
    assert "step 10, merged asked for, holds adapter, made 2025-09-24T23:14:22Z" in info.stdout


def test_unpacked_checkpoints(project: Project, together: TogetherServer) -> None:
    """All checkpoints, each in its folder, no archive kept; an edited file is made good."""
    project.declare({"bot": bot(checkpoint="all", extract=True, keep_archive=False)})
    assert project.doit().status == 0
    for name in ADAPTER | TOKENIZER:
        assert project.target("bot", f"step-10/{name}").is_file()
    assert project.target("bot", "step-20/config.json").is_file()
    assert project.doit().stdout == "Nothing to do.\n"

    project.target("bot", "step-10/tokenizer.json").write_text("edited")
    run = project.doit("verify")
    assert (run.status, "changed: bot/step-10/tokenizer.json" in run.stdout) == (1, True)
    run = project.doit("verify", "--repair")
    assert run.status == 0, run.text
    assert project.doit().stdout == "Nothing to do.\n"


def test_one_file_by_its_path(project: Project, together: TogetherServer) -> None:
    """The archive is a target before it is locked, its files once they are known."""
    project.declare({"bot": bot(type="adapter", extract=True)})
    run = project.doit(f"models/bot/{STEM}-adapter.tar.zst")
    assert run.status == 0, run.text
    project.target("bot", "adapter_config.json").unlink()
    before = len(together.requests)
    assert project.doit("models/bot/adapter_config.json").status == 0
    assert project.target("bot", "adapter_config.json").is_file()
    assert len(together.requests) == before


@pytest.mark.parametrize("is_fetched", [False, True])
def test_list_info_and_clean(project: Project, together: TogetherServer, is_fetched: bool) -> None:
    """They work before anybody knows the files and after, and ask nobody."""
    project.declare({"bot": bot(type="adapter", extract=True)})
    if is_fetched:
        assert project.doit().status == 0
    before = len(together.requests)
    listed = project.doit("list", "--all")
    known = "its files are not known yet; `doit lock` asks for them"
    assert listed.status == 0, listed.text
    assert (known in listed.stdout) is not is_fetched
    assert ("fetch:bot/adapter_config.json" in listed.stdout) is is_fetched
    assert project.doit("info", "fetch:bot").status in (0, 1)
    run = project.doit("clean", "fetch:bot")
    assert run.status == 0, run.text
    assert not project.target("bot", "adapter_config.json").exists()
    assert not project.target("bot", ".modelmake").exists()
    assert len(together.requests) == before


def test_a_second_machine_with_the_lock_alone(project: Project, together: TogetherServer) -> None:
    """MODELMAKE_LOCKED=1: the very same files, and models.lock is not touched."""
    project.declare({"bot": bot(type="adapter", extract=True)})
    assert project.doit().status == 0
    weights = project.target("bot", "adapter_model.safetensors").read_bytes()
    lock = project.lock.read_bytes()
    shutil.rmtree(project.folder / "models")
    run = project.doit(MODELMAKE_LOCKED="1")

    assert run.status == 0, run.text
    assert project.target("bot", "adapter_model.safetensors").read_bytes() == weights
    assert project.lock.read_bytes() == lock


def test_ci_says_what_the_lock_lacks(project: Project, together: TogetherServer) -> None:
    """A lock of `doit lock` alone knows no file of the archive; the error names the command."""
    project.declare({"bot": bot(extract=True)})
    assert project.doit("lock").status == 0
    run = project.doit(CI="1")

    assert run.status == 1
    assert "does not know the files in bot/" in run.stderr
    assert "On your machine: `doit fetch:bot`, then commit" in run.stderr


def test_one_that_fails_stops_no_other(
    project: Project, together: TogetherServer, server: FaultyServer
) -> None:
    """No such job, a job in training, and a file of plain HTTP: one comes, two are told."""
    together.add_job("ft-00", status="running")
    project.declare(
        {"gone": bot(job="ft-99"), "early": bot(job="ft-00"), "toy": toy(server, ["a.bin"])}
    )
    run = project.doit()

    assert run.status == 1
    assert project.target("toy", "a.bin").read_bytes() == toy_content("a.bin")
    assert "failed fetch:gone: Together AI knows no job ft-99." in run.stderr
    assert "failed fetch:early: ft-00 is not completed: its state is running." in run.stderr
    assert "2 failed" in run.stdout
    assert "Traceback" not in run.text


def test_one_that_is_locked_first_is_fetched_before_the_others_are_known(
    project: Project, together: TogetherServer, server: FaultyServer
) -> None:
    """Who plans the room of a run does not look in models.lock for what is locked later."""
    answers = threading.Event()
    late = toy(server, ["late.bin"])
    server.always("/toy/late.bin", timing.stall_before_headers(answers))
    project.declare({"late": late, "bot": bot()})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(project.doit, MODELMAKE_TIMEOUT="5")
        while not (running.done() or project.target("bot", f"{STEM}.tar.zst").is_file()):
            time.sleep(0.01)
        answers.set()
        run = running.result()
    assert run.status == 0, run.text
    assert project.target("late", "late.bin").is_file()


def test_no_key_is_one_clear_error(project: Project, together: TogetherServer) -> None:
    """Without a key nobody is asked, and the error says where to get one."""
    project.declare({"bot": bot()})
    run = project.doit(TOGETHER_API_KEY="")

    assert run.status == 2, "a variable is missing: a mistake in the usage"
    assert "Together AI needs an API key, and TOGETHER_API_KEY is not set." in run.stderr
    assert "https://api.together.ai/settings/api-keys" in run.stderr
    assert not together.requests
