"""What a `together` entry may say beyond its types: all that can be known before a request."""

from downloader.manifest.entries import CheckpointRange, TogetherEntry
from downloader.manifest.wording import Fault
from downloader.safe_path import check_path


def check_together(entry: TogetherEntry, *, is_given: bool) -> None:
    """Accept an entry whose keys agree with each other.

    Args:
        entry: The entry.
        is_given: Whether it names a `checkpoint` itself.

    Raises:
        Fault: They do not.
    """
    if is_given and ":" in entry.job:
        raise Fault(("checkpoint",), "the step stands in `job` already", "Remove one of the two.")
    _check_range(entry.checkpoint)
    _check_archive(entry)
    if not entry.keep_archive and not entry.extract:
        raise Fault(
            ("keep_archive",),
            "without `extract` the archive is the only file there is",
            "Add `extract: true`, or remove `keep_archive`.",
        )


def _check_range(wanted: object) -> None:
    if not isinstance(wanted, CheckpointRange):
        return
    keys = ("checkpoint",)
    has_bounds = wanted.start is not None or wanted.stop is not None
    if has_bounds == (wanted.last is not None):
        raise Fault(keys, "expected either `last`, or `from` and `to`")
    if wanted.start is not None and wanted.stop is not None and wanted.start > wanted.stop:
        raise Fault(keys, f"`from` {wanted.start} is greater than `to` {wanted.stop}")


def _check_archive(entry: TogetherEntry) -> None:
    """Accept a name of one file for an archive that is only one."""
    if entry.archive is None:
        return
    keys = ("archive",)
    try:
        check_path(entry.archive)
    except ValueError as error:
        raise Fault(keys, str(error), "It is a file's name, such as bot.tar.zst.") from None
    if "/" in entry.archive:
        raise Fault(keys, "a file's name is wanted, without a folder", "`to` names the folder.")
    if not isinstance(entry.checkpoint, int) and entry.checkpoint != "final":
        raise Fault(
            keys,
            "one name for several checkpoints' archives",
            "Remove it: each archive's own name holds its step.",
        )
