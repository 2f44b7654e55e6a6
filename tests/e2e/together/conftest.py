"""A job that is there, and an environment that leads to it."""

from collections.abc import Iterator

import pytest

from downloader.network import failures
from downloader.sources import together as source
from tests.e2e.together.projects import JOB, usual_checkpoints
from tests.servers.together.server import TogetherServer

SHORT_SECONDS = 0.01


@pytest.fixture
def together(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[TogetherServer]:
    """Give the fake with the usual job, named in the environment; waits are short.

    One connection a host, so that scripted bodies meet the requests in the order of the script.
    """
    monkeypatch.setenv("MODELMAKE_CONNECTIONS", "1")
    monkeypatch.setattr(source, "FIRST_WAIT_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(failures, "FIRST_DELAY_SECONDS", SHORT_SECONDS)
    with TogetherServer() as server:
        server.add_job(JOB, checkpoints=usual_checkpoints())
        monkeypatch.setenv("TOGETHER_API_KEY", server.key)
        monkeypatch.setenv("TOGETHER_BASE_URL", server.url)
        yield server
