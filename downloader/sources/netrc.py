"""Credentials for plain HTTP servers from ~/.netrc, for exactly the host that it names.

requests would read it by itself, and put it in the place of a token and back onto redirected
hosts (curl CVE-2024-11053, requests CVE-2024-47081); so it is read here, for the first hop only.
"""

import base64
import functools
import netrc
import os
from pathlib import Path

from downloader.urls import host

HOME = "~/.netrc"


def authorization(url: str) -> dict[str, str]:
    """Return the Authorization header that the user's netrc gives for the URL's host, if any.

    The file is the one that NETRC names, or ~/.netrc; one that cannot be read gives nothing.
    """
    found = _hosts(os.environ.get("NETRC") or HOME).get(host(url))
    if found is None:
        return {}
    login, _, password = found
    pair = base64.b64encode(f"{login}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


@functools.cache
def _hosts(file: str) -> dict[str, tuple[str, str, str]]:
    try:
        return netrc.netrc(Path(file).expanduser()).hosts
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError, RuntimeError):
        # RuntimeError: there is no home folder
        return {}
