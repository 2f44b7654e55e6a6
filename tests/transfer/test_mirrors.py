"""Published copies are asked first: which requests are made, and what is said."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import ModelmakeError, NotFound, SettingError, SourceError
from downloader.network.client import Client
from downloader.transfer import mirrors as module
from downloader.transfer.fetch import Fetched, Fetcher
from downloader.transfer.mirrors import Mirrors, Wish
from downloader.transfer.places import blob_path
from downloader.urls import Location
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer
from tests.servers.process import free_port
from tests.transfer.desk import BODY, PATH, Desk, pinned, sha256, unpinned

BLOB = f"/m/{blob_path(sha256(BODY))}"
WRONG = bytes(len(BODY))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what the user is told."""
    lines = list[str]()
    monkeypatch.setattr(module, "tell", lines.append)
    return lines


@pytest.fixture
def client(desk: Desk) -> Iterator[Client]:
    """Give the client of one run."""
    with desk.transport() as transport:
        yield transport


class Run:
    """One run with mirrors; the provider is the desk's server."""

    def __init__(self, desk: Desk, client: Client, *copies: str, only: bool = False) -> None:
        self.desk, self.copies, self.only = desk, copies, only
        self.fetcher, self.mirrors, self.located = Fetcher(client), Mirrors(client), 0

    def provider(self) -> tuple[Location, ...]:
        """Return where the provider has the file; may need a key."""
        self.located += 1
        return (self.desk.location(),)

    def fetch(self, artifact: Artifact | None = None) -> Fetched:
        """Fetch the file."""
        artifact = artifact or pinned()
        wish = Wish(
            artifact=artifact,
            name="m/model.bin",
            copies=self.copies,
            provider=None if self.only else self.provider,
            who_forbids="`mirror: only`",
        )
        job = self.desk.job(artifact)
        candidates, failed = self.mirrors.candidates(wish), self.mirrors.failed
        return self.fetcher.fetch(replace(job, locations=candidates, failed=failed, anywhere=True))


def web(server: FaultyServer) -> str:
    """Return a server as a published copy."""
    return f"blobs+{server.url('/m')}"


def test_the_provider_is_not_even_located(
    desk: Desk, elsewhere: FaultyServer, client: Client, said: list[str]
) -> None:
    """If the copy has the file, nothing asks for the provider's key, and it gets no request."""
    elsewhere.put(BLOB, BODY)
    run = Run(desk, client, web(elsewhere))

    done = run.fetch()

    assert desk.target.read_bytes() == BODY
    assert (run.located, desk.seen, said) == (0, [], [])
    assert (done.place, done.etag) == ("", None), "neither the lock nor the store learns of it"


def test_a_file_that_the_copy_lacks_costs_one_request(
    desk: Desk, elsewhere: FaultyServer, client: Client, said: list[str]
) -> None:
    """Nobody waits, and nobody is told: that is what the provider is for."""
    Run(desk, client, web(elsewhere)).fetch()

    assert desk.target.read_bytes() == BODY
    assert [seen.path for seen in elsewhere.requests] == [BLOB]
    assert (desk.waits.delays, said) == ([], [])


def test_a_file_without_a_digest_comes_from_the_provider(
    desk: Desk, elsewhere: FaultyServer, client: Client
) -> None:
    """No copy can have it, so none is asked; what the provider says goes into the lock."""
    done = Run(desk, client, web(elsewhere)).fetch(unpinned())

    assert elsewhere.requests == []
    assert done.etag is not None


def test_a_damaged_file_is_named_and_not_taken(
    desk: Desk, elsewhere: FaultyServer, client: Client, said: list[str]
) -> None:
    """Its bytes are set aside, and the provider gives the right ones, from the first byte on."""
    elsewhere.put(BLOB, WRONG)

    Run(desk, client, web(elsewhere)).fetch()

    assert desk.target.read_bytes() == BODY
    assert desk.asked == [None]
    (line,) = said
    assert "has a damaged file, which is not used" in line
    assert sha256(WRONG) in line
    assert [path.read_bytes() for path in desk.quarantined] == [WRONG]


@pytest.mark.parametrize("body", [WRONG, BODY[:-1]], ids=["other bytes", "another length"])
@pytest.mark.parametrize("first_use", [True, False])
def test_a_damaged_copy_is_no_reason_to_change_the_lock(
    desk: Desk, elsewhere: FaultyServer, client: Client, body: bytes, *, first_use: bool
) -> None:
    """What to do is to mend the copy, whoever vouches for the SHA-256."""
    elsewhere.put(BLOB, body)

    with pytest.raises(NotFound) as caught:
        Run(desk, client, web(elsewhere), only=True).fetch(
            msgspec.structs.replace(pinned(), first_use=first_use)
        )

    assert "Remove the damaged file from the mirror, then run `doit publish`" in caught.value.hint
    assert "models.lock" not in caught.value.hint
    assert "--upgrade" not in caught.value.hint


DEAD = {
    "no HTTP": timing.drop_before_status(),
    "busy": statuses.busy(),
    "moved": statuses.redirect_to_itself(),
}


