"""No secret in a URL of models.yaml is taken, or shown."""

import pytest

from tests.manifest.texts import GPT2, U, error, files, model

SECRETS = [
    "https://user:hunter2@e.org/a",
    "https://hunter2@e.org/a",
    "https://user:hun/ter2 hunter2@e.org/a",
    "https://us/er:hunter2 @e.org/a",
    "user:hunter2@e.org/a",
    "https:/user:hunter2@e.org/a",
    "ftp://user:hunter2@e.org/a",
    "https://user:hunter2@e.org:x/a",
    "https://e.org/a#hunter2",
    "https://e.org/a b?x=hunter2",
    *(
        f"https://e.org/a?x=1{divider}{name}=hunter2"
        for divider in "&;"
        for name in (
            *("X-Amz-Signature", "x-amz-security-token", "X-Goog-Signature", "Signature", "sig"),
            *("token", "access_token", "API_KEY", "Key-Pair-Id", "X%2DAmz-Signature", "ToKeN"),
        )
    ),
]


@pytest.mark.parametrize("url", SECRETS)
@pytest.mark.parametrize("place", ["file", "file mirror", "mirror", "base"])
def test_a_url_with_a_secret_is_refused_and_not_shown(url: str, place: str) -> None:
    """Users, passwords, fragments and signatures are refused wherever a URL may stand."""
    text = {
        "file": files(f"url: '{url}'", "path: a"),
        "file mirror": files(U, f"mirrors: ['{url}']"),
        "mirror": model(f"{GPT2}\nmirrors: ['{url}']"),
        "base": model(f"{GPT2}\nbase_url: '{url}'"),
    }[place]
    assert "hunter2" not in error(text).report()
