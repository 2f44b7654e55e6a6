"""Check values that are read from files which this run did not write.

Anyone may have written such a file: a lockfile in a pull request, a bundle, a receipt that came
with an archive. Each loader asks here, or in safe_path.py, before its values are used. Pure.
"""

import re
import string
from collections.abc import Sequence
from pathlib import PurePath

from downloader.safe_path import check_path, is_hidden, unsafe

MOST_TEXT = 1 << 16
"""Characters of one value: as long as a header line or a URL can have been when it was noted."""
DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]*")
MOMENT = re.compile(r"[0-9TZ:.+ -]{1,40}")
"""When something was made, as Together writes it."""
ETAG = re.compile(rf"[\x20-\x7e\x80-\xff]{{1,{MOST_TEXT}}}")
"""A validator as a reply has it (RFC 9110, 8.8.3); real servers leave out the quotes."""
_HEX = b"0123456789abcdef"
_PRINTABLE = (string.ascii_letters + string.digits + string.punctuation + " ").encode()


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 in lower-case hex digits."""
    return DIGEST.fullmatch(text) is not None


def are_digests(texts: Sequence[str]) -> bool:
    """Whether all texts are SHA-256 in lower-case hex digits."""
    return {*map(len, texts)} <= {64} and is_hex("".join(texts))


def is_hex(text: str) -> bool:
    """Whether a text holds lower-case hex digits only."""
    return text.isascii() and not text.encode().translate(None, _HEX)


def are_plain(texts: Sequence[str]) -> bool:
    """Whether texts are short, and of printable ASCII; a quick look at many."""
    joined = "".join(texts)
    is_short = max(map(len, texts), default=0) <= MOST_TEXT
    return is_short and joined.isascii() and not joined.encode().translate(None, _PRINTABLE)


def is_clean(text: str) -> bool:
    """Whether a text is short and holds no control or invisible character and no line end."""
    return len(text) <= MOST_TEXT and not any(map(is_hidden, text))


def is_etag(text: str) -> bool:
    """Whether a text can be a validator, so that it may stand in a header."""
    return ETAG.fullmatch(text) is not None


def is_name(name: str) -> bool:
    """Whether a text can be the name of a model."""
    return NAME.fullmatch(name) is not None and is_safe(name)


def is_safe(path: str) -> bool:
    """Whether `check_path` takes a path."""
    try:
        check_path(path)
    except ValueError:
        return False
    return True


def are_safe(paths: Sequence[str]) -> bool:
    """Whether `check_path` takes each of the paths."""
    return not any(unsafe(paths))


def is_absolute(path: str) -> bool:
    """Whether a text is an absolute path of this system that leads where it says."""
    pure = PurePath(path)
    return pure.is_absolute() and ".." not in pure.parts and is_clean(path)


def is_below(path: str, folder: PurePath) -> bool:
    """Whether a text is an absolute path of something in a folder."""
    return is_absolute(path) and folder in PurePath(path).parents


def shown(text: object) -> str:
    """Return a text so that a terminal may show it: in ASCII, without control characters."""
    return re.sub(r"[^\x20-\x7e]", lambda found: ascii(found[0])[1:-1], str(text))[:300]
