"""The page on sources names each one that models.yaml may name."""

from pathlib import Path
from typing import get_args

import pytest

from downloader.entries import AnyEntry

PAGE = (Path(__file__).parents[1] / "docs/sources.md").read_text()


@pytest.mark.parametrize("entry", get_args(AnyEntry))
def test_each_source_has_a_row(entry: type) -> None:
    """A row begins with its name, as models.yaml has it."""
    tag = entry.__struct_config__.tag  # type: ignore[attr-defined]
    assert f"\n| `{tag}` |" in PAGE
