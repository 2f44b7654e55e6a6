"""The fake of Together AI that a test starts: the API on one port, its storage on another.

with TogetherServer(Options(redirect=302)) as together:
    together.add_job(
        "ft-0123abcd-0123",
        checkpoints={
            10: {"adapter": lora_archive(10)},
            20: {"adapter": lora_archive(20), "merged": merged_archive(20)},
        },
    )
    download(together.url, together.key)
    assert together.storage.with_credentials == []
"""

from collections.abc import Sequence
from typing import Unpack

from tests.servers.exchange import Fault, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.group import ServerGroup
from tests.servers.together.api import API
from tests.servers.together.delivery import Delivery, Options
from tests.servers.together.jobs import Job, JobFields
from tests.servers.together.storage import Storage

KEY = "tgp_v1_fake-key"


class TogetherServer(ServerGroup):
    """The API and its storage; a context manager.

    Args:
        options: How archives are served; by default by the API itself, with ranges and an ETag.
        key: The key that is let in.

    Attributes:
        options: The same; a test may change them while the server runs.
        key: The same.
        api: The server of the API. Faults of look-ups go to its `script`, by path.
        storage: The server of the links.
    """

    def __init__(self, options: Options | None = None, *, key: str = KEY) -> None:
        self.options = options or Options()
        self.key = key
        self._delivery = Delivery(self.options)
        self.storage = Storage(self.options, self._delivery)
        self._answers = API(key, self.options, self._delivery, self.storage)
        self.api = FaultyServer(self._answers)

    def servers(self) -> Sequence[FaultyServer]:
        """See ServerGroup."""
        return [self.storage, self.api]

    @property
    def url(self) -> str:
        """The base URL, without /v1: TOGETHER_BASE_URL of SDK 3.x; SDK 1.5 wants /v1 after it."""
        return self.api.url("")

    @property
    def requests(self) -> list[SeenRequest]:
        """What the API was asked; `storage.requests` has the other half."""
        return self.api.requests

    def add_job(self, job_id: str, **fields: Unpack[JobFields]) -> Job:
        """Add a job, completed unless `status` says otherwise; see Job for the fields."""
        job = Job(id=job_id, **fields)
        self._answers.jobs[job_id] = job
        return job

    def job(self, job_id: str) -> Job:
        """Return a job, to be changed."""
        return self._answers.jobs[job_id]

    def script_bodies(self, *faults: Fault) -> None:
        """Use one fault for each coming request for an archive's bytes, at the API or the storage.

        A request for the first two bytes, as both SDKs send it, counts as one; a redirect does not.
        """
        self._delivery.script(*faults)

    def expire_links(self) -> None:
        """End every presigned link given out so far."""
        self.storage.expire_links()
