"""What people type into models.yaml: taken if it has one meaning, else refused with the fix."""

import re
from typing import Any

import pytest
from jsonschema import Draft7Validator

from downloader.errors import ManifestError
from downloader.manifest import _strict_yaml, schema
from downloader.manifest.manifest import load
from downloader.project.project import compiled
from tests.manifest.texts import SHA, error

GPT2 = "source: openai-gpt2\nsize: 124M"
ONE = "source: http\nfiles:\n  - url: https://example.org/v/a.bin"
PINNED = f"{ONE}\n    sha256: {SHA}"


def model(body: str) -> str:
    """Return a manifest as people begin one; the model's first key stands on line 3."""
    return "models:\n  a:\n" + "".join(f"    {line}\n" for line in body.split("\n"))


TAKEN = {
    "no version": (model(GPT2), GPT2),
    "version: 1": (f"version: 1\n{model(GPT2)}", GPT2),
    "optional: True": (model(f"{GPT2}\noptional: True"), f"{GPT2}\noptional: true"),
    "optional: FALSE": (model(f"{GPT2}\noptional: FALSE"), GPT2),
    "url on the model": (model("source: http\nurl: https://example.org/v/a.bin"), ONE),
    "url and sha256 on the model": (
        model(f"source: http\nurl: https://example.org/v/a.bin\nsha256: {SHA}"),
        PINNED,
    ),
    "url and path on the model": (
        model("source: http\nurl: https://example.org/v/a.bin\npath: b.bin"),
        f"{ONE}\n    path: b.bin",
    ),
    "plain URLs": (
        model("source: http\nfiles: [https://example.org/v/a.bin, https://example.org/b]"),
        f"{ONE}\n  - url: https://example.org/b",
    ),
    "a plain URL and one with keys": (
        model("source: http\nfiles:\n  - https://example.org/b\n  - url: https://example.org/c"),
        "source: http\nfiles:\n  - url: https://example.org/b\n  - url: https://example.org/c",
    ),
    "sha256 with its prefix": (model(f"{ONE}\n    sha256: sha256:{SHA}"), PINNED),
    "sha256 in upper case": (model(f"{ONE}\n    sha256: {SHA.upper()}"), PINNED),
    "both": (model(f"{ONE}\n    sha256: SHA256:{SHA.upper()}"), PINNED),
    "size: 124": (model("source: openai-gpt2\nsize: 124"), GPT2),
    "size: 124m": (model("source: openai-gpt2\nsize: 124m"), GPT2),
    'size: "124"': (model('source: openai-gpt2\nsize: "124"'), GPT2),
    "size: 345m": (model("source: openai-gpt2\nsize: 345m"), "source: openai-gpt2\nsize: 345M"),
    "a file of the Hub": (
        model("source: http\nurl: https://huggingface.co/o/m/resolve/main/a.bin"),
        "source: http\nfiles:\n  - url: https://huggingface.co/o/m/resolve/main/a.bin",
    ),
    "a release of GitHub": (
        model("source: http\nurl: https://github.com/o/m/releases/download/v1/a.bin"),
        "source: http\nfiles:\n  - url: https://github.com/o/m/releases/download/v1/a.bin",
    ),
    "a file of GitHub": (
        model("source: http\nurl: https://github.com/o/m/raw/main/a.bin"),
        "source: http\nfiles:\n  - url: https://github.com/o/m/raw/main/a.bin",
    ),
    "a list may mix": (
        model("source: together\njob: ft-01\ncheckpoint: [final, 10, 20]"),
        "source: together\njob: ft-01\ncheckpoint: [final, 10, 20]",
    ),
}
"""What is written, and the model in the form that every version knows."""

KNOWN = "Known keys: base_url, exclude, files, include, link, mirrors, optional, path, sha256,"
SIZES = "124M, 355M, 774M, 1558M, 117M, 345M, 762M, 1542M"
SOURCES = "http, huggingface, object-store, oci, openai-gpt2, together"
PAGE = "that is the page, not the file"
NO_VARIABLES = "variables are not expanded here"
NOT_PLAIN = "plain http needs a `sha256` for the file"
TARGET, FIRST = "'models/a/a.bin'", "models.a.files[0]"
ADDRESSES = "expected s3://bucket/prefix/, gs://bucket/prefix/ or az://account/container/"
NO_SPACE = "a URL must not contain a space, backslash or control character"
NO_TOKEN = "a URL must not contain a signature or token"
SECRETS = "Secrets come from the environment, or for plain HTTP from netrc."
BACKSLASH = "it holds a backslash, or a character that looks like a slash"
TILDE = "a part of it begins with a space, `-` or `~`"
FLOW = "source: openai-gpt2, size: 124M"
DASH = "Begin each file with `- `, such as `- https://example.org/a.bin`."
ELSEWHERE = (
    "Models lie below the folder of models.yaml. "
    "To keep them on another disk, make `models` a symlink to a folder there."
)


