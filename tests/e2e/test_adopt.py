"""`doit adopt` takes files that exist already, and leaves them as they are."""

import base64
import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

CLOSED = "http://127.0.0.1:9"
BIG = bytes_of("big", (1 << 20) + 5)
SMALL = bytes_of("small", 900)
CONTENTS = {"big.bin": BIG, "config.json": SMALL}


def entry(contents: dict[str, bytes], base: str = CLOSED, **more: object) -> dict[str, object]:
    """Return an entry of pinned files at a server that does not answer."""
    files = [
        {"url": f"{base}/{name}", "path": name, "sha256": sha256(content)}
        for name, content in contents.items()
    ]
    return {"source": "http", "files": files, **more}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Give a folder of the user's that has the model's files somewhere in it."""
    folder = tmp_path / "old"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "big.bin").write_bytes(BIG)
    (folder / "deep" / "config.json").write_bytes(SMALL)
    (folder / "notes.txt").write_text("mine")
    return folder


def test_a_file_of_another_name(project: Project, old: Path, server: FaultyServer) -> None:
    """Where the lock knows the size, any name will do, and files of other sizes are not read."""
    server.put("/weights", BIG)
    project.declare({"m": entry({"weights": BIG}, base=server.url(""))})
    project.doit("lock")

    run = project.doit("adopt", "--from", str(old), MODELMAKE_OFFLINE="1")

    assert run.status == 0, run.text
    assert "hashing up to 1 file (" in run.stderr
    assert project.target("m", "weights").read_bytes() == BIG


def looks(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return mode, links, time and bytes of everything in a folder."""
    files = {path: path.lstat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        str(path): (status.st_mode, status.st_nlink, status.st_mtime_ns, path.read_bytes())
        for path, status in files.items()
    }


def is_taken(project: Project, name: str = "m") -> bool:
    """Whether both files are in place, and the next run has nothing to do without network."""
    right = all(project.target(name, p).read_bytes() == c for p, c in CONTENTS.items())
    return right and project.doit(MODELMAKE_OFFLINE="1").stdout == "Nothing to do.\n"


def test_files_are_taken_from_anywhere_below_a_folder(
    project: Project, old: Path, store: Path
) -> None:
    """By their bytes: nothing is dialled, the source is as it was, and the store has them too."""
    project.declare({"m": entry(CONTENTS)})
    before = looks(old)

    run = project.doit("adopt", "--from", str(old), MODELMAKE_OFFLINE="1")

    assert run.status == 0, run.text
    assert run.stdout.endswith("adopted 2 files (1.0 MB)\n")
    assert is_taken(project)
    assert looks(old) == before
    assert len(list(store.glob("sha256/??/*"))) == 2


def test_an_edit_of_the_source_does_not_reach_the_target(project: Project, old: Path) -> None:
    """A file of the user's is not shared with the target unless that is asked for."""
    project.declare({"m": entry(CONTENTS)})
    project.doit("adopt", "--from", str(old))

    with (old / "deep" / "er" / "big.bin").open("r+b") as file:
        file.write(b"edited")

    assert is_taken(project)


@pytest.mark.parametrize("wish", ["--hardlink", "link"])
def test_a_hard_link_where_it_is_asked_for(
    project: Project, old: Path, store: Path, wish: str
) -> None:
    """By --hardlink or `link: hardlink` target, source and blob are one file, of its old mode."""
    project.declare({"m": entry(CONTENTS, **({"link": "hardlink"} if wish == "link" else {}))})
    source = old / "deep" / "er" / "big.bin"
    mode = source.stat().st_mode

    project.doit("adopt", "--from", str(old), *(["--hardlink"] * (wish != "link")))

    assert is_taken(project)
    assert source.samefile(project.target("m", "big.bin"))
    assert source.samefile(store / "sha256" / sha256(BIG)[:2] / sha256(BIG))
    assert source.stat().st_mode == mode


def test_link_copy_goes_before_the_flag(project: Project, old: Path) -> None:
    """An entry that wants copies gets them."""
    project.declare({"m": entry(CONTENTS, link="copy")})

    project.doit("adopt", "--from", str(old), "--hardlink")

    assert is_taken(project)
    assert (old / "deep" / "er" / "big.bin").stat().st_nlink == 1


def hugging_face(hub: Path) -> Path:
    """Make a cache as huggingface_hub does, and return the large file's blob."""
    model = hub / "models--owner--name"
    snapshot = model / "snapshots" / ("c" * 40)
    (model / "blobs").mkdir(parents=True)
    (snapshot / "sub").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("c" * 40)
    for name, content, blob in (
        ("sub/big.bin", BIG, sha256(BIG)),
        ("config.json", SMALL, "e" * 40),
    ):
        (model / "blobs" / blob).write_bytes(content)
        up = "../" * (2 + name.count("/"))
        (snapshot / name).symlink_to(f"{up}blobs/{blob}")
    return model / "blobs" / sha256(BIG)


def test_the_hugging_face_cache_by_its_name(project: Project, tmp_path: Path) -> None:
    """`--from huggingface` looks where HF_HOME says; large blobs are linked, as they are."""
    blob = hugging_face(tmp_path / "hf" / "hub")
    project.declare({"m": entry(CONTENTS)})
    before = {path: each[0::3] for path, each in looks(tmp_path / "hf").items()}

    run = project.doit("adopt", "--from", "huggingface", HF_HOME=str(tmp_path / "hf"))

    assert run.status == 0, run.text
    assert "hashing up to 2 files" in run.stderr  # the links lead to what was seen already
    assert is_taken(project)
    assert blob.samefile(project.target("m", "big.bin"))
    assert project.target("m", "config.json").stat().st_nlink == 1
    assert {path: each[0::3] for path, each in looks(tmp_path / "hf").items()} == before


