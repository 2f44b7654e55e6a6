"""`modelmake add` and `modelmake remove`: models.yaml, models.lock, and what is said."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from downloader.__main__ import MODELS_YAML
from tests.e2e.project import Project
from tests.e2e.test_interrupted_waiting import Mute, assert_ends
from tests.e2e.together.projects import JOB, usual_checkpoints
from tests.e2e.watching import wait_until
from tests.servers.faulty import FaultyServer
from tests.servers.hub.server import HubServer
from tests.servers.together.server import TogetherServer

BEFORE = "# Mine.\nmodels:\n  own: {source: openai-gpt2, size: 124M, optional: true} # why\n"
REPO = "BAAI/bge-small"
SECRET = "canary-3f1e"
FILES = {"config.json": b"{}", "model.safetensors": bytes(2_000_000), "onnx/model.onnx": bytes(9)}
BGE = "  bge-small: {source: huggingface, repo: BAAI/bge-small}\n"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Give a Hub with one repository."""
    with HubServer() as started:
        started.add(REPO, FILES)
        yield started


@pytest.fixture
def project(tmp_path: Path, hub: HubServer) -> Project:
    """Give a project with one model, which asks that Hub."""
    made = Project(tmp_path / "project", HF_ENDPOINT=hub.url)
    made.write(BEFORE)
    return made


def unchanged(project: Project) -> bool:
    """Whether models.yaml is as it was, and models.lock is not there."""
    return project.manifest.read_text() == BEFORE and not project.lock.exists()


def test_a_repository_is_added_locked_and_fetched(project: Project, hub: HubServer) -> None:
    """The entry stands after the others; only the new model is locked; no body is moved."""
    run = project.modelmake("add", f"hf:{REPO}")
    assert (run.status, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "added bge-small to models.yaml",
        "locked bge-small: 3 files, 2.0 MB",
        "`modelmake` will download 3 files (2.0 MB) to models/bge-small.",
    ]
    assert project.manifest.read_text() == BEFORE + BGE
    assert '"own"' not in project.lock.read_text()
    assert len(hub.requests) == 2
    assert hub.cdn.requests == []
    assert project.doit("bge-small").status == 0
    assert all(project.target("bge-small", path).read_bytes() == FILES[path] for path in FILES)


def test_remove_is_the_inverse(project: Project) -> None:
    """The files stay, and the command that removes them does so."""
    project.modelmake("add", f"hf:{REPO}")
    project.doit("bge-small")
    run = project.modelmake("remove", "bge-small")
    assert (run.status, run.stderr) == (0, "")
    said, hint = run.stdout.splitlines()
    assert said == "removed bge-small from models.yaml and models.lock"
    assert hint == (
        "  Its files stay in models/bge-small (3 files, 2.0 MB). To remove them: "
        "`rm -r models/bge-small`"
    )
    assert project.manifest.read_text() == BEFORE
    assert '"bge-small"' not in project.lock.read_text()
    assert project.target("bge-small", "config.json").exists()
    assert project.doit("list").status == 0
    again = project.modelmake("add", f"hf:{REPO}")
    assert again.stdout.splitlines()[-1] == (
        "Its files are on this machine already: `modelmake` verifies them."
    )


FORMS = {
    "the page of a repository": ("{hub}/BAAI/bge-small", "repo: BAAI/bge-small"),
    "the page of a file": (
        "{hub}/BAAI/bge-small/blob/main/onnx/model.onnx",
        "repo: BAAI/bge-small, include: [onnx/model.onnx]",
    ),
    "the page of a folder": (
        "{hub}/BAAI/bge-small/tree/main/onnx",
        "repo: BAAI/bge-small, include: [onnx/]",
    ),
    "a file": (
        "{hub}/BAAI/bge-small/resolve/main/config.json?download=true",
        "repo: BAAI/bge-small, include: [config.json]",
    ),
}


