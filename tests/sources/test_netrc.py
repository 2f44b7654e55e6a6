"""Credentials from netrc: for the host it names, and no other."""

import base64
from pathlib import Path

import pytest

from downloader.sources.netrc import _hosts, authorization

TEXT = "machine data.example.org login ada password s3cret:x\n"
HEADER = {"Authorization": "Basic " + base64.b64encode(b"ada:s3cret:x").decode()}


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Read the file anew in each test."""
    _hosts.cache_clear()


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file that NETRC names."""
    file = tmp_path / "a netrc"
    file.write_text(TEXT)
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    return file


@pytest.mark.parametrize(
    "url",
    [
        "https://data.example.org/a.bin",
        "https://DATA.example.org/a.bin",
        "http://data.example.org:8080/a.bin",
    ],
)
def test_the_named_host_gets_its_password(netrc: Path, url: str) -> None:
    """The host counts, in any case, whatever the scheme and port (netrc knows neither)."""
    assert authorization(url) == HEADER


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/",
        "https://a.data.example.org/",
        "https://data.example.org.evil.example/",
        "https://data.example.org@evil.example/",
        "https://evil.example/data.example.org",
        "https://xdata.example.org/",
        "https://[broken/",
        "no url",
    ],
)
def test_no_other_host_gets_it(netrc: Path, url: str) -> None:
    """A longer, a shorter or a similar name is another host (requests CVE-2024-47081)."""
    assert authorization(url) == {}


def test_a_default_entry_is_for_nobody(netrc: Path) -> None:
    """`default` would send one password to every server of the world (curl CVE-2025-0167)."""
    netrc.write_text(TEXT + "default login anonymous password me@example.org\n")
    assert authorization("https://evil.example/") == {}
    assert authorization("https://data.example.org/") == HEADER


def test_without_the_variable_the_one_at_home_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is ~/.netrc by default."""
    file = Path.home() / ".netrc"
    file.write_text(TEXT)
    file.chmod(0o600)
    assert authorization("https://data.example.org/") == HEADER


def test_the_variable_goes_before_the_one_at_home(netrc: Path) -> None:
    """Where NETRC names a file, the one at home is not looked at."""
    file = Path.home() / ".netrc"
    file.write_text("machine other.example.org login a password b\n")
    file.chmod(0o600)
    assert authorization("https://other.example.org/") == {}


@pytest.mark.parametrize("content", [b"machine", b"what is this", b"\xff\xfe\x00", b""])
def test_a_broken_file_gives_nothing(netrc: Path, content: bytes) -> None:
    """A file that cannot be understood is as good as none: no error, no credentials."""
    netrc.write_bytes(content)
    assert authorization("https://data.example.org/") == {}


def test_no_file_and_a_folder_give_nothing(netrc: Path) -> None:
    """Nothing at the place, or a folder, is no error either."""
    netrc.unlink()
    assert authorization("https://data.example.org/") == {}
    netrc.mkdir()
    _hosts.cache_clear()
    assert authorization("https://data.example.org/") == {}
