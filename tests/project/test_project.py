"""One project: when its lock may be written, when it is stale, and what it knows of models."""

from pathlib import Path
from typing import Any

import pytest

from downloader.artifact import Artifact
from downloader.errors import LockError, ManifestError, ModelmakeError, SettingError
from downloader.project.lockfile import Lockfile
from downloader.project.project import Project
from downloader.project.resolve import pinned
from downloader.targets.plan import target_decisions
from tests.projects import ELSEWHERE, edit_lock, gpt2, http, lock, locked, project

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
URL = "http://127.0.0.1:9/a.bin"
ONE = {"m": http({"url": URL, "sha256": SHA})}
GPT2 = {"gpt2": gpt2("124M")}

WRITING = [
    ({}, False, False),
    ({}, True, False),
    ({"CI": "true"}, False, False),
    ({"CI": "true"}, True, True),
    ({"CI": "1"}, True, True),
    ({"CI": ""}, True, False),
    ({"CI": "false"}, True, False),
    ({"CI": "true", "MODELMAKE_LOCKED": "0"}, True, False),
    ({"CI": "true", "MODELMAKE_LOCKED": ""}, True, False),
    ({"CI": "true", "MODELMAKE_LOCKED": "1"}, False, True),
    ({"MODELMAKE_LOCKED": "1"}, True, True),
    ({"MODELMAKE_LOCKED": "1"}, False, True),
    ({"MODELMAKE_LOCKED": "no"}, True, False),
]