@pytest.mark.parametrize(("reference", "keys"), FORMS.values(), ids=FORMS)
def test_a_pasted_page_is_understood(
    project: Project, hub: HubServer, reference: str, keys: str
) -> None:
    """Also of the user's own Hub."""
    run = project.modelmake("add", reference.format(hub=hub.url.rstrip("/")))
    assert run.status == 0, run.text
    assert f"  bge-small: {{source: huggingface, {keys}}}\n" in project.manifest.read_text()


def test_a_url_is_added_with_its_digest(project: Project, server: FaultyServer) -> None:
    """A query and a digest are kept as they were typed."""
    server.put("/a/whisper.bin", b"weights")
    digest, url = sha256(b"weights").hexdigest(), server.url("/a/whisper.bin?v=1")
    run = project.modelmake("add", url, "--sha256", digest, "--to", "w", "--optional")
    assert run.status == 0, run.text
    assert project.manifest.read_text() == (
        f'{BEFORE}  whisper:\n    source: http\n    url: "{url}"\n    to: w\n'
        f"    sha256: {digest}\n    optional: true\n"
    )
    assert project.locked("whisper")["whisper.bin"]["sha256"] == digest
    assert run.stdout.splitlines()[-1] == ("`modelmake whisper` will download 1 file (7 B) to w.")


def test_gpt2_is_added_without_asking_anybody(project: Project) -> None:
    """All digests of the smallest are known."""
    project.write("models: {}\n")
    run = project.modelmake("add", "gpt2:124M", MODELMAKE_OFFLINE="1")
    assert run.status == 0, run.text
    assert project.manifest.read_text() == (
        "models:\n  gpt2-124M:\n    source: openai-gpt2\n    size: 124M\n"
    )
    assert len(project.locked("gpt2-124M")) == 7


def test_a_job_of_together_is_added(project: Project) -> None:
    """A step after the job means that checkpoint."""
    with TogetherServer() as together:
        together.add_job(JOB, checkpoints=usual_checkpoints())
        keys = {"TOGETHER_API_KEY": together.key, "TOGETHER_BASE_URL": together.url}
        run = project.modelmake("add", f"together:{JOB}:10", "--name", "bot", **keys)
    assert run.status == 0, run.text
    assert f"  bot: {{source: together, job: {JOB}:10}}\n" in project.manifest.read_text()
    assert '"bot"' in project.lock.read_text()
    assert together.key not in run.text


def test_any_key_can_be_set(project: Project, hub: HubServer) -> None:
    """Values are YAML where the key takes that, lists are collected, and text stays text."""
    commit = hub.add("o/n", {"a.json": b"1", "b.json": b"2", "c.bin": b"3"}, branch="1234567")
    words = ("--set", "include=*.json", "--set", "include=c.*", "--set", "exclude=[b.json]")
    run = project.modelmake("add", "hf:o/n", *words, "--set", "revision=1234567")
    assert run.status == 0, run.text
    assert project.manifest.read_text() == (
        f'{BEFORE}  n:\n    source: huggingface\n    repo: o/n\n    include: ["*.json", "c.*"]\n'
        '    exclude: [b.json]\n    revision: "1234567"\n'
    )
    assert set(project.locked("n")) == {"a.json", "c.bin"}
    assert commit in project.lock.read_text()


