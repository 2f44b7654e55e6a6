"""Together's own two SDKs, 1.5.34 and 3.x, download from our fake: it speaks what they expect."""

from typing import Any

import pytest

from tests.sdk.jobs import DOWNLOAD, FINAL, FULL, JOB, LORA, StartSDK, targets
from tests.sdk.together import SDK, Call
from tests.servers.together.server import TogetherServer


def test_look_ups(sdk: SDK, together: TogetherServer) -> None:
    """Jobs, events, checkpoints and the error of a missing job are read as they were meant."""
    by_id: list[Call] = [
        (method, {"id": JOB}) for method in ("retrieve", "list_events", "list_checkpoints")
    ]
    job, events, checkpoints, jobs, unknown = sdk.call(
        together, *by_id, ("list", {}), ("retrieve", {"id": "ft-0"})
    )
    assert job["returned"]["id"] == JOB
    assert job["returned"]["status"] == "completed"
    assert job["returned"]["training_type"]["type"] == "Lora"
    assert [each["type"] for each in events["returned"]["data"]][-1] == "JOB_COMPLETE"
    assert kinds_of(sdk, checkpoints["returned"]) == [
        "Final Adapter",
        "Final Merged",
        "Intermediate",
    ]
    assert [each["id"] for each in jobs["returned"]["data"]] == [JOB, FULL]
    assert unknown["raised"] == {1: "InvalidRequestError", 3: "NotFoundError"}[sdk.version]
    assert "Fine-tune ID not found." in unknown["text"]
    beside = [f"/v1/fine-tunes/{JOB}{part}" for part in ("", "/events", "/checkpoints")]
    assert targets(together) == [*beside, "/v1/fine-tunes", "/v1/fine-tunes/ft-0"]


def kinds_of(sdk: SDK, returned: Any) -> list[str]:
    """Return the labels of a list of checkpoints; 1.5 makes a list of its own of them."""
    if sdk.version == 1:
        return sorted(each["type"] for each in returned)
    return sorted(each["checkpoint_type"] for each in returned["data"])


@pytest.mark.parametrize("redirect", [None, 302])
def test_downloads(sdk: SDK, together: TogetherServer, redirect: int | None) -> None:
    """Final, step, adapter and full model are the served bytes; no link is shown the key."""
    together.options.redirect = redirect
    together.options.link_uses = 1
    asked: dict[str, dict[str, Any]] = {
        "final": {"ft_id": JOB, "checkpoint": "merged"},
        "step": {"ft_id": JOB, "checkpoint": "merged", "checkpoint_step": 10},
        "adapter": {"ft_id": JOB, "checkpoint": "adapter"},
        "full": {"ft_id": FULL, "checkpoint": "model_output_path"},
    }
    calls = [call_of(sdk, name, query) for name, query in asked.items()]
    results = sdk.call(together, *calls)
    assert [result for result in results if "raised" in result] == []
    assert sdk.files() == {
        "final": LORA[20]["merged"],
        "step": LORA[10]["adapter"],
        "adapter": LORA[20]["adapter"],
        "full": FINAL[7]["model"],
    }
    assert together.storage.with_credentials == []
    assert bool(together.storage.requests) == (redirect is not None)


def call_of(sdk: SDK, name: str, query: dict[str, Any]) -> Call:
    """Return the call that downloads into a file: 1.5 has `download`, 3.x `content`."""
    if sdk.version == 3:
        return ("content", {**query, "to": name})
    kind = query["checkpoint"].replace("model_output_path", "default")
    step = query.get("checkpoint_step")
    given = {"id": query["ft_id"], "output": name, "checkpoint_type": kind, "checkpoint_step": step}
    return ("download", given)


@pytest.mark.parametrize(
    ("arguments", "query", "body"),
    [
        ([JOB], f"{JOB}&checkpoint=merged", LORA[20]["merged"]),
        ([JOB, "--checkpoint-type", "adapter"], f"{JOB}&checkpoint=adapter", LORA[20]["adapter"]),
        ([f"{JOB}:10"], f"{JOB}&checkpoint=merged&checkpoint_step=10", LORA[10]["adapter"]),
        (
            [JOB, "--checkpoint-step", "20", "--checkpoint-type", "adapter"],
            f"{JOB}&checkpoint=adapter&checkpoint_step=20",
            LORA[20]["merged"],
        ),
        ([FULL], f"{FULL}&checkpoint=model_output_path", FINAL[7]["model"]),
    ],
    ids=["default", "adapter", "step", "final step", "full"],
)
def test_program_asks_for_two_bytes_and_then_for_all(
    sdk: SDK, together: TogetherServer, arguments: list[str], query: str, body: bytes
) -> None:
    """`fine-tuning download` looks up the job, then its size, then its bytes; `tg` asks who we are.

    A LoRA job means merged, and a step is sent beside it; 1.5 puts the step before the checkpoint.
    """
    ended = sdk.program(together, "fine-tuning", "download", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert list(sdk.files().values()) == [body]
    if sdk.version == 1 and "checkpoint_step" in query:
        job_id, checkpoint, step = query.split("&")
        query = f"{job_id}&{step}&{checkpoint}"
    job = "/v1/fine-tunes/" + query.partition("&")[0]
    first = ["/v3/whoami"] if sdk.version == 3 else []
    assert targets(together) == [*first, job, DOWNLOAD + query, DOWNLOAD + query]
    asked = [seen.headers.get("Range") for seen in together.requests[-2:]]
    assert asked == ["bytes=0-1", None]
    assert {seen.headers["Authorization"] for seen in together.requests} == {
        f"Bearer {together.key}"
    }


@pytest.mark.parametrize(("status", "key"), [("running", None), ("completed", "wrong")])
def test_program_reads_our_refusals(
    sdk: SDK, installed: StartSDK, together: TogetherServer, status: str, key: str | None
) -> None:
    """A job that is not completed, and a wrong key, fail with a status and leave no file."""
    together.job(JOB).status = status
    if key is not None:
        sdk = installed(sdk.version, TOGETHER_API_KEY=key)
    ended = sdk.program(together, "fine-tuning", "download", JOB)
    assert ended.returncode != 0
    assert sdk.files() == {}
    assert together.requests[-1].status == (400 if key is None else 401)


@pytest.mark.parametrize("project", [None, "proj_2"])
def test_project_is_in_no_request(
    installed: StartSDK, together: TogetherServer, project: str | None
) -> None:
    """TOGETHER_PROJECT_ID saves 3.x one request; no path, query or header of ours carries it."""
    sdk = installed(3, **({} if project is None else {"TOGETHER_PROJECT_ID": project}))
    ended = sdk.program(together, "fine-tuning", "download", JOB)
    assert ended.returncode == 0, ended.stderr
    assert ("/v3/whoami" in targets(together)) == (project is None)
    said = [f"{seen.target} {seen.headers}" for seen in together.requests]
    assert [each for each in said if "proj" in each.lower()] == []


def test_sdk_that_leaves_the_machine_is_ended(
    installed: StartSDK, together: TogetherServer
) -> None:
    """`tg` reports each command, unless it is told not to: here it would, and is ended instead."""
    elsewhere = "http://telemetry.invalid/"
    sdk = installed(3, TOGETHER_TELEMETRY_DISABLED="0", TOGETHER_TELEMETRY_API=elsewhere)
    ended = sdk.program(together, "fine-tuning", "retrieve", JOB, "--json")
    assert (ended.returncode, "telemetry.invalid" in ended.stderr) == (97, True)
