"""Completion in zsh, as docs/start.md sets it up: typed into a zsh of its own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pty")  # not on Windows

from picture.terminal import Shell
from tests.docs.documents import blocks, page
from tests.e2e.project import REPOSITORY
from tests.servers.process import NotInstalled
from tests.tasks.test_completion import install

COLUMNS, ROWS = 100, 24


class Zsh(Shell):
    """zsh with the settings of its folder, and nobody else's."""

    command = ("zsh", "-d", "-i")


@pytest.fixture
def zsh(tmp_path: Path) -> Iterator[Zsh]:
    """Give a zsh in a project, set up as the page says."""
    if not shutil.which("zsh"):
        raise NotInstalled("zsh is not installed")
    for name in ("dodo.py", "models.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    install(tmp_path)
    (set_up,) = blocks(page("start.md"), "zsh")
    (tmp_path / ".zshrc").write_text(set_up)
    environment = {
        "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUSERBASE": os.environ["PYTHONUSERBASE"],
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "PS1": "$ ",
    }
    with Zsh(tmp_path, COLUMNS, ROWS, environment) as shell:
        yield shell


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("doit fetch:gpt2-355M/v", "doit fetch:gpt2-355M/vocab.bpe"),
        ("doit info fetch:gpt2-355M/h", "doit info fetch:gpt2-355M/hparams.json"),
        ("doit fetch:gpt2-7", "doit fetch:gpt2-774M"),
        ("doit ver", "doit verify"),
        ("doit verify gpt2-3", "doit verify gpt2-355M"),
        ("modelmake plan gpt2-1", "modelmake plan gpt2-1"),
        ("modelmake gpt2-355M/v", "modelmake gpt2-355M/vocab.bpe"),
        ("doit inf", "doit info"),
    ],
)
def test_tab_completes_what_begins_so(zsh: Zsh, typed: str, completed: str) -> None:
    """Commands, tasks, models and files are completed, colons and all."""
    zsh.press(f"{typed}\t", lambda lines: lines[-1:] == [f"$ {completed}"])


def test_doits_own_script_knows_no_model(zsh: Zsh) -> None:
    """What the page says of it: as a file in $fpath it completes tasks, and no model."""
    zsh.type("unfunction _doit; doit tabcompletion --shell zsh > _doit")
    zsh.type("fpath=($PWD $fpath) && autoload -Uz _doit && compdef _doit doit && clear")
    zsh.press("doit ver\t", lambda lines: lines[-1:] == ["$ doit verify"])
    zsh.press("\x15doit fetch:gpt2-7\t", lambda lines: lines[-1:] == ["$ doit fetch:gpt2-7"])
    zsh.press("x", lambda lines: lines[-1:] == ["$ doit fetch:gpt2-7x"])
