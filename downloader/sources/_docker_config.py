"""Log-ins for registries from the places where `docker login` keeps them.

~/.docker/config.json, or config.json in the folder that DOCKER_CONFIG names, has them itself
(`auths`), or names a program that has: docker-credential-NAME, for one registry (`credHelpers`) or
for all (`credsStore`). Such a program may open a window or ask a card, so it has a time limit, and
nothing is read before a registry asks (docker/cli: cli/config; docker/docker-credential-helpers).
"""

import base64
import binascii
import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec

from downloader.errors import SettingError, note_secret
from downloader.urls import LogIn

DOCKER_HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
"""What Docker's tools keep the log-in for Docker Hub under."""
HELPER_SECONDS = 60.0
HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
IDENTITY_TOKEN = "<token>"  # noqa: S105 - a user's name that says what the secret is


class _Auth(msgspec.Struct, frozen=True):
    """One registry in `auths`."""

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _Config(
    msgspec.Struct, frozen=True, rename={"helpers": "credHelpers", "store": "credsStore"}
):
    """What is read of config.json."""

    auths: dict[str, _Auth] = {}
    helpers: dict[str, str] = {}
    store: str = ""


class _Secret(msgspec.Struct, frozen=True, rename="pascal"):
    """What a credential helper prints."""

    username: str = ""
    secret: str = ""


def config_path() -> Path:
    """Return the file of Docker's configuration.

    Raises:
        RuntimeError: There is no home folder.
    """
    named = os.environ.get("DOCKER_CONFIG")
    return (Path(named) if named else Path("~/.docker").expanduser()) / "config.json"


def docker_log_in(registry: str) -> LogIn | None:
    """Return the user's log-in for a registry; None if there is none.

    Args:
        registry: As images name it, with its port: `ghcr.io`, `docker.io`, `localhost:5000`.

    Raises:
        SettingError: It is kept in a way that cannot be read.
    """
    try:
        path = config_path()
        text = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return _log_in(registry, path, text)


@functools.lru_cache(64)  # a helper may ask its user each time
def _log_in(registry: str, path: Path, text: bytes) -> LogIn | None:
    try:
        config = msgspec.json.decode(text, type=_Config)
    except (ValueError, RecursionError):
        raise SettingError(
            f"{path} cannot be read: it is not a configuration of Docker.",
            hint=f"Correct it, or delete it and run `docker login {registry}`.",
        ) from None
    key = HUB_KEY if registry == DOCKER_HUB else registry
    helper = config.helpers.get(key) or config.helpers.get(registry) or config.store
    if helper and (found := _of_helper(helper, key, registry)):
        return found
    return _of_file(config, registry, path)


def _of_file(config: _Config, registry: str, path: Path) -> LogIn | None:
    for key, kept in config.auths.items():
        if _registry_of(key) != registry:
            continue
        if kept.identitytoken:
            raise _identity_token(registry, str(path))
        if kept.username:
            return LogIn(user=kept.username, password=kept.password)
        try:
            text = base64.b64decode(kept.auth).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            text = ""
        user, colon, password = text.partition(":")
        if colon:
            return LogIn(user=user, password=password)
    return None


def _registry_of(key: str) -> str:
    """Return the registry that a key of `auths` means: it may be written as a URL."""
    name = key.partition("://")[2] or key
    name = name.partition("/")[0].lower()
    return DOCKER_HUB if name in ("index.docker.io", "registry-1.docker.io") else name


def _of_helper(helper: str, key: str, registry: str) -> LogIn | None:
    """Return what a credential helper prints for a registry; None if it knows none.

    Raises:
        SettingError: It is not installed, does not answer in time, or prints something else.
    """
    program = f"docker-credential-{helper}"
    command = shutil.which(program) if HELPER_NAME.fullmatch(helper) else None
    if command is None:
        raise SettingError(
            f"The log-in for {registry} is kept by {program!a}, which is not installed.",
            hint="Install it, or remove `credHelpers` and `credsStore` from Docker's config.json "
            f"and run `docker login {registry}`.",
        )
    try:
        ended = subprocess.run(  # noqa: S603 - the user's own configuration names it
            [command, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=HELPER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise SettingError(
            f"{program} gave no log-in for {registry} within {HELPER_SECONDS:.0f} s.",
            hint=f"Try it: `echo {key} | {program} get`.",
        ) from None
    if ended.returncode:  # what it prints then differs; that there is none is the usual reason
        return None
    try:
        found = msgspec.json.decode(ended.stdout, type=_Secret)
    except (ValueError, RecursionError):
        raise SettingError(
            f"{program} printed no log-in for {registry}.",
            hint=f"Try it: `echo {key} | {program} get`.",
        ) from None
    if found.username == IDENTITY_TOKEN:
        note_secret(found.secret)
        raise _identity_token(registry, program)
    return LogIn(user=found.username, password=found.secret) if found.username else None


def _identity_token(registry: str, place: str) -> SettingError:
    return SettingError(
        f"{place} has an identity token for {registry}, not a user and a password.",
        hint=f"Run `docker login --username USER {registry}` with an access token as the password.",
    )
