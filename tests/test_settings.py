"""The environment: what each variable means, and what is said of a bad value."""

import re
from typing import Any

import msgspec
import pytest

from downloader.errors import SettingError
from downloader.settings import VARIABLES, Settings, unknown_variables
from tests.docs.documents import page

MEANINGS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {}),
    ({"MODELMAKE_TIMEOUT": "2.5"}, {"timeout_seconds": 2.5}),
    ({"MODELMAKE_TIMEOUT": ""}, {}),
    ({"MODELMAKE_RETRIES": "9"}, {"retries": 9}),
    ({"MODELMAKE_RETRIES": ""}, {}),
    ({"MODELMAKE_MAX_WAIT": "600"}, {"max_wait_seconds": 600.0, "max_window_seconds": 600.0}),
    ({"MODELMAKE_CONNECTIONS": "1"}, {"connections": 1}),
    ({"MODELMAKE_CONNECTIONS": ""}, {}),
    ({"MODELMAKE_LIMIT_RATE": "500"}, {"limit_rate": 500}),
    ({"MODELMAKE_LIMIT_RATE": "500k"}, {"limit_rate": 500_000}),
    ({"MODELMAKE_LIMIT_RATE": "20M"}, {"limit_rate": 20_000_000}),
    ({"MODELMAKE_LIMIT_RATE": "1.5g"}, {"limit_rate": 1_500_000_000}),
    ({"MODELMAKE_LIMIT_RATE": "20MB"}, {"limit_rate": 20_000_000}),
    ({"MODELMAKE_LIMIT_RATE": "20 MB"}, {"limit_rate": 20_000_000}),
    ({"MODELMAKE_LIMIT_RATE": "20M/s"}, {"limit_rate": 20_000_000}),
    ({"MODELMAKE_LIMIT_RATE": "20MB/s"}, {"limit_rate": 20_000_000}),
    ({"MODELMAKE_LIMIT_RATE": "20MiB"}, {"limit_rate": 20 << 20}),
    ({"MODELMAKE_LIMIT_RATE": "1.5KiB/s"}, {"limit_rate": 1536}),
    ({"MODELMAKE_LIMIT_RATE": "500B"}, {"limit_rate": 500}),
    ({"MODELMAKE_LIMIT_RATE": ""}, {}),
    ({"MODELMAKE_LOCKED": "1"}, {"is_locked": True}),
    ({"MODELMAKE_LOCKED": "0"}, {}),
    ({"CI": "true"}, {"is_ci": True}),
    ({"CI": "true", "MODELMAKE_LOCKED": "0"}, {}),
    ({"CI": "true", "MODELMAKE_LOCKED": "yes"}, {"is_locked": True}),
    ({"MODELMAKE_OFFLINE": "1"}, {"is_offline": True}),
    ({"MODELMAKE_DEBUG": "1"}, {"is_debug": True}),
    ({"MODELMAKE_MIRROR": ""}, {}),
    ({"MODELMAKE_MIRROR": "s3://b/p/"}, {"mirrors": ("s3://b/p/",)}),
    ({"MODELMAKE_MIRROR": "https://e.org/m"}, {"mirrors": ("blobs+https://e.org/m",)}),
    (
        {"MODELMAKE_MIRROR": " /srv/my models, gs://b ,"},
        {"mirrors": ("file:///srv/my%20models", "gs://b")},
    ),
    ({"MODELMAKE_MIRROR_ONLY": "1"}, {"is_mirror_only": True}),
    ({"SOMETHING_ELSE": "1"}, {}),
]


@pytest.mark.parametrize(("environment", "expected"), MEANINGS)
def test_what_each_variable_sets(environment: dict[str, str], expected: dict[str, Any]) -> None:
    """A variable sets its own field, and silence leaves the default."""
    assert Settings.from_environment(environment) == Settings(**expected)


def test_the_defaults_are_the_documented_ones() -> None:
    """30 s of patience, 5 attempts, 120 s of waiting (300 s for a window), nothing forbidden."""
    assert msgspec.structs.astuple(Settings()) == (
        *(30.0, 5, 120.0, 301.0, 32, None),
        *(False, False, False, True, "", (), False, "auto", False),
        *("", None, None),
    )


SWITCHES = {
    "MODELMAKE_LOCKED": "is_locked",
    "MODELMAKE_OFFLINE": "is_offline",
    "MODELMAKE_DEBUG": "is_debug",
    "MODELMAKE_MIRROR_ONLY": "is_mirror_only",
    "CI": "is_ci",
}


@pytest.mark.parametrize("variable", SWITCHES)
@pytest.mark.parametrize(
    ("value", "is_on"),
    [(value, True) for value in ("1", "true", "YES", "on", "anything")]
    + [(value, False) for value in ("", " ", "0", "false", "FALSE", " no ", "off")],
)
def test_the_words_for_on_and_off(variable: str, value: str, is_on: bool) -> None:
    """A switch is off for the usual words, in any case, and on for everything else."""
    assert getattr(Settings.from_environment({variable: value}), SWITCHES[variable]) is is_on


