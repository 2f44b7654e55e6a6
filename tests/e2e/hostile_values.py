"""What a hostile models.lock says: values for each field."""

from collections.abc import Callable
from typing import Any

from tests.e2e.hostile_world import BYTES, DEPTH, World
from tests.projects import sha256

Said = dict[str, Any]
Values = dict[str, Any]
"""A field's values by what they are."""

LONG = 100_000
NO_TYPE = {"a wrong type": {"hostile": True}}
NUMBERS = {"-1": -1, "2**63": 2**63, "1.5": 1.5} | NO_TYPE
"""No sizes."""
SAFE = {"dodo.py here": "dodo.py", "through a symlink": "link/victim.txt", "a new name": "new.bin"}
"""Paths that no look at the text can refuse; what they do, they may do in the model's folder."""
LATER = {
    "checksum",
    "etag",
    "gated",
    "version",
    "left_out",
    "created",
    "first_use",
    "is_final",
    "step",
}
"""Fields that lead to no path and no place: they may be anything that their type allows."""
UNLED = {"url", "archive", "into", "checkpoint"}
"""Fields of an artifact that only some entries lead to."""


def unsafe_paths(world: World) -> Values:
    """Return paths that nothing may ever follow."""
    ups = {f"up {up}": f"{'../' * up}victim.txt" for up in range(1, DEPTH + 1)}
    places = {
        "absolute": str(world.world / "victim.txt"),
        "absolute dodo.py": str(world.project.folder / "dodo.py"),
        "dodo.py": "../../dodo.py",
        "models.yaml": "../../models.yaml",
        "models.lock": "../../models.lock",
        "a sibling's file": "../other/b.bin",
        "down and up": "sub/../../../victim.txt",
        "a new file outside": "../../../new.txt",
        "an absolute new file": str(world.world / "new.txt"),
        "up from private": "../../../other/b.bin",
        "a folder": "../../../../victim-dir",
    }
    private = {
        "receipts": ".modelmake/receipts",
        "RECEIPTS": ".MODELMAKE/receipts",
        "short name": "MODELM~1/receipts",
        "private and up": ".modelmake/../../other/b.bin",
    }
    odd = {
        "empty": "",
        "dot": ".",
        "dots": "..",
        "root": "/",
        "slash": "a.bin/",
        "double slash": "sub//file.bin",
        "dot part": "sub/./file.bin",
        "NUL": "a\0b",
        "line end": "a\nb",
        "return": "a\rb",
        "escape": "\x1b[2Ja",
        "separator": "a\u2028b",
        "backslash": "..\\..\\victim.txt",
        "drive": "C:\\victim.txt",
        "drive alone": "C:victim.txt",
        "share": "\\\\host\\share",
        "stream": "a.bin::$DATA",
        "device": "CON",
        "home": "~/victim.txt",
        "looks like dots": "\u2025/victim.txt",
        "looks like a slash": "..\uff0fvictim.txt",
        "encoded": "%2e%2e/victim.txt",
        "long": "x" * LONG,
        "long and up": "../" * (LONG // 3) + "x",
    }
    return ups | places | private | odd


def strings(world: World) -> Values:
    """Return a few of each kind, for fields that are no path."""
    paths = unsafe_paths(world)
    kinds = ("absolute", "up 3", "empty", "NUL", "line end", "long")
    return {kind: paths[kind] for kind in kinds} | NO_TYPE


def some_paths(world: World) -> Values:
    """Return a few paths of each kind, for places that are like another one."""
    paths = unsafe_paths(world)
    kinds: tuple[str, ...] = (
        "dodo.py",
        "a new file outside",
        "down and up",
        "receipts",
        "up from private",
    )
    kinds = (*kinds, "absolute dodo.py", "drive", "backslash")
    return {kind: paths[kind] for kind in kinds} | strings(world) | SAFE


def digests(length: int) -> Values:
    """Return what is no digest of so many digits."""
    up = ("../" * length)[: length - 8] + "dodo.py."
    return {"up": up, "absolute": f"/{'x' * (length - 1)}", "upper": "A" * length} | NO_TYPE


def artifacts(world: World) -> Values:
    """Return lists of artifacts that no honest lock of any source has."""
    known = {"size": len(BYTES), "sha256": sha256(BYTES)}
    outside = str(world.world / "victim.txt")
    return {
        "one outside": [{"path": outside}],
        "one outside with digest": [{"path": outside, **known}],
        "a new one outside": [{"path": "../../../new.txt", **known}],
        "an unsafe pair": [{"path": "x.tar", **known}, {"path": "../x.tar", **known}],
        **NO_TYPE,
    }


ARTIFACT: dict[str, Callable[[World], Values]] = {
    "path": lambda world: unsafe_paths(world) | SAFE | NO_TYPE,
    "size": lambda _: {"0": 0, **NUMBERS},
    "sha256": lambda _: digests(64),
    "root": lambda _: digests(64),
    "first_use": lambda _: {"true": True, "1": 1, **NO_TYPE},
    "md5": lambda _: digests(32),
    "git_sha1": lambda _: digests(40) | {"a right one": "0" * 40},
    "content": lambda world: strings(world) | {"a text": "hostile"},
    "etag": strings,
    "version": lambda world: strings(world) | {"a query": "1&x=2#y", "up": "../../victim.txt"},
    "checksum": lambda world: strings(world) | {"no value": "crc32c:", "one": "crc32c:AAAAAA=="},
    "url": lambda world: strings(world) | {"a file": "file:///etc/passwd", "a host": "http://x/y"},
    "checkpoint": lambda _: {"one": {"request": "hostile"}, "empty": {}, "text": "merged"},
    "into": some_paths,
    "archive": some_paths,
}
CHECKPOINT: dict[str, Callable[[World], Values]] = {
    "step": lambda _: {"-1": -1, "text": "../10", **NO_TYPE},
    "request": strings,
    "is_final": lambda _: {"true": True, "1": 1, **NO_TYPE},
    "came": strings,
    "created": strings,
}
MODEL: dict[str, Callable[[World], Values]] = {
    "entry": lambda world: strings(world) | {"up": f"sha256:{'../' * 21}x"},
    "source": strings,
    "revision": strings,
    "gated": lambda _: {"no": "no", "1": 1, "null": None},
    "left_out": lambda _: {
        "-1": {"files": -1, "size": 1},
        "2**63": {"files": 1, "size": 2**63},
        "no size": {"files": 1},
        "more": {"files": 1, "size": 1, "path": "../x"},
        **NO_TYPE,
    },
    "archives": artifacts,
    "files": artifacts,
}
