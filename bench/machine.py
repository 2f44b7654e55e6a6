"""What the figures were measured on: cores, system, and the version of everything that raced."""

import os
import platform
import shutil
import ssl
import subprocess
from importlib import metadata

from bench import origin

PROGRAMS = ("curl", "wget", "aria2c", "hf", "sha256sum")
PACKAGES = ("modelmake", "doit", "requests", "urllib3", "pooch")
CPU_INFO = "/proc/cpuinfo"
BUSY_LOAD = 0.5
"""With this load average before it begins, the figures are not those of a quiet machine."""


def cores() -> int:
    """Return how many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def facts(place: str) -> list[str]:
    """Return the lines that go above the tables; `place` is where the files lie."""
    load = os.getloadavg()[0]
    busy = ": **other work was on the machine**, and more or less of it in each round"
    busy = busy if load >= BUSY_LOAD else ""
    return [
        f"{platform.system()} {_release()}, {_processor()}, {cores()} cores",
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}",
        f"files on {place}; load average at the start {load:.1f}{busy}",
        "; ".join(["nginx " + _nginx(), *(f"{name} {_program(name)}" for name in PROGRAMS)]),
        "; ".join(f"{name} {_package(name)}" for name in PACKAGES),
    ]


def _release() -> str:
    """Return the system's version, without what its builder added."""
    return platform.release().partition("-")[0]


def _processor() -> str:
    try:
        with open(CPU_INFO, encoding="utf-8") as file:  # noqa: PTH123 - one line of a long file
            found = next((line for line in file if line.startswith("model name")), "")
    except OSError:
        found = ""
    return found.partition(":")[2].strip() or platform.processor() or "unknown processor"


def _nginx() -> str:
    nginx = origin.program()
    return origin.about(nginx).partition("/")[2].split()[0] if nginx else "missing"


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        return "missing"
    done = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    words = done.stdout.partition("\n")[0].split()
    return next((word for word in words if word[0].isdigit()), "of unknown version")


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
