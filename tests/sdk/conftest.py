"""The SDKs, and the server they are asked about."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.jobs import FINAL, FULL, JOB, LORA, StartSDK
from tests.sdk.together import SDK
from tests.servers.together.server import TogetherServer


@pytest.fixture
def together() -> Iterator[TogetherServer]:
    """Give a server with a LoRA job and a fully trained one."""
    with TogetherServer() as running:
        running.add_job(JOB, checkpoints=LORA, output_name="acct/My_Model")
        running.add_job(FULL, training="Full", checkpoints=FINAL, output_name="acct/Full")
        yield running


@pytest.fixture
def installed(tmp_path: Path) -> StartSDK:
    """Give a function of a version and further variables, to the SDK in an empty folder."""

    def start(version: int, **variables: str) -> SDK:
        sdk = SDK(version=version, folder=tmp_path, variables=variables)
        assert sdk.python
        return sdk

    return start


@pytest.fixture(params=[1, 3], ids=["1.5", "3.x"])
def sdk(request: pytest.FixtureRequest, installed: StartSDK) -> SDK:
    """Give each of the two SDKs."""
    return installed(request.param)
