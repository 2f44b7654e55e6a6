"""What is said of a wrong models.yaml, and where."""

import pytest

from tests.manifest.texts import GPT2, HUGGING_FACE, SHA, TOGETHER, U, error, files, model

AT_THE_TOP = [
    ("version: 1.5\nmodels: {}", "models.yaml:1: version: expected 1"),
    ("version: 2\nnew: x", "models.yaml:1: version: this version of modelmake reads format 1"),
    ('version: "1"\nmodels: {}', "models.yaml:1: version: expected 1"),
    ("version: true\nmodels: {}", "models.yaml:1: version: expected 1"),
    ("version: 1", "models.yaml:1: `models` is missing"),
    ("version: 1\nmodels:", "models.yaml:2: models: expected the models by name"),
    ("version: 1\nmodel: {}", "models.yaml:2: model: unknown key"),
    ("- a", "models.yaml:1: expected keys and values"),
    ("version: 1\nmodels: {a: }", "models.yaml:2: models.a: expected keys and values"),
    ("version: 1\ndefaults: [a]\nmodels: {}", "models.yaml:2: defaults: expected keys"),
    ("version: 1\ndefaults: {size: 124M}\nmodels: {}", "models.yaml:2: defaults.size: unknown key"),
    ("version: 1\ndefaults: {to: 5}\nmodels: {}", "models.yaml:2: defaults.to: expected text"),
    ("version: 1\ndefaults: {source: x}\nmodels: {}", "models.yaml:2: defaults.source: unknown"),
    (model(GPT2, before="defaults: {to: /x}\n"), "models.yaml:2: defaults.to: '/x' is not a safe"),
    (model(GPT2, name="-a"), "models.yaml:3: models.-a: not a valid model name"),
    (model(GPT2, name="a/b"), "models.yaml:3: models.'a/b': not a valid model name"),
    (model(GPT2, name="\u0430"), "models.yaml:3: models.'\\u0430': not a valid model name"),
    (model(GPT2, name="con.x"), "models.yaml:3: models.con.x: 'con.x' is not a safe path"),
    (model(GPT2, name="a."), "models.yaml:3: models.a.: 'a.' is not a safe path"),
    (model(f"{GPT2}\n") + "  M: {}\n", "models.M: the name differs from `m` only in case"),
    ("version: 1\nmodels: {a: {source: http}", "models.yaml:2: not valid YAML"),
]

