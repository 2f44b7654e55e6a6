"""Peers that fetch many small files at once, from a list."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from bench.measure import Contender
from bench.peers import command, missing, then
from bench.scratch import Arrived, Payload, emptied

ARIA2C_LIST = "aria2c -j16 -i, sha256sum"
CURL_PARALLEL = "curl -Z --parallel-max 50, sha256sum"


class Files:
    """Many files to be fetched into one folder.

    Args:
        scratch: What everything lies in.
        payloads: The files.
        url: Gives a file's URL by its name.
    """

    def __init__(
        self, scratch: Path, payloads: Sequence[Payload], url: Callable[[str], str]
    ) -> None:
        self._scratch, self._payloads, self._url = scratch, payloads, url
        self._folder = scratch / "peer"
        lines = (f"{each.sha256}  {self._folder / each.name}\n" for each in payloads)
        self._sums = self._write("many.sums", lines)

    def aria2c(self) -> Contender:
        """Return aria2c with 16 downloads at a time."""
        each = (f"{self._url(p.name)}\n out={p.name}\n" for p in self._payloads)
        listed = self._write("many.aria2c", each)
        place = [f"--dir={self._folder}", f"--input-file={listed}"]
        return self._contender(ARIA2C_LIST, ["aria2c", "--no-conf", "-q", "-j16", *place])

    def curl(self) -> Contender:
        """Return curl with 50 downloads at a time."""
        each = (
            f'url = "{self._url(p.name)}"\noutput = "{self._folder / p.name}"\n'
            for p in self._payloads
        )
        listed = self._write("many.curl", each)
        options = ["-q", "-sSf", "-Z", "--parallel-max", "50", "--create-dirs", "-K", str(listed)]
        return self._contender(CURL_PARALLEL, ["curl", *options])

    def _contender(self, name: str, words: Sequence[str]) -> Contender:
        absent = missing([words[0], "sha256sum"])
        if absent:
            return Contender(name=name, absent=absent)
        whole = then(words, ["sha256sum", "--check", "--quiet", str(self._sums)])
        return Contender(
            name=name,
            command=command(self._scratch, self._folder, whole),
            before=partial(emptied, self._folder),
            check=Arrived([(each, self._folder / each.name) for each in self._payloads]),
        )

    def _write(self, name: str, lines: Iterable[str]) -> Path:
        path = self._scratch / name
        path.write_text("".join(lines))
        return path
