"""OpenAI's GPT-2 TensorFlow checkpoints, as picoGPT's download_gpt2_files fetches them.

`{base}/{size}/{file}`, anonymous, no redirect; seven files whose names TensorFlow's loader needs
(openai/gpt-2: download_model.py; jaymody/picoGPT: utils.py).

For 124M the SHA-256 of all seven are published: vocab.bpe and encoder.json in tiktoken
(tiktoken_ext/openai_public.py), `checkpoint` and hparams.json follow from their text, the others
stand in several public projects. Nothing is assumed of the other sizes.
"""

import os
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from downloader.artifact import Artifact
from downloader.errors import SettingError, SourceError
from downloader.sources.interface import Entry, Keys, Reference, Resolution
from downloader.urls import Location, host

GPT2_SIZES = ("124M", "355M", "774M", "1558M")
GPT2_OLD_SIZES = {"117M": "124M", "345M": "355M", "762M": "774M", "1542M": "1558M"}
GPT2_NAMES = [*GPT2_SIZES, *GPT2_OLD_SIZES]
MILLIONS = "|".join(name.removesuffix("M") for name in GPT2_NAMES)


class OpenAIGPT2Entry(Entry, frozen=True, kw_only=True, tag="openai-gpt2"):
    """OpenAI's GPT-2 TensorFlow checkpoints."""

    reference_forms = {"gpt2:124M": "a size of OpenAI's GPT-2"}  # noqa: RUF012
    reference_slips = {  # noqa: RUF012
        rf"gpt-?2[-_ :]?({MILLIONS})m?": r"gpt2:\1M",
        r"gpt-?2(?:[-_ :]small)?": "gpt2:124M",
        r"gpt-?2[-_ :]medium": "gpt2:355M",
        r"gpt-?2[-_ :]large": "gpt2:774M",
        r"gpt-?2[-_ :]xl": "gpt2:1558M",
    }

    size: Annotated[
        Annotated[
            str,
            Meta(
                pattern=rf"^({MILLIONS})[mM]?\Z",
                extra_json_schema={"anyOf": [{"enum": GPT2_NAMES}, {}]},  # editors offer names
            ),
        ]
        | Literal[124, 355, 774, 1558, 117, 345, 762, 1542],
        Meta(
            description="Number of parameters; 117M, 345M, 762M and 1542M are the old names of the "
            "four.",
            extra={"choices": GPT2_NAMES},
        ),
    ]

    def __post_init__(self) -> None:
        """Write the size as the lock does: `124M`, whether `124`, `124m` or `124M` was written."""
        name = str(self.size).upper().removesuffix("M") + "M"
        msgspec.structs.force_setattr(self, "size", name)

    @classmethod
    def read_reference(cls, text: str) -> Reference | None:
        """See Entry."""
        prefix, colon, size = text.partition(":")
        is_ours = prefix == "gpt2" and colon
        return Reference({"size": size}, (f"gpt2-{size}",)) if is_ours else None

    @property
    def published_size(self) -> str:
        """The size by today's name (OpenAI renamed all four in 2019)."""
        size = str(self.size)
        return GPT2_OLD_SIZES.get(size, size)

    @property
    def is_published(self) -> bool:
        """See Entry."""
        return self.published_size in PUBLISHED

    def source(self) -> "OpenAIGPT2":
        """See Entry."""
        return OpenAIGPT2(self)

    def targets(self) -> Iterator[tuple[Keys, str]]:
        """See Entry."""
        yield from (((), path) for path in FILES if self.wants(path))


BASE_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
BASE_URL_VARIABLE = "OPENAI_GPT2_BASE_URL"

FILES = (
    "checkpoint",
    "encoder.json",
    "hparams.json",
    "model.ckpt.data-00000-of-00001",
    "model.ckpt.index",
    "model.ckpt.meta",
    "vocab.bpe",
)

PUBLISHED: dict[str, dict[str, tuple[int, str]]] = {
    "124M": {
        "checkpoint": (77, "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb"),
        "encoder.json": (
            1042301,
            "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        ),
        "hparams.json": (90, "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318"),
        "model.ckpt.data-00000-of-00001": (
            497759232,
            "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118",
        ),
        "model.ckpt.index": (
            5215,
            "71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687",
        ),
        "model.ckpt.meta": (
            471155,
            "4668c448fa11531fd6700460487f73e82d3272960cea942252f8744bf225c77b",
        ),
        "vocab.bpe": (456318, "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
    },
}
"""Size in bytes and SHA-256, by size and file."""


class OpenAIGPT2:
    """The source of one `openai-gpt2` entry."""

    def __init__(self, entry: OpenAIGPT2Entry) -> None:
        self._entry = entry
        self._size = entry.published_size

    def outline(self) -> Resolution:
        """See Source."""
        return Resolution(revision=self._size, artifacts=tuple(map(self._artifact, FILES)))

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:  # noqa: ARG002 - an entry of this source names it
        """See Source."""
        if artifact.path not in FILES:
            raise SourceError(f"OpenAI's GPT-2 has no file {artifact.path}.")
        bases = (self._base_url(), *self._entry.bases)
        named = frozenset(map(host, bases))
        return tuple(
            Location(url=f"{base.rstrip('/')}/{self._size}/{artifact.path}", named_hosts=named)
            for base in bases
        )

    def _artifact(self, path: str) -> Artifact:
        size, sha256 = PUBLISHED.get(self._size, {}).get(path, (None, None))
        return Artifact(path=path, size=size, sha256=sha256)

    def _base_url(self) -> str:
        """Return the endpoint: the environment's before the entry's before OpenAI's own."""
        set_url = os.environ.get(BASE_URL_VARIABLE)
        if set_url and urlsplit(set_url).scheme not in ("http", "https"):
            raise SettingError(
                f"{BASE_URL_VARIABLE} must be an http or https URL.",
                hint=f"Write it like {BASE_URL}",
            )
        return set_url or self._entry.base_url or BASE_URL
