"""Known attacks through YAML: bombs and tags that run code."""

import subprocess
import sys
import time

import pytest

from downloader.errors import ManifestError
from downloader.manifest._strict_yaml import load

MIB = 1 << 20

BOMBS = {
    "aliases": b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: &d [*c,*c]\ne: [*d,*d]\n",
    "merges": b"a: {<<: [{a: 1}, {b: 1}]}\n",
    "flow": b"[" * MIB,
    "mapping": b"{a: " * (MIB // 4),
    "dashes": b"- " * (MIB // 2),
    "questions": b"? " * (MIB // 2),
    "mixed": b"[{a: " * (MIB // 5),
    "many empty values": b"-\n" * (MIB // 2),
    "many short values": b"[" + b"1," * (MIB // 2 - 1),
    "many tag handles": b"%TAG !a! x\n" * (MIB // 11),
    "exclamations": b"!" * MIB,
    "anchors": b"&a " * (MIB // 3),
    "long scalar": b"a: " + b"x" * 2 * MIB,
    "colons": b": " * (MIB // 2),
    "quotes": b"'" * (MIB - 1),
}  # fmt: skip


SOON_SECONDS = 5


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_soon(name: str) -> None:
    """Whatever would take much time, memory or stack is a plain error, and soon.

    CPU time is measured: the clock on the wall also counts the tests that run beside this one. It
    takes about half a second; what is not bounded takes minutes, or all memory.
    """
    start = time.process_time()
    with pytest.raises(ManifestError):
        load(BOMBS[name], "m.yaml")
    assert time.process_time() - start < SOON_SECONDS


AUDITED = r"""
import sys
from downloader.errors import ManifestError
from downloader.manifest._strict_yaml import load

texts = [text.encode() for text in sys.argv[1:]]
def attempt(text):
    try:
        load(text, "m.yaml")
    except ManifestError:
        return
    raise SystemExit(f"accepted {text}")

attempt(b"a: !!null x")  # whatever is imported late is imported here
seen = []
sys.addaudithook(lambda event, _: seen.append(event))
for text in texts:
    attempt(text)
bad = {"import", "exec", "compile", "open", "os.system", "subprocess.Popen"} & set(seen)
sys.exit(f"ran {bad}" if bad else 0)
"""

ATTACKS = [
    "a: !!python/object/apply:os.system ['true']",
    "a: !!python/object/new:subprocess.Popen [['true']]",
    "a: !!python/name:antigravity.x",
    "a: !!python/module:this",
    "!!python/object:tuple {}",
    "a: !!python/object/new:type {args: [x, !!tuple [], {extend: !!python/name:exec}]}",
]


def test_no_tag_imports_or_runs_anything() -> None:
    """With an audit hook watching, the known attacks raise errors and touch nothing."""
    command = [sys.executable, "-c", AUDITED, *ATTACKS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
