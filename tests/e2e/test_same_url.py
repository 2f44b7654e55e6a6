"""A second project that declares a URL without a digest takes its bytes from the store."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import Entry, Project
from tests.e2e.sharing import bodies
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer

CONTENT = bytes_of("model", 200_000)
OTHER = bytes_of("other", 200_000)
PATH = "/v1/model.bin"


def entry(url: str, **more: str) -> Entry:
    return {"source": "http", "files": [{"url": url, "path": "model.bin", **more}]}


def declaring(folder: Path, url: str, **more: str) -> Project:
    project = Project(folder)
    project.declare({"m": entry(url, **more)})
    return project


@pytest.fixture
def url(server: FaultyServer) -> str:
    """Give the URL of a file with a strong ETag."""
    server.put(PATH, CONTENT)
    return server.url(PATH)


@pytest.fixture
def second(tmp_path: Path, store: Path, url: str) -> Project:
    """Give a project with a URL that another project has downloaded, which has no lock yet."""
    assert declaring(tmp_path / "first", url).doit().status == 0
    return declaring(tmp_path / "second", url)


def assert_linked(project: Project, server: FaultyServer) -> None:
    """Check that a run takes the bytes from the store, pins them, and is done with that."""
    before = bodies(server)
    run = project.doit()
    assert run.status == 0, run.text
    assert "linked models/m/model.bin" in run.stderr
    assert bodies(server) == before
    assert project.target("m", "model.bin").read_bytes() == CONTENT
    assert project.locked("m")["model.bin"]["sha256"] == sha256(CONTENT)
    assert project.locked("m")["model.bin"]["first_use"] is True
    assert project.doit().stdout == "Nothing to do.\n"


def assert_fetched(project: Project, server: FaultyServer, content: bytes) -> None:
    """Check that a run downloads the file, whatever the store has."""
    before = len(bodies(server))
    run = project.doit()
    assert run.status == 0, run.text
    assert len(bodies(server)) > before
    assert project.target("m", "model.bin").read_bytes() == content


def test_the_bytes_of_a_url_are_downloaded_once(second: Project, server: FaultyServer) -> None:
    """The server is asked for one byte, and its ETag and size are still the same."""
    assert_linked(second, server)
    assert second.target("m", "model.bin").samefile(
        second.folder.parent / "first/models/m/model.bin"
    )


@pytest.mark.parametrize("is_locked", [False, True])
def test_the_plan_says_link(second: Project, server: FaultyServer, is_locked: bool) -> None:
    """Also before there is a lock; and it asks nobody."""
    if is_locked:
        assert second.doit("lock").status == 0
    before = len(server.requests)
    plan = json.loads(second.doit("plan", "--json").stdout)
    (file,) = plan["models"][0]["files"]
    assert (file["action"], file["bytes_to_move"], file["size"]) == ("link", 0, len(CONTENT))
    assert "same URL" in file["why"]
    assert len(server.requests) == before
    assert_linked(second, server)


CHANGES: dict[str, tuple[Callable[[FaultyServer], None], bytes]] = {
    "other bytes": (lambda server: server.put(PATH, OTHER), OTHER),
    "another ETag": (lambda server: server.put(PATH, CONTENT, etag='"v2"'), CONTENT),
    "a weak ETag": (lambda server: server.put(PATH, CONTENT, etag='W/"v2"'), CONTENT),
    "no ETag": (lambda server: server.put(PATH, CONTENT, etag=None), CONTENT),
}


@pytest.mark.parametrize("is_locked", [False, True], ids=["unlocked", "locked before"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_upstream_is_downloaded(
    second: Project, server: FaultyServer, change: str, is_locked: bool
) -> None:
    """The bytes of an older version are never taken, nor those that nobody can tell apart."""
    if is_locked:
        assert second.doit("lock").status == 0
    act, content = CHANGES[change]
    act(server)
    if is_locked:  # what is locked is not there any more
        assert second.doit("lock", "--upgrade").status == 0
    assert_fetched(second, server, content)


def test_another_size_under_the_same_etag_is_downloaded(
    second: Project, server: FaultyServer
) -> None:
    """A server that gives one ETag to everything is not believed."""
    assert second.doit("lock").status == 0
    etag = second.locked("m")["model.bin"]["etag"]
    second.lock.unlink()
    server.put(PATH, OTHER[:1000], etag=etag)
    assert_fetched(second, server, OTHER[:1000])


def test_a_server_that_does_not_answer_gives_no_bytes(
    second: Project, server: FaultyServer
) -> None:
    """What nobody confirms is not taken: the run fails as without a store."""
    server.always(PATH, timing.drop_before_status())
    run = second.doit(MODELMAKE_RETRIES="1")
    assert run.status == 1
    assert not second.target("m", "model.bin").exists()


def test_offline_nobody_can_confirm_it(second: Project) -> None:
    """The plan says so too."""
    assert second.doit("lock").status == 0
    (file,) = json.loads(second.doit("plan", "--json", MODELMAKE_OFFLINE="1").stdout)["models"][0][
        "files"
    ]
    assert file["action"] == "missing"
    assert second.doit(MODELMAKE_OFFLINE="1").status == 1


@pytest.mark.parametrize("etag", ['W/"v1"', None])
def test_without_a_strong_etag_nothing_is_noted(
    tmp_path: Path, store: Path, server: FaultyServer, etag: str | None
) -> None:
    """Two versions could look the same."""
    server.put(PATH, CONTENT, etag=etag)
    for name in ("first", "second"):
        assert_fetched(declaring(tmp_path / name, server.url(PATH)), server, CONTENT)
    assert not (store / "urls").exists()


def test_another_url_of_the_same_server_is_another_file(
    second: Project, server: FaultyServer
) -> None:
    """The same ETag and size under another URL, or with another query, say nothing."""
    etag = '"same"'
    server.put(PATH, CONTENT, etag=etag)
    third = declaring(second.folder.parent / "third", server.url(PATH))
    assert third.doit().status == 0
    server.put("/v2/model.bin", OTHER, etag=etag)
    second.declare({"m": entry(server.url("/v2/model.bin"))})
    assert_fetched(second, server, OTHER)


def test_a_first_project_that_knew_the_digest_serves_too(
    tmp_path: Path, store: Path, server: FaultyServer, url: str
) -> None:
    """What was downloaded whole from the URL is noted, pinned or not."""
    assert declaring(tmp_path / "first", url, sha256=sha256(CONTENT)).doit().status == 0
    assert_linked(declaring(tmp_path / "second", url), server)


@pytest.mark.parametrize("with_credential", ["first", "second"])
def test_where_a_credential_goes_nothing_is_shared(
    tmp_path: Path, store: Path, server: FaultyServer, url: str, with_credential: str
) -> None:
    """Neither is it noted what was given for a log-in, nor taken where one would be sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password pa55\n")
    for name in ("first", "second"):
        project = declaring(tmp_path / name, url)
        project.variables |= {"NETRC": str(netrc)} if name == with_credential else {}
        assert_fetched(project, server, CONTENT)


