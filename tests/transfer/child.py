"""One fetch in a process of its own: python -m tests.transfer.child '<arguments as JSON>'."""

import json
import sys
from pathlib import Path

from downloader.artifact import Artifact, Location
from downloader.settings import Settings
from downloader.transfer.fetch import Fetcher, Job
from downloader.transfer.transport import Transport


def main(arguments: dict[str, str]) -> None:
    """Fetch one file, pinned where a digest is given."""
    settings = Settings(connections=1)  # more of them would go around a server that stalls
    artifact = Artifact(path="model.bin", sha256=arguments["sha256"] or None)
    job = Job(
        artifact=artifact,
        locations=(Location(url=arguments["url"]),),
        target=Path(arguments["target"]),
        workspace=Path(arguments["workspace"]),
    )
    Fetcher(Transport(settings), settings).fetch(job)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
