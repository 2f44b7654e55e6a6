"""The loops of Python peers and the floors, each a process of its own.

python loops.py picogpt URL FILE            picoGPT's loop: nothing is verified
python loops.py picogpt-sha256 URL FILE     the same, then SHA-256 of the file
python loops.py pooch URL FILE SHA256       pooch.retrieve with a known hash
python loops.py readinto URL FILE           requests with a reused buffer, unverified
python loops.py ranges URL FILE COUNT       the same on COUNT connections
python loops.py sha256 FILE...              hashlib on one core
python loops.py stats LIST                  os.stat of each path that a file lists
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BUFFER_BYTES = 1 << 20
TIMEOUT_SECONDS = 60


def picogpt(url: str, file: str) -> None:
    """Do as picoGPT's utils.py does, but for its progress bar, which only costs it time."""
    import requests  # noqa: PLC0415 - the other loops should not pay for it

    reply = requests.get(url, stream=True)
    reply.raise_for_status()
    with Path(file).open("wb") as out:
        for chunk in reply.iter_content(chunk_size=1000):  # noqa: FURB122 - it is what is measured
            out.write(chunk)


def picogpt_sha256(url: str, file: str) -> None:
    """Add what is needed to trust the bytes."""
    picogpt(url, file)
    sha256(file)


def pooch(url: str, file: str, digest: str) -> None:
    """Do as pooch's README does; it verifies, then renames."""
    target = Path(file)
    retrieve: Any = importlib.import_module("pooch").retrieve
    retrieve(url, known_hash=f"sha256:{digest}", fname=target.name, path=target.parent)


def readinto(url: str, file: str) -> None:
    """Receive as fast as requests can, and verify nothing."""
    with Path(file).open("wb", buffering=0) as out:
        _receive(url, out.fileno(), 0, {})


def ranges(url: str, file: str, count: str) -> None:
    """Receive equal ranges on a fixed number of connections, and verify nothing."""
    import requests  # noqa: PLC0415 - as above

    size = int(requests.head(url, timeout=TIMEOUT_SECONDS).headers["Content-Length"])
    step = -(-size // int(count))
    starts = range(0, size, step)
    with Path(file).open("wb", buffering=0) as out, ThreadPoolExecutor(len(starts)) as pool:
        wanted = [{"Range": f"bytes={at}-{min(at + step, size) - 1}"} for at in starts]
        list(pool.map(_receive, [url] * len(starts), [out.fileno()] * len(starts), starts, wanted))


def _receive(url: str, descriptor: int, start: int, headers: dict[str, str]) -> None:
    import requests  # noqa: PLC0415 - as above

    buffer = memoryview(bytearray(BUFFER_BYTES))
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as reply:
        reply.raise_for_status()
        source: Any = reply.raw._fp  # noqa: SLF001 - http.client's own; urllib3's copies once more
        while count := source.readinto(buffer):
            os.pwrite(descriptor, buffer[:count], start)
            start += count


def sha256(*files: str) -> None:
    """Hash files one after the other."""
    for name in files:
        with Path(name).open("rb", buffering=0) as file:
            print(hashlib.file_digest(file, "sha256").hexdigest(), name)


def stats(listed: str) -> None:
    """Look at each of the paths once, as any program must that tells whether they changed."""
    for name in Path(listed).read_text().splitlines():
        os.stat(name)  # noqa: PTH116 - the least it can cost


LOOPS: dict[str, Callable[..., None]] = {
    "picogpt": picogpt,
    "picogpt-sha256": picogpt_sha256,
    "pooch": pooch,
    "readinto": readinto,
    "ranges": ranges,
    "sha256": sha256,
    "stats": stats,
}

if __name__ == "__main__":
    LOOPS[sys.argv[1]](*sys.argv[2:])
