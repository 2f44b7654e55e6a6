"""Who asks, and where: the environment's variables, and the file that `tg login` writes."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import SettingError
from downloader.sources import together

BASE = together.BASE_URL
Login = dict[str, Any]


@pytest.fixture
def login_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path that TOGETHER_CREDENTIALS_PATH names; nothing is there yet."""
    path = tmp_path / "credentials.json"
    monkeypatch.setenv("TOGETHER_CREDENTIALS_PATH", str(path))
    return path


def write(path: Path, *logins: Login, current: str | None = "default") -> None:
    """Write the file as `tg` 3.1.1 does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": 1, "current": current, "credentials": logins}
    path.write_text(json.dumps(content), encoding="utf-8")


def login(token: str, **more: Any) -> Login:
    """Return one log-in."""
    return {"name": "default", "access_token": token, "token_type": "Bearer", **more}


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org",
        "https://api.example.org/",
        "https://api.example.org/v1",
        "https://api.example.org/v1/",
    ],
)
def test_the_base_url_of_both_sdks_is_understood(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """1.5 wants /v1 at its end and 3.x does not; here both mean the same."""
    monkeypatch.setenv("TOGETHER_BASE_URL", url)
    assert together.account_url(None) == "https://api.example.org"


def test_the_environment_goes_before_the_entry_and_both_before_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As for every other source."""
    assert together.account_url(None) == "https://api.together.ai"
    assert together.account_url("https://entry.example/v1") == "https://entry.example"
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://localhost:9")
    assert together.account_url("https://entry.example") == "http://localhost:9"
    monkeypatch.setenv("TOGETHER_BASE_URL", "")
    assert together.account_url(None) == "https://api.together.ai"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.org",
        "ftp://api.example.org",
        "api.example.org",
        "https://",
        "https:///v1",
        "https://user:password@api.example.org",
        "https://api.example.org?x=1",
        "https://evil.example#.together.ai",
        "https://evil.example\\.together.ai",
        "https://api.example.org/\r\nX-Evil: 1",
        "https://api.exa\tmple.org",
        "https://api.example.org ",
        "https://[::1",
        "https://h:99999999",
        "http://127.0.0.1.evil.example",
        "https://аpi.together.ai",  # noqa: RUF001 - a Cyrillic letter
    ],
)
def test_a_place_that_may_not_have_the_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Only https, and this machine: the variable is named, its value is not shown."""
    monkeypatch.setenv("TOGETHER_BASE_URL", url)
    with pytest.raises(SettingError, match="TOGETHER_BASE_URL") as caught:
        together.account_url(None)

    assert "evil" not in caught.value.report()
    assert "password" not in caught.value.report()


def test_the_key_goes_into_one_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """No SDK sends TOGETHER_PROJECT_ID: a key belongs to a project."""
    monkeypatch.setenv("TOGETHER_API_KEY", "tgp_v1_x")
    monkeypatch.setenv("TOGETHER_PROJECT_ID", "proj_1")
    assert together.account_headers(BASE) == {"Authorization": "Bearer tgp_v1_x"}


@pytest.mark.parametrize(
    "key", ["a\r\nX-Evil: 1", "canary\n", "canary ", "canar\u00ff", "canary\udcff", "\x1bcanary"]
)
def test_a_key_that_no_header_may_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Line ends, spaces and letters outside ASCII are refused, not repaired, and never shown."""
    monkeypatch.setenv("TOGETHER_API_KEY", key)
    with pytest.raises(SettingError, match="TOGETHER_API_KEY holds") as caught:
        together.account_headers(BASE)

    assert "canar" not in caught.value.report()
    assert "Evil" not in caught.value.report()


@pytest.mark.parametrize("key", [None, ""])
def test_a_missing_key_says_where_to_get_one(
    monkeypatch: pytest.MonkeyPatch, login_file: Path, key: str | None
) -> None:
    """Neither a variable nor a log-in: the hint names the variable and the page."""
    if key is not None:
        monkeypatch.setenv("TOGETHER_API_KEY", key)
    with pytest.raises(
        SettingError, match="needs an API key, and TOGETHER_API_KEY is not set"
    ) as caught:
        together.account_headers(BASE)

    assert "https://api.together.ai/settings/api-keys" in caught.value.hint