def test_a_snapshot_of_the_hugging_face_cache(project: Project, tmp_path: Path) -> None:
    """A folder that holds nothing but links to blobs elsewhere is as good."""
    hugging_face(tmp_path / "hub")
    project.declare({"m": entry(CONTENTS)})

    run = project.doit("adopt", "--from", str(tmp_path / "hub/models--owner--name/snapshots"))

    assert run.status == 0, run.text
    assert is_taken(project)


def test_what_is_missing_is_named(project: Project, old: Path) -> None:
    """Files that are not there are named; the status is 1 where their model was named, else 0."""
    project.declare({"m": entry(CONTENTS), "other": entry({"x.bin": b"other"})})

    run = project.doit("adopt", "--from", str(old))
    assert run.status == 0, run.text
    assert "not found: other/x.bin\n" in run.stdout
    assert not project.target("other", "x.bin").exists()

    run = project.doit("adopt", "--from", str(old), "other")
    assert run.status == 1
    assert "`doit` to fetch" in run.stderr
    assert project.doit("adopt", "--from", str(old), "m").status == 0


def test_a_right_target_is_left_alone(project: Project, old: Path) -> None:
    """What is in place is not made again; what is there without a receipt gets one."""
    project.declare({"m": entry(CONTENTS)})
    project.doit("adopt", "--from", str(old))
    inode = project.target("m", "big.bin").stat().st_ino
    project.receipts("m").unlink()

    run = project.doit("adopt", "--from", str(old), "m")

    assert run.status == 0, run.text
    assert run.stdout == "2 files verified in place\n"
    assert project.doit("adopt", "--from", ".").stdout == (
        "Nothing to adopt: every file is up to date.\n"
    )
    assert project.target("m", "big.bin").stat().st_ino == inode


def test_a_wrong_target_is_replaced(project: Project, old: Path) -> None:
    """A target with other bytes becomes what the lock says."""
    project.declare({"m": entry(CONTENTS)})
    project.target("m", "").mkdir(parents=True)
    project.target("m", "config.json").write_bytes(b"x" * len(SMALL))

    assert project.doit("adopt", "--from", str(old)).status == 0
    assert is_taken(project)


def test_a_model_that_nobody_pinned(project: Project, old: Path, server: FaultyServer) -> None:
    """Without a digest in the lock nothing is taken, and that is said; no server is asked."""
    server.put("/config.json", SMALL)
    project.declare({"m": {"source": "http", "files": [{"url": server.url("/config.json")}]}})

    run = project.doit("adopt", "--from", str(old))
    assert run.status == 1
    assert "doit lock" in run.stderr
    assert not server.requests

    project.doit("lock")
    run = project.doit("adopt", "--from", str(old))
    assert "not found: m/config.json: models.lock has no digest of it yet" in run.stdout


def test_size_and_md5_will_do(project: Project, old: Path, server: FaultyServer) -> None:
    """Where the server told an MD5 the file is taken by that, and its SHA-256 pinned."""
    md5 = base64.b64encode(hashlib.md5(SMALL).digest()).decode()
    server.put("/config.json", SMALL, headers={"x-ms-blob-content-md5": md5})
    project.declare({"m": {"source": "http", "files": [{"url": server.url("/config.json")}]}})
    project.doit("lock")
    assert "md5" in project.locked("m")["config.json"]

    run = project.doit("adopt", "--from", str(old), MODELMAKE_OFFLINE="1")

    assert run.status == 0, run.text
    assert project.locked("m")["config.json"]["sha256"] == sha256(SMALL)
    assert project.doit(MODELMAKE_OFFLINE="1").stdout == "Nothing to do.\n"


def test_odd_things_in_the_folder(project: Project, old: Path) -> None:
    """A loop of links, a FIFO, a dangling link and an unreadable file stop nothing."""
    project.declare({"m": entry(CONTENTS)})
    (old / "loop").symlink_to("loop")
    (old / "up").symlink_to("..")
    (old / "gone").symlink_to("nowhere")
    os.mkfifo(old / "pipe")
    (old / "locked.bin").write_bytes(b"?" * len(BIG))
    (old / "locked.bin").chmod(0)

    run = project.doit("adopt", "--from", str(old))

    assert run.status == 0, run.text
    assert is_taken(project)
    if os.geteuid():
        assert "passed over" in run.stderr
    assert stat.S_ISFIFO((old / "pipe").stat().st_mode)


@pytest.mark.parametrize("late", [["--from", "{old}"], ["--from={old}", "--hardlink"]])
def test_options_after_the_names(project: Project, old: Path, late: list[str]) -> None:
    """An option with its value is understood behind the models too, joined or not."""
    project.declare({"m": entry(CONTENTS)})

    run = project.doit("adopt", "m", *(each.format(old=old) for each in late))

    assert run.status == 0, run.text
    assert (old / "deep" / "er" / "big.bin").stat().st_nlink == 1 + ("--hardlink" in late)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 1),
        (["--from", "nowhere"], 1),
        (["--from", ".", "nope"], 3),
        (["m", "--from"], 3),
        (["m", "--hardlink=no"], 3),
    ],
)
def test_a_slip_is_told(project: Project, arguments: list[str], status: int) -> None:
    """Without a folder, with one that is not there, or an unknown model: one line what to do."""
    project.declare({"m": entry(CONTENTS)})

    run = project.doit("adopt", *arguments)

    assert run.status == status
    assert "Traceback" not in run.text
    assert len(run.error_lines) <= 3
