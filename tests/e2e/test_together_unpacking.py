"""What `doit` does of an archive and its files before it begins, and how often."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.e2e.test_preflight import small_disk
from tests.e2e.together.projects import ARCHIVE, JOB, bot, downloads
from tests.servers.together.archives import lora_archive, packed
from tests.servers.together.server import TogetherServer


def other_archive() -> bytes:
    """Return an archive as long as the usual adapter's, with other bytes."""
    return lora_archive(20)[:-1] + b"x"


@pytest.fixture
def together(project: Project, together: TogetherServer) -> TogetherServer:
    """Give the fake, and the project with its unpacked adapter locked and the files gone."""
    project.declare({"bot": bot(type="adapter", extract=True)})
    assert project.doit().status == 0
    shutil.rmtree(project.folder / "models")
    return together


def test_a_stale_lock_stops_an_archive_too(project: Project, together: TogetherServer) -> None:
    """MODELMAKE_LOCKED and a lock that is stale for another model: nothing is asked for."""
    other = {"source": "http", "files": [{"url": "http://127.0.0.1:9/a.bin", "sha256": "c" * 64}]}
    project.declare({"bot": bot(type="adapter", extract=True), "other": other})
    asked = downloads(together)
    run = project.doit(MODELMAKE_LOCKED="1")

    assert run.status == 1
    assert "models.lock is stale" in run.stderr
    assert downloads(together) == asked


def test_an_archive_that_does_not_fit_is_not_begun(
    project: Project, together: TogetherServer, tmp_path: Path
) -> None:
    """The figures are told once, before its first byte, whichever task comes first."""
    asked = downloads(together)
    run = project.doit(**small_disk(tmp_path / "site", 100))

    assert run.status == 1
    assert run.stderr.count("Not enough room") == 1
    assert "1 failed" in run.stdout
    assert downloads(together) == asked


def test_an_archive_with_wrong_bytes_is_fetched_once(
    project: Project, together: TogetherServer
) -> None:
    """Its unpacking and its own task share one download and one error."""
    together.job(JOB).checkpoints = {20: {"adapter": other_archive()}}
    asked = len(downloads(together))
    run = project.doit(MODELMAKE_CONNECTIONS="1")

    assert run.status == 1
    assert len(downloads(together)) == asked + 1
    assert run.stderr.count("were set aside as") == 1, run.text  # beside the line at once


def test_a_kept_archive_is_told_and_counted_once(
    project: Project, together: TogetherServer
) -> None:
    """On a second machine its unpacking fetches it; its own task says nothing more of it."""
    run = project.doit()

    assert run.status == 0, run.text
    told = [line for line in run.error_lines if ARCHIVE in line]
    assert [line.split()[0] for line in told] == ["fetched"]
    assert f" models/bot/{ARCHIVE}" in told[0]
    assert "1 fetched" in run.stdout
    assert "5 unpacked" in run.stdout


def test_right_files_without_receipts_ask_for_no_archive(
    project: Project, together: TogetherServer
) -> None:
    """They are hashed; an archive that is not kept is not fetched for that."""
    project.declare({"bot": bot(type="adapter", extract=True, keep_archive=False)})
    assert project.doit().status == 0
    project.receipts("bot").unlink()
    asked = downloads(together)
    run = project.doit()

    assert run.status == 0, run.text
    assert "5 verified in place" in run.stdout
    assert downloads(together) == asked


def test_an_archive_and_its_files_may_have_the_names_of_checkpoints(project: Project) -> None:
    """`epoch=9-step=499.ckpt` is Lightning's default; others write colons."""
    names = {"epoch=9-step=499.ckpt", "step:100.bin"}
    with TogetherServer() as server:
        server.add_job(JOB, checkpoints={20: {"adapter": packed(dict.fromkeys(names, b"1"), "")}})
        project.variables |= {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url}
        project.declare({"bot": bot(type="adapter", extract=True, archive="epoch=9.tar.zst")})
        for _ in range(2):
            run = project.doit("fetch:bot")
            assert run.status == 0, run.text
            assert {each.name for each in project.target("bot", "").iterdir()} - {
                ".modelmake"
            } == names | {"epoch=9.tar.zst"}
            project.target("bot", "epoch=9-step=499.ckpt").unlink()


def test_an_archive_that_was_refused_is_taken_from_where_it_lies(project: Project) -> None:
    """The way out that the refusal names moves no byte, and the sum says what was done."""
    with TogetherServer() as server:
        zeros = packed({"zeros.bin": bytes(12_000_000)}, "")
        server.add_job(JOB, checkpoints={20: {"adapter": zeros}})
        project.variables |= {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url}
        project.declare({"bot": bot(type="adapter", extract=True, keep_archive=False)})
        refused = project.doit()
        assert refused.status == 1
        assert "`unpack_limits: 10`" in refused.stderr
        project.declare({"bot": bot(type="adapter")})
        run = project.doit()

        assert run.status == 0, run.text
        assert "1 verified in place" in run.stdout
        assert project.target("bot", ARCHIVE).read_bytes() == zeros
        whole = [each for each in server.requests if "Range" not in each.headers]
        assert len([each for each in whole if each.path.endswith("/download")]) == 1