@pytest.mark.parametrize(("variables", "has_lock", "is_read_only"), WRITING)
def test_when_the_lock_may_be_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    has_lock: bool,
    is_read_only: bool,
) -> None:
    """MODELMAKE_LOCKED decides; where it is not set, CI does as soon as there is a lock."""
    project(tmp_path, GPT2)
    if has_lock:
        lock(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Project.of_environment(tmp_path).is_read_only is is_read_only


@pytest.mark.parametrize("name", ["models.yml", "model.yaml", "model.yml"])
def test_a_manifest_with_another_name_is_to_be_renamed(tmp_path: Path, name: str) -> None:
    """Whoever is used to the other suffix finds out at once."""
    (tmp_path / name).write_text("models: {}")
    with pytest.raises(ManifestError) as caught:
        assert Project.of_environment(tmp_path).declared
    assert caught.value.hint == f"{name} is here: rename it to models.yaml."


def test_a_lock_written_in_ci_may_be_pinned_by_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that wrote the first lock goes on writing it, and the next one may not."""
    monkeypatch.setenv("CI", "true")
    lock(tmp_path, ONE)
    (tmp_path / "models.lock").unlink()
    first = Project.of_environment(tmp_path)
    assert not first.is_read_only
    first.replace_lock(Lockfile(models={}))
    assert not first.is_read_only
    assert Project.of_environment(tmp_path).is_read_only


def test_a_lock_that_may_not_change_is_not_changed(tmp_path: Path) -> None:
    """Writing another lock is refused in read-only mode; writing the same one is nothing."""
    lock(tmp_path, GPT2)
    before = (tmp_path / "models.lock").read_bytes()
    reader = project(tmp_path, is_locked=True)
    assert not reader.replace_lock(reader.lockfile)
    with pytest.raises(LockError, match="MODELMAKE_LOCKED forbids it") as caught:
        reader.replace_lock(Lockfile(models={}))
    assert "without MODELMAKE_LOCKED" in caught.value.hint
    assert (tmp_path / "models.lock").read_bytes() == before


def test_the_same_lock_is_not_written_again(tmp_path: Path) -> None:
    """Nothing is touched when nothing changes, so that make and git see nothing."""
    lock(tmp_path, GPT2)
    path = tmp_path / "models.lock"
    before = path.stat()
    assert not project(tmp_path).replace_lock(project(tmp_path).lockfile)
    lock(tmp_path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_lock_that_somebody_else_wrote_meanwhile_is_taken_over(tmp_path: Path) -> None:
    """Two runs that lock at once, with the same result, both go on with it."""
    late = project(tmp_path, GPT2)
    assert late.lockfile.models == {}
    lock(tmp_path)
    assert not late.replace_lock(project(tmp_path).lockfile)
    assert not late.is_stale
    assert late.artifact("gpt2", "vocab.bpe").is_pinned


MANIFESTS: list[tuple[str, dict[str, Any], bool]] = [
    ("the same", GPT2, False),
    ("another folder", {"gpt2": gpt2("124M", to="else")}, False),
    ("a mirror", {"gpt2": gpt2("124M", mirrors=["https://e.org"])}, False),
    ("now optional", {"gpt2": gpt2("124M", optional=True)}, False),
    ("a model that only its provider knows", {**GPT2, "bot": ELSEWHERE}, True),
    ("another size", {"gpt2": gpt2("355M")}, True),
    ("fewer files", {"gpt2": gpt2("124M", include=["vocab.bpe"])}, True),
    ("another name", {"gpt3": gpt2("124M")}, True),
    ("a model more", {**GPT2, **ONE}, True),
    ("no model", {}, True),
]


@pytest.mark.parametrize(
    ("models", "is_stale"), [row[1:] for row in MANIFESTS], ids=[row[0] for row in MANIFESTS]
)
def test_when_a_lock_is_stale(tmp_path: Path, models: dict[str, Any], is_stale: bool) -> None:
    """Only what changes the bytes asked for makes a lock stale."""
    lock(tmp_path, GPT2)
    assert project(tmp_path, models).is_stale is is_stale


def test_no_lock_at_all_is_stale_unless_nothing_is_declared(tmp_path: Path) -> None:
    """A project without models needs no lock."""
    assert project(tmp_path, GPT2).is_stale
    assert not project(tmp_path, {}).is_stale


def test_a_stale_model_is_known_as_far_as_its_entry_says(tmp_path: Path) -> None:
    """Before it is locked, a model has the files that follow from its entry."""
    (model,) = project(tmp_path, GPT2).models()
    assert model.is_stale
    assert len(model.artifacts) == 7
    assert (model.name, model.declared.source) == ("gpt2", "openai-gpt2")
    assert model.folder == tmp_path / "models" / "gpt2"
    assert {found.why for _, found in target_decisions(model)} == {"not here"}


def test_an_unknown_model_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    """A misspelt name is answered with the names there are."""
    with pytest.raises(ModelmakeError, match="declares no model 'gpt3'") as caught:
        project(tmp_path, {**GPT2, **ONE}).folder("gpt3")
    assert caught.value.hint == "It declares: gpt2, m."


def test_a_file_that_is_not_locked_is_an_error(tmp_path: Path) -> None:
    """Asking for a path that no line has is told, not answered with a KeyError."""
    lock(tmp_path, GPT2)
    with pytest.raises(LockError, match="no file gpt2/other"):
        project(tmp_path).artifact("gpt2", "other")


def test_pins_reach_the_file_when_they_are_written(tmp_path: Path) -> None:
    """A pin is known at once, in the file after `write_pins`, and leaves other lines alone."""
    models = {"m": http(URL, "http://127.0.0.1:9/b.bin"), **GPT2}
    lock(tmp_path, models)
    gpt2_before = locked(tmp_path, "gpt2")
    pinning = project(tmp_path)
    pin = pinned(pinning.artifact("m", "a.bin"), 4, SHA)
    pinning.pin("m", pin)
    assert pinning.artifact("m", "a.bin") == pin
    assert not locked(tmp_path).files[0].is_pinned
    pinning.write_pins()
    other = Artifact(path="b.bin", url="http://127.0.0.1:9/b.bin")
    assert locked(tmp_path).files == (pin, other)
    assert locked(tmp_path, "gpt2") == gpt2_before
    assert pinning.artifact("m", "a.bin") == pin
    assert not pinning.is_stale


def test_writing_no_pins_writes_nothing(tmp_path: Path) -> None:
    """Without pins there is no need of a lock, nor of the right to write it."""
    project(tmp_path, GPT2, is_locked=True).write_pins()
    assert not (tmp_path / "models.lock").exists()


def test_a_lock_that_is_a_folder_is_an_error_without_traceback(tmp_path: Path) -> None:
    """What cannot be read is named, with a way out."""
    (tmp_path / "models.lock").mkdir()
    with pytest.raises(LockError, match=r"models\.lock cannot be read") as caught:
        assert project(tmp_path, GPT2).is_stale
    assert "delete it" in caught.value.hint


def test_a_torn_lock_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    """A lock that cannot be read stops every use of it."""
    lock(tmp_path, GPT2)
    edit_lock(tmp_path, "]}\n}\n}\n", "")
    with pytest.raises(LockError, match="cannot be read"):
        project(tmp_path).models()


def test_the_environment_names_another_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODELMAKE_MANIFEST is taken from the working directory, and its lock lies beside it."""
    monkeypatch.chdir(tmp_path)
    assert Project.of_environment().manifest_path == Path("models.yaml")
    monkeypatch.setenv("MODELMAKE_MANIFEST", "sub/other.yaml")
    found = Project.of_environment()
    assert (found.manifest_path, found.lock_path, found.root) == (
        Path("sub/other.yaml"),
        Path("sub/other.lock"),
        Path("sub"),
    )


def test_a_folder_given_by_a_program_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that names its folder gets that folder's models.yaml."""
    monkeypatch.setenv("MODELMAKE_MANIFEST", "/somewhere/else.yaml")
    assert Project.of_environment(tmp_path).manifest_path == tmp_path / "models.yaml"


def test_an_unusable_variable_is_found_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad MODELMAKE_TIMEOUT is an error of its own, also where models.yaml is missing."""
    monkeypatch.setenv("MODELMAKE_TIMEOUT", "soon")
    with pytest.raises(SettingError, match="MODELMAKE_TIMEOUT"):
        Project.of_environment(tmp_path)
    monkeypatch.delenv("MODELMAKE_TIMEOUT")
    with pytest.raises(ManifestError):
        Project.of_environment(tmp_path).models()


def test_looking_at_a_project_opens_no_socket(tmp_path: Path, no_sockets: None) -> None:
    """Everything that a list of tasks needs is known without the network."""
    looked_at = project(tmp_path, {**GPT2, **ONE, "bot": ELSEWHERE})
    assert looked_at.is_stale
    assert [len(list(target_decisions(model))) for model in looked_at.models()] == [7, 1, 0]