REFUSED = {
    "a repository that is not there": ("hf:o/nope", 1, "models.yaml stays as it was: ", "repo"),
    "a revision that is not there": (f"hf:{REPO}@v9", 1, "has no revision 'v9'", "`revision`"),
    "a repository that needs a login": ("hf:o/private", 1, "or it is private", "HF_TOKEN"),
    "a file that is not there": ("{server}/no.bin", 1, "cannot be downloaded", "Check the URL"),
    "no reference": ("BAAI/bge-small", 1, "no URL", "Did you mean `hf:BAAI/bge-small`?"),
    "a bare size": ("124M", 1, "'124M'", "Did you mean `gpt2:124M` or `hf:124M`?"),
    "an image": ("docker.io/library/x:tag", 1, "no URL", "`oci://docker.io/library/x:tag`?"),
    "no slashes": ("oci:x", 1, "'oci:x' is no URL", "Did you mean `oci://docker.io/x`?"),
    "no name of a registry": ("oci://x:v1", 1, "'oci://x:v1' is no", "`oci://docker.io/x:v1`?"),
    "another prefix": ("docker://localhost:5000/a/b", 1, "no URL", "`oci://localhost:5000/a/b`?"),
    "another name of a bucket": ("gcs://b/p", 1, "'gcs://b/p' is no URL", "mean `gs://b/p`?"),
    "a hyphen for the colon": ("gpt2-774M", 1, "no URL", "Did you mean `gpt2:774M`?"),
    "no size": ("gpt2", 1, "no URL", "Did you mean `gpt2:124M`?"),
    "a size by its word": ("GPT2-medium", 1, "no URL", "Did you mean `gpt2:355M`?"),
    "no scheme": ("e.org/a/b.bin", 1, "no URL", "mean `https://e.org/a/b.bin` or `oci://e.org"),
    "a password of a slip": (f"gcs://u:{SECRET}@b/p", 1, "no URL", "Known forms: "),
    "a password behind one slash": (f"https:/u:{SECRET}@e.org/a", 1, "'https:…'", "Known forms: "),
    "a password without a scheme": (f"u:{SECRET}@e.org", 1, "'u:…' is no URL", "Known forms: "),
    "a token before a host": (f"{SECRET}@e.org/o/n", 1, "'…@e.org/o/n' is no URL", "Known forms: "),
    "a token behind one slash": (f"https:/e.org/a?t={SECRET}", 1, "'https:…'", "Known forms: "),
    "a token without a scheme": (f"o/n?token={SECRET}", 1, "'o/n?…' is no URL", "Known forms: "),
    "one slash": ("https:/e.org/a.bin", 1, "no URL", "Did you mean `https://e.org/a.bin`?"),
    "a container": ("abfs://c@a.dfs.core.windows.net/p", 1, "no URL", "mean `az://a/c/p`?"),
    "a path": ("./a.bin", 1, "'./a.bin'", "Known forms: `https://example.org/model.bin`, "),
    "a password": (f"https://u:{SECRET}@e.org/a.bin", 2, "user or password", "netrc"),
    "a password of no source": (f"ftp://u:{SECRET}@e.org/a.bin", 1, "no URL", "Known forms: "),
    "half a reference": ("hf:", 2, "repo: expected owner/name", ""),
    "a registry alone": ("oci://e.org/", 2, "image: expected registry/name:tag", ""),
    "no registry": ("oci://", 2, "image: expected registry/name:tag", ""),
    "a size that is none": ("gpt2:12M", 2, "size: expected one of: 124M", ""),
    "a page of another site": ("https://github.com/o/r", 2, "the page", "Write https://raw."),
    "a secret": (f"https://e.org/a?token={SECRET}", 2, "signature or token", "environment"),
    "what is there": ("gpt2:124M", 1, "models.yaml:3: own is that model already", "`--name`"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_locked_changes_nothing(
    project: Project, hub: HubServer, server: FaultyServer, what: str
) -> None:
    """The error says what and what to do; models.yaml and models.lock stay as they were."""
    reference, status, said, hint = REFUSED[what]
    hub.add("o/private", FILES, is_private=True)
    run = project.modelmake("add", reference.format(server=server.url("")).replace("//no", "/no"))
    assert (run.status, run.stdout) == (status, "")
    assert said in run.stderr
    assert hint in run.stderr
    assert "Traceback" not in run.stderr
    assert SECRET not in run.stderr
    assert len(run.error_lines) <= 3
    assert unchanged(project)


def test_a_wrong_key_is_named_as_it_was_typed(project: Project) -> None:
    """The entry is not in the file, so no line of it is given."""
    run = project.modelmake("add", f"hf:{REPO}", "--set", "revison=v1")
    assert (run.status, run.error_lines) == (
        2,
        ["ERROR: bge-small: revison: unknown key", "  Did you mean `revision`?"],
    )
    run = project.modelmake("add", f"hf:{REPO}", "--name", "a/b")
    assert run.error_lines[0] == "ERROR: 'a/b': not a valid model name"
    assert unchanged(project)


def test_a_name_that_is_taken_is_refused(project: Project, hub: HubServer) -> None:
    """A name that was given is never changed; one that was not is made free."""
    hub.add("o/own", FILES)
    run = project.modelmake("add", "hf:o/own", "--name", "own")
    assert run.status == 1
    assert run.error_lines[0] == "ERROR: models.yaml:3: there is a model own already."
    assert unchanged(project)
    assert "added o-own to" in project.modelmake("add", "hf:o/own").stdout
    hub.add("o/own", FILES, branch="v1")
    assert "added own-2 to" in project.modelmake("add", "hf:o/own@v1").stdout


def test_a_mistake_elsewhere_is_told_with_its_line(project: Project) -> None:
    """A faulty models.yaml is not edited."""
    project.write("models:\n  a: {source: huggingface, reop: x/y}\n")
    run = project.modelmake("add", f"hf:{REPO}")
    assert run.status == 2
    assert run.error_lines[0].startswith("ERROR: models.yaml:2: models.a.reop: unknown key")
    assert project.manifest.read_text() == "models:\n  a: {source: huggingface, reop: x/y}\n"


def test_the_faulty_model_itself_can_be_removed(project: Project) -> None:
    """Then models.yaml is right again."""
    project.write(f"{BEFORE}  a: {{source: huggingface, reop: x/y}}\n")
    run = project.modelmake("remove", "a")
    assert (run.status, run.stdout) == (0, "removed a from models.yaml\n")
    assert unchanged(project)


def test_several_are_removed_or_none(project: Project) -> None:
    """A name that is not there removes nothing."""
    project.write(MODELS_YAML)
    run = project.modelmake("remove", "gpt2-355M", "nope")
    assert (run.status, run.error_lines[0]) == (
        1,
        "ERROR: models.yaml declares no model 'nope'.",
    )
    assert project.manifest.read_text() == MODELS_YAML
    assert project.modelmake("remove", "gpt2-355M", "gpt2-124M").status == 0
    assert "models: {}\n" in project.manifest.read_text()
    assert project.doit("list").status == 0


def test_a_folder_of_several_models_is_not_named_for_removal(
    project: Project, server: FaultyServer
) -> None:
    """Only the model's own files are."""
    for name in ("a", "b"):
        server.put(f"/{name}.bin", b"weights")
        project.modelmake("add", server.url(f"/{name}.bin"), "--to", "shared")
    assert project.doit("a", "b").status == 0
    assert project.modelmake("remove", "a").stdout.splitlines()[1] == (
        "  1 file of it stays in shared, which b uses too. To remove them: `rm shared/a.bin`"
    )


HUB = ("--set", "layout=hf-cache", "--to", "hub")
CONFIG = "data/config.json data/model.safetensors data/onnx/model.onnx"
BESIDE = {
    "a file of the user": (
        ("--to", "data"),
        "data/mine.txt",
        f"3 files of it stay in data, which holds other files too. To remove them: `rm {CONFIG}`",
    ),
    "a repository in a cache of other tools": (
        HUB,
        "hub/models--other--x/f",
        (
            "Its files stay in hub (4 files, 2.0 MB). To remove them: "
            "`rm -r hub/models--BAAI--bge-small`"
        ),
    ),
    "a file of other tools in the repository's folder": (
        HUB,
        "hub/models--BAAI--bge-small/blobs/f",
        "4 files of it stay in hub, which holds other files too. To remove them: `rm hub/models--",
    ),
}


@pytest.mark.parametrize("what", BESIDE)
def test_files_of_others_are_not_named_for_removal(project: Project, what: str) -> None:
    """Not of the user, nor of other tools: the command that is printed leaves them."""
    words, path, said = BESIDE[what]
    assert project.modelmake("add", f"hf:{REPO}", *words).status == 0
    assert project.doit("bge-small").status == 0
    other = project.folder / path
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"mine")
    hint = project.modelmake("remove", "bge-small").stdout.splitlines()[1]
    assert hint.startswith(f"  {said}")
    subprocess.run(hint.split("`")[1], shell=True, cwd=project.folder, check=True)
    assert other.read_bytes() == b"mine"
    assert not [*project.folder.rglob("config.json")]


def test_a_folder_of_the_user_in_it_is_not_entered(project: Project, tmp_path: Path) -> None:
    """A symlink to a folder is a file of the user."""
    project.modelmake("add", f"hf:{REPO}", "--to", "data")
    project.doit("bge-small")
    (project.folder / "data" / "mine").symlink_to(tmp_path)
    assert "rm -r" not in project.modelmake("remove", "bge-small").stdout


def test_where_nothing_is_it_says_so(project: Project) -> None:
    """Even if the folder is there, with files of others."""
    project.modelmake("add", f"hf:{REPO}", "--to", "data")
    (project.folder / "data").mkdir()
    (project.folder / "data" / "mine.txt").touch()
    run = project.modelmake("remove", "bge-small")
    assert run.stdout.splitlines()[1:] == ["  Nothing of it is in data."]


def test_without_a_project_it_says_how_to_begin_one(project: Project) -> None:
    """As uv does: no project is made by the way."""
    project.manifest.unlink()
    run = project.modelmake("add", f"hf:{REPO}")
    assert run.status == 2
    assert "`modelmake init`" in run.stderr
    assert not project.manifest.exists()


@pytest.mark.parametrize("text", ["", "# Models.\n", "version: 1\n", "models:\n"])
def test_a_manifest_without_models_gets_its_first(project: Project, text: str) -> None:
    """Also one that no other command takes yet."""
    project.write(text)
    assert project.modelmake("add", f"hf:{REPO}").status == 0
    assert project.manifest.read_text().startswith(text)
    assert project.doit("list").stdout.startswith("fetch:bge-small")


def test_it_works_in_a_subfolder(project: Project) -> None:
    """Paths are those of models.yaml."""
    project.cwd = project.folder / "src"
    project.cwd.mkdir()
    assert project.modelmake("add", f"hf:{REPO}").status == 0
    project.target("bge-small", "").mkdir(parents=True)
    project.target("bge-small", "config.json").touch()
    run = project.modelmake("remove", "bge-small")
    assert run.stdout.endswith("To remove them: `rm -r ../models/bge-small`\n"), run.text
    assert project.manifest.read_text() == BEFORE


def test_a_lock_that_may_not_change_stops_both(project: Project) -> None:
    """Before anybody is asked."""
    locked = {"MODELMAKE_LOCKED": "1"}
    run = project.modelmake("add", f"hf:{REPO}", **locked)
    assert (run.status, unchanged(project)) == (1, True)
    assert "MODELMAKE_LOCKED forbids it" in run.stderr
    project.modelmake("add", f"hf:{REPO}")
    assert project.modelmake("remove", "bge-small", **locked).status == 1
    assert project.manifest.read_text() == BEFORE + BGE


def test_a_variable_that_is_wrong_is_named_as_elsewhere(project: Project) -> None:
    """With the status of a wrong setting."""
    run = project.modelmake("add", f"hf:{REPO}", HF_TOKEN="bad token")
    assert (run.status, unchanged(project)) == (2, True)
    assert run.stderr.startswith("ERROR: HF_TOKEN")


@pytest.mark.parametrize(
    "words",
    [
        ["add", f"hf:{REPO}\udcff"],
        ["add", f"hf:{REPO}", "--set", "include=\udcff"],
        ["add", f"hf:{REPO}", "--name", "\udcff"],
        ["add", f"hf:{REPO}", "--to=\udcff"],
        ["remove", "\udcff"],
    ],
)
def test_a_word_that_is_not_utf_8_is_refused(project: Project, words: list[str]) -> None:
    """Whichever it is: it can be written into no file."""
    project.before = ("env",)  # a start of its own, which is given the bytes
    run = project.modelmake(*words)
    assert (run.status, unchanged(project)) == (2, True)
    assert run.error_lines[-1].endswith("\\udcff' is not UTF-8 text")
    assert "Traceback" not in run.stderr


UNREADABLE = """
import sys
from downloader.errors import StoreError
from downloader.operations import plan
from downloader.tasks import program
def fail(*_): raise StoreError("models/gpt2-124M cannot be read.")
plan.make_plan = fail
sys.exit(program.run(["add", "gpt2:124M"]))
"""


def test_what_cannot_be_hashed_is_a_note(project: Project) -> None:
    """The model is added by then."""
    project.write("models: {}\n")
    words = [sys.executable, "-c", UNREADABLE]
    run = subprocess.run(
        words,
        cwd=project.cwd,
        env=project.environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "added gpt2-124M" in run.stdout
    assert run.stderr == (
        "What `modelmake` will download is not known: models/gpt2-124M cannot be read.\n"
    )


def test_a_url_with_a_secret_is_not_shown_where_no_entry_can_be_added(project: Project) -> None:
    """The line to write by hand is one that may be written."""
    project.write("models:\n  ? a\n  : {source: openai-gpt2, size: 124M}\n")
    run = project.modelmake("add", f"https://e.org/a.bin?token={SECRET}")
    assert run.status == 2
    assert SECRET not in run.stderr
    run = project.modelmake("add", f"hf:{REPO}")
    assert "`bge-small: {source: huggingface, repo: BAAI/bge-small}`" in run.stderr


def test_ctrl_c_changes_nothing(project: Project) -> None:
    """While a server says nothing."""
    port = Mute(is_full=False)
    with contextlib.closing(port):
        process = subprocess.Popen(
            [sys.executable, "-m", "downloader", "add", f"http://127.0.0.1:{port.port}/a.bin"],
            cwd=project.cwd,
            env=project.environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(port.is_dialled)
        assert_ends(process, signal.SIGINT, 130)
    assert unchanged(project)


def test_a_symlink_stays_one(project: Project, tmp_path: Path) -> None:
    """The file that it leads to is edited."""
    elsewhere = tmp_path / "elsewhere.yaml"
    project.manifest.rename(elsewhere)
    project.manifest.symlink_to(elsewhere)
    assert project.modelmake("add", f"hf:{REPO}").status == 0
    assert project.manifest.is_symlink()
    assert elsewhere.read_text() == BEFORE + BGE


def test_two_at_once_both_arrive(project: Project, server: FaultyServer) -> None:
    """Each edits what the other one wrote."""
    names = ["a", "b", "c"]
    for name in names:
        server.put(f"/{name}.bin", b"weights")
    added = [
        threading.Thread(target=project.modelmake, args=("add", server.url(f"/{n}.bin")))
        for n in names
    ]
    for each in added:
        each.start()
    for each in added:
        each.join()
    text, locked = project.manifest.read_text(), project.lock.read_text()
    assert all(f"  {name}: {{source: http" in text for name in names)
    assert all(f'"{name}": {{' in locked for name in names)


@pytest.mark.parametrize("words", [["add", "--help"], ["help", "add"]])
def test_the_help_lists_every_form(project: Project, words: list[str]) -> None:
    """With the options, in a folder without a project too."""
    project.manifest.unlink()
    run = project.modelmake(*words)
    assert run.status == 0
    for form in ("hf:OWNER/NAME", "gpt2:124M", "together:", "https://", "--set KEY=VALUE", "--to"):
        assert form in run.stdout


@pytest.mark.parametrize("word", ["add", "remove"])
def test_doit_names_the_command(project: Project, word: str) -> None:
    """To doit each word with an `=` is a variable, so these are no tasks of it."""
    run = project.doit(word, "hf:x/y")
    assert run.status == 3
    assert f"Did you mean `modelmake {word}`?" in run.stderr
    assert f"modelmake {word}" in project.modelmake("--help").stdout