IN_A_MODEL = [
    ("size: 124M", "3: models.m: `source` is missing"),
    (
        "source: htp",
        "4: models.m.source: unknown source; known are http, huggingface, object-store, oci",
    ),
    ("source: 5", "4: models.m.source: expected one of http, huggingface"),
    ("source: http", "3: models.m: `files` is missing"),
    ("source: http\nfiles: a", "5: models.m.files: expected a list, got text"),
    ("source: http\nfiles: []", "5: models.m.files: it is empty"),
    ("source: http\nfiles: [a]", "5: models.m.files[0]: not a complete URL"),
    ("source: http\nfiles: [5]", "5: models.m.files[0]: expected text or keys and values, got a"),
    ("source: openai-gpt2\nsize: 12M", "5: models.m.size: expected one of: 124M, 355M"),
    ("source: openai-gpt2\nsize: 125", "5: models.m.size: expected one of: 124M, 355M"),
    ("source: openai-gpt2\nsize: 1.5", "5: models.m.size: expected one of: 124M, 355M"),
    (f"{GPT2}\nsise: 1", "6: models.m.sise: unknown key"),
    (f"{GPT2}\nto: ../x", "6: models.m.to: '../x' is not a safe path"),
    (f"{GPT2}\nto: x/{{nam}}", "6: models.m.to: '{nam}' is not a placeholder"),
    (f"{GPT2}\nto: x/name}}", "6: models.m.to: '}' is not a placeholder"),
    (f"{GPT2}\nto:", "6: models.m.to: expected text, got nothing"),
    (f"{GPT2}\nlink: soft", "6: models.m.link: expected one of: auto, reflink, hardlink, copy"),
    (f"{GPT2}\noptional: yes", "6: models.m.optional: expected true or false, got text"),
    (f"{GPT2}\ninclude: '*.json'", "6: models.m.include: expected a list, got text"),
    (f"{GPT2}\ninclude: [a,\n 1]", "7: models.m.include[1]: expected text, got a whole number"),
    (f"{GPT2}\nmirrors: [ftp://e.org/]", "6: models.m.mirrors[0]: only https URLs are supported"),
    (f"{GPT2}\nmirrors: ['https://e.org/?a=b']", "6: models.m.mirrors[0]: https://e.org/: a base"),
    (
        "source: openai-gpt2\nsize: 355M\nbase_url: http://e.org",
        "6: models.m.base_url: http://e.org",
    ),
    (
        f"{HUGGING_FACE}\nbase_url: http://10.0.0.1/",
        "6: models.m.base_url: http://10.0.0.1/: plain",
    ),
    (f"{TOGETHER}\nmirrors: [http://e.org/]", "6: models.m.mirrors[0]: http://e.org/: plain http"),
    (f"{HUGGING_FACE}\nrevision: 1234", "6: models.m.revision: expected text, got a whole number"),
    *(
        (f"source: huggingface\nrepo: {repo}", "5: models.m.repo: expected owner/name")
        for repo in ("../x", "a/..", "a/b/c", "/a", "a b", "a--b/c", "a/\u00e9", "-a/b")
    ),
    *(
        (f"source: together\njob: {job}", "5: models.m.job: expected ft-0123abcd-0123")
        for job in ("x", "ft-XYZ", "'ft-0:'", "ft-0:a", "ft-../x")
    ),
    ("source: together\njob: ft-0:1\ncheckpoint: 2", "6: models.m.checkpoint: `job` has a step"),
    (f"{TOGETHER}\ncheckpoint: fin", "6: models.m.checkpoint: expected one of: final, all, a step"),
    (
        f"{TOGETHER}\ncheckpoint: -1",
        "6: models.m.checkpoint: expected a whole number of at least 0",
    ),
    (
        f"{TOGETHER}\ncheckpoint: 1{'0' * 20}",
        "6: models.m.checkpoint: expected a whole number of at",
    ),
    (f"{TOGETHER}\ncheckpoint: 1.5", "6: models.m.checkpoint: expected a whole number or text or"),
    (f"{TOGETHER}\ncheckpoint: []", "6: models.m.checkpoint: it is empty"),
    (f"{TOGETHER}\ncheckpoint: {{}}", "6: models.m.checkpoint: expected either `last`, or"),
    (f"{TOGETHER}\ncheckpoint: {{last: 1, to: 2}}", "6: models.m.checkpoint: expected either"),
    (f"{TOGETHER}\ncheckpoint: {{from: 2, to: 1}}", "6: models.m.checkpoint: `from` 2 is greater"),
    (f"{TOGETHER}\ncheckpoint: {{lst: 1}}", "6: models.m.checkpoint.lst: unknown key"),
    (
        f"{TOGETHER}\ncheckpoint: {{last: 0}}",
        "6: models.m.checkpoint.last: expected a whole number",
    ),
]

