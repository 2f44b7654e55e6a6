"""Which paths are safe on every platform, and which two are one file on some."""

import ntpath
import posixpath
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.artifact import check_path, collision_key, find_collision
from tests.examples import examples

UNSAFE = [
    # leaving the folder
    "", "/", "/etc/passwd", "//host/share/x", "..", ".", "../x", "a/..", "a/../b", "a/../../b",
    "./a", "a/./b", "a//b", "a/", "a/b/",
    # backslashes, drives, streams and lookalikes
    "..\\x", "a\\b", "\\\\host\\share\\x", "C:\\x", "C:/x", "C:x", "a:b", "model.bin::$DATA",
    "a:", "c%3ax", "C\uff1ax", "\u00e9:x", "%41:x", "::",
    "a\uff3cb", "a\u2215b", "a\u2044b", "..\uff0fx", "a/\u2025/b", "\uff0e\uff0e/b", "\u2100",
    # decoded once more by someone further on
    "%2e%2e%2fx", "%2E%2E/x", "..%5cx", "a%5Cb", "a%2fb",
    # control, invisible and broken characters
    "a\0b", "a\nb", "a\tb", "a\x7fb", "a\x85b", "a\u202eb", "a\u200bb", "\ufeffa", "a\udc80b",
    "a\u2028b", "a\ue000b", "a\uffffb",
    # devices of Windows
    "CON", "con", "aux.txt", "nul.bin", "a/PRN/b", "COM1", "lpt9.tar.gz",
    "COM\u00b9", "LPT\u00b3.x",
    "con .txt", "CONIN$", "conout$",
    # what Windows drops, shells and doit read otherwise
    "a.", "a ", "a./b", "a /b", "...", " a", "a/ b", "-rf", "a/-b", "~", "~root/x", "a/~b",
    "a<b", "a>b", 'a"b', "a|b", "a?b", "a*b",
    # our own folder, also by its short name on NTFS
    ".modelmake", ".modelmake/receipts", ".ModelMake/x", "modelm~12",
    ".modelma\u212ae/x", "MODELM~1/x", "a/.modelmake/x",
    # too long
    "a" * 256, "\u00e9" * 128, "a/" * 2048 + "b", "/".join(["a" * 200] * 21),
]  # fmt: skip

SAFE = [
    "model.bin", "model-00001-of-00002.safetensors", "a/b/c", "onnx/model_fp16.onnx",
    ".gitattributes",
    "..a", "a..b", "a...b/c", "a b", "a~b", "a-b", "a%20b", "100%", "caf\u00e9", "\u6a21\u578b.bin",
    "epoch=9-step=499.ckpt", "=", "a=/b=", "step:100/model.bin", "epoch=1:loss=0.5.ckpt",
    "2026-01-01T00:00:00.bin", "b/c:d", ":", "12:30", "10%:x",
    "console", "com10", "null.txt", "auxiliary/con1", "a@b+c,d(e)[f]{g}", "\U0001f600.bin",
    ".modelmaker", "modelmake/x", "a" * 255, "\u00e9" * 127, "/".join(["a" * 200] * 20),
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE, ids=lambda path: ascii(path[:30]))
def test_an_unsafe_path_is_refused_with_its_name_escaped(path: str) -> None:
    """Every unsafe path is refused on every platform, and the message is plain ASCII."""
    with pytest.raises(ValueError, match="is not a safe path") as caught:
        check_path(path)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert ascii(path)[:150] in message or len(path) > 200


@pytest.mark.parametrize("path", SAFE, ids=lambda path: ascii(path[:30]))
def test_an_ordinary_path_is_accepted(path: str) -> None:
    """Names that real models have, and those just inside a limit, pass."""
    check_path(path)


