"""The fake of Together AI, asked by requests; tests/sdk has the real SDKs."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.servers.faults import statuses
from tests.servers.together.jobs import Checkpoints, Job
from tests.servers.together.server import TogetherServer

JOB = "ft-0123abcd-0123"
FULL = "ft-0123abcd-ffff"
DOWNLOAD = "/v1/finetune/download"
LORA: Checkpoints = {
    10: {"adapter": b"adapter at 10", "merged": b"merged at 10"},
    20: {"adapter": b"adapter at 20", "merged": b"merged at 20"},
}


@pytest.fixture
def together() -> Iterator[TogetherServer]:
    """Give a server with a LoRA job and a fully trained one, both completed."""
    with TogetherServer() as running:
        running.add_job(JOB, checkpoints=LORA)
        running.add_job(FULL, training="Full", checkpoints={7: {"model": b"model at 7"}})
        yield running


def get(together: TogetherServer, path: str, **headers: str) -> requests.Response:
    """Ask with the right key, and follow redirects as requests does."""
    sent = {"Authorization": f"Bearer {together.key}", "Accept-Encoding": "identity", **headers}
    return requests.get(together.url + path, headers=sent, timeout=10)


def download(together: TogetherServer, query: str, **headers: str) -> requests.Response:
    """Ask for an archive."""
    return get(together, f"{DOWNLOAD}?{query}", **headers)


def data(together: TogetherServer, path: str) -> list[dict[str, Any]]:
    """Return the list a listing holds."""
    listed: list[dict[str, Any]] = get(together, path).json()["data"]
    return listed


class TestLookUp:
    """Jobs, events and checkpoints."""

    @pytest.mark.parametrize("sent", [None, "Bearer wrong", "tgp_v1_fake-key", "Basic dDp0"])
    @pytest.mark.parametrize("path", ["/v1/fine-tunes", f"{DOWNLOAD}?ft_id={JOB}", "/v1/else"])
    def test_without_the_key_everything_is_401(
        self, together: TogetherServer, path: str, sent: str | None
    ) -> None:
        """The error body is Together's, whatever was asked."""
        headers = {} if sent is None else {"Authorization": sent}
        reply = requests.get(together.url + path, headers=headers, timeout=10)
        assert reply.status_code == 401
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == "invalid_api_key"

    def test_job_is_found_and_others_are_404(self, together: TogetherServer) -> None:
        """A job by its id, all jobs as a list, and 404 with an error body for the rest."""
        job = get(together, f"/v1/fine-tunes/{JOB}").json()
        assert (job["id"], job["status"], job["training_type"]["type"]) == (
            JOB,
            "completed",
            "Lora",
        )
        assert [each["id"] for each in data(together, "/v1/fine-tunes")] == [JOB, FULL]
        for path in ("", "/events", "/checkpoints"):
            reply = get(together, f"/v1/fine-tunes/ft-0{path}")
            assert (reply.status_code, "error" in reply.json()) == (404, True)

    def test_status_changes_while_a_client_polls(self, together: TogetherServer) -> None:
        """Set at any time, or named in advance: one for each look, and the last one stays."""
        together.job(JOB).status = "queued"
        looked = [get(together, f"/v1/fine-tunes/{JOB}").json()["status"]]
        together.job(JOB).next_statuses = deque(["running", "completed"])
        looked += [get(together, f"/v1/fine-tunes/{JOB}").json()["status"] for _ in range(3)]
        assert looked == ["queued", "running", "completed", "completed"]

    def test_checkpoints_of_a_lora_job(self, together: TogetherServer) -> None:
        """An intermediate step is one item, the final one is one for each kind."""
        listed = data(together, f"/v1/fine-tunes/{JOB}/checkpoints")
        assert [(each["step"], each["checkpoint_type"]) for each in listed] == [
            (10, "Intermediate"),
            (20, "Final Merged"),
            (20, "Final Adapter"),
        ]
        assert listed[0]["created_at"] == "2025-09-24T23:14:22Z"
        assert [each["checkpoint"] for each in listed] == ["adapter", "model", "adapter"]

    def test_job_that_goes_on_lists_no_final_checkpoint(self, together: TogetherServer) -> None:
        """What was saved so far is listed and events tell of it; nothing says it is complete."""
        together.add_job(JOB, checkpoints=LORA, status="uploading")
        listed = data(together, f"/v1/fine-tunes/{JOB}/checkpoints")
        assert [(each["step"], each["checkpoint_type"]) for each in listed] == [
            (10, "Intermediate")
        ]
        events = data(together, f"/v1/fine-tunes/{JOB}/events")
        assert [each["type"] for each in events] == ["JOB_PENDING", *["CHECKPOINT_SAVE"] * 2]

    def test_full_training_has_one_final_model(self, together: TogetherServer) -> None:
        """Neither merged nor adapter; the events end with job_complete, in either case."""
        (item,) = data(together, f"/v1/fine-tunes/{FULL}/checkpoints")
        assert (item["checkpoint_type"], item["checkpoint"]) == ("Final", "model")
        path = f"/v1/fine-tunes/{FULL}/events"
        assert data(together, path)[-1]["type"] == "JOB_COMPLETE"
        together.job(FULL).upper_events = False
        assert data(together, path)[-1]["type"] == "job_complete"

    def test_look_ups_can_fail_as_scripted(self, together: TogetherServer) -> None:
        """A fault on a path of the API is used once."""
        together.api.script("/v1/fine-tunes", statuses.busy("1"))
        assert [get(together, "/v1/fine-tunes").status_code for _ in range(2)] == [503, 200]

    def test_training_type_may_be_missing(self, together: TogetherServer) -> None:
        """None is null, and the empty word of old jobs is passed on."""
        for training, shown in ((None, None), ("", {"type": ""})):
            together.add_job("ft-0", training=training)
            assert get(together, "/v1/fine-tunes/ft-0").json()["training_type"] == shown


