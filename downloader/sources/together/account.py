"""Who we are to Together AI, and where it is: from the environment and the file of its CLI."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from downloader.errors import SettingError
from downloader.urls import has_same_origin, is_loopback, origin, redact

BASE_URL = "https://api.together.ai"
BASE_URL_VARIABLE = "TOGETHER_BASE_URL"
KEY_VARIABLE = "TOGETHER_API_KEY"
PROJECT_VARIABLE = "TOGETHER_PROJECT_ID"
CREDENTIALS_VARIABLE = "TOGETHER_CREDENTIALS_PATH"
KEY_HINT = (
    f"Set {KEY_VARIABLE}; a key is made at https://api.together.ai/settings/api-keys, "
    "by a member of the project that trained the model."
)


class _Credential(msgspec.Struct, frozen=True):
    access_token: str
    name: str | None = None
    project_id: str | None = None
    issuer: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"_Credential(name={self.name!r})"

    @property
    def key(self) -> str:
        return self.name or self.project_id or "default"


class _Credentials(msgspec.Struct, frozen=True):
    """The file that `tg login` writes (together 3.1.1: lib/cli/auth.py)."""

    current: str | None = None
    credentials: tuple[msgspec.Raw, ...] = ()


def base_url(declared: str | None) -> str:
    """Return the API's address without `/v1`: the environment's, the entry's, or Together's own.

    The 1.5 SDK's TOGETHER_BASE_URL ends with `/v1`, the 3.x SDK's does not: both are understood.

    Raises:
        SettingError: The environment's is no URL that a key may be sent to.
    """
    named = os.environ.get(BASE_URL_VARIABLE) or declared or BASE_URL
    if not _may_have_key(named):
        raise SettingError(
            f"{BASE_URL_VARIABLE} is no https URL without user and query.",
            hint=f"Its form is {BASE_URL}; unset it for that very place.",
        )
    return named.rstrip("/").removesuffix("/v1").rstrip("/")


def _may_have_key(url: str) -> bool:
    # urlsplit drops tabs and line ends in silence, and clients differ on a backslash.
    if not (url.isascii() and url.isprintable()) or set(url) & set(" \\#?@"):
        return False
    try:
        scheme, name, _ = origin(url)
    except ValueError:
        return False
    return bool(name) and (scheme == "https" or (scheme == "http" and is_loopback(name)))


def headers(base: str) -> dict[str, str]:
    """Return what proves to Together who asks.

    No SDK sends TOGETHER_PROJECT_ID along: a key belongs to one project. Here it chooses among
    the projects of `tg switch`.

    Args:
        base: Where it will be sent: what `tg login` got is for its issuer alone.

    Raises:
        SettingError: There is no key, or it cannot be one.
    """
    key = os.environ.get(KEY_VARIABLE) or _logged_in(base)
    if not key:
        raise SettingError(
            f"Together AI wants a key, and {KEY_VARIABLE} is not set.", hint=KEY_HINT
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingError(
            f"{KEY_VARIABLE} holds a space, a line break or another character "
            "that no key can have.",
            hint=KEY_HINT,
        )
    return {"Authorization": f"Bearer {key}"}


def _logged_in(base: str) -> str:
    """Return the token that `tg login` left, where it is for this place; empty when there is none.

    Raises:
        SettingError: It is for another place, or has expired.
    """
    found = _chosen()
    if found is None:
        return ""
    if not has_same_origin(found.issuer or BASE_URL, base):
        raise SettingError(
            f"The log-in of `tg login` is not for {redact(base)}, and {KEY_VARIABLE} is not set.",
            hint=f"Unset {BASE_URL_VARIABLE}, or set {KEY_VARIABLE}.",
        )
    if found.expires_at is not None and found.expires_at <= time.time():
        raise SettingError(
            f"The log-in of `tg login` has expired, and {KEY_VARIABLE} is not set.",
            hint=f"Run `tg whoami`, which renews it, or set {KEY_VARIABLE}.",
        )
    return found.access_token


def _chosen() -> _Credential | None:
    """Return the log-in of TOGETHER_PROJECT_ID, or the current one; a damaged file has none."""
    try:
        file = msgspec.json.decode(_credentials_path().read_bytes(), type=_Credentials)
    except (OSError, ValueError, RecursionError):
        return None
    project = os.environ.get(PROJECT_VARIABLE)
    for each in _readable(file.credentials):
        if each.project_id == project if project else each.key == file.current:
            return each
    return None


def _readable(lines: Iterable[msgspec.Raw]) -> Iterator[_Credential]:
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            yield msgspec.json.decode(line, type=_Credential)


def _credentials_path() -> Path:
    named = os.environ.get(CREDENTIALS_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32" and (data := os.environ.get("APPDATA")):
        return Path(data) / "Together" / "credentials.json"
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "together" / "credentials.json"
