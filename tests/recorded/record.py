"""Record what a version of modelmake writes: a synced project, an interrupted one, a store.

Run it with that version's environment, in a checkout of it: README.md beside this file.
"""

import base64
import json
import lzma
import os
import signal
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.e2e.content import GPT2_FILES, bytes_of
from tests.e2e.project import Project, finish
from tests.e2e.together.projects import JOB, bot, usual_checkpoints
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

LARGE = b"sixteen letters." * (17 << 16)
"""More than 16 MiB, from where on `doit lock --pieces` notes pieces; it compresses well."""
DATA = "model.ckpt.data-00000-of-00001"
HALF = 10_000
MOST_TEXT = 10_000
FOLDERS = ("interrupted", "store", "synced")
NOT_RECORDED = {"dodo.py", ".doit.db", "manifest.json", "models.lock.turn", "claims"}


def contents() -> dict[str, bytes]:
    """Return a small GPT-2."""
    numbers = "".join(f"{number:08}" for number in range(HALF // 4)).encode()
    return {name: numbers if name == DATA else bytes_of(name, 32) for name in GPT2_FILES}


def serve(server: FaultyServer, files: dict[str, bytes]) -> str:
    """Serve a GPT-2 of size 355M, and return what OPENAI_GPT2_BASE_URL has to be."""
    for name, content in files.items():
        server.put(f"/355M/{name}", content)
    return server.url("")


class Recorder:
    """Takes folders in, each content once.

    Args:
        contents: The contents so far, by the beginning of their SHA-256: a text, or in a list the
            Base64 of compressed bytes.
    """

    def __init__(self, contents: dict[str, str | list[str]]) -> None:
        self.contents = contents

    def take(self, folder: Path) -> dict[str, list[Any]]:
        """Return every file of a folder but for caches: its time, and the key of its bytes."""
        found: dict[str, list[Any]] = {}
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            if path.name in NOT_RECORDED:
                continue
            content = path.read_bytes().replace(str(folder.parent).encode(), b"/recorded")
            name, key = path.relative_to(folder).as_posix(), sha256(content).hexdigest()[:12]
            found[name] = [path.stat().st_mtime_ns, key]
            if content.isascii() and len(content) < MOST_TEXT:
                self.contents[key] = content.decode("ascii")
            else:
                packed = base64.b64encode(lzma.compress(content))
                self.contents[key] = [packed.decode("ascii")]
        return found


def synced(folder: Path, store: Path) -> None:
    """Sync one model of each source, with pieces of the large file."""
    with FaultyServer() as server, TogetherServer() as together:
        together.add_job(JOB, checkpoints=usual_checkpoints())
        project = Project(
            folder,
            MODELMAKE_STORE=str(store),
            OPENAI_GPT2_BASE_URL=serve(server, contents()),
            TOGETHER_API_KEY=together.key,
            TOGETHER_BASE_URL=together.url,
        )
        server.put("/f/large.bin", LARGE)
        server.put("/f/a b.bin", b"small")
        project.declare(
            {
                "gpt2": {"source": "openai-gpt2", "size": "355M"},
                "files": {
                    "source": "http",
                    "to": "else/where",
                    "files": [
                        {"url": server.url("/f/large.bin")},
                        {"url": server.url("/f/a b.bin"), "path": "sub/small.bin"},
                    ],
                },
                "bot": bot(type="adapter", extract=True, keep_archive=False),
                "packed": bot(checkpoint=[20], type="adapter", optional=True, link="copy"),
            }
        )
        for words in ([], ["fetch:packed"], ["lock", "--pieces"], []):
            run = project.doit(*words)
            assert run.status == 0, run.text
        assert run.stdout == "Nothing to do.\n"


def interrupted(folder: Path) -> None:
    """Lock and fetch a model, and end the run in the middle of its largest file."""
    with FaultyServer() as server:
        files = contents()
        url = serve(server, files)
        project = Project(folder, MODELMAKE_STORE="off", OPENAI_GPT2_BASE_URL=url)
        project.declare({"gpt2": {"source": "openai-gpt2", "size": "355M"}})
        server.script(f"/355M/{DATA}", timing.stall_after(HALF))
        assert project.doit("lock").status == 0
        server.script(f"/355M/{DATA}", timing.stall_after(HALF))
        process = project.start(MODELMAKE_CONNECTIONS="1")
        partials = project.target("gpt2", ".modelmake/partials")
        while not any(each.stat().st_size >= HALF for each in partials.glob("*.part")):
            time.sleep(0.05)
        while len(list(folder.glob("models/gpt2/[!.]*"))) < len(GPT2_FILES) - 1:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        run = finish(process)
        assert run.status == 130, run.text


def main() -> None:
    """Add all of it to a file, under the name of the version."""
    os.environ.pop("CI", None)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        synced(base / "synced", base / "store")
        interrupted(base / "interrupted")
        file, version = Path(sys.argv[1]), sys.argv[2]
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        recorder = Recorder(known.get("contents", {}))
        folders = {each: recorder.take(base / each) for each in FOLDERS}
        known |= {version: folders, "contents": recorder.contents}
        file.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n", encoding="utf-8")


main()