class TestDownload:
    """Which bytes a query means."""

    @pytest.mark.parametrize(
        ("query", "body"),
        [
            (f"ft_id={JOB}&checkpoint=merged", b"merged at 20"),
            (f"ft_id={JOB}&checkpoint=adapter", b"adapter at 20"),
            (f"checkpoint_step=0&ft_id={JOB}&checkpoint=adapter", b"adapter at 20"),
            (f"ft_id={JOB}&checkpoint=merged&checkpoint_step=10", b"adapter at 10"),
            (f"ft_id={JOB}&checkpoint=nonsense&checkpoint_step=10", b"adapter at 10"),
            (f"ft_id={JOB}&checkpoint_step=20&checkpoint=adapter", b"merged at 20"),
            (f"ft_id={FULL}&checkpoint=model_output_path", b"model at 7"),
            (f"ft_id={FULL}&checkpoint_step=7", b"model at 7"),
        ],
    )
    def test_archive(self, together: TogetherServer, query: str, body: bytes) -> None:
        """A step makes it ignore the type; the final step is the final model."""
        reply = download(together, query)
        assert (reply.status_code, reply.content) == (200, body)
        assert reply.headers["Content-Type"] == "application/octet-stream"
        assert not {"digest", "content-md5", "repr-digest"} & {
            name.lower() for name in reply.headers
        }

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("checkpoint=merged", 400),
            ("ft_id=ft-0&checkpoint=merged", 404),
            (f"ft_id={JOB}", 400),
            (f"ft_id={JOB}&checkpoint=default", 400),
            (f"ft_id={JOB}&checkpoint=model_output_path", 400),
            (f"ft_id={FULL}&checkpoint=merged", 400),
            (f"ft_id={JOB}&checkpoint=merged&checkpoint_step=ten", 400),
            (f"ft_id={JOB}&checkpoint=merged&checkpoint_step=15", 404),
        ],
    )
    def test_refusal(self, together: TogetherServer, query: str, status: int) -> None:
        """400 for parameters that do not fit the job, 404 for what does not exist."""
        reply = download(together, query)
        assert (reply.status_code, "error" in reply.json()) == (status, True)

    @pytest.mark.parametrize("status", ["running", "cancelled", "user_error", "brand_new"])
    def test_job_that_is_not_completed_is_not_downloadable(
        self, together: TogetherServer, status: str
    ) -> None:
        """400 that says so; once it is completed the same query is served."""
        together.job(JOB).status = status
        reply = download(together, f"ft_id={JOB}&checkpoint=merged")
        assert reply.status_code == 400
        assert reply.json()["error"]["message"].startswith("Training job is not downloadable.")
        together.job(JOB).status = "completed"
        assert download(together, f"ft_id={JOB}&checkpoint=merged").status_code == 200

    def test_first_two_bytes_tell_the_size(self, together: TogetherServer) -> None:
        """`bytes=0-1`, as both SDKs ask it, is 206 with the total."""
        reply = download(together, f"ft_id={JOB}&checkpoint=merged", Range="bytes=0-1")
        assert (reply.status_code, reply.content) == (206, b"me")
        assert reply.headers["Content-Range"] == "bytes 0-1/12"

    def test_ranges_validators_and_content_type_are_options(self, together: TogetherServer) -> None:
        """Without ranges the whole archive comes; validators and type can be others at once."""
        together.options.ranges = together.options.validators = False
        together.options.content_type = "application/x-tar"
        reply = download(together, f"ft_id={JOB}&checkpoint=merged", Range="bytes=0-1")
        assert (reply.status_code, reply.content) == (200, b"merged at 20")
        assert not {"ETag", "Last-Modified", "Accept-Ranges"} & set(reply.headers)
        assert reply.headers["Content-Type"] == "application/x-tar"

    def test_head_is_refused(self, together: TogetherServer) -> None:
        """No client may come to rely on HEAD: neither SDK uses it, and no document has it."""
        headers = {"Authorization": f"Bearer {together.key}"}
        url = f"{together.url}{DOWNLOAD}?ft_id={JOB}&checkpoint=merged"
        assert requests.head(url, headers=headers, timeout=10).status_code == 405

    def test_requests_are_logged(self, together: TogetherServer) -> None:
        """Method, path, query in order, and headers."""
        download(together, f"ft_id={JOB}&checkpoint=merged", Range="bytes=0-1")
        (seen,) = together.requests
        assert (seen.method, seen.path) == ("GET", DOWNLOAD)
        assert seen.query == [("ft_id", JOB), ("checkpoint", "merged")]
        assert (seen.headers["Range"], seen.status) == ("bytes=0-1", 206)


def test_step_may_give_a_merged_model() -> None:
    """What an intermediate step of a LoRA job holds is open, so a test chooses."""
    job = Job(id=JOB, checkpoints=LORA, step_kind="merged")
    assert job.archive("adapter", 10) == b"merged at 10"
