"""models.lock as text: what is written is read back, byte for byte."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.artifact import Artifact, LockedModel, find_collision
from downloader.project.lockfile import Lockfile, dump, load

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MD5 = "098f6bcd4621d373cade4e832627b4f6"


def hex_text(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


paths = st.lists(st.text("abé模01", min_size=1), min_size=1, max_size=3).map("/".join)
names = st.text("abAB01", min_size=1)
words = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" "))
artifacts = st.builds(
    Artifact,
    path=paths,
    size=optional(st.integers(0, 2**59)),
    sha256=optional(hex_text(64)),
    first_use=st.booleans(),
    md5=optional(hex_text(32)),
    etag=optional(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)),
    url=optional(words),
)
file_lists = st.lists(artifacts, max_size=4, unique_by=lambda each: each.path).map(
    lambda files: tuple(sorted(files, key=lambda each: each.path))
)
file_lists = file_lists.filter(lambda files: not find_collision([each.path for each in files]))
models = st.builds(
    LockedModel,
    entry=hex_text(64).map("sha256:{}".format),
    source=words,
    revision=optional(words),
    files=file_lists,
)
lockfiles = st.builds(Lockfile, models=st.dictionaries(names, models, max_size=3))

SMALL = Lockfile(
    models={
        "gpt2": LockedModel(
            entry=f"sha256:{SHA}",
            source="openai-gpt2",
            revision="355M",
            files=(
                Artifact(path="a", size=4, sha256=SHA, first_use=True, md5=MD5, etag='"x"'),
                Artifact(path="b/c", url="https://example.org/c"),
            ),
        )
    }
)
TEXT = dump(SMALL)


def changed(**fields: Any) -> bytes:
    """Return the small lock with other fields in its first file."""
    data = json.loads(TEXT)
    data["models"]["gpt2"]["files"][0].update(fields)
    return json.dumps(data).encode()


@given(lockfiles)
def test_what_is_dumped_is_loaded_and_dumped_again_to_the_same_bytes(lockfile: Lockfile) -> None:
    """`load` gives back what `dump` was given, and dumping that gives the same bytes."""
    text = dump(lockfile)
    assert load(text) == lockfile
    assert dump(load(text)) == text


@given(lockfiles, st.randoms(use_true_random=False))
def test_the_order_things_were_found_in_does_not_change_the_bytes(
    lockfile: Lockfile, random: Any
) -> None:
    """Models and files in any order are written in one."""
    shuffled = list(lockfile.models.items())
    random.shuffle(shuffled)
    turned = {
        name: LockedModel(
            entry=model.entry,
            source=model.source,
            revision=model.revision,
            files=tuple(reversed(model.files)),
        )
        for name, model in shuffled
    }
    assert dump(Lockfile(models=turned)) == dump(lockfile)


@given(lockfiles)
def test_every_file_has_a_line_of_its_own(lockfile: Lockfile) -> None:
    """The lock has one line a file, whatever is in the names, and four for its frame."""
    lines = dump(lockfile).split(b"\n")
    files = sum(len(model.files) for model in lockfile.models.values())
    assert sum(line.startswith(b'{"path":') for line in lines) == files


def test_the_lock_reads_well() -> None:
    """The text is JSON with a line a file, and leaves out what is not known."""
    assert TEXT.decode() == (
        '{\n"version": 1,\n"models": {\n'
        f'"gpt2": {{"entry": "sha256:{SHA}", "source": "openai-gpt2", "revision": "355M",'
        ' "files": [\n'
        f'{{"path":"a","size":4,"sha256":"{SHA}","first_use":true,"md5":"{MD5}",'
        '"etag":"\\"x\\""},\n'
        '{"path":"b/c","url":"https://example.org/c"}\n]}\n}\n}\n'
    )


@pytest.mark.parametrize("size", [0, 2**63 - 1, None])
def test_sizes_from_empty_to_the_largest_file_are_read(size: int | None) -> None:
    """The bounds themselves are fine, and a size may be unknown."""
    assert load(changed(size=size)).models["gpt2"].files[0].size == size


def test_ten_thousand_files_are_read_in_milliseconds() -> None:
    """A lock of 10,000 pinned files takes well under 200 ms, digests looked at."""
    files = tuple(
        Artifact(path=f"shard/{number:05}.bin", size=number, sha256=SHA) for number in range(10_000)
    )
    text = dump(
        Lockfile(models={"m": LockedModel(entry=f"sha256:{SHA}", source="http", files=files)})
    )
    began = time.process_time()
    assert len(load(text).models["m"].files) == 10_000
    assert time.process_time() - began < 0.2