@pytest.mark.parametrize(
    "variable", ["MODELMAKE_TIMEOUT", "MODELMAKE_RETRIES", "MODELMAKE_MAX_WAIT"]
)
@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", "-inf", "1e99", "10 s", " "])
def test_a_bad_number_names_its_variable(variable: str, value: str) -> None:
    """Zero, negative, endless and unreadable values are refused, with the default in the hint."""
    with pytest.raises(SettingError, match=variable) as caught:
        Settings.from_environment({variable: value})
    assert repr(value) in str(caught.value)
    assert caught.value.hint.startswith(f"Unset {variable} for the default, ")
    assert len(caught.value.report().splitlines()) == 2


@pytest.mark.parametrize(
    "place",
    [
        "ftp://e.org/m",
        "s3://",
        "s3://user:secret@b/p",
        "https://e.org/m?token=secret",
        "https://e.org/m#secret",
        "s3://b/../c",
        "s3://$BUCKET/p",
        "oci://h:0/r",
        "file:///",
        "https://e.org/a b",
        "s3:/user:secret@b/p",
        "oci:e.org/r",
        "oci://e.org",
        "oci://e.org/Team/models",
        "oci://e.org/team/models:v1",
    ],
)
def test_a_place_that_no_mirror_can_be_is_refused(place: str) -> None:
    """The error names the variable, and shows neither a password nor a query."""
    with pytest.raises(SettingError, match="MODELMAKE_MIRROR") as caught:
        Settings.from_environment({"MODELMAKE_MIRROR": f"s3://good, {place}"})
    assert "secret" not in caught.value.report()


@pytest.mark.parametrize("variable", ["MODELMAKE_MIRROR", "MODELMAKE_LISTEN"])
@pytest.mark.parametrize("value", [",", " , ,", " "])
def test_a_list_of_nothing_is_refused(variable: str, value: str) -> None:
    """It is two variables that were empty, and not the wish for none."""
    with pytest.raises(SettingError, match=f"{variable} names"):
        Settings.from_environment({variable: value})


def test_half_an_attempt_is_refused() -> None:
    """Attempts are counted in whole numbers; seconds need not be."""
    with pytest.raises(SettingError, match="MODELMAKE_RETRIES"):
        Settings.from_environment({"MODELMAKE_RETRIES": "2.5"})


def test_the_process_environment_is_read_when_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an argument the variables of this process count."""
    monkeypatch.setenv("MODELMAKE_RETRIES", "7")
    assert Settings.from_environment().retries == 7


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "nan", " "])
def test_a_bad_number_of_connections_is_refused(value: str) -> None:
    """There is one connection at least, and no half one."""
    with pytest.raises(SettingError, match="MODELMAKE_CONNECTIONS"):
        Settings.from_environment({"MODELMAKE_CONNECTIONS": value})


@pytest.mark.parametrize(
    "value",
    ["0", "0k", "0.1", "-5M", "M", "fast", "nan", "20 XB", "5T", "-", "1e", "2..5M", "20/s/s"],
)
def test_a_bad_rate_is_refused(value: str) -> None:
    """A rate is a number of bytes above 0, with a unit or none; the message shows one."""
    with pytest.raises(SettingError, match="MODELMAKE_LIMIT_RATE") as caught:
        Settings.from_environment({"MODELMAKE_LIMIT_RATE": value})
    assert "such as 20M" in str(caught.value)


@pytest.mark.parametrize("value", ["inf", "1e999", "1e999k"])
def test_an_endless_rate_is_refused(value: str) -> None:
    """What is beyond every number is refused like any other bad value."""
    with pytest.raises(SettingError, match="MODELMAKE_LIMIT_RATE"):
        Settings.from_environment({"MODELMAKE_LIMIT_RATE": value})


def test_an_unknown_variable_is_named_with_the_nearest_one() -> None:
    """A slip in a name is not passed over; what is known, or not ours, is not mentioned."""
    environment = dict.fromkeys(VARIABLES, "") | {"MODEL": "", "MODELMAKE": "", "CI": ""}
    assert unknown_variables(environment) == []
    no_effect = "is not a variable of modelmake and has no effect."
    said = unknown_variables({**environment, "MODELMAKE_OFLINE": "1", "MODELMAKE_ZZZ": "1"})
    assert said == [
        f"MODELMAKE_OFLINE {no_effect} Did you mean MODELMAKE_OFFLINE?",
        f"MODELMAKE_ZZZ {no_effect}",
    ]


def test_every_variable_of_the_page_is_known() -> None:
    """docs/environment.md and the list in the code are the same."""
    told = re.findall(r"^\| `(MODELMAKE_\w+)` \|", page("environment.md"), re.MULTILINE)
    assert sorted(told) == sorted(VARIABLES)
