"""Together AI keeps the contract of sources that ask; what is its own is in tests/e2e/together/."""

from collections.abc import Iterator

import pytest

from downloader.sources.together import CheckpointRange, TogetherEntry
from tests.e2e.together.projects import JOB, usual_checkpoints
from tests.servers.together.server import TogetherServer
from tests.sources.asking_contract import AskingSourceContract


class TestTogether(AskingSourceContract):
    """The contract, for every form of `checkpoint`, packed and unpacked."""

    entries = (
        TogetherEntry(job=JOB),
        TogetherEntry(job=f"{JOB}:10", type="adapter", archive="bot.tar.zst"),
        TogetherEntry(job=JOB, checkpoint="all"),
        TogetherEntry(job=JOB, checkpoint=(20, 10), extract=True),
        TogetherEntry(job=JOB, checkpoint=("final", 10)),
        TogetherEntry(job=JOB, checkpoint=CheckpointRange(last=1), extract=True),
        TogetherEntry(job=JOB, extract=True, keep_archive=False),
    )

    @pytest.fixture(autouse=True)
    def provider_is_there(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Start the fake, and name it in the environment."""
        with TogetherServer() as together:
            together.add_job(JOB, checkpoints=usual_checkpoints())
            monkeypatch.setenv("TOGETHER_API_KEY", together.key)
            monkeypatch.setenv("TOGETHER_BASE_URL", together.url)
            yield