def test_a_log_in_stands_in_for_the_key(login_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tg login` is enough; the variable goes before it, as in the SDK."""
    write(login_file, login("t1"))
    assert together.account_headers(BASE) == {"Authorization": "Bearer t1"}
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    assert together.account_headers(BASE) == {"Authorization": "Bearer k"}


def test_the_current_log_in_of_several_counts(
    login_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tg switch` chooses one, and TOGETHER_PROJECT_ID another."""
    logins = [login("t1"), login("t2", name="proj_2", project_id="proj_2")]
    write(login_file, *logins, current="proj_2")
    assert together.account_headers(BASE) == {"Authorization": "Bearer t2"}
    write(login_file, *logins, current="default")
    assert together.account_headers(BASE) == {"Authorization": "Bearer t1"}
    monkeypatch.setenv("TOGETHER_PROJECT_ID", "proj_2")
    assert together.account_headers(BASE) == {"Authorization": "Bearer t2"}
    monkeypatch.setenv("TOGETHER_PROJECT_ID", "proj_3")
    with pytest.raises(SettingError, match="is not set"):
        together.account_headers(BASE)


def test_nobody_is_logged_in_where_nothing_is_current(login_file: Path) -> None:
    """As for `tg`: entries that `current` does not name are not used."""
    write(login_file, login("t1"), current=None)
    with pytest.raises(SettingError, match="is not set"):
        together.account_headers(BASE)


def test_a_damaged_entry_does_not_hide_the_others(login_file: Path) -> None:
    """An entry without a token, or of another type, is passed over."""
    logins: list[Any] = [{"name": "default"}, 7, None, login(""), login("t1")]
    write(login_file, *logins[:3], logins[4])
    assert together.account_headers(BASE) == {"Authorization": "Bearer t1"}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"credentials": 1}', b"[" * 100_000, b"\0" * 100],
    ids=lambda content: repr(content[:20]),
)
def test_a_damaged_file_is_none(login_file: Path, content: bytes) -> None:
    """It is the same as if nobody were logged in; no crash, nothing shown of it."""
    login_file.write_bytes(content)
    with pytest.raises(SettingError, match="is not set"):
        together.account_headers(BASE)


def test_a_log_in_is_sent_to_its_issuer_only(login_file: Path) -> None:
    """As `tg` does: a token goes to who made it, wherever TOGETHER_BASE_URL leads."""
    write(login_file, login("canary"))
    with pytest.raises(SettingError, match=r"not for https://evil\.example") as caught:
        together.account_headers("https://evil.example")
    assert "canary" not in caught.value.report()

    write(login_file, login("t1", issuer="https://staging.example/"))
    assert together.account_headers("https://staging.example") == {"Authorization": "Bearer t1"}
    with pytest.raises(SettingError, match="not for https://api"):
        together.account_headers(BASE)


def test_a_log_in_that_expired_is_told(login_file: Path) -> None:
    """The time is known beforehand, so no request is wasted on it."""
    write(login_file, login("t1", expires_at=int(time.time()) + 100))
    assert together.account_headers(BASE)
    write(login_file, login("t1", expires_at=int(time.time()) - 1))
    with pytest.raises(SettingError, match="has expired"):
        together.account_headers(BASE)


@pytest.mark.parametrize("variable", ["HOME", "XDG_CONFIG_HOME"])
def test_the_usual_places_of_the_file_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """~/.config, or what stands for it in XDG_CONFIG_HOME."""
    monkeypatch.setenv(variable, str(tmp_path))
    folder = tmp_path / ".config" if variable == "HOME" else tmp_path
    write(folder / "together" / "credentials.json", login("t1"))
    assert together.account_headers(BASE) == {"Authorization": "Bearer t1"}


def test_the_repr_of_a_log_in_holds_no_token() -> None:
    """Whoever prints what was read from the file sees whose it is, and not the key."""
    shown = repr(together._Credential(access_token="canary-7f3a", name="mine"))
    assert "mine" in shown
    assert "canary" not in shown
