"""No secret in a URL of models.yaml is taken, or shown."""

import re
from itertools import product

import pytest

from downloader.manifest import _urls
from downloader.sources.http import HttpEntry, HttpFile
from tests.manifest.texts import GPT2, U, error, files, model

SECRETS = [
    "https://user:hunter2@e.org/a",
    "https://hunter2@e.org/a",
    "https://user:hun/ter2 hunter2@e.org/a",
    "https://us/er:hunter2 @e.org/a",
    "user:hunter2@e.org/a",
    "hunter2@e.org/a",
    "hf:o/m@v1?token=hunter2",
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
@pytest.mark.parametrize(
    "place", ["file", "file mirror", "mirror", "base", "repo", "image", "bucket", "none"]
)
def test_a_url_with_a_secret_is_refused_and_not_shown(url: str, place: str) -> None:
    """Users, passwords, fragments and signatures are refused wherever a URL may stand."""
    text = {
        "file": files(f"url: '{url}'", "path: a"),
        "file mirror": files(U, f"mirrors: ['{url}']"),
        "mirror": model(f"{GPT2}\nmirrors: ['{url}']"),
        "base": model(f"{GPT2}\nbase_url: '{url}'"),
        "repo": model(f"source: huggingface\nrepo: '{url}'"),
        "image": model(f"source: oci\nimage: '{url}'"),
        "bucket": model(f"source: object-store\nurl: '{url}'"),
        "none": model(f"url: '{url}'"),
    }[place]
    assert "hunter2" not in error(text).report()


STARTS = ["https://", "http://", "https:", "HTTPS://", "s3://", "hf:", "a:https://", "//", ""]
HOSTS = ["e.org", "127.0.0.1", "E.org", "e.org:80", "e.org:0", "e.org:99999", "-e", ".", "[::1]"]
HOSTS += ["huggingface.co/o", "github.com/o/n", "u@e.org", "", "é.org", "e_f.org", "www.hf.co/a"]
PATHS = ["", "/", "/a.bin", "/a//b+c~d/", "/tree/main/a", "/o/blob/x", "/a%20b", "/a b", "/a?x=1"]
PATHS += ["/a?token=x", "/a#b", "/${A}", "/{{a}}", "/$HOME1", "/a\\b", "/a\n", "/é", "/resolve/a"]


def test_the_quick_look_at_a_url_finds_nothing_only_if_the_slow_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most URLs are passed over at once; that changes no answer."""

    def found(url: str, sha256: str | None) -> list[tuple[object, ...]]:
        entry = HttpEntry(files=(HttpFile(url=url, sha256=sha256),), mirrors=(url,))
        return [(fault.keys, fault.what, fault.hint) for fault in _urls.url_faults(entry)]

    urls = ["".join(parts) for parts in product(STARTS, HOSTS, PATHS)]
    cases = list(product(urls, ["0" * 64, None]))
    quick = [found(*case) for case in cases]
    assert sum(not faults for faults in quick) > len(PATHS)
    monkeypatch.setattr(_urls, "ORDINARY", re.compile("(?!)"))
    assert quick == [found(*case) for case in cases]
