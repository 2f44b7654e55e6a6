"""Together's documents about a job -> what we need of them. Pure; other fields are passed over."""

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from downloader.errors import BadResponse
from downloader.gate import MOMENT

T = TypeVar("T")

DONE = "completed"
OVER = frozenset({"completed", "cancelled", "error", "user_error", "cancel_requested"})
"""States that waiting does not change: a cancelled job may stay at cancel_requested for ever."""
NO_API_HINT = "Try again later; where TOGETHER_BASE_URL is set, look whether it is the API."
NAME_BYTES = 150
MOST_CHECKPOINTS = 100_000
ODD_CHARACTER = re.compile(r"[^a-z0-9_ -]")
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)")


class Training(msgspec.Struct, frozen=True):
    """How the job trains."""

    type: str = ""


class Job(msgspec.Struct, frozen=True):
    """A fine-tuning job, `GET /v1/fine-tunes/{id}`."""

    id: str = ""
    status: str = ""
    model_output_name: str | None = None
    training_type: Training | str | None = None

    @property
    def state(self) -> str:
        """The status in the words of all API versions, fit to be shown."""
        word = ODD_CHARACTER.sub("?", self.status[:40].strip().lower())
        return word or "in an unknown state"

    @property
    def training(self) -> str:
        """`lora`, `full`, or another word that Together came up with since.

        An empty type counts as full training, as in the 1.5 SDK.
        """
        found = self.training_type
        word = found.type if isinstance(found, Training) else found
        return "full" if word == "" else (word or "lora").lower()

    @property
    def file_name(self) -> str:
        """The model's name as a file's name that is safe everywhere.

        As the 1.5 SDK's normalize_key, and what is left of `account/base:suffix:job` made safe.
        """
        name = (self.model_output_name or self.id).lower()
        name = name.replace("/", "--").replace("_", "-").replace(" ", "-")
        name = re.sub(r"[^a-z0-9.+@-]", "-", name)[:NAME_BYTES].strip("-.")
        return DEVICE.sub(r"\1-model", name or self.id)


class Listed(msgspec.Struct, frozen=True):
    """One line of `GET /v1/fine-tunes/{id}/checkpoints`."""

    step: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    checkpoint_type: str = ""
    created_at: str | None = None

    @property
    def created(self) -> str | None:
        """When it was made, where that is a moment: it is shown and stands in models.lock."""
        return self.created_at if MOMENT.fullmatch(self.created_at or "") else None

    @property
    def is_final(self) -> bool:
        """Whether it is the job's result: `Final`, `Final Merged` or `Final Adapter`."""
        return "final" in self.checkpoint_type.lower()


class _Checkpoints(msgspec.Struct, frozen=True):
    data: Annotated[list[Listed], Meta(max_length=MOST_CHECKPOINTS)] = []


def read_job(text: bytes, job_id: str) -> Job:
    """Read a job.

    Args:
        text: The document.
        job_id: Which job was asked for; it is not taken from the document.

    Raises:
        BadResponse: It is no such document.
    """
    return msgspec.structs.replace(_read(text, Job, "job"), id=job_id)


def read_checkpoints(text: bytes) -> list[Listed]:
    """Read a job's checkpoints, by step; of several with one step the final one, else the first.

    Step 0 is left out where it is not the final one: asked for by its number, the API serves the
    final model (types of together 3.1.1).

    Raises:
        BadResponse: It is no such document.
    """
    found: dict[int, Listed] = {}
    lines = _read(text, _Checkpoints, "list of checkpoints").data
    for each in sorted(lines, key=lambda each: (each.step, not each.is_final)):
        if each.step or each.is_final:
            found.setdefault(each.step, each)
    return list(found.values())


def _read(text: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError):
        raise BadResponse(
            f"Together AI answered with something that is no {what}.",
            hint=NO_API_HINT,
        ) from None