def test_the_store_writes_down_no_url(
    tmp_path: Path, store: Path, server: FaultyServer, url: str
) -> None:
    """A query may hold what nobody took for a secret: the SHA-256 of the URL stands for it."""
    assert declaring(tmp_path / "first", f"{url}?key=hunter2").doit().status == 0
    assert (store / "urls").read_text().count("\n") == 1
    for each in (path for path in store.rglob("*") if path.is_file()):
        assert b"hunter2" not in each.read_bytes()
    assert_linked(declaring(tmp_path / "second", f"{url}?key=hunter2"), server)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00\xff\n",
        b'{"place":"' + b"0" * 64 + b'","etag":"\\"x\\"","size":1,"sha256":"../../x"}\n',
        b'{"place":1}\n[]\n',
        b'{"place":"' + b"0" * 64,
    ],
)
def test_a_damaged_note_costs_a_download(
    second: Project, store: Path, server: FaultyServer, text: bytes
) -> None:
    """What is not ours is passed over, and the next line begins on a line of its own."""
    (store / "urls").write_bytes(text)
    assert_fetched(second, server, CONTENT)
    assert_linked(declaring(second.folder.parent / "third", server.url(PATH)), server)


def test_a_note_about_bytes_that_are_gone_costs_a_download(
    second: Project, store: Path, server: FaultyServer
) -> None:
    """And the blob that replaces them is linked again."""
    (store / f"sha256/{sha256(CONTENT)[:2]}/{sha256(CONTENT)}").unlink()
    assert_fetched(second, server, CONTENT)
    assert_linked(declaring(second.folder.parent / "third", server.url(PATH)), server)


def test_prune_drops_the_notes_of_what_it_removes(
    second: Project, store: Path, server: FaultyServer
) -> None:
    """They would grow without end."""
    first = Project(second.folder.parent / "first")
    first.declare({})
    assert first.doit("lock").status == 0
    assert first.doit("prune").status == 0
    assert (store / "urls").read_text() == ""
    assert_fetched(second, server, CONTENT)


def test_a_changed_blob_is_not_taken(second: Project, store: Path, server: FaultyServer) -> None:
    """Its bytes are checked as ever."""
    blob = store / f"sha256/{sha256(CONTENT)[:2]}/{sha256(CONTENT)}"
    blob.chmod(0o644)
    blob.write_bytes(OTHER)
    assert_fetched(second, server, CONTENT)


def test_one_question_is_asked_and_its_answer_may_be_no(
    second: Project, server: FaultyServer
) -> None:
    """A 404 to it is not the end: the download has retries, and says what is wrong."""
    assert second.doit("lock").status == 0
    server.script(PATH, statuses.status(404))
    assert_fetched(second, server, CONTENT)
