"""Azurite, Microsoft's emulator of Azure Storage, in memory, with the public container `gpt-2`.

    with Azurite() as azurite:
        azurite.upload("/gpt-2/models/124M/checkpoint", b"...")
        fetch(azurite.url("/gpt-2/models/124M/checkpoint"))

It speaks the newer dialect whatever is asked for; `azure_2009` has the older one. Requests are
signed with SharedKey ("Authorize with Shared Key", version 2009-09-19 and later).
"""

import base64
import hmac
import os
import re
import shutil
import tempfile
import urllib.request
from email.utils import formatdate
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, urlsplit

from tests.examples import GIVEN
from tests.servers.process import NotInstalled, Program, ProgramServer

ACCOUNT = "openaipublic"
KEY = b"any secret will do"
API_VERSION = "2021-12-02"
CONTAINER = "/gpt-2"
BLOCK_BYTES = 4 * 1024 * 1024
FOLDER_VARIABLE = "MODELMAKE_AZURITE"
_LISTENS = re.compile(r"successfully listens on http://127\.0\.0\.1:(\d+)")
OPTIONS = (
    *("--blobHost", "127.0.0.1", "--blobPort", "0"),
    *("--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"),
)


def binary(named_folder: str | None = None) -> str:
    """Return the path of azurite-blob: in the folder named, on PATH or in ./node_modules.

    Raises:
        NotInstalled: It is in none of them.
    """
    folders = [named_folder, os.environ.get("PATH"), str(Path("node_modules/.bin").absolute())]
    for folder in filter(None, folders):
        if found := shutil.which("azurite-blob", path=folder):
            return found
    raise NotInstalled("azurite-blob is not installed (npm install azurite)")


class Azurite(ProgramServer):
    """A context manager around one Azurite.

    Args:
        folder: Where azurite-blob lies; by default what MODELMAKE_AZURITE says.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._named = folder or GIVEN.get(FOLDER_VARIABLE)

    def __enter__(self) -> Self:
        command = [binary(self._named), *OPTIONS]
        self._folder = Path(tempfile.mkdtemp(prefix="azurite-"))
        account = f"{ACCOUNT}:{base64.b64encode(KEY).decode()}"
        output = self._folder / "output.log"
        self._program = Program(command, output, {"AZURITE_ACCOUNTS": account})
        try:
            self.port = self._listening_port()
            public = {"x-ms-blob-public-access": "blob"}
            self._put(f"{CONTAINER}?restype=container", b"", public)
        except BaseException:
            self.close()
            raise
        return self

    def _listening_port(self) -> int:
        if not self._program.wait_until(lambda: _LISTENS.search(self._program.said) is not None):
            raise RuntimeError(f"Azurite does not start: {self._program.said}")
        found = _LISTENS.search(self._program.said)
        assert found is not None
        return int(found[1])

    def url(self, path: str) -> str:
        """Return the URL of `/gpt-2/...`; the account comes first in it (path style)."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}{quote(path, safe='/%?&=+:~')}"

    def create(self, container: str, access: str = "") -> None:
        """Create a container; `container` lets anybody list and read it, `blob` only read it."""
        public = {"x-ms-blob-public-access": access} if access else {}
        self._put(f"/{container}?restype=container", b"", public)

    def upload(self, path: str, content: bytes, *, blocks: bool = False) -> None:
        """Put a blob at `/gpt-2/...`.

        Args:
            path: Container and name.
            content: What it holds.
            blocks: Use Put Block List, as large uploads do: no Content-MD5 is stored then. To a
                GET of a whole blob of up to 4 MiB Azurite adds one that it computes.
        """
        if not blocks:
            self._put(path, content, {"x-ms-blob-type": "BlockBlob"})
            return
        starts = range(0, len(content), BLOCK_BYTES)
        names = [base64.b64encode(b"%08d" % start).decode() for start in starts]
        for name, start in zip(names, starts, strict=True):
            block = content[start : start + BLOCK_BYTES]
            self._put(f"{path}?comp=block&blockid={quote(name, safe='')}", block, {})
        listed = "".join(f"<Latest>{name}</Latest>" for name in names)
        self._put(f"{path}?comp=blocklist", f"<BlockList>{listed}</BlockList>".encode(), {})

    def _put(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        url = self.url(path)
        dated = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": API_VERSION, **headers}
        kind = {"Content-Type": "application/octet-stream"}
        signature = {"Authorization": authorization(url, content, {**kind, **dated})}
        request = urllib.request.Request(
            url, data=content, method="PUT", headers={**kind, **dated, **signature}
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(request, timeout=60).close()


def authorization(url: str, content: bytes, headers: dict[str, str]) -> str:
    """Return the Authorization value of a PUT."""
    parts = urlsplit(url)
    length = str(len(content)) if content else ""
    first = ["PUT", "", "", length, "", headers["Content-Type"], *[""] * 6]
    own = sorted((key.lower(), value) for key, value in headers.items() if key.startswith("x-ms-"))
    named = [f"{key}:{value}" for key, value in own]
    query = [f"{key}:{value}" for key, value in sorted(parse_qsl(parts.query))]
    text = "\n".join([*first, *named, f"/{ACCOUNT}{parts.path}", *query])
    signature = base64.b64encode(hmac.digest(KEY, text.encode(), "sha256")).decode()
    return f"SharedKey {ACCOUNT}:{signature}"
