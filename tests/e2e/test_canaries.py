"""No credential is anywhere but in the request it is for: success and twelve kinds of failure."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy_content
from tests.e2e.project import Project, Run
from tests.servers.faults import pages, statuses
from tests.servers.faulty import FaultyServer

KEY = "tgp_v1_canary-key"
LOGIN = "canary-login"
PASSWORD = "canary-netrc-password"
QUERY = "canary-query"
USER = "canary-user"
MODES = {
    "plain": {},
    "json": {"MODELMAKE_PROGRESS": "json"},
    "debug": {"MODELMAKE_DEBUG": "1"},
    "json and debug": {"MODELMAKE_PROGRESS": "json", "MODELMAKE_DEBUG": "1"},
}
Fault = Callable[[Project, FaultyServer], None]


@pytest.fixture
def guarded(project: Project, server: FaultyServer, tmp_path: Path) -> Project:
    """Give a project with a credential everywhere one may stand, and a redirect to a signed URL."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {LOGIN} password {PASSWORD}\n")
    netrc.chmod(0o600)
    project.variables |= {
        "NETRC": str(netrc),
        "TOGETHER_API_KEY": KEY,
        "MODELMAKE_RETRIES": "2",
        "MODELMAKE_MAX_WAIT": "1",
    }
    entry = pinned_toy(server, ["a.bin", "b.bin"])
    project.declare({"one": entry})
    assert project.doit("lock").status == 0
    signed = f"/signed/a.bin?X-Amz-Signature={QUERY}"
    server.put("/signed/a.bin", b"")
    server.always("/toy/a.bin", statuses.redirect(signed))
    return project


def answer(fault: object) -> Fault:
    """Return what makes the signed URL answer in a certain way."""
    return lambda _project, server: server.always("/signed/a.bin", fault)  # type: ignore[arg-type]


def lead(place: str) -> Fault:
    """Return what makes the file's own URL lead elsewhere."""
    return lambda _project, server: server.always("/toy/a.bin", statuses.redirect(place))


def spoil_manifest(project: Project, _server: FaultyServer) -> None:
    """Put a credential where none may stand."""
    url = f"https://{USER}:{PASSWORD}@127.0.0.1/a.bin?token={QUERY}"
    project.declare({"one": {"source": "http", "files": [{"url": url}], "fils": []}})


def spoil_disk(project: Project, _server: FaultyServer) -> None:
    """Let a folder stand where the file goes."""
    project.target("one", "a.bin").mkdir(parents=True)


ECHO = f"{KEY} {PASSWORD} {QUERY}".encode()
SENT = f"{PASSWORD} {QUERY}".encode()
"""What a file's server was given, and can repeat in what it sends for the file itself."""
FAULTS: dict[str, Fault] = {
    **{str(code): answer(statuses.status(code, ECHO)) for code in (401, 403, 404, 429, 500)},
    "page": answer(pages.captive_portal()),
    "wrong digest": answer(lambda _, reply: reply.with_body(b"\0" * 1000)),
    "wrong size": answer(lambda _, reply: reply.with_body(SENT.ljust(999))),
    "other host": lead(f"http://{USER}:{PASSWORD}@localhost:9/x?sig={QUERY}"),
    "dead port": lead(f"http://127.0.0.1:9/x?sig={QUERY}"),
    "manifest": spoil_manifest,
    "disk": spoil_disk,
}


def assert_kept_secret(project: Project, run: Run) -> None:
    """Check all that was said and written."""
    written = [path for path in project.folder.rglob("*") if path.is_file()]
    looked_at = {path.relative_to(project.folder): path.read_bytes() for path in written}
    del looked_at[Path("models.yaml")]
    for secret in (KEY, LOGIN, PASSWORD, QUERY, USER):
        assert secret not in run.text
        found = [path for path, text in looked_at.items() if secret.encode() in text]
        assert all("quarantine" in str(each) for each in found), found


@pytest.mark.sampled(keep=4)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_after_success(guarded: Project, server: FaultyServer, mode: dict[str, str]) -> None:
    """Lock, receipts, database and both streams have none of them."""
    server.put("/signed/a.bin", toy_content("a.bin"))
    run = guarded.doit(**mode)
    assert run.status == 0, run.text
    assert_kept_secret(guarded, run)


@pytest.mark.sampled(keep=8)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_after_a_failure(
    guarded: Project, server: FaultyServer, fault: Fault, mode: dict[str, str]
) -> None:
    """Also where a server repeats them, and where the place in the code is shown."""
    fault(guarded, server)
    run = guarded.doit(**mode)
    assert run.status in (1, 2), run.text
    assert_kept_secret(guarded, run)
    assert ("Traceback" in run.text) <= ("MODELMAKE_DEBUG" in mode)
