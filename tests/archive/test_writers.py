"""Archives of real writers, with the content of a real adapter: what arrives loads."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from safetensors.numpy import load_file, save_file

from downloader.archive.compression import suffix_of
from downloader.archive.unpack import unpack, what_came
from downloader.errors import BadArchive
from downloader.fs.rooted_path import RootedPath
from tests.archive.building import Looker, files_in, zst
from tests.servers.process import NotInstalled
from tests.servers.together.archives import Packing, lora_archive, merged_archive

LAYERS, RANK, WIDTH = 4, 8, 128
CONFIG = {"peft_type": "LORA", "r": RANK, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}
LONG = "tokenizer_" + "n" * 120 + ".model"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Give the folder of a LoRA adapter as PEFT saves it, with a tokenizer."""
    folder = tmp_path / "ft-adapter"
    folder.mkdir()
    numbers = np.random.default_rng(3)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{side}.weight": (
            numbers.standard_normal((RANK, WIDTH) if side == "A" else (WIDTH, RANK))
        ).astype(np.float16)
        for layer in range(LAYERS)
        for module in ("q_proj", "v_proj")
        for side in "AB"
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"\u00e9": 0}}}))
    (folder / "additional chat templates").mkdir()
    (folder / "additional chat templates" / "r\u00e9sum\u00e9.jinja").write_text("{{ x }}")
    (folder / LONG).write_bytes(b"long name")
    return folder


def check(archive: Path, adapter: Path, tmp_path: Path) -> None:
    """Hold what unpacks against the folder that was packed, and load its tensors."""
    out = tmp_path / "models" / "bot"
    assert suffix_of(archive.read_bytes()[:4]) == "".join(archive.suffixes)
    assert what_came(archive, Looker()) == "adapter"
    members = unpack(archive, RootedPath.of(out), Looker())
    assert files_in(out) == files_in(adapter)
    assert {each.path for each in members} == set(files_in(adapter))
    tensors, packed = (load_file(folder / "adapter_model.safetensors") for folder in (out, adapter))
    assert len(tensors) == LAYERS * 4
    assert all(np.array_equal(tensors[name], packed[name]) for name in packed)


def program(*names: str) -> list[str]:
    """Return the paths of programs, or skip."""
    found = [shutil.which(name) for name in names]
    for name, path in zip(names, found, strict=True):
        if path is None:
            raise NotInstalled(f"{name} is not installed")
    return [path for path in found if path]


def run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@pytest.fixture(params=["top folder", "dot", "names"])
def shape(request: pytest.FixtureRequest, adapter: Path) -> list[str]:
    """Give tar's words for what to pack: the folder, `.` in it, or what is in it by name."""
    if request.param == "top folder":
        return ["-C", str(adapter.parent), adapter.name]
    names = sorted(path.name for path in adapter.iterdir())
    return ["-C", str(adapter), *(["."] if request.param == "dot" else names)]


@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "oldgnu"])
def test_gnu_tar_and_zstd(tmp_path: Path, adapter: Path, shape: list[str], form: str) -> None:
    """What `tar --format=... | zstd` makes unpacks and loads."""
    tar, zstd = program("tar", "zstd")
    if form == "ustar":
        (adapter / LONG).write_bytes(b"")
        (adapter / LONG).rename(adapter / "short")  # ustar has no room for the long name
        shape = [word.replace(LONG, "short") for word in shape]
    run(tar, f"--format={form}", "-cf", tmp_path / "x.tar", *shape)
    run(zstd, "-q", "-3", tmp_path / "x.tar", "-o", tmp_path / "x.tar.zst")

    check(tmp_path / "x.tar.zst", adapter, tmp_path)


@pytest.mark.parametrize("packing", ["--zstd", "--gzip"])
@pytest.mark.parametrize("form", ["gnutar", "pax", "the default"])
def test_bsdtar(tmp_path: Path, adapter: Path, shape: list[str], form: str, packing: str) -> None:
    """What bsdtar makes unpacks and loads."""
    (bsdtar,) = program("bsdtar")
    archive = tmp_path / ("x.tar.zst" if packing == "--zstd" else "x.tar.gz")
    form_words = ["--format", form] if form != "the default" else []
    run(bsdtar, *form_words, packing, "-cf", archive, *shape)

    check(archive, adapter, tmp_path)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@pytest.mark.parametrize("top", ["ft-adapter", "."])
