"""The shared store: verified bytes by their SHA-256, once for all projects of a user.

    sha256/ab/abcd…     blobs, read-only                        blobs.py
    records             how each looked when it was verified    records.py
    claims/             who is fetching what just now           claims.py
    projects/           whose locks name blobs                  projects.py
    quarantine/         blobs that were changed

How a blob becomes a target, and a target a blob: linking.py. Everything here but `projects/` may be
deleted at any time: it costs hashing, or fetching again.
"""

from downloader.store.blobs import Damaged, Store, store_at
from downloader.store.claims import Claims
from downloader.store.linking import How, Made, has_reflinks, link
from downloader.store.projects import Known, Projects

__all__ = [
    "Claims",
    "Damaged",
    "How",
    "Known",
    "Made",
    "Projects",
    "Store",
    "has_reflinks",
    "link",
    "store_at",
]
