"""What every test of the whole program gets."""

from pathlib import Path

import pytest

from tests.e2e.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project with dodo.py and no models.yaml yet."""
    return Project(tmp_path / "project")
