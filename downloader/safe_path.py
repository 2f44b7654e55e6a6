"""Which path may be written to, on every platform at once. Pure: no disk is looked at.

A manifest is shared between machines, and a remote list may come from anyone, so a path is judged
by the strictest rules of Linux, macOS and Windows together, wherever we run.
"""

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096
_SHOWN_CHARACTERS = 200

_LOOKALIKES = "\uff3c\u2215\u2044\uff0f"
_START, _END = r"(?:\A|/)", r"(?:/|\Z)"
_DOT_PART = re.compile(rf"{_START}\.{{1,2}}{_END}")

_DEVICE = r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[1-9¹²³])"

_RULES = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"\A\Z", "it is empty"),
        (r"\A/", "it is absolute"),
        (r"/\Z", "it ends with a slash"),
        (r"//", "it has an empty part"),
        (rf"[\\{_LOOKALIKES}]", "it holds a backslash, or a character that looks like a slash"),
        (r":", "it holds a colon, which means a drive or a stream on Windows"),
        (_DOT_PART.pattern, "a part of it is `.` or `..`"),
        # Some server, proxy or library further on may decode once more (pip CVE-2026-13346).
        (r"(?i)%(?:2e|2f|5c)", "it holds a percent-encoded dot or slash"),
        (r'[<>"|?*]', 'it holds one of < > " | ? *, which Windows does not allow'),
        (r"=", "it holds `=`, which doit takes for a variable"),
        (rf"{_START}[ ~-]", "a part of it begins with a space, `-` or `~`"),
        # Windows drops them silently, so that two names would mean one file.
        (rf"[. ]{_END}", "a part of it ends with a dot or a space"),
        # The list of CPython's ntpath.isreserved; `COM¹` is COM1 for Windows.
        (
            rf"(?i){_START}{_DEVICE} *(?:\.[^/]*)?{_END}",
            "a part of it is a device name on Windows",
        ),
        # NTFS also answers to a short name, as in git CVE-2019-1353.
        (
            rf"(?i){_START}(?:\.modelmake|modelm~[0-9]+[^/]*){_END}",
            "`.modelmake` is this program's own folder",
        ),
    )
)

_PLAIN = f"{string.ascii_letters}{string.digits}\n/._+@,()[]{{}}!#$&';^`~ -".encode()
"""No rule forbids these characters as such; some may not begin or end a part."""
_DIGITS = bytes.maketrans(b"0123456789", b"1111111111")
_SHAPE = bytes.maketrans(b"\n~", b"/-")
_MISPLACED = (b"//", b"/ ", b"/-", b"./", b" /")
_STEMS = (b"/con", b"/prn", b"/aux", b"/nul", b"/com", b"/lpt")
_DEVICE_PART = re.compile(rb"(?:in\$|out\$|[1-9])? *(?:\.[^/]*)?/")
"""What follows a stem in a part that may be a device's name."""


_known: set[str] = set()
"""Paths that were found safe: lock, manifest and receipts name the same ones in each run."""


def check_path(path: str) -> None:
    """Accept a relative posix path that is safe and means the same on every platform.

    Args:
        path: The path as written; parts are divided by `/`.

    Raises:
        ValueError: It is not; the message shows the path with every odd character escaped.
    """
    why = _objection(path)
    if why:
        raise ValueError(f"{_shown(path)} is not a safe path: {why}")


def check_paths(paths: Sequence[str]) -> str:
    """Return why these paths cannot all be files below one folder, empty when they can.

    Ten thousand ordinary paths cost a few milliseconds: they are looked at as one text, and one by
    one only when that text holds anything that a rule could be about.
    """
    return next(unsafe(paths), "") or _collision_text(paths)


def unsafe(paths: Sequence[str]) -> Iterator[str]:
    """Yield why a path is not safe, for each that is not, as `check_path` says it."""
    if not _are_plain(paths):
        for path in paths:
            if why := _objection(path):
                yield f"{_shown(path)} is not a safe path: {why}"


