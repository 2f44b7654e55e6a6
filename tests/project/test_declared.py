"""models.yaml compiled: read once, believed only while its text is the same."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest

from downloader.errors import ManifestError
from downloader.fs.rooted_path import RootedPath
from downloader.manifest import _strict_yaml
from downloader.project import project
from downloader.project.project import Declaration, load_declared
from tests.projects import ELSEWHERE, declare, gpt2, http

CLOSED = "http://127.0.0.1:9"
MODELS = {
    "gpt2": gpt2("124M"),
    "m": http({"url": f"{CLOSED}/a.bin", "path": "b/c.bin"}, to="else/where", optional=True),
    "bot": ELSEWHERE,
}


def compiled(folder: Path) -> list[Declaration]:
    return load_declared(
        folder / "models.yaml", RootedPath.of(folder / ".modelmake" / "manifest.json")
    )


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count how often YAML is parsed."""
    seen: list[str] = []
    parse = _strict_yaml.load

    def counted(text: bytes, name: str) -> _strict_yaml.Document:
        seen.append(name)
        return parse(text, name)

    monkeypatch.setattr(_strict_yaml, "load", counted)
    return seen


def test_the_second_reading_parses_nothing_and_means_the_same(
    tmp_path: Path, parsed: list[str]
) -> None:
    """Where the text is the same, the compiled form is used."""
    declare(tmp_path, MODELS)
    first = compiled(tmp_path)
    assert compiled(tmp_path) == first
    assert parsed == ["models.yaml"]
    assert [(each.name, each.folder) for each in first] == [
        ("gpt2", "models/gpt2"),
        ("m", "else/where"),
        ("bot", "models/bot"),
    ]
    assert [each.outlined is None for each in first] == [False, False, True]


def test_any_change_of_the_text_is_read_again(tmp_path: Path, parsed: list[str]) -> None:
    """A changed byte is enough, also where size and mtime stay the same."""
    declare(tmp_path, {"m": http(f"{CLOSED}/a.bin")})
    compiled(tmp_path)
    declare(tmp_path, {"m": http(f"{CLOSED}/b.bin")})
    (changed,) = compiled(tmp_path)
    assert changed.outlined
    assert [each.path for each in changed.outlined.files] == ["b.bin"]
    assert len(parsed) == 2


def test_another_version_of_the_program_reads_again(
    tmp_path: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another version compiled is not believed."""
    declare(tmp_path, MODELS)
    compiled(tmp_path)
    monkeypatch.setattr(project, "__version__", "99")
    compiled(tmp_path)
    assert len(parsed) == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"[" * 100_000, b"null", b"\0" * 500])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, parsed: list[str], damage: bytes) -> None:
    """Whatever stands in the cache, the manifest is read and the cache mended."""
    declare(tmp_path, MODELS)
    first = compiled(tmp_path)
    (tmp_path / ".modelmake" / "manifest.json").write_bytes(damage)
    assert compiled(tmp_path) == first
    assert compiled(tmp_path) == first
    assert len(parsed) == 2


def test_a_cache_torn_at_any_byte_is_made_anew(tmp_path: Path) -> None:
    """A torn cache never makes another manifest of it."""
    declare(tmp_path, {"m": http(f"{CLOSED}/a.bin")})
    first = compiled(tmp_path)
    cache = tmp_path / ".modelmake" / "manifest.json"
    whole = cache.read_bytes()
    for length in range(0, len(whole), 7):
        cache.write_bytes(whole[:length])
        assert compiled(tmp_path) == first


def test_bytes_in_the_cache_that_are_no_text_are_no_traceback(tmp_path: Path) -> None:
    """A cache with a byte that is not UTF-8 inside a name is ignored."""
    declare(tmp_path, MODELS)
    first = compiled(tmp_path)
    cache = tmp_path / ".modelmake" / "manifest.json"
    cache.write_bytes(cache.read_bytes().replace(b"else/where", b"else/wher\xff"))
    assert compiled(tmp_path) == first


def test_a_folder_that_cannot_be_written_does_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading needs no right to write: the cache is only a help."""
    declare(tmp_path, MODELS)
    (tmp_path / ".modelmake").touch()  # refuses root too, unlike a read-only folder
    assert [each.name for each in compiled(tmp_path)] == list(MODELS)
    (tmp_path / ".modelmake").unlink()
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert [each.name for each in compiled(tmp_path)] == list(MODELS)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_cache_hit_imports_no_yaml(tmp_path: Path) -> None:
    """The second process reads the manifest without PyYAML, which costs 25 ms to import."""
    declare(tmp_path, MODELS)
    script = (
        "import sys; from pathlib import Path; from downloader.project.project import Project;"
        "from downloader.settings import Settings;"
        "print(len(Project(Path('models.yaml'), Settings()).models()), 'yaml' in sys.modules)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["3", "True"], ["3", "False"]]


def test_a_manifest_that_is_not_there_is_an_error_that_says_where_it_is_looked_for(
    tmp_path: Path,
) -> None:
    """A missing models.yaml names its path and MODELMAKE_MANIFEST."""
    with pytest.raises(ManifestError, match=r"no models\.yaml in ") as caught:
        compiled(tmp_path)
    assert "MODELMAKE_MANIFEST" in caught.value.hint


def test_two_models_in_one_folder_may_not_write_one_file(tmp_path: Path) -> None:
    """Two GPT-2s with one `to` would overwrite each other: refused, both named."""
    declare(tmp_path, {"a": gpt2("124M", to="both"), "b": gpt2("355M", to="Both")})
    with pytest.raises(ManifestError, match=r"models\.b: .*'Both/checkpoint' .* models\.a"):
        compiled(tmp_path)


def test_two_models_in_one_folder_may_lie_side_by_side(tmp_path: Path) -> None:
    """One folder for two models is fine where their files differ."""
    declare(
        tmp_path,
        {
            "a": gpt2("124M", to="both", include=["vocab.bpe"]),
            "b": gpt2("124M", to="both", exclude=["vocab.bpe"]),
        },
    )
    assert [each.folder for each in compiled(tmp_path)] == ["both", "both"]


def forged(folder: Path) -> Path:
    """Compile a manifest, and return a folder with the same files, as a clone of it would have."""
    declare(folder, {"m": http(f"{CLOSED}/a.bin")})
    compiled(folder)
    cache = folder / ".modelmake" / "manifest.json"
    cache.write_bytes(cache.read_bytes().replace(b'"a.bin"', b'"evil"'))
    clone = folder / "clone"
    (clone / ".modelmake").mkdir(parents=True)
    shutil.copy2(cache, clone / ".modelmake")
    shutil.copy2(folder / "models.yaml", clone)
    return clone


def test_a_cache_that_came_with_a_repository_is_not_believed(
    tmp_path: Path, parsed: list[str]
) -> None:
    """It is made anew where models.yaml is another file, whatever its text and its time."""
    clone = forged(tmp_path)
    for _ in range(2):
        (model,) = compiled(clone)
        assert model.outlined
        assert [each.path for each in model.outlined.files] == ["a.bin"]
    assert parsed == ["models.yaml", "models.yaml"], "a copied project compiles once"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"folder":"models/m"', b'"folder":"../../m"'),
        (b'"folder":"models/m"', b'"folder":"/etc"'),
        (b'"path":"a.bin"', b'"path":"/etc/passwd"'),
        (b'"path":"a.bin"', b'"path":"../a.bin"'),
        (b'"name":"m"', b'"name":"../m"'),
    ],
)
def test_unsafe_paths_in_the_cache_are_not_believed(tmp_path: Path, old: bytes, new: bytes) -> None:
    """Also where the file is the very same: then the manifest is read."""
    declare(tmp_path, {"m": http({"url": f"{CLOSED}/x", "path": "a.bin"})})
    first = compiled(tmp_path)
    cache = tmp_path / ".modelmake" / "manifest.json"
    text = cache.read_bytes()
    assert old in text
    cache.write_bytes(text.replace(old, new))
    assert compiled(tmp_path) == first


