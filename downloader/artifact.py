"""The nouns of the lock, and the rules for their paths and other values. Pure: no disk is read.

An artifact is one file in the lock; a locked model is all that the lock says about a model.

Anyone may have written a file that this run did not write: a lockfile in a pull request, a bundle,
a receipt that came with an archive. Each loader checks its values here before they are used.

A manifest is shared between machines, and a remote list may come from anyone. So a path is checked
against the rules of Linux, macOS and Windows together, on every platform. Only a colon, which
training tools write into names, is refused on Windows alone.
"""

import os
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


def counted(count: int, noun: str) -> str:
    """Return a number of things for people: `1 file`, `1,000 files`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def bytes_text(count: int) -> str:
    """Return a number of bytes for people, in decimal units, as disks and networks are sold."""
    if count < 1000:  # noqa: PLR2004
        return f"{count} B"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:  # noqa: PLR2004 - what would round to 1000.0
        value /= 1000
        units.pop(0)
    return f"{value:.1f} {units[0]}"


def size_text(*sizes: int | None) -> str:
    """Return the size of a file for people, or of several together, as far as it is known."""
    known = [size for size in sizes if size is not None]
    if not known:
        return "size unknown"
    return f"{'at least ' * (len(known) < len(sizes))}{bytes_text(sum(known))}"


def task_name(model: str, path: str = "") -> str:
    """Return the name of the doit task that downloads a model, or one file of it."""
    return f"fetch:{model}/{path}" if path else f"fetch:{model}"


def task_file(task: str) -> tuple[str, str]:
    """Return model and path of such a task; empty if the name of a task does not say it."""
    kind, _, rest = task.partition(":")
    model, _, path = rest.partition("/")
    return (model, path) if kind == "fetch" else ("", "")


Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# Only their lengths: a pattern for each would triple the time to read a lock of 10,000 files, so
# `lockfile` looks at the digits of all of them at once.
Sha256Hex = Annotated[str, Meta(min_length=64, max_length=64)]
Md5Hex = Annotated[str, Meta(min_length=32, max_length=32)]
Sha1Hex = Annotated[str, Meta(min_length=40, max_length=40)]


class Checkpoint(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Which checkpoint of a fine-tuning job an archive holds."""

    step: Size | None = None
    """The training step; None is the final model, asked for without naming its step."""
    request: str
    """What the provider is asked for: `merged`, `adapter` or `model_output_path`."""
    is_final: bool = False
    """`step` is the job's last one, which the provider serves as the final model."""
    came: Literal["adapter", "model"] | None = None
    """What the archive proved to hold, read from it; None as long as nothing came."""
    created: str | None = None
    """When the provider made it, as the provider writes it."""


class Artifact(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One file of a model, as one line of models.lock.

    What the provider does not publish is None until the first verified fetch pins it.
    """

    path: str
    """Posix path below the model's folder."""
    size: Size | None = None
    """Length in bytes."""
    sha256: Sha256Hex | None = None
    """64 lower-case hex digits."""
    root: Sha256Hex | None = None
    """The Merkle root (BEP 52) of the bytes that `sha256` means, beside which alone it counts."""
    first_use: bool = False
    """The SHA-256 was computed by us over the first bytes that came, not published by anyone."""
    md5: Md5Hex | None = None
    """32 lower-case hex digits, as the server published it."""
    git_sha1: Sha1Hex | None = None
    """The id that git gives the bytes: 40 lower-case hex digits, as the provider published them.
    It checks the first download, whose SHA-256 is pinned beside it."""
    etag: str | None = None
    """The server's validator when it was locked; never a digest. An object without a SHA-256 is
    downloaded only while the store shows the same one."""
    version: str | None = None
    """The version or generation of an object in an object store, which is what is requested."""
    checksum: str | None = None
    """What an object store knows of the bytes beside SHA-256 and MD5, as `crc32c:BASE64`."""
    url: str | None = None
    """Where the manifest itself names it; never an URL that expires."""
    checkpoint: Checkpoint | None = None
    """Of an archive: what it holds."""
    into: str | None = None
    """Of an archive: the folder below the model's where its files go, when not the model's own."""
    archive: str | None = None
    """Of an unpacked file: the path of the archive it comes from."""
    content: str | None = None
    """The file itself, if it is a short text about the others that no server has. It is written
    once they are all in place."""

    @property
    def is_pinned(self) -> bool:
        """Whether the exact bytes are known."""
        return self.sha256 is not None

    @property
    def is_proven_by_root(self) -> bool:
        """Whether the root may stand for the SHA-256: both were computed here, over one reading.

        If somebody else published the SHA-256, nobody published the root.
        """
        return self.root is not None and self.first_use

    def with_root_of(self, known: "Artifact | None") -> "Artifact":
        """Return it with the root that is known of the very same bytes, if there is one."""
        is_same = known is not None and self.is_pinned and known.sha256 == self.sha256
        if known is None or known.root is None or not is_same or self.root:
            return self
        return msgspec.structs.replace(self, root=known.root)


Sha256Digest = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files of a repository that an entry does not want."""

    files: Size
    """How many."""
    size: Size
    """Bytes of all of them."""

    def __str__(self) -> str:
        """Say it to people."""
        return f"{counted(self.files, 'file')} ({bytes_text(self.size)}) left out"


class LockedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's exact files.

    Attributes:
        entry: Digest of the manifest entry it was resolved from.
        source: The source's name.
        revision: The immutable version upstream, if the provider has one.
        archives: What the files are extracted from, if they are; sorted by path.
        files: Sorted by path.
        left_out: What else the repository has, for people; None if it is not known, or nothing.
        gated: Whether the provider does not give them to everybody.
    """

    entry: Sha256Digest
    source: str
    revision: str | None = None
    archives: tuple[Artifact, ...] = ()
    files: tuple[Artifact, ...]
    left_out: LeftOut | None = None
    gated: bool = False

    def has_archive(self, path: str) -> bool:
        """Whether files are to be unpacked from the file at this path."""
        return any(each.path == path for each in self.archives)

    def out_of(self, archive: str) -> tuple[Artifact, ...]:
        """Return the files that come out of the archive; none as long as they are not known."""
        return tuple(each for each in self.files if each.archive == archive)

    def not_from(self, archive: str) -> tuple[Artifact, ...]:
        """Return the files that do not come out of the archive."""
        return tuple(each for each in self.files if each.archive != archive)


MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096
_SHOWN_CHARACTERS = 200

_LOOKALIKES = "\uff3c\u2215\u2044\uff0f"
_START, _END = r"(?:\A|/)", r"(?:/|\Z)"
_DOT_PART = rf"{_START}\.{{1,2}}{_END}"
_DRIVE = r"(?:.|(?:%[0-9a-fA-F]{2})+)(?::|%3[aA])"
"""A character and a colon: ntpath.splitdrive takes more than letters for a drive."""
IS_WINDOWS = os.name == "nt"

_DEVICE = r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[1-9¹²³])"