def _are_plain(paths: Sequence[str]) -> bool:
    """Whether one look tells that all paths are safe; where not, they may be all the same."""
    if _known.issuperset(paths):
        return True
    joined = "\n".join(("", *paths, ""))
    if not joined.isascii() or max(map(len, paths), default=0) > MAX_PART_BYTES:
        return False
    text = joined.encode()
    if text.translate(None, _PLAIN) or text.count(b"\n") != len(paths) + 1:
        return False
    # Numbered files are all alike: `_DEVICE_PART` knows no other digit than one.
    shapes = {*text.translate(_DIGITS).split(b"\n")} - ({b""} if all(paths) else set())
    parts = b"/".join((b"", *shapes, b"")).translate(_SHAPE)
    if any(each in parts for each in _MISPLACED) or _is_reserved(parts):
        return False
    _known.update(paths)
    return True


def _is_reserved(parts: bytes) -> bool:
    """Whether a part, between slashes, may be a device's name or our own folder's."""
    parts = parts.lower()
    return b"modelm" in parts or any(
        _DEVICE_PART.match(parts, found.end())
        for stem in _STEMS
        if stem in parts
        for found in re.finditer(stem, parts)
    )


def _collision_text(paths: Iterable[str]) -> str:
    found = find_collision(paths)
    return f"{found[0]!a} and {found[1]!a} would be one place on some disks" if found else ""


def _objection(path: str) -> str:
    """Return why the path is refused, or the empty string."""
    if len(path) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    for pattern, why in _RULES:
        if pattern.search(path):
            return why
    return _unicode_objection(path) or _length_objection(path)


def _unicode_objection(path: str) -> str:
    if path.isascii() and path.isprintable():
        return ""
    if any(is_hidden(character) for character in path):
        return "it holds a control or invisible character"
    compatible = unicodedata.normalize("NFKC", path)
    grows_parts = compatible.count("/") != path.count("/") or "\\" in compatible
    if grows_parts or _DOT_PART.search(compatible):
        return "it holds a character that some systems turn into a dot or a slash"
    return ""


def is_hidden(character: str) -> bool:
    """Whether it is of category C (as uv refuses in archives), or a line or paragraph separator."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in {"Zl", "Zp"}


def _length_objection(path: str) -> str:
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    if any(len(part.encode()) > MAX_PART_BYTES for part in path.split("/")):
        return f"a part of it is longer than {MAX_PART_BYTES} bytes"
    return ""


def _shown(path: str) -> str:
    if len(path) <= _SHOWN_CHARACTERS:
        return ascii(path)
    return f"{path[:_SHOWN_CHARACTERS]!a}..."


def collision_key(path: str) -> str:
    """Return a text that is equal for all paths that some file system takes for one file.

    It is the compatibility caseless form of Unicode 3.13 (D146) over the upper case: git
    CVE-2014-9390 and CVE-2021-21300 came from folding less than HFS+ and NTFS do.
    """
    if path.isascii():
        return path.lower()
    # Upper case first: NTFS compares that, and casefold alone leaves the dotless i apart.
    folded = unicodedata.normalize("NFD", path).upper().casefold()
    again = unicodedata.normalize("NFKC", folded).casefold()
    return unicodedata.normalize("NFKC", again)


def find_collision(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two of the paths that cannot both be files, or None.

    They are equal for some file system, or one is a folder of the other (`a` and `a/b`).
    """
    paths = list(paths)
    if not _may_collide(paths):
        return None
    # With NUL for the slash a folder sorts right before what lies in it.
    keyed = sorted(
        ((collision_key(path).replace("/", "\0"), path) for path in paths),
        key=lambda pair: pair[0],
    )
    for (key, path), (next_key, next_path) in pairwise(keyed):
        if next_key == key or next_key.startswith(f"{key}\0"):
            return path, next_path
    return None


def _may_collide(paths: Sequence[str]) -> bool:
    """Whether two paths may not both be files; a quick no for what is plain ASCII."""
    text = "\n".join(paths)
    if not text.isascii() or "\0" in text or text.count("\n") >= max(len(paths), 1):
        return True
    files = set(text.lower().split("\n"))
    if len(files) != len(paths) or "" in files:
        return bool(paths)
    folders = {key.rpartition("/")[0] for key in files} - {""}
    while folders:
        if not folders.isdisjoint(files):
            return True
        folders = {each.rpartition("/")[0] for each in folders} - {""}
    return False
