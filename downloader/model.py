"""One model as it stands now: what is declared, what is locked, and how its targets look."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from downloader import freshness, receipts
from downloader.artifact import Artifact
from downloader.declared import Declared
from downloader.freshness import NOT_UNPACKED, Rule
from downloader.lock.lockfile import LockedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model as it stands now.

    Attributes:
        declared: What models.yaml says.
        locked: What models.lock says, or will say as far as is known; None when unknown. Of a
            model whose provider has to be asked it is what was locked for the entry as it is now.
        is_stale: Whether models.lock has to be brought up to date for it.
        folder: Where its files go.
    """

    declared: Declared
    locked: LockedModel | None
    is_stale: bool
    folder: Path

    @property
    def name(self) -> str:
        """Its key in models.yaml."""
        return self.declared.name

    @property
    def source_name(self) -> str:
        """The name of its source in models.yaml."""
        return str(type(self.declared.entry).__struct_config__.tag)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Its targets, none when they are not known yet.

        An archive is one of them where it is kept, and as long as nobody knows its files.
        """
        if self.locked is None or not self.locked.archives:
            return self.locked.files if self.locked else ()
        if self.declared.keeps_archives:
            return (*self.locked.files, *self.locked.archives)
        return (*self.locked.files, *self.not_unpacked)

    @property
    def not_unpacked(self) -> tuple[Artifact, ...]:
        """Its archives whose files are not known yet."""
        if self.locked is None:
            return ()
        return tuple(each for each in self.locked.archives if not self.locked.out_of(each.path))

    @property
    def must_ask(self) -> bool:
        """Whether only its provider can tell which files it has."""
        return self.is_stale and self.declared.is_known and self.declared.outlined is None

    def why_stale(self) -> Iterator[tuple[Artifact, Rule | None]]:
        """Yield each target with the rule that makes it stale, None where it is fresh."""
        known = receipts.load(self.folder)
        not_unpacked = {each.path for each in self.not_unpacked}
        for artifact in self.artifacts:
            target, receipt = self.folder / artifact.path, known.get(artifact.path)
            why = freshness.why_stale(artifact, target, receipt)
            yield artifact, why or (NOT_UNPACKED if artifact.path in not_unpacked else None)
