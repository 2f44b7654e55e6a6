"""What can be said of an URL without dialling it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.urls import (
    host,
    is_address,
    is_loopback,
    is_public_address,
    origin,
    published_url,
    redact,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Hub.Example/a", ("https", "hub.example", 443)),
        ("HTTP://h", ("http", "h", 80)),
        ("https://h:443/a?b#c", ("https", "h", 443)),
        ("https://u:p@h:8443/", ("https", "h", 8443)),
        ("https://[::1]:9/", ("https", "::1", 9)),
        ("ftp://h/", ("ftp", "h", 0)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, expected: tuple[str, str, int]) -> None:
    """Default ports are filled in, case and everything else is left out (RFC 6454 §4)."""
    assert origin(url) == expected


@pytest.mark.parametrize("other", ["http://h/", "https://h:444/", "https://sub.h/", "https://h./"])
def test_another_scheme_port_or_host_is_another_origin(other: str) -> None:
    """A credential for one is not for the other."""
    assert origin(other) != origin("https://h/")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h:8443/a/b?sig=1#frag", "https://h:8443/a/b"),
        ("https://h/a", "https://h/a"),
        ("https://[::1]:9/a", "https://[::1]:9/a"),
        ("https://token@h", "https://h"),
        ("https://h:99999/?sig=1", "a broken URL"),
        ("https://[::1/?sig=1", "a broken URL"),
    ],
)
def test_a_shown_url_keeps_place_and_path_alone(url: str, shown: str) -> None:
    """User, password, query and fragment are shown to nobody."""
    assert redact(url) == shown


@given(st.text(alphabet="aZ09@:/?#[]%&=.\\ \té", max_size=30))
def test_no_secret_part_of_any_url_is_shown(noise: str) -> None:
    """However odd the path, what follows the question mark is not shown, and nothing is raised."""
    assert "canary" not in redact(f"https://h/{noise}?sig=canary")
    assert "canary" not in redact(f"https://u:canary@h/{noise}")
    assert isinstance(redact(noise), str)


@pytest.mark.parametrize(
    ("url", "name"),
    [("https://H.example:1/", "h.example"), ("https://[::1]/", "::1"), ("x", ""), ("http://[", "")],
)
def test_a_host_is_in_lower_case_or_empty(url: str, name: str) -> None:
    """No port, no brackets, and nothing where there is no host."""
    assert host(url) == name


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_recognised(name: str) -> None:
    """Names and addresses that can only be this machine."""
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name", ["", "example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "127.0.0.1.nip.io"]
)
def test_what_may_be_another_machine_is_not_loopback(name: str) -> None:
    """A name that merely looks like this machine is not trusted as one."""
    assert not is_loopback(name)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    """Addresses anybody can reach."""
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "::",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "fd00:ec2::254",
    ],
)
def test_private_addresses_are_not_public(address: str) -> None:
    """Addresses of somebody's own network, IPv4 ones inside IPv6 included."""
    assert not is_public_address(address)


def test_a_name_is_no_address() -> None:
    """Whoever asks must have resolved it."""
    with pytest.raises(ValueError, match=r"example\.org"):
        is_public_address("example.org")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("localhost", False),
        ("1.2", False),
    ],
)
def test_an_address_needs_no_look_up(name: str, wanted: bool) -> None:
    """A name has to be looked up, however much it looks like a number."""
    assert is_address(name) is wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s3:b/p", "a URL begins with `s3://`"),
        ("oci:/e.org/r", "a URL begins with `oci://`"),
        ("file:/srv/m", "a URL begins with `file:///`"),
        ("file://srv/m", "a name must follow `file:///`"),
        ("az://", "a name must follow `az://`"),
        ("https:///m", "a name must follow `https://`"),
        ("gcs://b/p", "`gcs:` is written `gs://` here"),
        ("gcs:b/p", "`gcs:` is written `gs://` here"),
        ("azure:a/c", "`azure:` is written `az://` here"),
        ("s3a://b/p", "`s3a:` is written `s3://` here"),
        ("docker://e.org/r", "`docker:` is written `oci://` here"),
        ("ftp://e.org/m", "no place begins with `ftp:`"),
        ("me@host:m", "no place begins with `me@host:`"),
        (
            "host:/srv/m",
            "no place begins with `host:`, and a folder of that name is written `./host:`",
        ),
    ],
)
def test_what_is_no_place_for_copies_is_no_folder_either(text: str, why: str) -> None:
    """A slip must not fill this machine's disk instead of a bucket."""
    with pytest.raises(ValueError, match=re.escape(why)):
        published_url(text)


@pytest.mark.parametrize("text", ["m", "./s3:b", "a/b:c", "C:/m", "/srv/x:y"])
def test_a_folder_may_have_a_colon_after_a_slash(text: str) -> None:
    """One letter before it is a drive of Windows."""
    assert published_url(text).startswith("file:///")


def test_a_mirror_is_shown_as_the_web_server_that_it_is() -> None:
    """`blobs+` is how models.yaml writes it."""
    assert redact("blobs+https://u:p@e.org/m") == "https://e.org/m"