@pytest.mark.parametrize("fault", DEAD.values(), ids=DEAD.keys())
def test_a_copy_that_cannot_be_used_is_named_once(
    desk: Desk, elsewhere: FaultyServer, client: Client, said: list[str], fault: object
) -> None:
    """The first file waits for one more attempt at most; the others do not ask it at all."""
    elsewhere.always(BLOB, fault)  # type: ignore[arg-type]
    run = Run(desk, client, web(elsewhere))

    run.fetch()
    asked, waits = len(elsewhere.requests), len(desk.waits.delays)
    desk.target.unlink()
    run.fetch()

    assert desk.target.read_bytes() == BODY
    assert waits <= 1
    assert len(elsewhere.requests) == asked
    (line,) = said
    assert line.startswith(f"The mirror http://127.0.0.1:{elsewhere.port}/m is not used")


def test_a_copy_that_nobody_serves_is_named_once(
    desk: Desk, client: Client, said: list[str]
) -> None:
    """The same for a closed port, whose error names it and shows no more than that."""
    run = Run(desk, client, f"blobs+http://127.0.0.1:{free_port()}/m")
    run.fetch()
    desk.target.unlink()
    run.fetch()

    assert len(said) == 1
    assert len(desk.seen) == 2


def test_a_copy_that_refuses_is_asked_again(
    desk: Desk, elsewhere: FaultyServer, client: Client, said: list[str]
) -> None:
    """S3 says 403 of a file that is not there to who may not list: other files may be there."""
    elsewhere.always(BLOB, statuses.status(403))
    run = Run(desk, client, web(elsewhere))
    run.fetch()
    desk.target.unlink()
    run.fetch()

    assert len(elsewhere.requests) == 2
    (line,) = said
    assert "refuses a file, or does not have it" in line


def test_copies_are_asked_in_their_order(
    desk: Desk, elsewhere: FaultyServer, client: Client, tmp_path: Path
) -> None:
    """A folder that lacks the file, then a server that has it."""
    (tmp_path / "mirror" / "sha256").mkdir(parents=True)
    elsewhere.put(BLOB, BODY)

    Run(desk, client, (tmp_path / "mirror").as_uri(), web(elsewhere)).fetch()

    assert len(elsewhere.requests) == 1
    assert desk.seen == []


def test_half_a_file_of_a_copy_is_completed_by_the_provider(
    desk: Desk, elsewhere: FaultyServer, client: Client
) -> None:
    """It has the same SHA-256, so what came is not downloaded again; the ETags may differ."""
    elsewhere.put(BLOB, BODY, etag='"of the copy"')
    elsewhere.script(BLOB, timing.drop_after(100_000))
    elsewhere.always(BLOB, statuses.status(404))

    Run(desk, client, web(elsewhere)).fetch()

    assert desk.target.read_bytes() == BODY
    assert desk.asked == [f"bytes=100000-{len(BODY) - 1}"]
    assert "If-Match" not in desk.seen[0].headers


def test_half_a_file_of_the_provider_is_completed_by_a_copy(
    desk: Desk, elsewhere: FaultyServer, client: Client
) -> None:
    """The same the other way round: an earlier run had no mirror."""
    desk.leave_partial(100_000)
    elsewhere.put(BLOB, BODY, etag='"of the copy"')
    before = len(desk.seen)

    Run(desk, client, web(elsewhere)).fetch()

    assert desk.target.read_bytes() == BODY
    assert [seen.headers.get("Range") for seen in elsewhere.requests] == [
        f"bytes=100000-{len(BODY) - 1}"
    ]
    assert len(desk.seen) == before


def test_wrong_bytes_before_the_break_do_not_survive(
    desk: Desk, elsewhere: FaultyServer, client: Client
) -> None:
    """A copy's wrong half is joined with the provider's right one once, and then replaced."""
    elsewhere.put(BLOB, WRONG)
    elsewhere.script(BLOB, timing.drop_after(100_000))
    elsewhere.always(BLOB, statuses.status(404))

    Run(desk, client, web(elsewhere)).fetch()

    assert desk.target.read_bytes() == BODY
    assert desk.asked == [f"bytes=100000-{len(BODY) - 1}", None]


def test_only_copies_may_be_asked(desk: Desk, elsewhere: FaultyServer, client: Client) -> None:
    """A file that none has is an error that says who forbids the provider, and what to do."""
    run = Run(desk, client, web(elsewhere), only=True)

    with pytest.raises(NotFound) as caught:
        run.fetch()

    assert str(caught.value) == (
        "No mirror gave m/model.bin, and `mirror: only` forbids to ask its provider."
    )
    assert "doit publish --to PLACE" in caught.value.hint
    assert desk.seen == []


def test_only_copies_are_asked_as_patiently_as_a_provider(
    desk: Desk, elsewhere: FaultyServer, client: Client, said: list[str]
) -> None:
    """Nobody else has the file: a busy server is waited for, and named with its reason."""
    elsewhere.put(BLOB, BODY)
    elsewhere.script(BLOB, statuses.busy(), statuses.busy())
    run = Run(desk, client, web(elsewhere), only=True)
    run.fetch()
    assert len(desk.waits.delays) == 2

    desk.target.unlink()
    elsewhere.always(BLOB, statuses.busy())
    with pytest.raises(NotFound, match="server busy"):
        run.fetch()
    assert (desk.seen, said) == ([], [])


