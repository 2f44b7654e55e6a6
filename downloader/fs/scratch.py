"""Name scratch files, and find those whose process is gone: the only place that knows the names.

    .TARGET.RRRRRRRR.new          beside its target, for the moment until it is renamed
    STEM-MMMMMM-PID-RRRRRRRRN     work of one process, in a private folder; a suffix may follow

M is 6 hex digits for the machine, PID the process, R random (of the process, in the second form)
and N a number in hex. The second form tells when its file may go: its process is dead, or is an
earlier one that had our number, as in containers. What another machine made is left to `doit
prune`, which goes by its age.

Anybody may have made such a name, so whatever it says, reading it raises nothing.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import re
import socket
import stat
import sys

import msgspec

from downloader.errors import StoreError
from downloader.fs.rooted_path import RootedPath

_UNFINISHED = r"(?s)\.(?P<target>.+?)(?:[.-][0-9a-f]+)?\.new"
_OWNED = r"(?s)(?:.*-)?(?P<machine>[0-9a-f]{6})-(?P<process>[0-9]+)-(?P<part>[0-9a-f]+)(?:\.part)?"
_MOST_NAME_BYTES = 200
"""Of a target's name in that of its unfinished file; the whole may have 255."""

_token, _count = os.urandom(4).hex(), itertools.count()


def unfinished(target: RootedPath) -> RootedPath:
    """Return a free name beside a file that is about to be made or replaced."""
    readable = target.name.encode("utf-8", "replace")[:_MOST_NAME_BYTES].decode("utf-8", "ignore")
    return target.with_name(f".{readable}.{os.urandom(4).hex()}.new")


def is_unfinished(name: str) -> bool:
    """Whether a name is one that `unfinished` gives."""
    return re.fullmatch(_UNFINISHED, name) is not None


def own_name(stem: str = "", suffix: str = "") -> str:
    """Return a free name that says which process of which machine made the file or folder."""
    return f"{own_prefix(stem)}{os.getpid()}-{_token}{next(_count):x}{suffix}"


def own_prefix(stem: str = "") -> str:
    """Return how the names begin that any process of this machine gives for a stem."""
    return f"{stem}-{machine()}-".removeprefix("-")


class Owner(msgspec.Struct, frozen=True):
    """The process that made a file, as the file's name says."""

    machine: str
    process: int
    part: str

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it ran on this machine."""
        return self.machine == machine()

    @property
    def is_alive(self) -> bool:
        """Whether a process of this machine has its number now."""
        return self.is_of_this_machine and is_alive(self.process)

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine: a dead one, or one that had our number."""
        is_former = self.process == os.getpid() and not self.part.startswith(_token)
        return self.is_of_this_machine and (is_former or not self.is_alive)


def owner_of(name: str) -> Owner | None:
    """Return who made a file of this name, also one that is not finished; None for others."""
    half = re.fullmatch(_UNFINISHED, name)
    found = re.fullmatch(_OWNED, half["target"] if half else name)
    return Owner(found["machine"], int(found["process"]), found["part"]) if found else None


def sweep(folder: RootedPath) -> None:
    """Remove what dead processes of this machine left in a folder of scratch files.

    What cannot be removed stays for the next time.
    """
    with contextlib.suppress(StoreError):
        for name in folder.names():
            owner = owner_of(name)
            if owner and owner.is_gone:
                with contextlib.suppress(StoreError):
                    _remove(folder / name)


def _remove(path: RootedPath) -> None:
    status = path.status()
    if status is not None and stat.S_ISDIR(status.st_mode):
        path.remove_tree()
    else:
        path.remove(missing_ok=True)


@functools.cache  # asked for each scratch file
def machine() -> str:
    """Return 6 hex digits for this machine, to tell its processes from another one's."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def is_alive(process: int) -> bool:
    """Whether a process of this machine still runs; True if that is unknown."""
    if sys.platform == "win32":
        return True  # there is no harmless signal; and locks work there
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has a number so large
        return False
    except PermissionError:
        return True
    return True
