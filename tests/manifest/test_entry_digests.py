"""The digests of entries, recorded at 22e501d: a lock that was current then is current for ever."""

import json
from typing import Any

import pytest

from downloader.project.project import compiled

COMMON: dict[str, Any] = {
    "base_url": "https://e.org/b",
    "to": "a/{name}",
    "optional": True,
    "mirrors": ["https://m.org/x"],
    "include": ["*.bin"],
    "exclude": ["x.bin"],
    "link": "copy",
}
JOB = {"source": "together", "job": "ft-0123abcd-0123"}
WHOLE_FILE = {
    "url": "https://e.org/f.bin",
    "sha256": "AB" * 32,
    "path": "p/q.bin",
    "mirrors": ["https://n.org/f"],
}
RECORDED: list[tuple[dict[str, Any], str]] = [
    (
        {"source": "openai-gpt2", "size": "124M"},
        "0645a3d1df3ae96c5f63a9c49d005d3b80aa232d3a726f1998e8a777cd09f936",
    ),
    (
        {
            **COMMON,
            "source": "openai-gpt2",
            "size": "345M",
            "include": ["*.json"],
            "exclude": ["vocab.bpe"],
        },
        "5b6eacf2da9ee725e88b9d9a9b6a623d49bbdd8252ac2eb2dd0998b7f4dfbbf5",
    ),
    (
        {"source": "http", "files": [{"url": "https://e.org/f"}]},
        "c50b6d9e950120bd0d2c514ccf48bc2d634ee4762f4e40df533dcc8c8b8a752b",
    ),
    (
        {**COMMON, "source": "http", "files": [WHOLE_FILE]},
        "adb06bd840775879bd3ba566d8a8716001ae03edf04f333cbd4b326dabe5b38b",
    ),
    (
        {**JOB, "job": "ft-0123abcd-0123:100"},
        "2a9ddbbf3f97b7fb5dd1277980df8d972a6af4961680dc0eb9d540b016ccf89b",
    ),
    (
        {
            **COMMON,
            **JOB,
            "checkpoint": {"from": 100, "to": 500},
            "type": "adapter",
            "extract": True,
            "keep_archive": False,
            "wait": True,
        },
        "4b412f7719832c2cc7eba331f388195a4d4f66e851e8f337e94a68ec07599093",
    ),
    (
        {**JOB, "checkpoint": {"last": 3}, "type": "merged"},
        "6de2525175413084f85d91b12bb60e170ca45e8c4cac60ef971bfede51e1815b",
    ),
    (
        {**JOB, "checkpoint": [20, 10]},
        "13b4846f6f602aa5f894e257240a1a1f918e09d6c836c65d7b8b1a15d3ebbf0a",
    ),
    (
        {**JOB, "checkpoint": 10, "archive": "bot.tar.zst"},
        "5a4949381704c92a91cf38cd1fceeb1a6ec4530717cba7d240fef0a1ea3df497",
    ),
    (
        {**JOB, "checkpoint": "all"},
        "66cb38f1c83525dfde9806367d4040d2a956a1e274800a155941fc3a81aa604d",
    ),
    (
        {"source": "huggingface", "repo": "gpt2"},
        "0ca0881bad66b8caa8605b28c54f92d5af9f3915e1ac43f8bea6b3bf417d46fe",
    ),
    (
        {**COMMON, "source": "huggingface", "repo": "owner/name", "revision": "v1"},
        "07626af0b6f971b7fcc247374ac7cbfba1bfcae38e379d964537c80de06b18cc",
    ),
    (
        {"source": "oci", "image": "ghcr.io/team/model:v1"},
        "c012da62dcf8804683e8764d2ec7a2e4f56326c81692d894bcab31a0a90c271b",
    ),
    (
        {**COMMON, "source": "oci", "image": "ollama:llama3.2:1b"},
        "e528e0700907d48c83f499c8f7e0af9f034e2c12168c02fbdbda3e4dd19382cd",
    ),
]


@pytest.mark.parametrize(("entry", "digest"), RECORDED)
def test_the_digest_of_an_entry_is_what_it_was(entry: dict[str, Any], digest: str) -> None:
    """With the required keys alone, and with every key of its source."""
    text = json.dumps({"version": 1, "models": {"m": entry}}).encode()
    (model,) = compiled(text, "models.yaml")
    assert model.digest == f"sha256:{digest}"
