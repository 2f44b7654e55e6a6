"""The client of ORAS speaks with our fake of a registry, and so proves it.

MODELMAKE_ORAS names the Python that has oras 0.2.43.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sdk.oras import Oras
from tests.servers.fake_registry import FakeRegistry

FILES = {"model.bin": b"weights" * 1000, "config.json": b"{}"}
USERS = {"ada": "correct horse"}
Start = Callable[..., Oras]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """Give a fake registry with one artifact."""
    with FakeRegistry() as running:
        running.push("team/model", "v1", FILES)
        yield running


@pytest.fixture
def oras(registry: FakeRegistry, tmp_path: Path) -> Start:
    """Give a function that starts the client, with the variables given."""

    def start(**variables: str) -> Oras:
        return Oras(registry.name, tmp_path, **variables)

    return start


@pytest.mark.parametrize("redirects", [False, True])
def test_it_pulls_what_anybody_may_read(
    registry: FakeRegistry, oras: Start, tmp_path: Path, *, redirects: bool
) -> None:
    """Manifest, blobs and the redirects to storage are a registry's."""
    registry.redirects = redirects
    assert oras().pull("team/model:v1", tmp_path / "out") == FILES
    assert len(registry.storage.requests) == 2 * redirects


def test_it_gets_a_token(registry: FakeRegistry, oras: Start, tmp_path: Path) -> None:
    """The challenge and the token service are understood.

    One token has to do for all requests: oras 0.2.43 gets no other one while it pulls.
    """
    registry.requires_token(uses=100)
    assert oras().pull("team/model:v1", tmp_path / "out") == FILES
    assert registry.issued
    assert not [each for each in registry.service.requests if "Authorization" in each.headers]


def test_it_logs_in(registry: FakeRegistry, oras: Start, tmp_path: Path) -> None:
    """A token service that wants a password gives a token for it."""
    registry.requires_token(uses=100, users=USERS)
    log_in = oras(ORAS_USER="ada", ORAS_PASSWORD=USERS["ada"])
    assert log_in.pull("team/model:v1", tmp_path / "out") == FILES
    assert [each.status for each in registry.service.requests] == [200]


def test_it_understands_the_errors(registry: FakeRegistry, oras: Start) -> None:
    """What is not there is a 404 with the codes of the specification."""
    for name in ("team/model:v2", "team/other:v1"):
        (result,) = oras().ask(("get_manifest", {"container": f"{registry.name}/{name}"}))
        assert "Not Found" in result["raised"] or "404" in result["raised"]
