"""models.lock as anyone may find it: torn, merged, tampered with, newer. All of it is refused."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from downloader.errors import LockError
from downloader.project.lockfile import load
from tests.project.test_lockfile import MD5, SHA, TEXT

MODEL = b'{"entry": "sha256:%s", "source": "http", "files": []}' % SHA.encode()


def changed(**fields: Any) -> bytes:
    """Return the small lock with other fields in its first file."""
    data = json.loads(TEXT)
    data["models"]["gpt2"]["files"][0].update(fields)
    return json.dumps(data).encode()


def refusal(text: bytes) -> LockError:
    with pytest.raises(LockError) as caught:
        load(text)
    assert 1 <= len(caught.value.report().splitlines()) <= 3
    return caught.value


def test_a_lock_torn_at_any_byte_is_refused() -> None:
    """A lock cut after any number of bytes is an error, never a shorter lock."""
    for length in range(len(TEXT) - len(b"\n")):
        refusal(TEXT[:length])


@given(st.binary())
@example(b'{"version":1,"models":{"m":{"source":"\xff"}}}')
@example(b'{"version":1,"models":{},"x":' + b"[" * 100_000)
@example(b"\xef\xbb\xbf{}")
def test_no_bytes_at_all_can_make_more_than_a_lock_error(text: bytes) -> None:
    """Whatever stands in the file, it is a lock or a LockError."""
    refusal(text)


@given(st.data())
def test_damage_to_one_byte_is_a_lock_or_a_lock_error(data: st.DataObject) -> None:
    """A lock with one byte changed is refused, or is another lock; it never ends in a traceback."""
    at = data.draw(st.integers(0, len(TEXT) - 1))
    damaged = TEXT[:at] + data.draw(st.binary(min_size=1, max_size=1)) + TEXT[at + 1 :]
    with contextlib.suppress(LockError):
        load(damaged)


def test_the_middle_of_a_merge_is_named_as_such() -> None:
    """Conflict markers give an error that says what they are and how to go on."""
    head, files, tail = TEXT.partition(b'{"path":"a"')
    conflicted = head + b"<<<<<<< ours\n" + files + b"=======\n>>>>>>> theirs\n" + tail
    error = refusal(conflicted)
    assert "conflict markers" in str(error)
    assert "either side" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        b'{"version": 2, "models": ["another", "shape"]}',
        TEXT.replace(b'"version": 1', b'"version": 2'),
        b'{"models": {}, "version": 2}',
    ],
    ids=["other", "same", "unordered"],
)
def test_a_lock_of_a_newer_program_asks_for_an_update(text: bytes) -> None:
    """Another version is refused by its number, whatever else the newer format has."""
    error = refusal(text)
    assert "version 2" in str(error)
    assert "Update modelmake" in error.hint


def test_a_lock_without_a_version_is_refused() -> None:
    """It cannot be known to be of this one."""
    assert "version" in str(refusal(TEXT.replace(b'"version": 1,', b"")))


@pytest.mark.parametrize("version", ["true", "1.0", '"1"', "null"])
def test_a_version_that_is_no_whole_number_is_refused(version: str) -> None:
    """The version is 1, and nothing that merely equals it somewhere."""
    refusal(TEXT.replace(b'"version": 1', f'"version": {version}'.encode()))


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace(b'"version": 1', b'"version": 1, "extra": 1'),
        TEXT.replace(b'"source":', b'"extra": 1, "source":'),
        changed(extra=1),
    ],
    ids=["lock", "model", "file"],
)
def test_a_key_that_is_not_known_is_refused(text: bytes) -> None:
    """An unknown key on any level is an error: dropping it could drop a promise."""
    assert "extra" in str(refusal(text))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (TEXT.replace(b'"version": 1', b'"version": 1, "version": 1'), "version"),
        (TEXT.replace(b'"source":', b'"source": "http", "source":'), "source"),
        (TEXT.replace(b'"size":4', b'"size":4,"size":5'), "size"),
        (TEXT.replace(b'"gpt2":', b'"gpt2": %s, "gpt2":' % MODEL), "gpt2"),
    ],
    ids=["version", "source", "size", "model"],
)
def test_a_key_that_stands_twice_is_refused(text: bytes, key: str) -> None:
    """Doublets on any level are an error, since readers differ on which of them counts."""
    error = refusal(text)
    assert key in str(error)
    assert "version control" in error.hint


def test_looking_for_doublets_takes_time_in_proportion_to_the_lock() -> None:
    """50,000 models, one of them twice, cost seconds; comparing all with all took a minute."""
    names = b",".join(b'"m%d": %s' % (number, MODEL) for number in [*range(50_000), 7])
    began = time.process_time()
    assert "'m7' twice" in str(refusal(b'{"version": 1, "models": {%s}}' % names))
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "digest", [SHA[:-1], SHA + "0", "", SHA.upper(), "g" + SHA[1:], SHA[:-1] + "\n", "é" * 64]
)
def test_a_sha256_is_64_lower_case_hex_digits(digest: str) -> None:
    """A digest of another length, in upper case or with other characters is refused."""
    refusal(changed(sha256=digest))


@pytest.mark.parametrize("digest", [MD5[:-1], MD5 + "00", MD5.upper(), "é" * 32])
def test_an_md5_is_32_lower_case_hex_digits(digest: str) -> None:
    """An MD5 is held to the same rule as a SHA-256."""
    refusal(changed(md5=digest))


@pytest.mark.parametrize(
    "digest", [SHA, f"sha1:{SHA}", f"sha256:{SHA[1:]}", f"sha256:{SHA}\n", f"sha256:{SHA.upper()}"]
)
def test_the_digest_of_an_entry_is_a_whole_sha256(digest: str) -> None:
    """The entry's digest has its algorithm and 64 lower-case hex digits, with nothing after."""
    data = json.loads(TEXT)
    data["models"]["gpt2"]["entry"] = digest
    refusal(json.dumps(data).encode())


@pytest.mark.parametrize("size", [-1, 4.0, 1e30, "4", True, 2**63, [], {}])
def test_a_size_is_a_whole_number_of_bytes(size: object) -> None:
    """A size that is negative, a float, a text or beyond what a file can have is refused."""
    refusal(changed(size=size))
