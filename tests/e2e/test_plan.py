"""`doit plan`: what `doit` then does is what it said."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project, Run
from tests.e2e.test_preflight import small_disk
from tests.e2e.together.projects import ARCHIVE, JOB, LORA_FILES, bot, downloads, usual_checkpoints
from tests.e2e.watching import listing_modules, without_sockets
from tests.projects import http, sha256
from tests.projects import project as in_process
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer
from tests.targets.states import BLOBS, PARTIALS, TARGETS, State, make_all

SAID = re.compile(r"^(fetched|linked|verified|unpacked) (\S+) ", re.MULTILINE)


def planned(project: Project, *words: str, **variables: str) -> dict[str, Any]:
    """Return the document of `doit plan --json`, which is all that standard output has."""
    run = project.doit("plan", "--json", *words, **variables)
    document: dict[str, Any] = json.loads(run.stdout)
    assert run.status == (0 if document["is_possible"] else 1), run.text
    return document


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    """Return what a plan says that doit will say of each file."""
    return {
        f"{model['folder']}/{file['path']}": file["outcome"]
        for model in document["models"]
        for file in model["files"]
        if file["outcome"]
    }


def said(run: Run) -> dict[str, str]:
    """Return what doit said of each file."""
    return {path: verb for verb, path in SAID.findall(run.stderr)}


def files_under(folder: Path) -> dict[str, tuple[int, int]]:
    """Return when each file was changed; doit's database and compiled manifest left out."""
    found = (each for each in folder.rglob("*") if each.is_file())
    caches = (".doit", "manifest.json")
    return {
        str(each): (each.stat().st_mtime_ns, each.stat().st_size)
        for each in found
        if not each.name.startswith(caches) and each.parent.parent.name != "__pycache__"
    }


@pytest.fixture
def many(project: Project, server: FaultyServer, store: Path) -> Project:
    """Give a locked project with a file in each state of target, blob and partial."""
    states: dict[str, dict[str, State]] = {}
    for number, target in enumerate(TARGETS):
        if target == "folder":
            continue
        model = states.setdefault(f"m{number}", {})
        for blob in BLOBS:
            for partial in PARTIALS:
                seed = sum(map(len, states.values()))
                name = f"{blob}-{partial}.bin".replace(" ", "_")
                model[name] = State(target, blob, partial, seed)
    entries = {}
    for name, files in states.items():
        listed = []
        for path, state in files.items():
            server.put(f"/{name}/{path}", state.content)
            url = server.url(f"/{name}/{path}")
            listed.append({"url": url, "path": path, "sha256": sha256(state.content)})
        entries[name] = http(*listed)
    project.declare({**entries, "spare": toy(server, ["e.bin"], optional=True)})
    assert project.doit("lock").status == 0
    for name, files in states.items():
        make_all(in_process(project.folder, store=str(store)), name, files, store)
    return project


def test_doit_does_what_the_plan_said(many: Project, server: FaultyServer, store: Path) -> None:
    """The same files, the same verbs, the same bytes; and planning changed nothing."""
    before, asked = files_under(many.folder.parent), len(server.requests)
    document = planned(many)
    assert files_under(many.folder.parent) == before
    assert len(server.requests) == asked
    run = many.doit()
    assert run.status == 0, run.text
    assert said(run) == outcomes(document)
    moved = sum(seen.body_bytes_sent for seen in server.requests[asked:])
    assert moved == document["bytes_to_move"]
    assert outcomes(planned(many)) == {}


def test_an_archive_too(project: Project) -> None:
    """What is fetched for its files, and what is unpacked."""
    with TogetherServer() as together:
        together.add_job(JOB, checkpoints=usual_checkpoints())
        project.variables |= {"TOGETHER_API_KEY": together.key, "TOGETHER_BASE_URL": together.url}
        project.declare({"bot": bot(type="adapter", extract=True, keep_archive=False)})
        assert project.doit().status == 0
        missing, *others = sorted(LORA_FILES)
        project.target("bot", missing).unlink()
        project.receipts("bot").unlink()
        asked = len(downloads(together))
        document = planned(project)
        run = project.doit()
        assert outcomes(document) == {
            f"models/bot/{ARCHIVE}": "fetched",
            f"models/bot/{missing}": "unpacked",
            **{f"models/bot/{each}": "verified" for each in others},
        }
        told = {path.removeprefix("models/"): verb for path, verb in said(run).items()}
        assert {f"models/{path}": verb for path, verb in told.items()} == outcomes(document)
        assert len(downloads(together)) == asked + 1


def test_no_lock_and_no_network(project: Project, server: FaultyServer, tmp_path: Path) -> None:
    """Before there is a lock it says what follows from models.yaml; it opens no socket."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"]), "bot": bot()})
    document = planned(project, **without_sockets(tmp_path / "site"))
    assert document["lock"] == "missing"
    assert [each["state"] for each in document["models"]] == ["stale", "unknown"]
    assert document["is_at_least"]
    assert not project.lock.exists()
    assert server.connections == 0


def test_the_same_refusal(project: Project, server: FaultyServer, tmp_path: Path) -> None:
    """What does not fit is told with the figures of `doit`, and ends with 1."""
    project.declare({"one": pinned_toy(server, ["a.bin", "b.bin"])})
    assert project.doit("lock").status == 0
    disk = small_disk(tmp_path / "site", 1_500)
    run, plan = project.doit(**disk), project.doit("plan", **disk)
    assert (run.status, plan.status) == (1, 1)
    told = "Not enough room: this run has still to write 2.0 kB (2,000 bytes)"
    assert told in run.stderr
    assert told in plan.stderr
    assert not planned(project, **disk)["fits"]


def test_people_get_a_table(project: Project, server: FaultyServer) -> None:
    """Results on standard output; what is read is told on standard error."""
    project.declare({"one": pinned_toy(server, ["a.bin", "b.bin", "c.bin"])})
    assert project.doit().status == 0
    project.receipts("one").unlink()
    project.target("one", "c.bin").unlink()
    run = project.doit("plan")
    assert run.status == 0
    assert run.stdout.startswith("MODEL  ADOPT  FETCH  TO MOVE\none        2      1   1.0 kB\n")
    assert run.stderr == "hashing 2 files (2.0 kB) not verified yet\n"
    assert "TO MOVE" not in project.doit("plan", COLUMNS="20").stdout


def test_models_by_name(project: Project, server: FaultyServer) -> None:
    """An optional one is planned when it is named, and one that is not there is refused."""
    project.declare({"one": toy(server, ["a.bin"]), "spare": toy(server, ["b.bin"], optional=True)})
    assert [each["name"] for each in planned(project)["models"]] == ["one"]
    assert [each["name"] for each in planned(project, "spare")["models"]] == ["spare"]
    run = project.doit("plan", "nope")
    assert run.status == 3
    assert "declares no model 'nope'" in run.stderr


def test_nothing_heavy_is_imported(project: Project, server: FaultyServer, tmp_path: Path) -> None:
    """A plan needs no network code, whatever it finds."""
    project.declare({"one": pinned_toy(server, ["a.bin", "b.bin"])})
    assert project.doit("fetch:one/a.bin").status == 0
    variables, listed = listing_modules(tmp_path / "site")
    document = planned(project, **variables)
    assert [each["action"] for each in document["models"][0]["files"]] == ["present", "fetch"]
    assert not {"requests", "urllib3", "yaml", "rich"} & set(listed.read_text().split())
