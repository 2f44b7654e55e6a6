"""Who we are to Together AI, and where it is: from the environment and the file of its CLI."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from downloader.errors import SettingError
from downloader.urls import host, is_loopback

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
    name: str
    access_token: str
    project_id: str | None = None


class _Credentials(msgspec.Struct, frozen=True):
    """The file that `tg login` writes (together 3.1.1: lib/cli/auth.py)."""

    current: str | None = None
    credentials: tuple[_Credential, ...] = ()


def base_url(declared: str | None) -> str:
    """Return the API's address without `/v1`: the environment's, the entry's, or Together's own.

    The 1.5 SDK's TOGETHER_BASE_URL ends with `/v1`, the 3.x SDK's does not: both are understood.

    Raises:
        SettingError: The environment's is no URL that a key may be sent to.
    """
    named = os.environ.get(BASE_URL_VARIABLE) or declared or BASE_URL
    parts = urlsplit(named)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host(named)))
    if not is_safe or not parts.hostname or "@" in parts.netloc or parts.query:
        raise SettingError(
            f"{BASE_URL_VARIABLE} is no https URL without user and query.",
            hint=f"Its form is {BASE_URL}/v1; unset it for that very place.",
        )
    return named.rstrip("/").removesuffix("/v1").rstrip("/")


def headers() -> dict[str, str]:
    """Return what proves to Together who asks.

    Raises:
        SettingError: There is no key, or it cannot be one.
    """
    found = _current() if not os.environ.get(KEY_VARIABLE) else None
    key = os.environ.get(KEY_VARIABLE, "").strip() or (found.access_token if found else "")
    if not key:
        raise SettingError(
            f"Together AI wants a key, and {KEY_VARIABLE} is not set.", hint=KEY_HINT
        )
    project = os.environ.get(PROJECT_VARIABLE, "").strip() or (found and found.project_id) or ""
    for name, value in ((KEY_VARIABLE, key), (PROJECT_VARIABLE, project)):
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise SettingError(f"{name} holds a character that no header may hold.", hint=KEY_HINT)
    return {"Authorization": f"Bearer {key}"} | ({"X-Project-Id": project} if project else {})


def _current() -> _Credential | None:
    """Return what `tg login` left, the current one of several."""
    try:
        text = _credentials_path().read_bytes()
        file = msgspec.json.decode(text, type=_Credentials)
    except (OSError, ValueError, RecursionError):
        return None
    named = [each for each in file.credentials if each.name == file.current]
    return next(iter(named or file.credentials), None)


def _credentials_path() -> Path:
    named = os.environ.get(CREDENTIALS_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", "")) / "Together" / "credentials.json"
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "together" / "credentials.json"
