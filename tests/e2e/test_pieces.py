"""Roots and piece layers from `doit lock --pieces` to a fetch and a `doit verify` that use them."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import Entry, Project
from tests.e2e.watching import wait_until
from tests.servers.faults import damage, timing
from tests.servers.faulty import FaultyServer

PIECE = 4 << 20
CONTENT = bytes_of("pieces", 5 * PIECE + 1234)
PATH = "/big.bin"
ROOT_OF_OTHERS = "0" * 64
WAIT_SECONDS = 30.0


def entry(server: FaultyServer, content: bytes = CONTENT, *, is_declared: bool = True) -> Entry:
    """Return an entry of one large file and a small one; models.yaml says their SHA-256 or not."""
    server.put(PATH, content)
    server.put("/small.bin", b"small")
    known = {PATH: sha256(content), "/small.bin": sha256(b"small")} if is_declared else {}
    files = [
        {"url": server.url(path), **({"sha256": known[path]} if path in known else {})}
        for path in (PATH, "/small.bin")
    ]
    return {"source": "http", "files": files}


@pytest.fixture(params=["declared", "first use"])
def pieced(project: Project, server: FaultyServer, request: pytest.FixtureRequest) -> Project:
    """Give a project that fetched its files, and noted the pieces of the large one."""
    project.declare({"m": entry(server, is_declared=request.param == "declared")})
    assert project.doit().status == 0
    run = project.doit("lock", "--pieces")
    assert (run.status, run.stdout.splitlines()[-1]) == (
        0,
        "1 large file has its pieces in models.pieces",
    ), run.text
    return project


def pieces(project: Project) -> Path:
    """Return where models.pieces is."""
    return project.folder / "models.pieces"


def drop_targets(project: Project) -> None:
    """Remove every target, as in a fresh clone."""
    shutil.rmtree(project.folder / "models")


def moved(server: FaultyServer) -> list[str | None]:
    """Return the ranges that were asked for of the large file."""
    return [seen.headers.get("Range") for seen in server.requests if seen.path == PATH]


def test_only_the_large_file_gets_a_root(pieced: Project) -> None:
    """The lock has a root beside the SHA-256, and models.pieces a line of the same root."""
    locked = pieced.locked("m")
    assert "root" not in locked["small.bin"]
    assert locked["big.bin"]["sha256"] == sha256(CONTENT)
    (line,) = map(json.loads, pieces(pieced).read_text().splitlines())
    assert (line["root"], line["piece"]) == (locked["big.bin"]["root"], PIECE)


def test_the_second_time_nothing_is_read_or_written(pieced: Project) -> None:
    """What is known is told, and both files stay as they are, to the byte and the time."""
    before = [
        (each.read_bytes(), each.stat().st_mtime_ns) for each in (pieces(pieced), pieced.lock)
    ]
    pieced.target("m", "big.bin").write_bytes(b"not read")
    run = pieced.doit("lock", "--pieces")
    assert (run.status, run.stdout.splitlines()[-1]) == (
        0,
        "1 large file has its pieces in models.pieces already",
    )
    assert before == [
        (each.read_bytes(), each.stat().st_mtime_ns) for each in (pieces(pieced), pieced.lock)
    ]


def test_wrong_bytes_get_no_root(project: Project, server: FaultyServer) -> None:
    """A file that is not what the lock says is left out, and said; the lock stays."""
    project.declare({"m": entry(server)})
    assert project.doit().status == 0
    before = project.lock.read_bytes()
    project.target("m", "big.bin").write_bytes(b"x" + CONTENT[1:])
    run = project.doit("lock", "--pieces")
    assert run.status == 0
    assert "left out m/big.bin: is not as models.lock says" in run.stdout
    assert project.lock.read_bytes() == before
    assert not pieces(project).exists()


def test_a_file_that_is_not_here_is_counted(project: Project, server: FaultyServer) -> None:
    """Without the bytes there is nothing to make a root of."""
    project.declare({"m": entry(server)})
    run = project.doit("lock", "--pieces")
    told = "no file over 16.8 MB has its pieces in models.pieces; 1 not here"
    assert (run.status, run.stdout.splitlines()[-1]) == (0, told)


def test_a_lock_that_may_not_be_written_gets_no_root(
    project: Project, server: FaultyServer
) -> None:
    """MODELMAKE_LOCKED forbids it, before anything is read."""
    project.declare({"m": entry(server)})
    assert project.doit().status == 0
    before = project.lock.read_bytes()
    run = project.doit("lock", "--pieces", MODELMAKE_LOCKED="1")
    assert run.status == 1
    assert "MODELMAKE_LOCKED" in run.stderr
    assert (project.lock.read_bytes(), pieces(project).exists()) == (before, False)


def test_a_clone_fetches_one_wrong_piece_again(pieced: Project, server: FaultyServer) -> None:
    """models.pieces beside the lock is enough: one wrong bit costs one piece."""
    drop_targets(pieced)
    before = len(moved(server))
    server.script(PATH, damage.flipped(2 * PIECE + 5))
    run = pieced.doit("fetch:m")
    assert run.status == 0, run.text
    assert pieced.target("m", "big.bin").read_bytes() == CONTENT
    again = [
        each for each in moved(server)[before:] if each == f"bytes={2 * PIECE}-{3 * PIECE - 1}"
    ]
    assert len(again) == 1
    assert run.text.count("fetched models/m/big.bin") == 1


@pytest.mark.sampled(keep=4)
@pytest.mark.parametrize("lie", ["other nodes", "torn", "no JSON", "of another length"])
def test_a_lying_layer_is_ignored_and_said(pieced: Project, server: FaultyServer, lie: str) -> None:
    """A layer that does not lead to the root is not used: the SHA-256 decides, as without one."""
    text = pieces(pieced).read_text()
    line = json.loads(text)
    other = line["layer"][::-1].lstrip("=") + "=" * line["layer"].count("=")
    wrong = {
        "other nodes": json.dumps({**line, "layer": other}, separators=(",", ":")) + "\n",
        "torn": text[:-10],
        "no JSON": text[:90] + "\n",
        "of another length": json.dumps({**line, "piece": 2 * PIECE}, separators=(",", ":")) + "\n",
    }
    pieces(pieced).write_text(wrong[lie])
    drop_targets(pieced)
    run = pieced.doit()
    assert run.status == 0, run.text
    assert pieced.target("m", "big.bin").read_bytes() == CONTENT
    assert ("does not lead to the root" in run.stderr) == (lie != "torn")


def test_verify_names_the_bytes(pieced: Project) -> None:
    """What is wrong is told to the piece; neighbours are told together."""
    target = pieced.target("m", "big.bin")
    damaged = bytearray(CONTENT)
    for place in (PIECE + 1, 2 * PIECE + 1, len(CONTENT) - 1):
        damaged[place] ^= 1
    target.write_bytes(damaged)
    run = pieced.doit("verify")
    assert run.status == 1
    assert run.stdout.splitlines()[0] == (
        "changed: m/big.bin differs from models.lock in bytes "
        f"{PIECE:,}-{3 * PIECE - 1:,}, {5 * PIECE:,}-{len(CONTENT) - 1:,}"
    )


def test_what_is_verified_by_pieces_gets_its_receipt(pieced: Project) -> None:
    """Right pieces are as good as the right SHA-256: the next run reads nothing."""
    pieced.receipts("m").unlink()
    run = pieced.doit("verify")
    assert (run.status, run.stdout.partition(";")[0]) == (0, "verified 2 files: 2 right")
    assert sha256(CONTENT) in pieced.receipts("m").read_text()


def test_a_changed_digest_drops_the_root(pieced: Project, server: FaultyServer) -> None:
    """With other bytes wanted, the root of the old ones is gone, and so is their line."""
    new = bytes_of("new", len(CONTENT))
    pieced.declare({"m": entry(server, new)})
    assert pieced.doit().status == 0
    assert "root" not in pieced.locked("m")["big.bin"]
    assert pieced.doit("lock", "--pieces").status == 0
    assert len(pieces(pieced).read_text().splitlines()) == 1


def test_locking_again_keeps_the_root(pieced: Project) -> None:
    """`doit lock` and `doit lock --upgrade` find the same bytes, and keep what is known of them."""
    before = pieced.lock.read_bytes()
    for words in (["lock"], ["lock", "--upgrade"]):
        assert pieced.doit(*words).status == 0
    assert pieced.lock.read_bytes() == before


def test_a_killed_fetch_goes_on_by_pieces(pieced: Project, server: FaultyServer) -> None:
    """After SIGKILL, and with a bit turned on the disk, only what is missing or wrong moves."""
    drop_targets(pieced)
    server.script(PATH, timing.stall_after(3 * PIECE))
    process = pieced.start("fetch:m", MODELMAKE_CONNECTIONS="1")
    partials = pieced.target("m", ".modelmake/partials")

    def has_come() -> bool:
        return any(each.stat().st_size >= 3 * PIECE for each in partials.glob("big.bin-*.part"))

    try:
        wait_until(has_come)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=WAIT_SECONDS)
    (partial,) = partials.glob("big.bin-*.part")
    with partial.open("r+b") as file:
        file.seek(7)
        file.write(bytes([CONTENT[7] ^ 1]))
    before = len(moved(server))
    assert pieced.doit("fetch:m").status == 0
    assert pieced.target("m", "big.bin").read_bytes() == CONTENT
    asked = moved(server)[before:]
    assert f"bytes=0-{PIECE - 1}" in asked
    assert None not in asked


def test_prune_keeps_the_layers_that_locks_name(
    pieced: Project, store: Path, server: FaultyServer
) -> None:
    """A layer in the store goes when no lock has its root any more."""
    pieced.doit("lock", "--pieces", MODELMAKE_STORE=str(store))
    (layer,) = (store / "pieces").iterdir()
    assert pieced.doit("prune", MODELMAKE_STORE=str(store)).stdout == "Nothing to prune.\n"
    pieced.declare({"m": entry(server, b"no large file")})
    assert pieced.doit("lock", MODELMAKE_STORE=str(store)).status == 0
    run = pieced.doit("prune", MODELMAKE_STORE=str(store))
    assert (run.status, layer.exists()) == (0, False), run.text


def test_the_store_alone_has_the_layer(pieced: Project, store: Path) -> None:
    """Without models.pieces the store's copy is used, and models.pieces written from it."""
    pieced.doit("lock", "--pieces", MODELMAKE_STORE=str(store))
    text = pieces(pieced).read_bytes()
    pieces(pieced).unlink()
    pieced.target("m", "big.bin").unlink()
    run = pieced.doit("lock", "--pieces", MODELMAKE_STORE=str(store))
    assert (run.status, pieces(pieced).read_bytes()) == (0, text), run.text


