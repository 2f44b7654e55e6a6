"""The credentials that this run sent: no message repeats one, also where a server echoes it."""

import base64
import binascii
import functools
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

LEAST_CHARACTERS = 6
"""What is shorter is no secret, and would take holes out of messages."""

_sent = set[str]()


def sending(url: str, headers: Mapping[str, str]) -> None:
    """Note what a request carries: its headers' values and those of a signed URL's query.

    Args:
        url: What is asked.
        headers: Those meant for its origin alone.
    """
    query = urlsplit(url).query
    if query or headers:
        _sent.update(_of_query(query))
        for value in headers.values():
            _sent.update(_of_header(value))


def without_credentials(text: str) -> str:
    """Return a foreign text with `***` for each credential that was sent."""
    for secret in sorted(_sent, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


@functools.lru_cache(1024)
def _of_query(query: str) -> tuple[str, ...]:
    values = (value for _, value in parse_qsl(query))
    return tuple(each for each in (query, *values) if len(each) >= LEAST_CHARACTERS)


@functools.lru_cache(64)
def _of_header(value: str) -> tuple[str, ...]:
    """Return the value, its last word (the token after `Bearer`), and the password of a `Basic`."""
    word = value.rpartition(" ")[2]
    try:
        password = base64.b64decode(word, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        password = ""
    return tuple(each for each in (value, word, password) if len(each) >= LEAST_CHARACTERS)
