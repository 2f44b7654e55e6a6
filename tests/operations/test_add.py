"""What `add` writes when another run writes the same files meanwhile."""

from pathlib import Path
from typing import Any

import pytest

from downloader.errors import ModelmakeError
from downloader.operations import add as adding
from downloader.operations.add import Wish, add
from downloader.operations.lock import lock
from downloader.project.project import Project
from downloader.settings import Settings
from tests.projects import session


def test_a_name_taken_meanwhile_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's entry stays in models.yaml and in models.lock."""
    manifest = tmp_path / "models.yaml"
    manifest.write_text("models: {}\n")

    def added(path: str) -> None:
        project = Project(manifest, Settings.from_environment())
        settings = {"include": [path]}
        with session(project) as own:
            add(project, own, Wish(reference="gpt2:124M", name="z", settings=settings))

    def after_another(*arguments: Any) -> object:
        monkeypatch.setattr(adding, "lock", lock)
        added("vocab.bpe")
        return lock(*arguments)

    monkeypatch.setattr(adding, "lock", after_another)
    with pytest.raises(ModelmakeError, match="a model z already"):
        added("encoder.json")
    assert "vocab.bpe" in manifest.read_text()
    project = Project(manifest, Settings.from_environment())
    assert not project.is_stale, "models.lock has the other one's entry"