@pytest.mark.parametrize(
    ("copies", "artifact", "text"),
    [
        ((), pinned(), "No mirror is named for m/model.bin"),
        (("file:///nowhere",), unpinned(), "models.lock has no SHA-256 of m/model.bin"),
        (("file:///nowhere",), pinned(), "/nowhere is not there"),
    ],
    ids=["no mirror", "no digest", "no folder"],
)
def test_why_no_copy_can_give_it(
    desk: Desk, client: Client, copies: tuple[str, ...], artifact: Artifact, text: str
) -> None:
    """Each reason has its own words."""
    with pytest.raises(ModelmakeError, match="forbids to ask its provider") as caught:
        Run(desk, client, *copies, only=True).fetch(artifact)
    assert text in str(caught.value)
    assert desk.seen == []


def test_a_copy_that_cannot_be_opened_says_what_to_do(
    desk: Desk, client: Client, tmp_path: Path
) -> None:
    """Also if the provider may not be asked: publishing would not help."""
    (tmp_path / "file").touch()
    with pytest.raises(NotFound) as caught:
        Run(desk, client, (tmp_path / "file").as_uri(), only=True).fetch()
    assert caught.value.report() == (
        "No mirror gave m/model.bin, and `mirror: only` forbids to ask its provider. "
        f"{tmp_path / 'file'} is not a folder.\n"
        "  Name a folder in which the files may be kept by their SHA-256."
    )
    assert desk.seen == []


def test_a_provider_that_wants_a_key_says_that_no_mirror_helped(
    desk: Desk, elsewhere: FaultyServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the provider's, of its own kind."""
    run = Run(desk, client, web(elsewhere))

    def provider() -> tuple[Location, ...]:
        raise SettingError("KEY is not set.", hint="Set KEY.")

    monkeypatch.setattr(run, "provider", provider)
    with pytest.raises(SettingError) as caught:
        run.fetch()
    assert caught.value.report() == "KEY is not set. No mirror has the file.\n  Set KEY."


def test_if_nobody_has_it_each_is_named(
    desk: Desk, elsewhere: FaultyServer, client: Client
) -> None:
    """As for any two places."""
    desk.server.always(PATH, statuses.status(404))
    with pytest.raises(SourceError, match="None of 2 places gave"):
        Run(desk, client, web(elsewhere)).fetch()


class TestFolder:
    """A folder is read as a server would be."""

    @pytest.fixture
    def blob(self, tmp_path: Path) -> Path:
        """Give the file in a mirror that is a folder."""
        path = tmp_path / "a mirror" / blob_path(sha256(BODY))
        path.parent.mkdir(parents=True)
        path.write_bytes(BODY)
        return path

    @pytest.fixture
    def run(self, desk: Desk, client: Client, blob: Path) -> Run:
        """Give a run that uses it."""
        return Run(desk, client, blob.parents[2].as_uri())

    def test_it_gives_the_file(self, desk: Desk, run: Run, blob: Path) -> None:
        """The target is a file of its own, and the provider is not asked."""
        run.fetch()
        assert desk.target.read_bytes() == BODY
        assert not desk.target.samefile(blob)
        assert desk.seen == []

    @pytest.mark.parametrize("size", [0, 1, len(BODY) - 1])
    def test_a_short_file_is_damaged(
        self, desk: Desk, run: Run, blob: Path, said: list[str], size: int
    ) -> None:
        """The provider gives it."""
        blob.write_bytes(BODY[:size])
        run.fetch()
        assert desk.target.read_bytes() == BODY
        assert len(desk.seen) == 1
        assert "has a damaged file" in said[0]

    def test_it_resumes(self, desk: Desk, run: Run) -> None:
        """What the provider gave before is not read again."""
        desk.leave_partial(100_000)
        done = run.fetch()
        assert desk.target.read_bytes() == BODY
        assert done.moved_bytes == len(BODY) - 100_000

    @pytest.mark.parametrize("where", ["blob", "folder"])
    def test_a_symlink_that_leads_out_is_not_followed(
        self, desk: Desk, run: Run, blob: Path, tmp_path: Path, where: str
    ) -> None:
        """Whoever may write there makes us read nothing else; nor does a FIFO block."""
        path = blob if where == "blob" else blob.parent
        path.rename(tmp_path / "outside")
        path.symlink_to(tmp_path / "outside")
        run.fetch()
        assert desk.target.read_bytes() == BODY
        assert len(desk.seen) == 1

    def test_a_redirect_does_not_lead_to_a_folder(
        self, desk: Desk, client: Client, elsewhere: FaultyServer, blob: Path, said: list[str]
    ) -> None:
        """Only what the user named is local."""
        elsewhere.always(BLOB, statuses.redirect(blob.as_uri()))
        Run(desk, client, web(elsewhere)).fetch()
        assert len(desk.seen) == 1
        assert "file: URLs are not supported" in said[0]
