"""Many paths at once: the quick look finds what the exact one does, and nothing else."""

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from downloader import artifact
from downloader.artifact import check_path, check_paths, collision_key, find_collision
from tests.test_artifact_paths import SAFE, UNSAFE

PIECES = [*"/.-~ aA1:=%$\n\0é", "..", "con", "NUL", "com1", "com0", "lpt", "conin$", ".x", "b"]
PIECES += ["config", ".modelmake", "modelm~1", "modelmaker", "%2e", "\u2025", "\udc80", "a" * 256]
tricky = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
ordinary = st.lists(st.text("abC01._-", min_size=1, max_size=4), min_size=1, max_size=3)
path_lists = st.lists(
    tricky | ordinary.map("/".join) | st.sampled_from([*SAFE, *UNSAFE]), max_size=6
)


def exact(paths: Sequence[str]) -> str:
    """Judge path by path, and then all keys, sorted, each with the next one."""
    for path in paths:
        try:
            check_path(path)
        except ValueError as error:
            return str(error)
    keyed = sorted((collision_key(path).replace("/", "\0"), path) for path in paths)
    for (key, path), (next_key, other) in pairwise(keyed):
        if next_key == key or next_key.startswith(f"{key}\0"):
            return f"{path!a} and {other!a} would be one place on some disks"
    return ""


@given(path_lists)
@example(["a", "A/b"])
@example(["a", "a/b/c/d"])
@example(["", "a"])
@example([""])
@example(["a\nb"])
@example(["config.json", "con.json"])
@example(["a/COM1.x", "com0"])
def test_the_quick_look_at_many_paths_is_the_exact_one(paths: list[str]) -> None:
    """Whatever stands in the list, the two say the same, or name two of more collisions."""
    said, wanted = check_paths(paths), exact(paths)
    assert bool(said) == bool(wanted), (paths, said, wanted)
    assert said == wanted or "one place" in wanted
    assert artifact.are_safe(paths) == all(map(artifact.is_safe, paths))


@given(st.lists(tricky.filter(lambda each: "\0" not in each), max_size=5))
def test_the_quick_look_for_collisions_overlooks_none(paths: list[str]) -> None:
    """Also of paths that nobody checked before."""
    keyed = sorted((collision_key(path).replace("/", "\0"), path) for path in paths)
    collides = any(b == a or b.startswith(f"{a}\0") for (a, _), (b, _) in pairwise(keyed))
    assert (find_collision(paths) is not None) == collides


@pytest.mark.parametrize("pattern", ["shard-{:03d}/config-{:05d}.safetensors", "{:x}/{:08x}.wav"])
def test_ten_thousand_paths_cost_milliseconds(pattern: str) -> None:
    """They are looked at in each run, also in one with nothing to do."""
    paths = [pattern.format(n // 100, n * 2654435761 % 2**32) for n in range(10_000)]
    assert artifact._are_plain(paths)
    took = []
    for _ in range(5):
        artifact._known.clear()
        began = time.process_time()
        assert check_paths(paths) == ""
        took.append(time.process_time() - began)
    assert min(took) < 0.03, "about 0.005 s on a quiet machine"


@pytest.mark.parametrize(
    "text",
    ["", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "\n", "g" * 64, "é" * 64, "../" + "a" * 61],
)
def test_a_digest_is_64_lower_case_hex_digits(text: str) -> None:
    """One by one, and many at once."""
    assert not artifact.is_digest(text)
    assert not artifact.are_digests(["b" * 64, text])
    assert artifact.is_digest("b" * 64)
    assert artifact.are_digests(["b" * 64, "0" * 64])
    assert artifact.are_digests([])


@pytest.mark.parametrize("text", ["\x1b[2J", "a\r\nb", "\x85", "\u202e", "\u2028", "a" * 70_000])
def test_a_text_that_is_not_clean(text: str) -> None:
    """Nothing that a terminal or a header would take for more than a text."""
    assert not artifact.is_clean(text)
    assert not artifact.are_plain(["a", text])


def test_a_text_that_is_clean() -> None:
    """Words of any language, and validators as servers send them."""
    assert artifact.is_clean("Modèle 模型")
    assert artifact.is_etag('"0x8DA\x85é"')
    assert not artifact.is_etag('"模"')
    assert not artifact.is_etag("")


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ([None], "size unknown"),
        ([None, None], "size unknown"),
        ([8], "8 B"),
        ([0, 1_500], "1.5 kB"),
        ([1_500, None], "at least 1.5 kB"),
    ],
)
def test_sizes_in_words(sizes: list[int | None], text: str) -> None:
    """What is not known is said in one way, and never shown as 0."""
    assert artifact.size_text(*sizes) == text
