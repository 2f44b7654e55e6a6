"""The command of every peer and floor; one that is not installed is named as missing.

No peer reads a settings file of its own. Those that verify nothing themselves have sha256sum
run after them, wherever ours verifies.
"""

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bench.measure import Command, Contender
from bench.origin import HUB
from bench.scratch import Arrived, Payload, emptied, variables

LOOPS = Path(__file__).with_name("loops.py")
HF = "hf download, sha256sum"
HF_VARIABLES = (
    "HF_HUB_DISABLE_TELEMETRY=1",
    "HF_HUB_DISABLE_UPDATE_CHECK=1",
    "HF_HUB_DISABLE_XET=1",
    "HF_HUB_DISABLE_PROGRESS_BARS=1",
)
"""It dials nobody but the origin; and the origin has no Xet storage."""
ARIA2C = "aria2c"
ARIA2C_16 = "aria2c -x16 -s16"
CURL = "curl, sha256sum"
PICOGPT = "picoGPT's loop, unverified"
READINTO = "floor: requests + readinto, unverified"
SHA256 = "floor: SHA-256 alone, one core"
SHA256SUM = "sha256sum"
SLOW_BELOW = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file to be fetched into a folder of its own.

    Attributes:
        scratch: What everything lies in.
        payload: The file.
        url: Where it is served.
        with_slow: Whether the slow peers race too.
        certificate: What its server is trusted by.
    """

    scratch: Path
    payload: Payload
    url: str
    with_slow: bool
    certificate: Path | None = None

    @property
    def folder(self) -> Path:
        """Where peers work."""
        return self.scratch / "peer"

    @property
    def target(self) -> Path:
        """Where the file goes."""
        return self.folder / "fetched.bin"


Words = Callable[[Job], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer that fetches one file.

    Attributes:
        name: What the table calls it.
        words: Makes its command line.
        programs: What must be on PATH.
        packages: What Python must find.
        leaves_file: Whether there is a file to be checked afterwards.
        is_slow: Whether --quick does without it.
    """

    name: str
    words: Words
    programs: Sequence[str] = ()
    packages: Sequence[str] = ()
    leaves_file: bool = True
    is_slow: bool = False

    def contender(self, job: Job) -> Contender:
        """Return its line in a race."""
        absent = missing(self.programs, self.packages)
        if self.is_slow and not job.with_slow:
            absent = absent or "left out of --quick, too slow"
        if absent:
            return Contender(name=self.name, absent=absent)
        pairs = [(job.payload, job.target)] if self.leaves_file else []
        return Contender(
            name=self.name,
            command=command(job.scratch, job.folder, self.words(job)),
            before=partial(emptied, job.folder),
            check=Arrived(pairs),
        )


def missing(programs: Iterable[str], packages: Iterable[str] = ()) -> str:
    """Return which of them are not installed, as a sentence; empty when all are."""
    absent = [name for name in programs if shutil.which(name) is None]
    absent += [name for name in packages if importlib.util.find_spec(name) is None]
    return f"missing: {', '.join(absent)} not installed" if absent else ""


def command(scratch: Path, folder: Path, words: Sequence[str]) -> Command:
    """Return a command that runs in the peers' folder."""
    return Command(words=words, folder=folder, variables=variables(scratch))


def then(*commands: Sequence[str]) -> list[str]:
    """Return one command that runs them all, each only when those before it went well."""
    return ["sh", "-c", " && ".join(map(shlex.join, commands))]


def loop(name: str, *arguments: str) -> list[str]:
    """Return the command line of a loop of ours."""
    return [sys.executable, str(LOOPS), name, *arguments]


def _curl(job: Job) -> list[str]:
    trusted = ["--cacert", str(job.certificate)] if job.certificate else []
    return then(["curl", "-q", *trusted, "-sSfo", str(job.target), job.url], _sum(job))


def _wget(job: Job) -> list[str]:
    return then(["wget", "--no-config", "-q", "-O", str(job.target), job.url], _sum(job))


def _sum(job: Job) -> list[str]:
    """Return the check of the file; its digest comes from the list beside the origin's files."""
    sums = job.scratch / "one.sums"
    sums.write_text(f"{job.payload.sha256}  {job.target}\n")
    return ["sha256sum", "--check", "--quiet", str(sums)]


def _aria2c(job: Job, *options: str) -> list[str]:
    checksum = f"--checksum=sha-256={job.payload.sha256}"
    place = [f"--dir={job.folder}", f"--out={job.target.name}"]
    trusted = [f"--ca-certificate={job.certificate}"] if job.certificate else []
    return ["aria2c", "--no-conf", "-q", *trusted, *options, checksum, *place, job.url]


def _hf(job: Job) -> list[str]:
    parts = urlsplit(job.url)
    where = ["env", *HF_VARIABLES, f"HF_ENDPOINT={parts.scheme}://{parts.netloc}"]
    fetched = job.folder / job.payload.name
    words = ["hf", "download", HUB, job.payload.name, "--local-dir", str(job.folder)]
    return then([*where, *words], ["mv", str(fetched), str(job.target)], _sum(job))


def _aria2c_16(job: Job) -> list[str]:
    return _aria2c(job, "-x16", "-s16")


CURL_PEER = Peer(name=CURL, words=_curl, programs=("curl", "sha256sum"))
WGET_PEER = Peer(name="wget, sha256sum", words=_wget, programs=("wget", "sha256sum"), is_slow=True)
ARIA2C_16_PEER = Peer(name=ARIA2C_16, words=_aria2c_16, programs=("aria2c",))
ARIA2C_PEER = Peer(name=ARIA2C, words=_aria2c, programs=("aria2c",))
POOCH_PEER = Peer(
    name="pooch.retrieve",
    words=lambda job: loop("pooch", job.url, str(job.target), job.payload.sha256),
    packages=("pooch",),
)
PICOGPT_PEER = Peer(
    name=PICOGPT, words=lambda job: loop("picogpt", job.url, str(job.target)), is_slow=True
)
PICOGPT_SHA256_PEER = Peer(
    name="picoGPT's loop, SHA-256",
    words=lambda job: loop("picogpt-sha256", job.url, str(job.target)),
    is_slow=True,
)
HF_PEER = Peer(name=HF, words=_hf, programs=("env", "hf", "sha256sum"))
READINTO_PEER = Peer(name=READINTO, words=lambda job: loop("readinto", job.url, str(job.target)))
SHA256_PEER = Peer(
    name=SHA256, words=lambda job: loop("sha256", str(job.payload.path)), leaves_file=False
)


def fixed_peer(connections: int) -> Peer:
    """Return the floor that fetches on a fixed number of connections; few are slow."""
    count = str(connections)
    return Peer(
        name=f"floor: {count} connections, unverified",
        words=lambda job: loop("ranges", job.url, str(job.target), count),
        is_slow=connections < SLOW_BELOW,
    )