IN_A_FILE = [
    (("path: x",), "6: models.m.files[0]: `url` is missing"),
    ((U, "sha: x"), "7: models.m.files[0].sha: unknown key"),
    ((U, f"sha256: {'1' * 64}"), "7: models.m.files[0].sha256: expected text, got a whole number"),
    ((U, "sha256: 1.5"), "7: models.m.files[0].sha256: expected text, got a number"),
    ((U, f"sha256: {SHA[1:]}"), "7: models.m.files[0].sha256: expected 64 hex digits"),
    ((U, f"sha256: md5:{SHA}"), "7: models.m.files[0].sha256: expected 64 hex digits"),
    ((U, "path: a/../b"), "7: models.m.files[0].path: 'a/../b' is not a safe path"),
    ((U, "path: ''"), "7: models.m.files[0].path: it is empty"),
    ((U, "mirrors: [https://e.org/a,", "http://e.org/b]"), "8: models.m.files[0].mirrors[1]: http"),
    (("url: https://e.org/",), "6: models.m.files[0].url: the URL's last part, ''"),
    (("url: https://e.org",), "6: models.m.files[0].url: the URL's last part, ''"),
    (("url: https://e.org/a%2fb",), "6: models.m.files[0].url: the URL's last part, 'a/b'"),
    (("url: https://e.org/%2e%2e%5cb",), "6: models.m.files[0].url: the URL's last part cannot"),
    (("url: https://e.org/%252e%252e",), "6: models.m.files[0].url: the URL's last part cannot"),
    (
        ("url: https://e.org/%ff",),
        "6: models.m.files[0].url: the last part of the URL is not UTF-8",
    ),
    (("url: https://e.org/a%0ab",), "6: models.m.files[0].url: the URL's last part cannot be"),
    (
        ("url: http://e.org/a",),
        "6: models.m.files[0].url: http://e.org/a: plain http needs",
    ),
    (
        ("url: http://127.0.0.1.e.org/a",),
        "6: models.m.files[0].url: http://127.0.0.1.e.org/a: plain",
    ),
    (("url: file:///etc/passwd",), "6: models.m.files[0].url: only https URLs are supported"),
    (("url: ftp://e.org/a",), "6: models.m.files[0].url: only https URLs are supported"),
    (("url: e.org/a",), "6: models.m.files[0].url: not a complete URL"),
    (("url: https:///a",), "6: models.m.files[0].url: not a complete URL"),
    (("url: https://e.org:99999/a",), "6: models.m.files[0].url: not a valid URL"),
    (("url: https://[::1/a",), "6: models.m.files[0].url: not a valid URL"),
    (
        ("url: https://e.org/a#x",),
        "6: models.m.files[0].url: https://e.org/a: a URL must not contain a frag",
    ),
    (
        ("url: https://e.org/a b",),
        "6: models.m.files[0].url: https://e.org/a b: a URL must not contain",
    ),
    (("url: https://good.org\\.e.org/a",), "6: models.m.files[0].url: https://good.org"),
    (
        ("url: https://e.org/a\u202eb",),
        "6: models.m.files[0].url: https://e.org/a\\u202eb: a URL must",
    ),
]


@pytest.mark.parametrize(("text", "message"), AT_THE_TOP)
def test_a_fault_at_the_top_names_its_line(text: str, message: str) -> None:
    """Version, models, defaults and names are checked, each at its own line."""
    assert message in str(error(text))


@pytest.mark.parametrize(("body", "message"), IN_A_MODEL)
def test_a_fault_in_a_model_names_line_and_key(body: str, message: str) -> None:
    """Types, words, patterns and base URLs are checked, in plain words."""
    found = str(error(model(body)))
    assert found.startswith(f"models.yaml:{message}")
    text = found.replace("object-store", "")
    assert not any(word in text for word in ("str", "int`", "regex", "null", "array", "object"))


@pytest.mark.parametrize(("lines", "message"), IN_A_FILE)
def test_a_fault_in_a_file_names_line_and_index(lines: tuple[str, ...], message: str) -> None:
    """URLs, paths and digests of http files are checked, the file named by its index."""
    found = str(error(files(*lines)))
    assert found.startswith(f"models.yaml:{message}")
    assert found.isascii()
    assert found.isprintable()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (model(f"{GPT2}\nincldue: []"), "Did you mean `include`?"),
        (
            model(f"{GPT2}\nzzzzzz: 1"),
            "Known keys: base_url, exclude, include, link, mirror, mirrors",
        ),
        (model(f"{GPT2}\napi_key: abc"), "set them in the environment"),
        (files(U, "sha265: x"), "Did you mean `sha256`?"),
        (files(U, f"sha256: {'1' * 64}"), "in quotes"),
        (model(f"{TOGETHER}\ncheckpoint: {{lst: 1}}"), "Did you mean `last`?"),
        (model("source: hugginface"), "Did you mean `huggingface`?"),
        ("version: 1\nmodel: {}", "Did you mean `models`?"),
        ("version: 2\nmodels: {}", "Update modelmake"),
        (files("url: http://e.org/a"), "Use https, or add the file's `sha256`"),
        (files("url: https://e.org/a%7Cb"), "a `path` of its own"),
    ],
)
def test_a_fault_comes_with_what_to_write_instead(text: str, hint: str) -> None:
    """The hint names the nearest key, or the way out."""
    assert hint in error(text).hint