_RULES = (
    (r"\A\Z", "it is empty"),
    (r"\A/", "it is absolute"),
    (r"/\Z", "it ends with a slash"),
    (r"//", "it has an empty part"),
    (rf"[\\{_LOOKALIKES}]", "it holds a backslash, or a character that looks like a slash"),
    (rf"\A{_DRIVE}", "it begins with a drive of Windows"),
    (r"::\$", "it holds `::$`, which means a stream on Windows"),
    (_DOT_PART, "a part of it is `.` or `..`"),
    # Some server, proxy or library further on may decode once more (pip CVE-2026-13346).
    (r"(?i)%(?:2e|2f|5c)", "it holds a percent-encoded dot or slash"),
    (r'[<>"|?*]', 'it holds one of < > " | ? *, which Windows does not allow'),
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
"""Patterns of what no path may have, with the reason. Most runs need none of them compiled."""


_PLAIN = f"{string.ascii_letters}{string.digits}\n/._+@=,()[]{{}}!#$&';^`~ -".encode()
"""No rule forbids these characters as such; some may not begin or end a part."""
_DIGITS = bytes.maketrans(b"0123456789", b"1111111111")
_SHAPE = bytes.maketrans(b"\n~", b"/-")
_MISPLACED = (b"//", b"/ ", b"/-", b"./", b" /")
_STEMS = (b"/con", b"/prn", b"/aux", b"/nul", b"/com", b"/lpt")
_DEVICE_PART = rb"(?:in\$|out\$|[1-9])? *(?:\.[^/]*)?/"
"""Suffix after a stem that may be a device's name."""


_known: set[str] = set()
"""Paths that were found safe: lock, manifest and receipts name the same ones in each run."""


def check_path(path: str) -> None:
    """Accept a relative posix path that is safe and means the same on every platform.

    Args:
        path: The path as written; parts are divided by `/`.

    Raises:
        ValueError: It is not; the message shows the path with every odd character escaped.
    """
    for objection in unsafe((path,)):
        raise ValueError(objection)


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
    """Whether one pass over them tells that all paths are safe; if not, they may be safe anyway."""
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
    device = re.compile(_DEVICE_PART)
    return b"modelm" in parts or any(
        device.match(parts, found.end())
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
        if re.search(pattern, path):
            return why
    if IS_WINDOWS and ":" in path:
        return "it holds a colon, which Windows cannot store: give it another `path`, or exclude it"
    return _unicode_objection(path) or _length_objection(path)


def _unicode_objection(path: str) -> str:
    if path.isascii() and path.isprintable():
        return ""
    if any(is_hidden(character) for character in path):
        return "it holds a control or invisible character"
    compatible = unicodedata.normalize("NFKC", path)
    grows_parts = compatible.count("/") != path.count("/") or "\\" in compatible
    if grows_parts or re.search(_DOT_PART, compatible) or re.match(_DRIVE, compatible):
        return "it holds a character that some systems turn into a dot, a slash or a drive"
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
    folders = {key.rpartition("/")[0] for key in files} - {""} if "/" in text else set()
    while folders:
        if not folders.isdisjoint(files):
            return True
        folders = {each.rpartition("/")[0] for each in folders} - {""}
    return False


MOST_TEXT = 1 << 16
"""Characters of one value: as long as a header line or a URL can have been when it was noted."""
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]*")
MOMENT = r"[0-9TZ:.+ -]{1,40}"
"""When something was made, as Together writes it."""
CHECKSUM = r"[a-z0-9]{1,20}:[A-Za-z0-9+/]{1,100}={0,2}"
"""The name of a checksum and its value in base64."""
ETAG = rf"[\x20-\x7e\x80-\xff]{{1,{MOST_TEXT}}}"
"""A validator as a reply has it (RFC 9110, 8.8.3); real servers leave out the quotes."""
_HEX = b"0123456789abcdef"
_PRINTABLE = (string.ascii_letters + string.digits + string.punctuation + " ").encode()


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 in lower-case hex digits."""
    return are_digests([text])


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
    return re.fullmatch(ETAG, text) is not None


def is_name(name: str) -> bool:
    """Whether a text can be the name of a model."""
    return MODEL_NAME.fullmatch(name) is not None and is_safe(name)


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
