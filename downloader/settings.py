"""Read and check the environment variables. docs/environment.md has every one."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from downloader.errors import SettingError, shown

N = TypeVar("N", int, float)

Address = tuple[str, int]
"""A host, by name or number, and a port."""

FILES_AT_ONCE = 48
"""How many files are on their way at once; how many connections each has is measured. More than the
connections to one host, so that they are busy while other files are hashed, synced and noted."""

PREFIX = "MODELMAKE_"
PREFLIGHT = "MODELMAKE_PREFLIGHT"

PROGRESS = "MODELMAKE_PROGRESS"
PROGRESS_WORDS = ("auto", "json", "quiet")

MANIFEST = "MODELMAKE_MANIFEST"

MIRROR = "MODELMAKE_MIRROR"
MIRROR_ONLY = "MODELMAKE_MIRROR_ONLY"
LISTEN = "MODELMAKE_LISTEN"
PEERS = "MODELMAKE_PEERS"
UPLOAD_RATE = "MODELMAKE_UPLOAD_RATE"

FALSE_WORDS = frozenset({"", "0", "false", "no", "off"})


VARIABLES = (
    "MODELMAKE_CONNECTIONS",
    "MODELMAKE_DEBUG",
    "MODELMAKE_LIMIT_RATE",
    LISTEN,
    "MODELMAKE_LOCKED",
    MANIFEST,
    "MODELMAKE_MAX_WAIT",
    MIRROR,
    MIRROR_ONLY,
    "MODELMAKE_OFFLINE",
    PEERS,
    PREFLIGHT,
    PROGRESS,
    "MODELMAKE_RETRIES",
    "MODELMAKE_STORE",
    "MODELMAKE_TIMEOUT",
    UPLOAD_RATE,
)
"""Every variable of this program."""

UNIT_BYTES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
}
ADDRESS_HINT = "Write it like 10.0.0.1:7000, node1:7000 or [fd00::1]:7000."
RATE = r"(?i)([0-9.e+]+) *((?:[kmg]i?)?)b?(?:/s)?"


def named_manifest() -> str:
    """Return the path that MODELMAKE_MANIFEST names; empty if it names none."""
    return os.environ.get(MANIFEST, "")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The environment's wishes; the defaults are what is wished when it is silent."""

    timeout_seconds: float = 30.0
    """MODELMAKE_TIMEOUT: seconds without a byte (or 1 KiB for each) before an attempt ends."""
    retries: int = 5
    """MODELMAKE_RETRIES: attempts in a row without progress."""
    max_wait_seconds: float = 120.0
    """MODELMAKE_MAX_WAIT: longest Retry-After that is waited for."""
    max_window_seconds: float = 301.0
    """MODELMAKE_MAX_WAIT too: longest wait for a rate limit whose end the server tells. By default
    the five minutes of Hugging Face's windows, and the second that is added for its rounding."""
    connections: int = 32
    """MODELMAKE_CONNECTIONS: most connections to one host."""
    limit_rate: int | None = None
    """MODELMAKE_LIMIT_RATE: bytes per second over all transfers, such as 20M or 20MiB/s."""
    is_locked: bool = False
    """MODELMAKE_LOCKED: models.lock must be there, current and pinned, and is never written."""
    is_ci: bool = False
    """CI, with MODELMAKE_LOCKED unset: the same, if a lock exists."""
    is_offline: bool = False
    """MODELMAKE_OFFLINE: never dial."""
    is_preflight: bool = True
    """MODELMAKE_PREFLIGHT: refuse at once what does not fit on the disk."""
    store: str = ""
    """MODELMAKE_STORE: folder of the shared store, `off` for none; empty: in the user's cache."""
    mirrors: tuple[str, ...] = ()
    """MODELMAKE_MIRROR: published copies that are asked first, as URLs."""
    is_mirror_only: bool = False
    """MODELMAKE_MIRROR_ONLY: no file is downloaded from its provider."""
    progress: str = "auto"
    """MODELMAKE_PROGRESS: how a run is shown, one of PROGRESS_WORDS."""
    is_debug: bool = False
    """MODELMAKE_DEBUG: show tracebacks."""
    peers: str = ""
    """MODELMAKE_PEERS: HOST:PORT,… of the nodes with which pieces are exchanged, or a file of them;
    looked up by `transfer/swarm.py`."""
    listen: Address | None = None
    """MODELMAKE_LISTEN: the ADDRESS:PORT at which those nodes reach this one; None: nowhere."""
    upload_rate: int | None = None
    """MODELMAKE_UPLOAD_RATE: bytes per second to all peers together, such as 100M."""

    @property
    def who_forbids(self) -> str:
        """The variable that forbids writing models.lock, if it must not be written."""
        return "MODELMAKE_LOCKED" if self.is_locked else "CI"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the MODELMAKE_ variables.

        Raises:
            SettingError: A value cannot be used; names the variable.
        """
        env, usual = os.environ if environment is None else environment, cls()
        return cls(
            timeout_seconds=_number(env, "MODELMAKE_TIMEOUT", float, usual.timeout_seconds),
            retries=_number(env, "MODELMAKE_RETRIES", int, usual.retries),
            max_wait_seconds=_number(env, "MODELMAKE_MAX_WAIT", float, usual.max_wait_seconds),
            max_window_seconds=_number(env, "MODELMAKE_MAX_WAIT", float, usual.max_window_seconds),
            connections=_number(env, "MODELMAKE_CONNECTIONS", int, usual.connections),
            limit_rate=_number(env, "MODELMAKE_LIMIT_RATE", _bytes, 0) or None,
            is_locked=_is_true(env, "MODELMAKE_LOCKED"),
            is_ci=_is_true(env, "CI") and "MODELMAKE_LOCKED" not in env,
            is_offline=_is_true(env, "MODELMAKE_OFFLINE"),
            is_preflight=_is_true(env, PREFLIGHT) or not env.get(PREFLIGHT),
            store=_expanded(env.get("MODELMAKE_STORE", ""), "MODELMAKE_STORE"),
            mirrors=tuple(_published(each) for each in _listed(env, MIRROR)),
            is_mirror_only=_is_true(env, MIRROR_ONLY),
            progress=_word(env, PROGRESS, PROGRESS_WORDS),
            is_debug=_is_true(env, "MODELMAKE_DEBUG"),
            peers=_expanded(env.get(PEERS, "").strip(), PEERS),
            listen=address_in(env[LISTEN], LISTEN) if env.get(LISTEN) else None,
            upload_rate=_number(env, UPLOAD_RATE, _bytes, 0) or None,
        )


def addresses_in(text: str, what: str) -> list[Address]:
    """Return the addresses in a list, HOST:PORT,…; that of an IPv6 address stands in brackets.

    Args:
        text: The list.
        what: What messages call it.

    Raises:
        SettingError: It is no such list, or an empty one.
    """
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        host, _, port = part.rpartition(":")
        is_ipv6 = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if is_ipv6 else host
        is_usable = host and is_ipv6 == (":" in host) and re.fullmatch("[0-9]{1,5}", port)
        if not (is_usable and 0 < int(port) < 1 << 16):
            raise SettingError(
                f"{what} has {shown(repr(part))}, which is not HOST:PORT.", hint=ADDRESS_HINT
            )
        found.append((host, int(port)))
    if not found:
        raise SettingError(f"{what} names no address.", hint=ADDRESS_HINT)
    return found


def address_in(text: str, what: str) -> Address:
    """Return the one address that a text is.

    Raises:
        SettingError: It is none, or several.
    """
    first, *others = addresses_in(text, what)
    if others:
        raise SettingError(f"{what} has several addresses, and it is one.", hint=ADDRESS_HINT)
    return first


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each variable of ours that does not exist, with the nearest that does."""
    env = os.environ if environment is None else environment
    names = sorted(each for each in env if each.startswith(PREFIX) and each not in VARIABLES)
    return [_unknown(each) for each in names]