def test_repair_fetches_the_wrong_piece(pieced: Project, server: FaultyServer) -> None:
    """Of a damaged file the good pieces stay, and only the wrong one is asked for."""
    target = pieced.target("m", "big.bin")
    damaged = bytearray(CONTENT)
    damaged[PIECE + 9] ^= 1
    target.unlink()
    target.write_bytes(damaged)
    before = len(moved(server))
    run = pieced.doit("verify", "--repair")
    assert (run.status, target.read_bytes()) == (0, CONTENT), run.text
    assert moved(server)[before:] == [f"bytes={PIECE}-{2 * PIECE - 1}"]


def foreign_root(project: Project, server: FaultyServer, *, is_declared: bool) -> Project:
    """Change a lock as a bad merge would: another file's SHA-256 beside the root that was there."""
    other = bytes_of("another", len(CONTENT))
    project.declare({"m": entry(server, is_declared=False)})
    assert project.doit().status == 0
    assert project.doit("lock", "--pieces").status == 0
    if is_declared:
        lined = entry(server, other)
        server.put(PATH, CONTENT)
        project.declare({"m": lined})
    lock = json.loads(project.lock.read_text())
    root = lock["models"]["m"]["files"][0]["root"]
    if is_declared:
        assert project.doit("lock").status == 0
        lock = json.loads(project.lock.read_text())
    line = lock["models"]["m"]["files"][0]
    line.update(root=root, sha256=sha256(other))
    project.lock.write_text(json.dumps(lock))
    drop_targets(project)
    return project


def test_a_root_does_not_stand_for_a_declared_digest(
    project: Project, server: FaultyServer
) -> None:
    """Where somebody vouches for the SHA-256, all bytes are hashed, and the root is found out."""
    run = foreign_root(project, server, is_declared=True).doit()
    assert run.status == 1, run.text
    assert "has a root of other bytes than its sha256 for big.bin" in run.stderr
    assert not project.target("m", "big.bin").exists()


def test_the_store_passes_no_bytes_on_that_nobody_hashed(
    project: Project, server: FaultyServer, store: Path, tmp_path: Path
) -> None:
    """A lock that was changed by hand can harm its own project only."""
    foreign_root(project, server, is_declared=False)
    run = project.doit(MODELMAKE_STORE=str(store))
    assert run.status == 0, run.text
    neighbour = Project(tmp_path / "neighbour")
    other = bytes_of("another", len(CONTENT))
    server.put("/other.bin", other)
    files = [{"url": server.url("/other.bin"), "sha256": sha256(other)}]
    neighbour.declare({"m": {"source": "http", "files": files}})
    told = neighbour.doit(MODELMAKE_STORE=str(store))
    assert told.status == 0, told.text
    assert neighbour.target("m", "other.bin").read_bytes() == other