def test_an_entry_in_the_cache_that_no_manifest_can_have_is_refused(tmp_path: Path) -> None:
    """It is decoded when somebody asks for it; then the error says what to delete."""
    declare(tmp_path, {"m": gpt2("124M")})
    compiled(tmp_path)
    cache = tmp_path / ".modelmake" / "manifest.json"
    cache.write_bytes(cache.read_bytes().replace(b'"size":"124M"', b'"size":"125M"'))
    (model,) = compiled(tmp_path)
    with pytest.raises(ManifestError, match=r"says of m what models\.yaml cannot") as caught:
        _ = model.entry
    assert "manifest.json" in caught.value.hint


@pytest.mark.parametrize(
    ("model", "source"),
    [(gpt2("124M"), "openai_gpt2"), ({"source": "http", "url": "https://e.org/a.bin"}, "http")],
)
def test_a_run_imports_the_sources_of_its_models_only(
    tmp_path: Path, model: dict[str, object], source: str
) -> None:
    """Whoever has no model of Together AI does not pay for it, also if the manifest is new."""
    declare(tmp_path, {"m": model})
    script = (
        "import sys; from pathlib import Path; from downloader.project.project import Project;"
        "from downloader.settings import Settings; import downloader.tasks;"
        "from downloader.sources.registry import SOURCES;"
        "project = Project(Path('models.yaml'), Settings()); project.models();"
        "assert not project.declared[0].entry.optional;"
        "files = {line.partition('.')[0] for line in SOURCES.values()};"
        "print(*[file for file in files if f'downloader.sources.{file}' in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert said.stdout == f"{source}\n"


MOST_CALLS = 84
"""Of Python functions for one URL of a manifest that was not compiled yet."""


def test_a_url_of_a_new_manifest_costs_few_calls() -> None:
    """What a manifest costs once falls out of the difference."""

    def calls(count: int) -> int:
        urls = [f"https://e.org/{number}.bin" for number in range(count)]
        model = http(*({"url": url, "sha256": "0" * 64} for url in urls))
        text = json.dumps({"models": {"m": model}}).encode()
        called = 0

        def see(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal called
            called += event == "call"

        sys.setprofile(see)
        try:
            project.compiled(text, "models.yaml")
        finally:
            sys.setprofile(None)
        return called

    calls(1)  # imports
    few, many = calls(10), calls(60)
    assert 0 < many - few <= MOST_CALLS * 50