@pytest.mark.parametrize("path", ["ab:c", "a/b:c", "12:", ":"])
def test_a_colon_is_refused_on_windows_with_a_way_out(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It means a stream there; others may keep such a name, also in a lock that they share."""
    check_path(path)
    monkeypatch.setattr("downloader.artifact.IS_WINDOWS", True)
    with pytest.raises(ValueError, match=r"Windows cannot store.*`path`") as caught:
        check_path(path)
    assert "exclude" in str(caught.value)


TRICKY = st.sampled_from(
    [
        *(
            "/",
            "//",
            "\\",
            "..",
            ".",
            ":",
            "C:",
            "%3a",
            "\uff1a",
            "=",
            "%2e",
            "%2F",
            "%5c",
            "~",
            "a",
            "b",
            " ",
            "\0",
            "nul",
        ),
        *("\uff0e", "\u2025", "\uff0f", "\u2044", "\u2100", "\u2026", "com1", ".modelmake"),
    ]
)
PATHS = st.lists(TRICKY | st.characters(), min_size=1, max_size=8).map("".join)


@settings(deadline=None, max_examples=examples(500))
@given(PATHS)
def test_no_accepted_path_leaves_the_folder(path: str) -> None:
    """Read as it is, decoded or normalised, on either family, an accepted path stays inside."""
    try:
        check_path(path)
    except ValueError:
        return
    for form in {path, unquote(path), unicodedata.normalize("NFKC", path)}:
        assert posixpath.normpath(posixpath.join("/base", form)).startswith("/base/")
        assert ntpath.normpath(ntpath.join("R:\\root", form)).startswith("R:\\root\\")
        assert not PureWindowsPath(form).drive
        assert PurePosixPath(form).parts == PureWindowsPath(form).parts


SAME = [
    ("Model.bin", "model.bin"), ("caf\u00e9", "cafe\u0301"), ("\u017f", "s"), ("\u0130", "i\u0307"),
    ("\u212a", "k"), ("\u00df", "SS"), ("\ufb01", "fi"), ("\u0131", "I"), ("\u03c2", "\u03a3"),
    ("\u01f0", "J\u030c"), ("A/b", "a/B"), ("\u1e9e", "ss"), ("\uff21", "a"), ("\u3385", "kb"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME, ids=ascii)
def test_names_that_some_disk_takes_for_one_collide(one: str, other: str) -> None:
    """Case, accents composed or not, and old letter forms make no difference to the key."""
    assert collision_key(one) == collision_key(other)
    assert find_collision(["zzz", one, "yyy", other]) == (one, other)


@settings(deadline=None)
@given(st.text())
def test_the_key_sees_through_case_and_normal_form(path: str) -> None:
    """Paths that are equal after composing, decomposing or folding the case have one key."""
    composed = unicodedata.normalize("NFC", path)
    key = collision_key(path)
    assert collision_key(composed) == key
    assert collision_key(unicodedata.normalize("NFD", path)) == key
    assert collision_key(composed.casefold()) == key


@pytest.mark.parametrize(
    ("paths", "pair"),
    [
        ([], None),
        (["a"], None),
        (["a", "b", "ab", "a.b", "a-b/c"], None),
        (["a/b", "a/c", "ab/c", "a b/c"], None),
        (["a", "a"], ("a", "a")),
        (["a/b", "x", "a"], ("a", "a/b")),
        (["a", "a-b", "a.b", "A/b/c"], ("a", "A/b/c")),
    ],
)
def test_a_file_collides_with_its_double_and_with_a_folder_of_its_name(
    paths: list[str], pair: tuple[str, str] | None
) -> None:
    """A file that would have to be a folder too is found, whatever sorts between the two."""
    assert find_collision(paths) == pair


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abAB.-"), min_size=1, max_size=3).map("/".join)))
def test_a_collision_is_found_exactly_when_comparing_all_pairs_finds_one(paths: list[str]) -> None:
    """The sorted search agrees with the slow one."""
    keys = [collision_key(path) for path in paths]
    collides = any(
        first == second or second.startswith(f"{first}/")
        for one, first in enumerate(keys)
        for other, second in enumerate(keys)
        if one != other
    )
    assert (find_collision(paths) is not None) == collides
