"""What Together's own SDKs do wrong, shown on our fake: what ours is compared with must be true.

Each test passes while the SDK has the defect: 1.5.34, and the 3.x that was newest when the test was
written (3.1.1). One that fails after an update tells of a repair, and may go.
"""

import random
from dataclasses import replace

import pytest

from tests.sdk.jobs import DOWNLOAD, JOB, LORA, StartSDK, targets
from tests.sdk.together import SDK
from tests.servers import faults
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import timing
from tests.servers.reply import Reply
from tests.servers.together.server import TogetherServer

MERGED = LORA[20]["merged"]
CHUNK_BYTES = 10 * 1024 * 1024
"""Both SDKs write so much at a time, and 3.x counts nothing less as received."""


def download(sdk: SDK, server: TogetherServer, *arguments: str) -> tuple[int, str]:
    """Run the SDK's program; return its exit status and all it said."""
    ended = sdk.program(server, "fine-tuning", "download", *arguments)
    return ended.returncode, ended.stdout + ended.stderr


def test_file_in_a_named_folder_gets_a_random_name(sdk: SDK, together: TogetherServer) -> None:
    """`--output_dir out` leaves out/tmpab12cd34, and reports the folder as the file."""
    folder = sdk.folder / "out"
    folder.mkdir()
    option = {1: "--output_dir", 3: "--output-dir"}[sdk.version]
    status, said = download(sdk, together, JOB, option, "out")
    (path,) = sdk.files()
    assert (status, path.startswith("out/tmp"), "." in path) == (0, True, False)
    assert str(folder) in said
    assert path not in said


def test_final_model_and_a_step_overwrite_each_other(sdk: SDK, together: TogetherServer) -> None:
    """Both have one name, so the last one is what is left; the name of 3.x makes a folder."""
    for job in (JOB, f"{JOB}:10"):
        assert download(sdk, together, job)[0] == 0
    name = {1: "acct--my-model.tar.zst", 3: "acct/My_Model.tar.zst"}[sdk.version]
    assert sdk.files() == {name: LORA[10]["adapter"]}


def cut_to(size_bytes: int) -> Fault:
    """Return a fault: a well-formed reply with the first bytes only."""
    return lambda _, reply: reply.with_body(reply.body.slice(0, size_bytes))


def test_old_sdk_takes_a_short_file_for_whole(
    installed: StartSDK, together: TogetherServer
) -> None:
    """1.5 builds DownloadError and does not raise it: 100 bytes stay, reported as all of them."""
    sdk = installed(1)
    together.script_bodies(faults.honest, cut_to(100))
    status, said = download(sdk, together, JOB)
    assert (status, f'"size": {len(MERGED)}' in said) == (0, True)
    assert list(sdk.files().values()) == [MERGED[:100]]


def test_new_sdk_leaves_its_temporary_files(installed: StartSDK, together: TogetherServer) -> None:
    """3.x notices a short file, and leaves it beside its lock; nothing will ever use either."""
    sdk = installed(3)
    together.script_bodies(faults.honest, cut_to(100))
    assert download(sdk, together, JOB)[0] == 1
    assert sorted(map(len, sdk.files().values())) == [0, 100]
    assert "acct/My_Model.tar.zst.lock" in sdk.files()


def now_with(content: bytes) -> Fault:
    """Return a fault: the honest answer about another file."""

    def fault(exchange: Exchange, _: Reply) -> Reply:
        assert exchange.resource is not None
        other = replace(exchange.resource, body=as_body(content), etag='"other"')
        return exchange.answer(replace(exchange, resource=other))

    return fault


def test_new_sdk_joins_two_versions_of_a_file(
    installed: StartSDK, together: TogetherServer
) -> None:
    """3.x resumes without If-Match: another version of the same size is joined, and all is well."""
    sdk = installed(3)
    old, new = (random.Random(seed).randbytes(CHUNK_BYTES + 2000) for seed in (1, 2))
    together.add_job(JOB, checkpoints={20: {"merged": old}})
    together.script_bodies(faults.honest, timing.drop_after(CHUNK_BYTES + 1000), now_with(new))
    status, _ = download(sdk, together, JOB)
    resumed = together.requests[-1]
    assert (resumed.headers["Range"], resumed.status) == (f"bytes={CHUNK_BYTES}-", 206)
    assert not {"If-Match", "If-Range"} & set(resumed.headers)
    assert status == 0
    assert list(sdk.files().values()) == [old[:CHUNK_BYTES] + new[CHUNK_BYTES:]]


def test_server_without_ranges(sdk: SDK, together: TogetherServer) -> None:
    """Both take the size from Content-Range alone: 1.5 reports 0 bytes, 3.x gives up."""
    together.options.ranges = False
    status, said = download(sdk, together, JOB)
    if sdk.version == 1:
        assert (status, '"size": 0' in said) == (0, True)
    else:
        assert (status, "Unable to retrieve remote file." in said) == (1, True)


@pytest.mark.parametrize(
    ("status", "upper_events", "field"),
    [("brand_new", True, "status"), ("completed", False, "events.0.type")],
)
def test_old_sdk_cannot_read_a_job_with_a_new_word(
    installed: StartSDK, together: TogetherServer, status: str, upper_events: bool, field: str
) -> None:
    """One unknown status, or an event in lower case as in the OpenAPI file, and the job is lost."""
    together.job(JOB).status, together.job(JOB).upper_events = status, upper_events
    (result,) = installed(1).call(together, ("retrieve", {"id": JOB}))
    assert result["raised"] == "ValidationError"
    assert field in result["text"]


def test_job_without_a_training_type(sdk: SDK, together: TogetherServer) -> None:
    """1.5 fails on null with an AttributeError; 3.x asks for `checkpoint=default`, which is 400."""
    together.job(JOB).training = None
    status, said = download(sdk, together, JOB)
    assert status == 1
    if sdk.version == 1:
        assert "AttributeError" in said
    else:
        assert targets(together)[-1] == f"{DOWNLOAD}{JOB}&checkpoint=default"


def test_new_sdk_wants_an_output_name_though_a_path_is_given(
    installed: StartSDK, together: TogetherServer
) -> None:
    """3.x advises `--output_dir` (which it calls `--output-dir`) to one who has just given it."""
    together.job(JOB).output_name = None
    status, said = download(installed(3), together, JOB, "--output-dir", "file.tar.zst")
    assert (status, "specify an output path with --output_dir" in said) == (1, True)


def test_old_sdk_does_not_fill_in_the_job_id(installed: StartSDK, together: TogetherServer) -> None:
    """1.5 says `{id}` where the id should be: the string is no f-string."""
    status, said = download(installed(1), together, f"{JOB}:10", "--checkpoint-step", "10")
    assert (status, "Fine-tuning job ID {id} contains a colon" in said) == (1, True)
