"""The key is nowhere but in the requests to its own host, however a run ends (E10)."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.project import Project, Run, finish
from tests.e2e.together.projects import DOWNLOAD, JOB, LOOK, bot, usual_checkpoints
from tests.e2e.watching import injected, wait_until
from tests.servers.faults import statuses, timing
from tests.servers.together.server import TogetherServer

CANARY = "tgp_v1_canary-0f1e2d3c4b5a"
SECRETS = (CANARY, "canary", "X-Amz-Signature")


@pytest.fixture
def together(project: Project) -> Iterator[TogetherServer]:
    """Give the fake, whose key is the canary, with redirects to signed links."""
    with TogetherServer(key=CANARY) as server:
        server.options.redirect = 302
        server.add_job(JOB, checkpoints=usual_checkpoints())
        project.variables |= {
            "TOGETHER_API_KEY": CANARY,
            "TOGETHER_BASE_URL": server.url,
            "MODELMAKE_RETRIES": "1",
        }
        project.declare({"bot": bot(checkpoint="all", extract=True)})
        yield server


def assert_kept_secret(project: Project, together: TogetherServer, run: Run) -> None:
    """Check all that was said and written, and what the storage saw."""
    for secret in SECRETS:
        assert secret not in run.text
        for path in project.folder.rglob("*"):
            assert secret.encode() not in (path.read_bytes() if path.is_file() else b"")
            assert secret not in path.name
    assert together.storage.with_credentials == []
    assert CANARY not in str([seen.target for seen in together.requests])


def test_after_success(project: Project, together: TogetherServer) -> None:
    """Lock, receipts, database, compiled manifest, output: none has it."""
    run = project.doit()
    assert run.status == 0, run.text
    assert_kept_secret(project, together, run)


def refuse(path: str, code: int) -> Callable[[TogetherServer], None]:
    """Return what makes the API refuse one path."""
    return lambda together: together.api.always(path, statuses.status(code, CANARY.encode()))


def swap_bytes(together: TogetherServer) -> None:
    """Make every body a wrong one of the right size."""
    together.script_bodies(
        *[lambda _, reply: reply.with_body(b"\0" * 4000 if len(reply.body) > 2 else b"\0\0")] * 9
    )


@pytest.mark.sampled(keep=7)
@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    "fault",
    [
        *(refuse(path, code) for path in (LOOK, DOWNLOAD) for code in (401, 403, 404, 429, 500)),
        swap_bytes,
    ],
    ids=[f"{path[-8:]}-{code}" for path in (LOOK, DOWNLOAD) for code in (401, 403, 404, 429, 500)]
    + ["bytes"],
)
def test_after_a_failure(
    project: Project,
    together: TogetherServer,
    fault: Callable[[TogetherServer], None],
    debug: str,
) -> None:
    """Also with MODELMAKE_DEBUG, and where the API repeats the key in its error."""
    fault(together)
    run = project.doit(MODELMAKE_DEBUG=debug)
    assert run.status == 1, run.text
    assert_kept_secret(project, together, run)


def test_while_it_runs_and_after_ctrl_c(project: Project, together: TogetherServer) -> None:
    """No process has it among its arguments; nothing of it is in what a stopped run leaves."""
    together.api.always(DOWNLOAD, timing.stall_before_headers())
    process = project.start()
    wait_until(lambda: DOWNLOAD in [seen.path for seen in together.requests])
    arguments = Path(f"/proc/{process.pid}/cmdline")
    assert not arguments.exists() or CANARY.encode() not in arguments.read_bytes()
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert run.status == 130
    assert_kept_secret(project, together, run)


def test_an_error_in_the_program_itself(
    project: Project, together: TogetherServer, tmp_path: Path
) -> None:
    """A bug's traceback shows lines, not what is in them."""
    code = """
        import downloader.sources.together as source
        def broken(*_):
            raise RuntimeError("a bug")
        source.read_job = broken
    """
    run = project.doit(MODELMAKE_DEBUG="1", **injected(tmp_path / "site", code))
    assert run.status != 0
    assert "a bug" in run.text
    assert_kept_secret(project, together, run)