def http(url: str) -> str:
    return model(f"source: http\nfiles:\n  - url: {url}")


REFUSED: dict[str, tuple[str, ...]] = {
    "optional: yes": (
        model(f"{GPT2}\noptional: yes"),
        "5: models.a.optional: expected true or false, got text",
        "Write `true`.",
    ),
    "optional: no": (
        model(f"{GPT2}\noptional: no"),
        "5: models.a.optional: expected true or false, got text",
        "Write `false`.",
    ),
    "urls": (
        model("source: http\nurls: [https://example.org/a.bin]"),
        "4: models.a.urls: unknown key",
        "Did you mean `files`?",
    ),
    "url below files without a dash": (
        model("source: http\nfiles:\n  url: https://example.org/a.bin"),
        "4: models.a.files: expected a list, got keys and values",
        DASH,
    ),
    "a name for each URL": (
        model("source: http\nfiles:\n  a.bin: https://example.org/a.bin"),
        "4: models.a.files: expected a list, got keys and values",
        DASH,
    ),
    "files: URL": (
        model("source: http\nfiles: https://example.org/a.bin"),
        "4: models.a.files: expected a list, got text",
        DASH,
    ),
    "url and files": (
        model(f"{ONE}\nurl: https://example.org/b.bin"),
        "6: models.a.url: use `url` or `files`, not both",
        "Put this URL into `files`.",
    ),
    "sha256 beside files": (
        model(f"{ONE}\nsha256: {SHA}"),
        "6: models.a.sha256: which file's `sha256` is meant?",
        "Put it beside the `url` of its file: `- {url: …, sha256: …}`.",
    ),
    "no files": (
        model("source: http"),
        "2: models.a: `files` is missing",
        "Write `files:` and below it a URL a line, or `url:` for a single file.",
    ),
    "size: 125": (
        model("source: openai-gpt2\nsize: 125"),
        f"4: models.a.size: expected one of: {SIZES}",
    ),
    "size: 124MB": (
        model("source: openai-gpt2\nsize: 124MB"),
        f"4: models.a.size: expected one of: {SIZES}",
        "Did you mean `124M`?",
    ),
    "another digest": (
        model(f"{ONE}\n    sha256: md5:{SHA[:32]}"),
        "6: models.a.files[0].sha256: expected 64 hex digits",
    ),
    'version: "1"': (
        f'version: "1"\n{model(GPT2)}',
        "1: version: expected 1",
        "Write `version: 1`, without quotes.",
    ),
    "version: 1.0": (
        f"version: 1.0\n{model(GPT2)}",
        "1: version: expected 1",
        "Write `version: 1`.",
    ),
    "source: hf": (
        model("source: hf\nrepo: o/m"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `huggingface`?",
    ),
    "source: s3": (
        model("source: s3\nurl: s3://b/p/"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `object-store`, with `url: s3://bucket/prefix/`?",
    ),
    "source: GCS": (
        model("source: GCS\nurl: gs://b/p/"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `object-store`, with `url: gs://bucket/prefix/`?",
    ),
    "source: azure": (
        model("source: azure\nurl: az://a/c/"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `object-store`, with `url: az://account/container/prefix/`?",
    ),
    "source: docker": (
        model("source: docker\nimage: ai/m"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `oci`, with `image: registry/name:tag`?",
    ),
    "source: ollama": (
        model("source: ollama\nimage: m"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `oci`, with `image: ollama:name:tag`?",
    ),
    "mirror: true": (
        model(f"{GPT2}\nmirror: true"),
        "5: models.a.mirror: expected one of: first, only",
        "Places go into `mirrors`, as a list.",
    ),
    "a place as mirror": (
        model(f"{GPT2}\nmirror: s3://b/p"),
        "5: models.a.mirror: expected one of: first, only",
        "Places go into `mirrors`, as a list.",
    ),
    "endpoint of a bucket": (
        model("source: object-store\nurl: s3://bbb/p/\nendpoint_url: https://e.org"),
        "5: models.a.endpoint_url: unknown key",
        "Did you mean `base_url`?",
    ),
    "tag of an image": (
        model("source: oci\nimage: ai/m\ntag: v1"),
        "5: models.a.tag: unknown key",
        "Did you mean `image`?",
    ),
    "source: gpt2": (
        model("source: gpt2"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `openai-gpt2`?",
    ),
    "no space after source:": (
        model("source:openai-gpt2\nsize: 124M"),
        "3: a space is missing after `source:`",
    ),
    "no space after any key": (
        model("source:openai-gpt2\nsize:124M"),
        "2: models.a: a space is missing after `source:`",
    ),
    "no space after version:": (
        f"version:1\n{model(GPT2)}",
        "1: a space is missing after `version:`",
    ),
    "no space after url:": (
        model("source: http\nfiles:\n  - url:https://example.org/a.bin"),
        "5: models.a.files[0]: a space is missing after `url:`",
    ),
    "keys that are not indented": (
        "version: 1\nmodels:\n  a:\n  source: openai-gpt2\n  size: 124M\n",
        "3: models.a: expected keys and values, such as `source: http`",
        "Indent the lines below `a:` by two more spaces.",
    ),
    "a model at column 0": (
        "version: 1\nmodels:\na:\n  source: openai-gpt2\n  size: 124M\n",
        "3: a: unknown key",
        "Is it a model? Indent it below `models:`.",
    ),
    "a model at column 0 beside another": (
        f"{model(GPT2)}b:\n  source: openai-gpt2\n  size: 124M\n",
        "5: b: unknown key",
        "Is it a model? Indent it below `models:`.",
    ),
    "a page of the Hub": (
        http("https://huggingface.co/org/model"),
        f"5: models.a.files[0].url: https://huggingface.co/org/model: {PAGE}",
        "Write the model as {source: huggingface, repo: org/model}",
    ),
    "a file's page of the Hub": (
        http("https://huggingface.co/org/model/blob/main/d/f.bin"),
        f"5: models.a.files[0].url: https://huggingface.co/org/model/blob/main/d/f.bin: {PAGE}",
        (
            "Write the model as {source: huggingface, repo: org/model, include: [d/f.bin]}, "
            "or the URL of this file: https://huggingface.co/org/model/resolve/main/d/f.bin"
        ),
    ),
    "a folder's page of the Hub": (
        http("https://huggingface.co/datasets/o/d/tree/v1"),
        f"5: models.a.files[0].url: https://huggingface.co/datasets/o/d/tree/v1: {PAGE}",
        "Write the model as {source: huggingface, repo: o/d, repo_type: dataset, revision: v1}",
    ),
    "a file's page of GitHub": (
        http("https://github.com/o/r/blob/main/f.bin?raw=true"),
        f"5: models.a.files[0].url: https://github.com/o/r/blob/main/f.bin: {PAGE}",
        "Write https://raw.githubusercontent.com/o/r/main/f.bin",
    ),
    "a repository of GitHub": (
        http("https://github.com/o/r"),
        f"5: models.a.files[0].url: https://github.com/o/r: {PAGE}",
        "Write https://raw.githubusercontent.com/o/r/REVISION/FILE",
    ),
    "a file's page of GitLab": (
        http("https://gitlab.com/g/s/r/-/blob/main/f.bin"),
        f"5: models.a.files[0].url: https://gitlab.com/g/s/r/-/blob/main/f.bin: {PAGE}",
        "Write https://gitlab.com/g/s/r/-/raw/main/f.bin",
    ),
    "a page as a plain URL": (
        model("source: http\nfiles: [https://hf.co/org/model]"),
        f"4: models.a.files[0]: https://hf.co/org/model: {PAGE}",
        "Write the model as {source: huggingface, repo: org/model}",
    ),
    "a page as url of the model": (
        model("source: http\nurl: https://hf.co/org/model"),
        f"4: models.a.url: https://hf.co/org/model: {PAGE}",
        "Write the model as {source: huggingface, repo: org/model}",
    ),
    "a page as a mirror": (
        model(f"{ONE}\n    mirrors: [https://hf.co/org/model]"),
        f"6: models.a.files[0].mirrors[0]: https://hf.co/org/model: {PAGE}",
        "Write https://huggingface.co/org/model/resolve/REVISION/FILE",
    ),
    "${VERSION} in a URL": (
        http("https://example.org/${VERSION}/a.bin"),
        f"5: models.a.files[0].url: https://example.org/${{VERSION}}/a.bin: {NO_VARIABLES}",
        "Write the value itself.",
    ),
    "$VERSION in a URL": (
        http("https://example.org/$VERSION/a.bin"),
        f"5: models.a.files[0].url: https://example.org/$VERSION/a.bin: {NO_VARIABLES}",
        "Write the value itself.",
    ),
    "{{ version }} in a URL": (
        http("https://example.org/{{version}}/a.bin"),
        f"5: models.a.files[0].url: https://example.org/{{{{version}}}}/a.bin: {NO_VARIABLES}",
        "Write the value itself.",
    ),
    "${MIRROR} as a mirror": (
        model(f"{GPT2}\nmirrors: ['https://${{MIRROR}}/gpt-2']"),
        f"5: models.a.mirrors[0]: https://${{mirror}}/gpt-2: {NO_VARIABLES}",
        "Write the value itself.",
    ),
    "file://": (
        http("file:///data/x"),
        "5: models.a.files[0].url: only https URLs are supported",
        "`doit adopt --from /data` takes local files.",
    ),
    "a path": (
        http("/data/models/x.bin"),
        "5: models.a.files[0].url: only https URLs are supported",
        "`doit adopt --from /data/models` takes local files.",
    ),
    "a path as a mirror": (
        model(f"{GPT2}\nmirrors: [/srv/models]"),
        "5: models.a.mirrors[0]: only https URLs are supported",
        "Write file:///srv/models for a folder that `doit publish` filled.",
    ),
    "half a bucket as a mirror": (
        model(f"{GPT2}\nmirrors: ['s3://']"),
        "5: models.a.mirrors[0]: not a published copy: a name must follow `s3://`",
        "It is written like s3://bucket/prefix/.",
    ),
    "another name of a bucket as a mirror": (
        model(f"{GPT2}\nmirrors: ['gcs://b/p']"),
        "5: models.a.mirrors[0]: not a published copy: `gcs:` is written `gs://` here",
        "It is written like s3://bucket/prefix/.",
    ),
    "half a repository as a mirror": (
        model(f"{GPT2}\nmirrors: ['oci://e.org']"),
        (
            "5: models.a.mirrors[0]: not a published copy: "
            "it names no repository, in small letters and without a tag"
        ),
        "It is written like oci://registry/repository.",
    ),
    "s3://": (
        http("s3://bucket/x.bin"),
        "5: models.a.files[0].url: s3:// is not supported here",
        "Write the model as {source: object-store, url: s3://bucket/x.bin}",
    ),
    "gcs://": (
        http("gcs://bucket/x.bin"),
        "5: models.a.files[0].url: gcs:// is not supported here",
        "Write the model as {source: object-store, url: gs://bucket/x.bin}",
    ),
    "hdfs://": (
        http("hdfs://host/x.bin"),
        "5: models.a.files[0].url: hdfs:// is not supported here",
        "Use an https URL of the same file.",
    ),
    "wasbs://": (
        http("wasbs://c@acct.blob.core.windows.net/x.bin"),
        "5: models.a.files[0].url: wasbs:// is not supported here",
        "Write the model as {source: object-store, url: az://acct/c/x.bin}",
    ),
    "docker://": (
        http("docker://example.org/m:v1"),
        "5: models.a.files[0].url: docker:// is not supported here",
        "Write the model as {source: oci, image: example.org/m:v1}",
    ),
    "oci: without slashes": (
        http("oci:example.org/m:v1"),
        "5: models.a.files[0].url: oci:// is not supported here",
        "Write the model as {source: oci, image: example.org/m:v1}",
    ),
    "hf:/": (
        http("hf:/org/model"),
        "5: models.a.files[0].url: not a complete URL",
        "Write the model as {source: huggingface, repo: org/model}",
    ),
    "one slash": (
        http("https:/example.org/x.bin"),
        "5: models.a.files[0].url: not a complete URL",
        "Did you mean `https://example.org/x.bin`?",
    ),
    "one slash of a mirror": (
        model(f"{GPT2}\nmirrors: ['https:/example.org']"),
        "5: models.a.mirrors[0]: not a complete URL",
        "Did you mean `https://example.org`?",
    ),
    "docker:// as a mirror": (
        model(f"{GPT2}\nmirrors: ['docker://example.org/m']"),
        "5: models.a.mirrors[0]: not a published copy: `docker:` is written `oci://` here",
        "It is written like s3://bucket/prefix/.",
    ),
    "a misspelt scheme": (
        http("htps://example.org/x.bin"),
        "5: models.a.files[0].url: only https URLs are supported",
        "Did you mean `https://example.org/x.bin`?",
    ),
    "a password of another tool's URL": (
        http("docker://me:secret@example.org/m:v1"),
        "5: models.a.files[0].url: docker:// is not supported here",
        "Use an https URL of the same file.",
    ),
    "a password of an image as a URL": (
        http("oci://me:secret@example.org/m:v1"),
        "5: models.a.files[0].url: oci:// is not supported here",
        "Use an https URL of the same file.",
    ),
    "a password of an image": (
        model("source: oci\nimage: oci://me:secret@example.org/m:v1"),
        "4: models.a.image: expected registry/name:tag or registry/name@sha256:…",
    ),
    "another name of a bucket": (
        model("source: object-store\nurl: gcs://b/p/"),
        f"4: models.a.url: {ADDRESSES}",
        "Write `gs://b/p/`.",
    ),
    "a bucket as its address": (
        model("source: object-store\nurl: https://my.bucket.s3.amazonaws.com/p/"),
        f"4: models.a.url: {ADDRESSES}",
        "Write `s3://my.bucket/p/`.",
    ),
    "a bucket of a region as its address": (
        model(
            "source: object-store\nurl: https://my-bucket.s3.dualstack.eu-west-1.amazonaws.com/p/"
        ),
        f"4: models.a.url: {ADDRESSES}",
        "Write `s3://my-bucket/p/`.",
    ),
    "a bucket in a path": (
        model("source: object-store\nurl: https://s3-eu-west-1.amazonaws.com/my-bucket/p/"),
        f"4: models.a.url: {ADDRESSES}",
        "Write `s3://my-bucket/p/`.",
    ),
    "a bucket of Google as its address": (
        model("source: object-store\nurl: https://storage.googleapis.com/bbb/p/"),
        f"4: models.a.url: {ADDRESSES}",
        "Write `gs://bbb/p/`.",
    ),
    "a container as its address": (
        model("source: object-store\nurl: https://acct.blob.core.windows.net/ccc/p/"),
        f"4: models.a.url: {ADDRESSES}",
        "Write `az://acct/ccc/p/`.",
    ),
    "a signed address of an object": (
        model("source: object-store\nurl: https://bbb.s3.amazonaws.com/k?X-Amz-Signature=hunter2"),
        f"4: models.a.url: {ADDRESSES}",
    ),
    "an image of Docker Hub": (
        model("source: oci\nimage: docker://ai/m:v1"),
        "4: models.a.image: expected registry/name:tag or registry/name@sha256:…",
        "Write `docker.io/ai/m:v1`.",
    ),
    "an image as a URL": (
        model("source: oci\nimage: https://ghcr.io/o/m:v1"),
        "4: models.a.image: expected registry/name:tag or registry/name@sha256:…",
        "Write `ghcr.io/o/m:v1`.",
    ),
    "a bucket without a source": (
        model("url: gcs://b/p/"),
        "2: models.a: `source` is missing",
        "Write the model as {source: object-store, url: gs://b/p/}",
    ),
    "a URL without a source": (
        model("url: https://example.org/a.bin"),
        "2: models.a: `source` is missing",
        "Write the model as {source: http, url: https://example.org/a.bin}",
    ),
    "a repo without a source": (
        model("repo: BAAI/bge"),
        "2: models.a: `source` is missing",
        "Write the model as {source: huggingface, repo: BAAI/bge}",
    ),
    "an image without a source": (
        model("image: ghcr.io/o/m:v1"),
        "2: models.a: `source` is missing",
        "Write the model as {source: oci, image: ghcr.io/o/m:v1}",
    ),
    "a broken URL without a source": (
        model("url: 'https://[::1/a.bin'"),
        "2: models.a: `source` is missing",
        "It is one of http, huggingface, object-store, oci, openai-gpt2, together.",
    ),
    "a broken URL of a repo": (
        model("source: huggingface\nrepo: https://e\u2100.org/m"),
        "4: models.a.repo: expected owner/name",
    ),
    "a password without a source": (
        model("url: gcs://me:secret@b/p/"),
        "2: models.a: `source` is missing",
        "It is one of http, huggingface, object-store, oci, openai-gpt2, together.",
    ),
    "a repo with a revision": (
        model("source: huggingface\nrepo: org/m@v1.0"),
        "4: models.a.repo: expected owner/name",
        "Write the model as {source: huggingface, repo: org/m, revision: v1.0}",
    ),
    "a repo with a variant": (
        model("source: huggingface\nrepo: org/m:Q4_K_M"),
        "4: models.a.repo: expected owner/name",
        "Write the model as {source: huggingface, repo: org/m, format: gguf, variant: Q4_K_M}",
    ),
    "a repo with a file": (
        model("source: huggingface\nrepo: org/m/x.bin"),
        "4: models.a.repo: expected owner/name",
        "Write the model as {source: huggingface, repo: org/m, include: [x.bin]}",
    ),
    "a repo as the URL of a file": (
        model("source: huggingface\nrepo: https://huggingface.co/org/m/resolve/v1/x.bin"),
        "4: models.a.repo: expected owner/name",
        "Write the model as {source: huggingface, repo: org/m, revision: v1, include: [x.bin]}",
    ),
    "a repo as the path of a file": (
        model("source: huggingface\nrepo: org/m/resolve/v1/x.bin"),
        "4: models.a.repo: expected owner/name",
        "Write the model as {source: huggingface, repo: org/m, revision: v1, include: [x.bin]}",
    ),
    "a repo as the path of a page": (
        model("source: huggingface\nrepo: org/m/tree/v1"),
        "4: models.a.repo: expected owner/name",
        "Write the model as {source: huggingface, repo: org/m, revision: v1}",
    ),
    "a path that may be anybody's": (
        http("models/x/raw/x.bin"),
        "5: models.a.files[0].url: not a complete URL",
        "It begins like https://example.org/.",
    ),
    "a container without its account": (
        model("source: object-store\nurl: az://models/k"),
        "4: models.a.url: not a name of the account or the container",
        "Write it like az://account/container/models/.",
    ),
    "a space in a URL": (
        http("https://example.org/a b.bin"),
        f"5: models.a.files[0].url: https://example.org/a b.bin: {NO_SPACE}",
        "Write a space as %20.",
    ),
    "a space after a URL": (
        http("'https://example.org/a.bin '"),
        f"5: models.a.files[0].url: https://example.org/a.bin : {NO_SPACE}",
        "Remove the space before or after it.",
    ),
    "a file of a repo": (
        model("source: huggingface\nrepo: org/m\nfile: x.bin"),
        "5: models.a.file: unknown key",
        "Did you mean `include`?",
    ),
    "allow_patterns": (
        model("source: huggingface\nrepo: org/m\nallow_patterns: ['*.json']"),
        "5: models.a.allow_patterns: unknown key",
        "Did you mean `include`?",
    ),
    "ignore_patterns": (
        model("source: huggingface\nrepo: org/m\nignore_patterns: ['*.json']"),
        "5: models.a.ignore_patterns: unknown key",
        "Did you mean `exclude`?",
    ),
    "branch": (
        model("source: huggingface\nrepo: org/m\nbranch: dev"),
        "5: models.a.branch: unknown key",
        "Did you mean `revision`?",
    ),
    "the model of an image": (
        model("source: oci\nimage: ghcr.io/o/m:v1\nmodel: m"),
        "5: models.a.model: unknown key",
        "Did you mean `image`?",
    ),
    "a repo as a short form": (
        model("source: huggingface\nrepo: hf:/BAAI/bge"),
        "4: models.a.repo: expected owner/name",
        "Write `BAAI/bge`.",
    ),
    "hf://": (
        http("hf://org/model/x.bin"),
        "5: models.a.files[0].url: not a URL, but a model",
        "Write the model as {source: huggingface, repo: org/model, include: [x.bin]}",
    ),
    "the short form of another source": (
        model("source: http\nurl: gpt2:124M"),
        "4: models.a.url: not a URL, but a model",
        "Write the model as {source: openai-gpt2, size: 124M}",
    ),
    "ftp://": (
        http("ftp://example.org/x.bin"),
        "5: models.a.files[0].url: only https URLs are supported",
        "It begins like https://example.org/.",
    ),
    "no scheme": (
        http("example.org/x.bin"),
        "5: models.a.files[0].url: not a complete URL",
        "Did you mean `https://example.org/x.bin`?",
    ),
    "a word": (
        http("nothing"),
        "5: models.a.files[0].url: not a complete URL",
        "It begins like https://example.org/.",
    ),
    "repo as a URL": (
        model("source: huggingface\nrepo: https://huggingface.co/BAAI/bge"),
        "4: models.a.repo: expected owner/name",
        "Write `BAAI/bge`.",
    ),
    "to with a variable": (
        model(f"{GPT2}\nto: $HOME/models"),
        f"5: models.a.to: {NO_VARIABLES}",
        ELSEWHERE,
    ),
    "to on another disk": (
        model(f"{GPT2}\nto: /data/models"),
        "5: models.a.to: '/data/models' is not a safe path: it is absolute",
        ELSEWHERE,
    ),
    "to at home": (
        model(f"{GPT2}\nto: ~/models"),
        f"5: models.a.to: '~/models' is not a safe path: {TILDE}",
        ELSEWHERE,
    ),
    "a tab": (
        "models:\n\ta: {}\n",
        "2: a tab ('\\t') stands here",
        "Indent with spaces: YAML allows no tabs.",
    ),
    "models as a list": (
        "models:\n  - a\n",
        "1: models: expected the models by name",
        "Each is `NAME:` with its keys.",
    ),
    "only a name": (
        "models:\n  a:\n",
        "2: models.a: expected keys and values, such as `source: http`",
    ),
    "org/name": (
        "models:\n  org/a: {source: openai-gpt2, size: 124M}\n",
        "2: models.'org/a': not a valid model name",
        "A name has letters, digits and . _ + @ - and begins with a letter or digit.",
    ),
    "a space in a name": (
        "models:\n  my model: {source: openai-gpt2, size: 124M}\n",
        "2: models.'my model': not a valid model name",
        "A name has letters, digits and . _ + @ - and begins with a letter or digit.",
    ),
    "an anchor": (
        model(f"{GPT2}\nto: &place x"),
        "5: models.a.to: anchors and aliases (`&name`) are not supported",
        "Write it out. If it is text that begins with `&`, put it in quotes.",
    ),
    "a token in a URL": (
        http("https://example.org/a.bin?token=hunter2"),
        f"5: models.a.files[0].url: https://example.org/a.bin: {NO_TOKEN}",
        f"Such a URL expires or is secret; use a permanent one. {SECRETS}",
    ),
    "a backslash": (
        model(f"{GPT2}\nto: 'models\\x'"),
        f"5: models.a.to: 'models\\\\x' is not a safe path: {BACKSLASH}",
        ELSEWHERE,
    ),
    "an empty file": (
        "",
        "1: the file is empty",
        f"Write at least `models:`, and below it one model, such as `gpt2-124M: {{{FLOW}}}`.",
    ),
    "a key twice": (
        model(f"{GPT2}\nsize: 355M"),
        "5: models.a.size: duplicate key, on lines 4 and 5",
        "Keep one.",
    ),
    "plain http": (
        http("http://example.org/a.bin"),
        f"5: models.a.files[0].url: http://example.org/a.bin: {NOT_PLAIN}",
        "Use https, or add the file's `sha256`.",
    ),
    "sha265": (
        model(f"{ONE}\n    sha265: {SHA}"),
        "6: models.a.files[0].sha265: unknown key",
        "Did you mean `sha256`?",
    ),
    "checksum": (
        model(f"{ONE}\n    checksum: {SHA}"),
        "6: models.a.files[0].checksum: unknown key",
        "Did you mean `sha256`?",
    ),
    "optinal": (
        model(f"{GPT2}\noptinal: true"),
        "5: models.a.optinal: unknown key",
        "Did you mean `optional`?",
    ),
    "model:": ("model: {}\n", "1: model: unknown key", "Did you mean `models`?"),
    "source: openai": (
        model("source: openai\nsize: 124M"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `openai-gpt2`?",
    ),
    "source: https": (
        model("source: https\nurl: https://example.org/a"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
        "Did you mean `http`?",
    ),
    "an unknown source": (
        model("source: kaggle"),
        f"3: models.a.source: unknown source; known are {SOURCES}",
    ),
    "no source": (
        model("size: 124M"),
        "2: models.a: `source` is missing",
        f"It is one of {SOURCES}.",
    ),
    "sorce": (model("sorce: http"), "3: models.a.sorce: unknown key", "Did you mean `source`?"),
    "Source": (model("Source: http"), "3: models.a.Source: unknown key", "Did you mean `source`?"),
    "provider": (
        model("provider: http"),
        "3: models.a.provider: unknown key",
        "Did you mean `source`?",
    ),
    "sze, and so no size": (
        model("source: openai-gpt2\nsze: 124M"),
        "4: models.a.sze: unknown key",
        "Did you mean `size`?",
    ),
    "ur, and so no url": (
        model("source: http\nfiles:\n  - ur: https://example.org/a.bin"),
        "5: models.a.files[0].ur: unknown key",
        "Did you mean `url`?",
    ),
    "two files with one target": (
        model(f"{ONE}\n  - https://example.org/w/a.bin"),
        f"6: models.a.files[1]: its target {TARGET} cannot exist beside that of {FIRST} ({TARGET})",
        "Give one another `path`. Names that differ only in case are one file on many disks.",
    ),
    "a wrong job": (
        model("source: together\njob: abc"),
        "4: models.a.job: expected ft-0123abcd-0123, or with a step ft-0123abcd-0123:100",
    ),
    "a word that is no checkpoint": (
        model("source: together\njob: ft-01\ncheckpoint: [final, last]"),
        "5: models.a.checkpoint[1]: expected one of: final, a step",
    ),
}
"""What is written, the message behind `models.yaml:`, and the hint if there is one."""

NOT_IN_THE_SCHEMA = re.compile(
    "safe path|cannot exist beside|plain http|signature or token|\\.to: variables"
    "|contain a space|not a name of"
)
"""What no type can see: paths, secrets, parts of URLs, and what two values mean together."""
NOT_IN_JSON = frozenset({"version: 1.0", "half a repository as a mirror"})
"""In JSON the one is the number 1; the pattern of a mirror ends at the host."""
VALIDATOR = Draft7Validator(schema.schema())


@pytest.mark.parametrize("written", TAKEN)
def test_what_has_one_meaning_is_taken(written: str) -> None:
    """It is the same model for models.lock as in the long form, to the last byte."""
    short, long = (compiled(text.encode(), "models.yaml") for text in _both(written))
    assert short == long


def _both(written: str) -> tuple[str, str]:
    text, body = TAKEN[written]
    return text, f"version: 1\n{model(body)}"


@pytest.mark.parametrize("written", REFUSED)
def test_what_is_unclear_is_refused_with_the_fix(written: str) -> None:
    """One message with file, line and key, and one line to write instead."""
    text, what, *hint = REFUSED[written]
    assert error(text).report() == "\n  ".join([f"models.yaml:{what}", *hint])


@pytest.mark.parametrize("written", [*TAKEN, *REFUSED])
def test_editors_agree(written: str) -> None:
    """The schema takes what is taken, and marks what is refused."""
    is_taken = written in TAKEN
    text = TAKEN[written][0] if is_taken else REFUSED[written][0]
    try:
        data: Any = _strict_yaml.load(text.encode(), "models.yaml").data
    except ManifestError:
        assert not is_taken
        return
    seen = [found.message for found in VALIDATOR.iter_errors(data)]
    if is_taken or written in NOT_IN_JSON or NOT_IN_THE_SCHEMA.search(REFUSED[written][1]):
        assert seen == []
    else:
        assert seen


MANY = """\
version: "1"
defaults:
  optinal: true
models:
  a:
    source: openai-gpt2
    size: 124MB
    sise: 1
  b:
    source: http
    to: /data
    files:
      - https://huggingface.co/o/m
      - url: https://example.org/a.bin
        sha265: x
      - url: https://example.org/b.bin
        sha256: x
  c:
  d:
    source: nope
"""


def test_all_mistakes_are_told_at_once_by_line() -> None:
    """Those of the top, of the defaults, and several of one model."""
    told = error(MANY).report().split("\n")
    mistakes = [line for line in told if not line.startswith("  ")]
    assert [line.partition(": ")[2].partition(": ")[0] for line in mistakes] == [
        "version",
        "defaults.optinal",
        "models.a.size",
        "models.a.sise",
        "models.b.to",
        "models.b.files[0]",
        "models.b.files[1].sha265",
        "models.b.files[2].sha256",
        "models.c",
        "models.d.source",
    ]
    lines = [int(line.split(":")[1]) for line in mistakes]
    assert lines == [1, 3, 7, 8, 11, 13, 15, 17, 18, 20]


def test_of_more_than_ten_mistakes_the_first_are_told() -> None:
    """A file that is wrong throughout does not fill the screen."""
    files = "".join(f"\n  - {{url: https://example.org/{n}, sha265: x}}" for n in range(2000))
    told = error(model(f"source: http\nfiles:{files}")).report().split("\n")
    assert len([line for line in told if line.startswith("models.yaml:")]) == 10
    assert told[-1] == "  There are more mistakes; these are the first."


def test_a_wrong_value_is_told_once() -> None:
    """Neither for each model that has it from the defaults, nor with what follows from it."""
    text = (
        "defaults: {mirrors: [ftp://example.org/m]}\nmodels:\n"
        "  a: {source: openai-gpt2, size: 124M}\n  b: {source: openai-gpt2, size: 355M}\n"
        f"  c:\n    source: http\n    files: [{{url: http://example.org/a, sha256: x{SHA}}}]\n"
    )
    assert error(text).report().count("models.yaml:") == 2


def test_a_manifest_of_the_next_version_is_not_judged() -> None:
    """Its keys are not known here."""
    found = error("version: 2\nmodules: {}\nmodels:\n  a: {origin: x}\n")
    assert found.report().count("models.yaml:") == 1
    with pytest.raises(ManifestError, match="reads format 1"):
        load(b"version: 2")


def test_a_page_of_the_users_own_hub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where HF_ENDPOINT names it; its files are URLs like any other, and so is what may be one."""
    page = http("http://127.0.0.1:9/o/m/blob/main/f.bin")
    load(page.encode())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert error(page).hint == (
        "Write the model as {source: huggingface, repo: o/m, include: [f.bin]}, "
        "or the URL of this file: http://127.0.0.1:9/o/m/resolve/main/f.bin"
    )
    for path in ("o/m/resolve/main/f.bin", "o/f.bin"):
        load(http(f"http://127.0.0.1:9/{path}").encode())