def test_python_and_zstandard(tmp_path: Path, adapter: Path, form: int, top: str) -> None:
    """What tarfile writes into a zstd stream unpacks and loads, without a program."""
    with (tmp_path / "x.tar.zst").open("wb") as file:
        stream = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
        with stream, tarfile.open(fileobj=stream, mode="w|", format=form) as tar:
            tar.add(adapter, top)

    check(tmp_path / "x.tar.zst", adapter, tmp_path)


def test_python_in_the_oldest_format_and_gzip(tmp_path: Path, adapter: Path) -> None:
    """What tarfile writes as ustar in a .tar.gz unpacks and loads."""
    (adapter / LONG).unlink()  # more than ustar has room for
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(adapter, "ft-adapter")

    check(tmp_path / "x.tar.gz", adapter, tmp_path)


@pytest.mark.parametrize(
    "options", [["-T2"], ["-19"], ["--long=27"], ["--no-check"], ["-1", "-B4096"]]
)
def test_the_ways_of_zstd(tmp_path: Path, adapter: Path, options: list[str]) -> None:
    """Threads, high levels, long windows and frames without a checksum are all read."""
    tar, zstd = program("tar", "zstd")
    run(tar, "-C", tmp_path, "-cf", tmp_path / "x.tar", "ft-adapter")
    run(zstd, "-q", *options, tmp_path / "x.tar", "-o", tmp_path / "x.tar.zst")

    check(tmp_path / "x.tar.zst", adapter, tmp_path)


def test_gnu_tars_sparse_file_is_refused(tmp_path: Path, adapter: Path) -> None:
    """Made with `tar -S`, in either format, a file with a hole is named and refused."""
    tar, zstd = program("tar", "zstd")
    with (adapter / "hole").open("wb") as file:
        file.truncate(50_000_000)
    for form in ("gnu", "posix"):
        run(tar, "-S", f"--format={form}", "-C", tmp_path, "-cf", tmp_path / "x.tar", "ft-adapter")
        run(zstd, "-q", "-f", tmp_path / "x.tar", "-o", tmp_path / "x.tar.zst")
        with pytest.raises(BadArchive, match="is a sparse file"):
            unpack(tmp_path / "x.tar.zst", RootedPath.of(tmp_path / "out"), Looker())


@pytest.mark.parametrize("top", ["", "ft-0123"])
@pytest.mark.parametrize("packing", ["zst", "gz"])
def test_what_the_fake_of_together_serves(tmp_path: Path, top: str, packing: Packing) -> None:
    """The archives that other tests download unpack, and are told apart."""
    for kind, make in (("adapter", lora_archive), ("model", merged_archive)):
        (tmp_path / kind).write_bytes(make(10, top=top, packing=packing))
        assert what_came(tmp_path / kind, Looker()) == kind
        unpack(tmp_path / kind, RootedPath.of(tmp_path / f"{kind}-out"), Looker())
        for path in (tmp_path / f"{kind}-out").glob("*.safetensors"):
            assert load_file(path)


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_size_over_eight_gibibytes_is_understood(tmp_path: Path, form: str) -> None:
    """The header of such a file, as GNU tar writes it, is read: in base 256, or in PAX."""
    tar, zstd = program("tar", "zstd")
    with (tmp_path / "large").open("wb") as file:
        file.truncate((8 << 30) + 1)
    words = [tar, f"--format={form}", "-C", str(tmp_path), "-c", "large"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as writing:
        assert writing.stdout
        start = writing.stdout.read(100_000)
        writing.kill()
    (tmp_path / "start").write_bytes(start)
    run(zstd, "-q", tmp_path / "start", "-o", tmp_path / "x.tar.zst")

    with pytest.raises(BadArchive, match="is refused: it is cut short, in its member 'large'"):
        unpack(tmp_path / "x.tar.zst", RootedPath.of(tmp_path / "out"), Looker())


def test_python_writes_such_a_size_too(tmp_path: Path) -> None:
    """Tarfile puts 0 in the header, and the size into PAX."""
    info = tarfile.TarInfo("large")
    info.size = (8 << 30) + 1
    start = info.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "x").write_bytes(zst(start + bytes(1000)))

    with pytest.raises(BadArchive, match="is refused: it is cut short, in its member 'large'"):
        unpack(tmp_path / "x", RootedPath.of(tmp_path / "out"), Looker())
