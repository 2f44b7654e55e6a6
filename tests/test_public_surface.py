"""What other programs use of this package: what docs/python.md lists, and nothing more."""

import dataclasses
import inspect
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest

import downloader
from downloader import ensure, sync
from downloader.errors import ModelmakeError
from downloader.progress import callbacks
from downloader.sources.openai_gpt2 import FILES
from tests.docs.documents import first_cells, page
from tests.projects import declare, gpt2, http, lock, locked, serve_gpt2
from tests.servers.faulty import FaultyServer


def test_exactly_what_is_documented_is_public() -> None:
    """`__all__` is the table of docs/python.md but for errors; all else may change."""
    table = page("python.md").partition("## What is public")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `downloader\.(\w+)", table, re.MULTILINE)

    assert sorted(downloader.__all__) == sorted(set(told) - {"errors"})
    assert set(told) == {"Progress", "__version__", "ensure", "errors", "sync"}
    assert all(getattr(downloader, name) for name in downloader.__all__)
    assert not hasattr(downloader, "nope")
    assert downloader.__version__ == metadata.version("modelmake")


def test_the_signatures_are_the_documented_ones() -> None:
    """The names and defaults of the parameters are a promise too."""
    told = re.findall(r"^\| `downloader\.(\w+)(\(.*\))`", page("python.md"), re.MULTILINE)

    assert [name for name, _ in told] == ["ensure", "sync"]
    for name, parameters in told:
        signature = inspect.signature(getattr(downloader, name))
        bare = [
            each.replace(annotation=inspect.Parameter.empty)
            for each in signature.parameters.values()
        ]
        assert str(inspect.Signature(bare)) == parameters


def test_the_fields_of_an_event_are_the_documented_ones() -> None:
    """docs/python.md has a row for each field, and names each kind."""
    section = page("python.md").partition("## Progress")[2].partition("\n## ")[0]

    assert [cell.strip("`") for cell in first_cells(section)[1:]] == [
        field.name for field in dataclasses.fields(downloader.Progress)
    ]
    assert re.findall(r"`(\w+)`", section.partition("| `kind` |")[2].partition("\n")[0]) == [
        *get_args(callbacks.Kind)
    ]


def test_importing_the_package_costs_nothing() -> None:
    """`import downloader` loads none of its engine and nothing from outside."""
    script = "import sys, downloader; print(sorted(m for m in sys.modules if m.startswith('d')))"
    said = subprocess.run(
        [sys.executable, "-S", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(downloader.__file__).parents[1],
    ).stdout
    assert said == "['downloader']\n"


def test_a_second_call_opens_no_socket(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`ensure` fetches lazily, returns the model's folder, and then is free of the network."""
    with FaultyServer() as server:
        declare(tmp_path, {"gpt2": gpt2("355M", serve_gpt2(server, "355M"))})
        folder = ensure("gpt2", folder=tmp_path)
    assert folder == tmp_path / "models" / "gpt2"
    request.getfixturevalue("no_sockets")
    assert ensure("gpt2", folder=tmp_path) == folder
    assert sync(folder=tmp_path) == {"gpt2": folder}
    assert [(folder / name).read_bytes() for name in FILES] == [
        f"355M {name}\n".encode() for name in FILES
    ]


def test_two_threads_may_ensure_one_model(tmp_path: Path, server: FaultyServer) -> None:
    """Each file is asked for once, both get the folder with all its bytes and the lock its pins."""
    lock(tmp_path, {"gpt2": gpt2("355M", serve_gpt2(server, "355M"))})
    asked_before = len(server.requests)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(ensure, "gpt2", folder=tmp_path) for _ in range(2)]
    folders = {each.result() for each in running}
    assert folders == {tmp_path / "models" / "gpt2"}
    assert sorted(each.path for each in server.requests[asked_before:]) == sorted(
        f"/gpt-2/355M/{name}" for name in FILES
    )
    for name in FILES:
        assert (tmp_path / "models/gpt2" / name).read_bytes() == f"355M {name}\n".encode()
    sync(folder=tmp_path)
    assert all(each.is_pinned for each in locked(tmp_path, "gpt2").files)


def test_two_threads_may_sync_two_models(tmp_path: Path, server: FaultyServer) -> None:
    """Each brings its own; nothing of the other's is disturbed."""
    for name in ("a", "b"):
        server.put(f"/{name}", name.encode())
    declare(tmp_path, {name: http(server.url(f"/{name}")) for name in ("a", "b")})
    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(sync, [name], folder=tmp_path) for name in ("a", "b")}
    for name, each in running.items():
        assert each.result() == {name: tmp_path / "models" / name}
        assert (tmp_path / "models" / name / name).read_bytes() == name.encode()


def test_the_working_directory_is_the_default(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder models.yaml of the working directory counts, or MODELMAKE_MANIFEST."""
    server.put("/a", b"a")
    (tmp_path / "sub").mkdir()
    declare(tmp_path, {"m": http(server.url("/a"))})
    declare(tmp_path / "sub", {"n": http(server.url("/a"))})
    monkeypatch.chdir(tmp_path)
    assert (ensure("m") / "a").read_bytes() == b"a"
    monkeypatch.setenv("MODELMAKE_MANIFEST", "sub/models.yaml")
    assert ensure("n").resolve() == tmp_path / "sub" / "models" / "n"
    assert (tmp_path / "sub" / "models" / "n" / "a").read_bytes() == b"a"


def test_the_project_is_found_from_a_subfolder(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder, models.yaml is looked for in the working directory and above it."""
    server.put("/a", b"a")
    declare(tmp_path, {"m": http(server.url("/a"))})
    (tmp_path / "src/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "src/deep")
    assert ensure("m") == tmp_path / "models/m"
    assert (tmp_path / "models/m/a").read_bytes() == b"a"


def test_no_project_names_the_folder_that_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the folder, and the command that begins a project."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelmakeError, match=r"no models\.yaml in") as looked_up:
        sync()
    assert f"{tmp_path} or above it." in str(looked_up.value)
    assert "`modelmake init`" in looked_up.value.hint
    with pytest.raises(ModelmakeError, match=r"no models\.yaml in") as given:
        sync(folder=tmp_path / "x")
    assert str(given.value).endswith(f"{tmp_path / 'x'}.")


def test_errors_are_one_family(tmp_path: Path) -> None:
    """Whatever goes wrong can be caught as ModelmakeError, and reported in few lines."""
    with pytest.raises(ModelmakeError) as caught:
        ensure("gpt2", folder=tmp_path)
    assert 1 <= len(caught.value.report().splitlines()) <= 3
