"""The Hugging Face Hub: its keys of models.yaml. This version cannot fetch from it yet."""

from typing import Annotated
from urllib.parse import quote

from msgspec import Meta

from downloader.sources.interface import Entry, Text


class HuggingFaceEntry(Entry, frozen=True, kw_only=True, tag="huggingface"):
    """A repository of the Hugging Face Hub."""

    repo: Annotated[
        str,
        Meta(
            pattern=r"(?a)^(?!.*(--|\.\.))(\w[\w.-]*/)?\w[\w.-]{0,95}\Z",
            extra={
                "form": "owner/name",
                "longer": r"https?://(?:www\.)?(?:huggingface|hf)\.co/([\w.-]+/[\w.-]+)",
            },
            description="`owner/name`, or the one word of an old repository; the Hub's own rules "
            "for names.",
        ),
    ]
    revision: Annotated[
        Text, Meta(description="A branch, tag or commit; the lock holds the commit.")
    ] = "main"

    @property
    def instead(self) -> str:
        """See Entry: the files by their URLs."""
        place = f"https://huggingface.co/{self.repo}/resolve/{quote(self.revision, safe='')}/FILE"
        return f"Write `source: http` with `files: [{place}, ...]` (docs/sources.md)."
