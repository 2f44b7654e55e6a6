"""The types of models.yaml: one class a source, one field a key.

msgspec checks types, unknown keys and required keys against these classes and says at which key
path; what a type cannot say (a safe path, an allowed scheme) is in `manifest.py`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

GPT2_SIZES = ("124M", "355M", "774M", "1558M")
GPT2_OLD_SIZES = {"117M": "124M", "345M": "355M", "762M": "774M", "1542M": "1558M"}

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]
Step = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Steps = Annotated[tuple[Step, ...], Meta(min_length=1)]
Text = Annotated[str, Meta(min_length=1)]

DEFAULT_TO = "models/{name}"
NOT_ABOUT_BYTES = frozenset({"to", "optional", "link", "mirrors", "keep_archive", "wait"})
"""Keys that do not change which bytes an entry means: they never make a lock stale."""


class Entry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="source",
):
    """What every model may say."""

    to: Text = DEFAULT_TO
    """Target folder, relative to models.yaml; {name} stands for the model's name."""
    include: tuple[Text, ...] = ()
    """Only files whose whole posix path matches one of these patterns of fnmatch."""
    exclude: tuple[Text, ...] = ()
    """Patterns of files to leave out, after `include`."""
    optional: bool = False
    """Only fetched when asked for by name."""
    mirrors: tuple[Text, ...] = ()
    """Base URLs with the provider's layout, tried in order after it."""
    base_url: Text | None = None
    """The provider's endpoint, when it is not the public one."""
    link: Literal["auto", "reflink", "hardlink", "copy"] = "auto"
    """How a blob of the store is shown at the target."""


class OpenAIGPT2Entry(Entry, frozen=True, kw_only=True, tag="openai-gpt2"):
    """OpenAI's GPT-2 TensorFlow checkpoints."""

    size: Literal["124M", "355M", "774M", "1558M", "117M", "345M", "762M", "1542M"]
    """Number of parameters; 117M, 345M, 762M and 1542M are the old names of the four."""

    @property
    def published_size(self) -> str:
        """The size by today's name (OpenAI renamed all four in 2019)."""
        return GPT2_OLD_SIZES.get(self.size, self.size)


class HttpFile(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One file of an `http` model."""

    url: Text
    """https; plain http for this machine, and elsewhere where `sha256` is given."""
    sha256: Sha256 | None = None
    """64 hex digits; without it the first verified fetch pins one in models.lock."""
    path: Text | None = None
    """Posix path below the model's folder; default: the last part of the URL."""
    mirrors: tuple[Text, ...] = ()
    """Whole URLs of the same bytes, tried in order after `url`."""


class HttpEntry(Entry, frozen=True, kw_only=True, tag="http"):
    """Any list of URLs."""

    files: Annotated[tuple[HttpFile, ...], Meta(min_length=1)]
    """Each with its `url`."""


class CheckpointRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`{last: 3}`, the newest N checkpoints, or `{from: 100, to: 500}`, both ends included."""

    last: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    """How many, counted from the newest."""
    start: Step | None = msgspec.field(name="from", default=None)
    """The first step that is wanted."""
    stop: Step | None = msgspec.field(name="to", default=None)
    """The last step that is wanted."""


class TogetherEntry(Entry, frozen=True, kw_only=True, tag="together"):
    """A fine-tuned model of Together AI, or its checkpoints."""

    job: Annotated[str, Meta(pattern=r"^ft-[0-9a-f-]{1,120}(:[0-9]{1,18})?\Z")]
    """The fine-tuning job: ft-0123abcd-0123, or with a step ft-0123abcd-0123:100."""
    checkpoint: Literal["final", "all"] | Step | Steps | CheckpointRange = "final"
    """final, all, a step, a list of steps, {last: 3}, or {from: 100, to: 500}."""
    type: Literal["default", "merged", "adapter"] = "default"
    """Of a LoRA job: the merged model or the adapter alone; default is what the API serves."""
    extract: bool = False
    """Whether the files in the archive are the model's, not the archive itself."""
    keep_archive: bool = True
    """With `extract`: whether the archive stays beside its files."""
    archive: Text | None = None
    """Another name for the archive."""
    wait: bool = False
    """Whether to wait for a job that still trains."""


class HuggingFaceEntry(Entry, frozen=True, kw_only=True, tag="huggingface"):
    """A repository of the Hugging Face Hub."""

    repo: Annotated[str, Meta(pattern=r"(?a)^(?!.*(--|\.\.))(\w[\w.-]*/)?\w[\w.-]{0,95}\Z")]
    """`owner/name`, or the one word of an old repository; the Hub's own rules for names."""
    revision: Text = "main"
    """A branch, tag or commit; the lock holds the commit."""


AnyEntry = OpenAIGPT2Entry | HttpEntry | TogetherEntry | HuggingFaceEntry