def _unknown(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - rarely

    own = {each.removeprefix(PREFIX): each for each in VARIABLES}
    close = get_close_matches(name.removeprefix(PREFIX), own, 1)
    hint = f" Did you mean {own[close[0]]}?" if close else ""
    return f"{name} is not a variable of modelmake and has no effect.{hint}"


def wants_json(environment: Mapping[str, str] | None = None) -> bool:
    """Whether standard error is to take events; asked also if other variables are unusable."""
    env = os.environ if environment is None else environment
    return env.get(PROGRESS) == "json"


def user_path(text: str) -> Path:
    """Return a path that a user wrote, a leading `~` expanded.

    Raises:
        SettingError: This user has no home folder.
    """
    return Path(_expanded(text, "The path"))


def _expanded(text: str, what: str) -> str:
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise SettingError(
            f"{what} is {text!r}, and nobody knows the home folder: HOME is not set.",
            hint="Set HOME, or write the whole path.",
        ) from None


def _listed(env: Mapping[str, str], name: str) -> list[str]:
    """Return what a variable lists, divided by commas."""
    listed = [each.strip() for each in env.get(name, "").split(",") if each.strip()]
    if env.get(name) and not listed:
        hint = f"Name one, or unset {name}."
        raise SettingError(f"{name} names nothing.", hint=hint)
    return listed


def _published(text: str) -> str:
    from downloader.urls import PLACES, published_url, redact  # noqa: PLC0415 - most runs have no mirror

    try:
        return published_url(_expanded(text, MIRROR))
    except ValueError as error:
        raise SettingError(
            f"{MIRROR} has {redact(text)!r}: {error}.",
            hint=f"Write {PLACES}, or https://host/folder.",
        ) from None


def _word(env: Mapping[str, str], name: str, words: Sequence[str]) -> str:
    value = env.get(name) or words[0]
    if value not in words:
        raise SettingError(
            f"{name} is {shown(repr(value))}, and it may be {', '.join(words)}.",
            hint=f"Unset {name} for the default, {words[0]}.",
        )
    return value


def _is_true(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() not in FALSE_WORDS


def _number(env: Mapping[str, str], name: str, kind: Callable[[str], N], default: N) -> N:
    text = env.get(name)
    if not text:
        return default
    try:
        value = kind(text)
    except (ValueError, OverflowError):
        value = kind("0")
    example = ", such as 20M or 500KiB/s" * (kind is _bytes)
    if not 0 < value < 10**12:
        raise SettingError(
            f"{name} is {shown(repr(text))}; it must be a number greater than 0{example}.",
            hint=f"Unset {name} for the default{f', {default}' if default else ''}.",
        )
    return value


def _bytes(text: str) -> int:
    """Return a number of bytes: 500k, 20M, 1.5G, 20MB, 20MiB; `/s` may follow.

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(RATE, text.strip())
    if found is None:
        raise ValueError(text)
    number, unit = found.groups()
    return int(float(number) * UNIT_BYTES[unit.lower()])
