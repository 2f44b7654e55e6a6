"""Completion in bash, as docs/start.md sets it up: doit's own script with one word taken out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import blocks, page
from tests.e2e.project import REPOSITORY
from tests.examples import GIVEN
from tests.servers.process import NotInstalled

LIBRARY = Path("/usr/share/bash-completion/bash_completion")
"""Where distributions put it; its functions are what doit's script is written with."""

SET_UP = next(each for each in blocks(page("start.md"), "sh") if "tabcompletion" in each)
PROGRAMS = {
    name: f"#!{sys.executable}\nfrom {package}.__main__ import main\nraise SystemExit(main())\n"
    for name, package in (("doit", "doit"), ("modelmake", "downloader"))
}
"""doit calls the function of its script after itself."""
COMPLETE = """
read -r -a COMP_WORDS <<<"${COMP_LINE//:/ : }"  # readline splits at colons
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_KEY=9
_${COMP_WORDS[0]} && printf '%s\\n' "${COMPREPLY[@]}"
"""


def install(folder: Path) -> None:
    """Put both commands into a folder."""
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def completions(folder: Path, typed: str) -> list[str]:
    """Return what bash would offer after Tab: what may stand behind the last colon."""
    library = Path(GIVEN.get("MODELMAKE_BASH_COMPLETION", LIBRARY))
    if not library.is_file() or not shutil.which("bash"):
        raise NotInstalled("bash-completion is not installed")
    for name in ("dodo.py", "models.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    install(folder)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", f"source {library}\n{SET_UP}\n{COMPLETE}"],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "COMP_LINE": typed},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("doit fetch:gpt2-355M/v", {"gpt2-355M/vocab.bpe"}),
        ("doit info fetch:gpt2-355M/h", {"gpt2-355M/hparams.json"}),
        ("doit ver", {"verify"}),
        ("doit verify fetch:gpt2-355M/h", {"gpt2-355M/hparams.json"}),
        ("modelmake ver", {"verify"}),
        ("modelmake fetch:gpt2-355M/v", {"gpt2-355M/vocab.bpe"}),
    ],
)
def test_tab_completes_what_begins_so(tmp_path: Path, typed: str, expected: set[str]) -> None:
    """Commands, models and files are completed; of a name with a colon, what is behind it."""
    assert set(completions(tmp_path, typed)) == expected


def test_tab_after_the_colon_offers_every_model(tmp_path: Path) -> None:
    """`doit fetch:` and Tab name each model, the optional ones too."""
    models = {each.partition("/")[0] for each in completions(tmp_path, "doit fetch:")}

    assert models == {"gpt2-124M", "gpt2-355M", "gpt2-774M", "gpt2-1558M", "bge-small"}
