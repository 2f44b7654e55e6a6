"""The two jobs the SDKs are asked about, and how a test names one of the SDKs."""

from collections.abc import Callable

from tests.sdk.together import SDK
from tests.servers.together.archives import lora_archive, merged_archive
from tests.servers.together.jobs import Checkpoints
from tests.servers.together.server import TogetherServer

JOB = "ft-0123abcd-0123"
FULL = "ft-0123abcd-ffff"
LORA: Checkpoints = {
    10: {"adapter": lora_archive(10)},
    20: {"adapter": lora_archive(20), "merged": merged_archive(20)},
}
FINAL: Checkpoints = {7: {"model": merged_archive(7)}}
DOWNLOAD = "/v1/finetune/download?ft_id="

StartSDK = Callable[..., SDK]
"""Takes a version, 1 or 3, and further environment variables."""


def targets(server: TogetherServer) -> list[str]:
    """Return path and query of every request of the API, in order."""
    return [seen.target for seen in server.requests]
