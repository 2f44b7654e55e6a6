"""The shared store: verified bytes by their SHA-256, once for all projects of a user.

    sha256/ab/abcd…     blobs, read-only                        blobs.py, blob.py
    records             how each looked when it was verified    records.py
    claims, growing/    who is fetching what just now           claims.py
    projects/           whose locks name blobs                  projects.py
    quarantine/         blobs that were changed
    pieces/             piece layers by their Merkle root       pieces/piece_layers.py

How a blob becomes a target, and a target a blob: linking.py; where all of this lies: layout.py.
Everything here but `projects/` may be deleted at any time: it costs hashing, or fetching again.
"""

from downloader.store.blob import Blob, Damaged
from downloader.store.blobs import Store, store_at
from downloader.store.claims import Claims
from downloader.store.linking import WAYS, How, Made, SourceUnreadable, has_reflinks, link
from downloader.store.projects import Known, Projects, known

__all__ = [
    "WAYS",
    "Blob",
    "Claims",
    "Damaged",
    "How",
    "Known",
    "Made",
    "Projects",
    "SourceUnreadable",
    "Store",
    "has_reflinks",
    "known",
    "link",
    "store_at",
]
