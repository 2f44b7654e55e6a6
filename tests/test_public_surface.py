"""What other programs use of this package: ensure, sync, __version__, and nothing more."""

import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

import downloader
from downloader import ensure, sync
from downloader.errors import ModelmakeError
from downloader.sources.openai_gpt2 import FILES
from tests.projects import declare, gpt2, http, locked, serve_gpt2
from tests.servers.faulty import FaultyServer


def test_exactly_three_names_are_public() -> None:
    """The surface is what `__all__` says; all else may change."""
    assert sorted(downloader.__all__) == ["__version__", "ensure", "sync"]
    assert downloader.__version__ == metadata.version("modelmake")


def test_the_signatures_are_the_documented_ones() -> None:
    """The names and defaults of the parameters are a promise too."""
    assert list(inspect.signature(ensure).parameters) == ["name", "folder"]
    assert list(inspect.signature(sync).parameters) == ["names", "folder"]
    assert inspect.signature(sync).parameters["names"].default is None
    for function in (ensure, sync):
        folder = inspect.signature(function).parameters["folder"]
        assert (folder.default, folder.kind) == (None, inspect.Parameter.KEYWORD_ONLY)


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
    assert "'downloader', 'downloader.version'" in said
    assert said.count("downloader") == 2


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
    """Both get the folder with all its bytes, and the lock holds every pin."""
    declare(tmp_path, {"gpt2": gpt2("355M", serve_gpt2(server, "355M"))})
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(ensure, "gpt2", folder=tmp_path) for _ in range(2)]
    folders = {each.result() for each in running}
    assert folders == {tmp_path / "models" / "gpt2"}
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


def test_errors_are_one_family(tmp_path: Path) -> None:
    """Whatever goes wrong can be caught as ModelmakeError, and reported in few lines."""
    with pytest.raises(ModelmakeError) as caught:
        ensure("gpt2", folder=tmp_path)
    assert 1 <= len(caught.value.report().splitlines()) <= 3
