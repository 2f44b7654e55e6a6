"""Ask published copies before the provider: a file is found there by its SHA-256.

    mirrors = Mirrors(client)
    wish = Wish(artifact, "toy/a.bin", urls, provider=locate)
    Job(locations=mirrors.candidates(wish), failed=mirrors.failed, ...)

A copy that does not have a file is one request. A copy that cannot be used is named once, and is
passed over for the rest of the run; so is one that refuses our credential, unless it refuses single
files: S3 says so of a file that is not there to who may not list the bucket. If only copies may be
asked, each is asked for each file, as patiently as a provider.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import AccessDenied, IntegrityError, ModelmakeError, NotFound
from downloader.progress.streams import tell
from downloader.transfer.places import Place, open_place
from downloader.urls import Location, redact

if TYPE_CHECKING:  # a plan needs no network code
    from downloader.network.client import Client

RETRIES = 2
"""Attempts without progress before the provider is asked instead."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is wanted from a published copy, or else from its provider.

    Attributes:
        artifact: The file.
        name: Model and path, for people.
        copies: The URLs of the published copies that may have it, in their order.
        provider: Returns where its provider has it; None if it may not be asked.
        who_forbids: What says so, for people.
    """

    artifact: Artifact
    name: str
    copies: tuple[str, ...]
    provider: Callable[[], Iterable[Location]] | None
    who_forbids: str = ""


class Mirrors:
    """The published copies that a run asks; safe to share between threads.

    Args:
        client: Opens connections to them.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._changing = threading.Lock()
        self._places: dict[str, Place] = {}
        self._unusable = set[str]()
        self._denied = set[str]()

    def candidates(self, wish: Wish) -> Iterator[Location]:
        """Yield where to download a file from, best first; each is looked up when it is needed.

        Raises:
            ModelmakeError: Nothing says where else it is.
        """
        reasons: list[ModelmakeError] = []
        for url in wish.copies if wish.artifact.is_pinned else ():
            if wish.provider and url in self._unusable:
                continue
            try:
                location = self._place(url).location(str(wish.artifact.sha256))
            except ModelmakeError as error:
                if wish.provider:
                    self._pass_over(url, str(error), error.hint)
                reasons.append(error)
                continue
            yield replace(location, retries=RETRIES if wish.provider else None)
        if wish.provider is None:
            raise refused(wish, reasons)
        yield from wish.provider()

    def failed(self, location: Location, error: ModelmakeError) -> None:
        """Take note of why a copy could not give a file, and tell the user what is news.

        Args:
            location: The copy's; others are ignored.
            error: What happened there.
        """
        if not location.mirror or isinstance(error, NotFound):
            return
        mirror = redact(location.mirror)
        if isinstance(error, IntegrityError):
            tell(f"The mirror {mirror} has a damaged file, which is not used: {error}")
        elif isinstance(error, AccessDenied):
            with self._changing:
                is_news = location.mirror not in self._denied
                self._denied.add(location.mirror)
            if is_news:
                what = "The mirror refuses a file, or does not have it"
                tell(_line(f"{what}: {location.error_text(error)}", error.hint))
        elif location.retries is not None:
            self._pass_over(location.mirror, location.error_text(error), error.hint)

    def _place(self, url: str) -> Place:
        with self._changing:
            if url not in self._places:
                self._places[url] = open_place(url, self._client)
            return self._places[url]

    def _pass_over(self, url: str, why: str, hint: str) -> None:
        """Ask a copy no more in this run, and say so once."""
        with self._changing:
            is_news = url not in self._unusable
            self._unusable.add(url)
        if is_news:
            tell(_line(f"The mirror {redact(url)} is not used in this run: {why}", hint))


def _line(text: str, hint: str) -> str:
    return f"{text}\n  {hint}" if hint else text


def refused(wish: Wish, reasons: Iterable[ModelmakeError] = ()) -> ModelmakeError:
    """Return why a file cannot be had if its provider may not be asked.

    Args:
        wish: The file.
        reasons: Why copies could not be asked.
    """
    who = f"{wish.who_forbids} forbids to ask its provider"
    if not wish.copies:
        return NotFound(
            f"No mirror is named for {wish.name}, and {who}.",
            hint="Name one in MODELMAKE_MIRROR, or in `mirrors` of models.yaml.",
        )
    if not wish.artifact.is_pinned:
        return NotFound(
            f"models.lock has no SHA-256 of {wish.name}, so no mirror can have it, and {who}.",
            hint="Where the provider may be asked, run `doit`, which pins it, then `doit publish`.",
        )
    hints = dict.fromkeys(error.hint for error in reasons if error.hint)
    publish = "Run `doit publish --to PLACE` with the place of a mirror where you have the file."
    return NotFound(
        " ".join([f"No mirror gave {wish.name}, and {who}.", *map(str, reasons)]),
        hint=" ".join(hints) or publish,
    )
