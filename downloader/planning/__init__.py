"""What `doit` would do, told beforehand: the same questions that a run asks, and nothing written.

plan.py         what is told: of each file, each model, each disk
foreseen.py     the project as it will be once models.lock is brought up to date
judging.py      one file: present, adopt, link, fetch, unpack, or why not
archives.py     an archive and the files that come out of it
rooms.py        what that writes on each disk, and whether it fits
making.py       all of that for the models that are wanted
wording.py      a table for people
"""

from downloader.planning.making import make
from downloader.planning.plan import Plan
from downloader.planning.wording import lines

__all__ = ["Plan", "lines", "make"]
