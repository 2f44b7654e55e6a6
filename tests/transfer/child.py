"""One fetch in a process of its own: `subprocess.run(child.command(job))`."""

import json
import sys
from pathlib import Path

from downloader.artifact import Artifact
from downloader.fs.rooted_path import RootedPath
from downloader.network.client import Client
from downloader.settings import Settings
from downloader.transfer.fetch import Fetcher, Job
from downloader.urls import Location


def command(job: Job, connections: int = 1) -> list[str]:
    """Return the command that does a job, whose file's size is not told.

    Args:
        job: Its artifact is pinned or not; of its locations the first counts.
        connections: More than one of them would go around a server that stalls.
    """
    arguments = {
        "url": next(iter(job.locations)).url,
        "sha256": job.artifact.sha256 or "",
        "target": str(job.target),
        "workspace": str(job.workspace),
        "connections": str(connections),
    }
    return [sys.executable, "-m", "tests.transfer.child", json.dumps(arguments)]


def main(arguments: dict[str, str]) -> None:
    """Fetch one file, pinned where a digest is given."""
    settings = Settings(connections=int(arguments["connections"]))
    artifact = Artifact(path="model.bin", sha256=arguments["sha256"] or None)
    job = Job(
        artifact=artifact,
        locations=(Location(url=arguments["url"]),),
        target=RootedPath.of(Path(arguments["target"])),
        workspace=RootedPath.of(Path(arguments["workspace"])),
    )
    Fetcher(Client(settings)).fetch(job)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
