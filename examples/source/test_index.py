"""A SHA256SUMS keeps the contract of sources that ask."""

from collections.abc import Iterator
from hashlib import sha256

import msgspec
import pytest

from downloader.errors import SourceError
from downloader.project.resolve import ask
from downloader.sources.index import Index, IndexEntry
from downloader.sources.interface import Provider
from tests.servers.faulty import FaultyServer
from tests.sources.asking_contract import AskingSourceContract

CONTENTS = {"config.json": b"{}", "a folder/weights.bin": b"weights"}


class TestIndex(AskingSourceContract):
    """The contract, with and without the list's own name and a mirror."""

    entries: tuple[IndexEntry, ...] = (
        IndexEntry(base_url="https://example.org/m"),
        IndexEntry(base_url="https://example.org/m/", sums="sums.txt", mirrors=("https://e.org",)),
    )

    @pytest.fixture(autouse=True)
    def provider_is_there(self) -> Iterator[None]:
        """Start a server with both lists, and ask that one."""
        lines = [f"{sha256(content).hexdigest()}  {path}" for path, content in CONTENTS.items()]
        with FaultyServer() as self.server:
            for name in ("SHA256SUMS", "sums.txt"):
                self.server.put(f"/m/{name}", "\n".join([*lines, ""]).encode())
            url = self.server.url("/m")
            self.entries = tuple(msgspec.structs.replace(e, base_url=url) for e in self.entries)
            yield

    @pytest.mark.parametrize("line", ["nonsense", f"{'A' * 64}  upper-case", f"{'0' * 64}  ../up"])
    def test_a_line_that_cannot_be_meant_is_refused(self, provider: Provider, line: str) -> None:
        """Neither what is no SHA-256 and path, nor a path that leads out of the model's folder."""
        self.server.put("/m/SHA256SUMS", line.encode())
        entry = IndexEntry(base_url=self.server.url("/m"))
        with pytest.raises(SourceError, match=r"line that is no SHA-256|not a safe path"):
            ask("m", entry, Index(entry), provider)
