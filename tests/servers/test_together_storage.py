"""The storage the fake of Together AI redirects to: presigned links, and faults of the bytes."""

from collections.abc import Iterator

import pytest
import requests

from tests.servers.faults import framing, ranges, statuses
from tests.servers.together.delivery import Options
from tests.servers.together.server import TogetherServer

JOB = "ft-0123abcd-0123"
CONTENT = b"merged at 20"
QUERY = f"/v1/finetune/download?ft_id={JOB}&checkpoint=merged"


@pytest.fixture(params=[302, 307])
def redirected(request: pytest.FixtureRequest) -> Iterator[TogetherServer]:
    """Give a server with one job and links to the storage."""
    with TogetherServer(Options(redirect=request.param)) as running:
        running.add_job(JOB, checkpoints={20: {"merged": CONTENT}})
        yield running


def download(together: TogetherServer, **headers: str) -> requests.Response:
    """Ask for the archive, and follow redirects as requests does."""
    sent = {"Authorization": f"Bearer {together.key}", "Accept-Encoding": "identity", **headers}
    return requests.get(together.url + QUERY, headers=sent, timeout=10)


def link_to(together: TogetherServer) -> str:
    """Return a presigned link to the archive, without using it."""
    headers = {"Authorization": f"Bearer {together.key}"}
    url = together.url + QUERY
    reply = requests.get(url, headers=headers, timeout=10, allow_redirects=False)
    return reply.headers["Location"]


def get(url: str, **headers: str) -> requests.Response:
    """Use a link."""
    return requests.get(url, headers=headers, timeout=10)


def test_redirect_leads_to_the_bytes(redirected: TogetherServer) -> None:
    """The link is on another port and obeys ranges; requests shows it no credential."""
    reply = download(redirected, Range="bytes=0-1")
    assert (reply.status_code, reply.content) == (206, CONTENT[:2])
    assert [seen.status for seen in redirected.requests] == [redirected.options.redirect]
    assert redirected.storage.port != redirected.api.port
    assert redirected.storage.with_credentials == []


def test_credential_is_refused_and_recorded(redirected: TogetherServer) -> None:
    """400, and the request is in `with_credentials`; the link is not used up by it."""
    redirected.options.link_uses = 1
    url = link_to(redirected)
    refused = get(url, Authorization="Bearer k")
    assert (refused.status_code, "Only one auth mechanism" in refused.text) == (400, True)
    assert [seen.status for seen in redirected.storage.with_credentials] == [400]
    assert get(url).content == CONTENT


def test_link_expires_after_its_uses(redirected: TogetherServer) -> None:
    """Then it is 403 with S3's words; the API gives another that works."""
    redirected.options.link_uses = 2
    url = link_to(redirected)
    replies = [get(url) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 403]
    assert "<Message>Request has expired</Message>" in replies[2].text
    assert download(redirected).status_code == 200


def test_links_expire_on_demand(redirected: TogetherServer) -> None:
    """All that were given out so far, and no later one."""
    url = link_to(redirected)
    assert get(url).status_code == 200
    redirected.expire_links()
    assert get(url).status_code == 403
    assert download(redirected).status_code == 200


def test_link_is_bound_to_method_and_path(redirected: TogetherServer) -> None:
    """HEAD, another path or no signature is 403, as a presigned URL of S3 has it."""
    url = link_to(redirected)
    assert requests.head(url, timeout=10).status_code == 403
    assert get(url.replace(".tar", ".tgz")).status_code == 403
    assert get(url.partition("?")[0]).status_code == 403
    assert get(url).status_code == 200


@pytest.mark.parametrize("is_inline", [True, False])
def test_faults_of_bodies_are_used_wherever_they_are_served(
    redirected: TogetherServer, is_inline: bool
) -> None:
    """One fault a request for bytes; a range fault knows the archive."""
    if is_inline:
        redirected.options.redirect = None
    redirected.script_bodies(statuses.status(500), framing.endless(), ranges.ignored)
    replies = [download(redirected, Range="bytes=0-1") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [500, 206, 200, 206]
    assert replies[2].content == CONTENT
