"""Every error this package raises; the tree is the contract. And `Stop`, which raises one of them.

    ModelmakeError                 what happened; `hint` says what to do next
    |- ManifestError               models.yaml says something it may not
    |- LockError                   models.lock is missing, stale, torn or tampered with
    |- SettingError                an environment variable has an unusable value
    |- SourceError                 the provider cannot give what the entry asks for
    |   |- NotFound                it is not there (404, 410)
    |   |- AccessDenied            it is there, but not for us (401, 403, 451)
    |   `- NotReady                it will be there later: a training that still runs
    |- TransferError               the bytes did not arrive
    |   |- ConnectionLost *        refused, reset, name not resolved, body cut short
    |   |- TimedOut *              no byte, or next to none, for the patience set
    |   |- LinkExpired *           a redirect led to a signed URL that holds no longer
    |   |- ServerBusy *            408, 425, 429, 5xx; may carry `wait_seconds`
    |   |- BadResponse             the reply breaks HTTP, or is not what was asked for
    |   |- Offline                 MODELMAKE_OFFLINE forbids to fetch what is not here
    |   `- Interrupted             the user stopped the run
    |- IntegrityError              bytes arrived, but not the right ones
    |   |- SizeMismatch
    |   |- DigestMismatch
    |   |- RemoteChanged           the file changed upstream while it was fetched
    |   `- BadArchive              a .tar.zst or .tar.gz that is damaged, or is not safe to unpack
    `- StoreError                  the disk refused: full, read-only, a folder in the way
        `- TooManyOpen             no further file or connection may be opened

Families are made by whose fault it is. `*` marks what is transient: trying again may help.
A message is one sentence: what, then why. No message holds a query string or a credential.
"""

import threading
from typing import ClassVar

RESTORE_HINT = "Take it back from version control, or delete it and run `doit lock`."

OFFLINE_HINT = (
    "Run `doit bundle --out DIR` elsewhere and `doit adopt --from DIR` here, "
    "or unset MODELMAKE_OFFLINE."
)


class ModelmakeError(Exception):
    """Base of all errors raised here.

    Args:
        what: One sentence: what happened and why.
        hint: What to do next; when not given, the class's own advice.
    """

    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = ""
    is_reported = False
    """Set by whoever showed it: one archive's error ends the tasks of all its files."""

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = self.advice if hint is None else hint
        self.failures: dict[str, Exception] = {}
        """What `ensure` or `sync` raises: all that failed in the run, by `MODEL/PATH`."""

    def report(self) -> str:
        """Return the text to show: one to three lines, no traceback."""
        return f"{self}\n  {self.hint}" if self.hint else str(self)


class ManifestError(ModelmakeError):
    """models.yaml is malformed; the message begins with file:line and the key path."""


class LockError(ModelmakeError):
    """models.lock cannot be used as it is."""

    advice = "Run `doit lock` to write it anew from models.yaml."


class SettingError(ModelmakeError):
    """An environment variable holds a value that cannot be used."""


class SourceError(ModelmakeError):
    """The provider cannot give what the entry asks for."""


class NotFound(SourceError):  # noqa: N818 - reads as what happened
    """The provider says there is no such file."""

    advice = "Check the name in models.yaml, or add a mirror that has the file."


class AccessDenied(SourceError):  # noqa: N818
    """The provider refuses to hand the file to us."""

    advice = "Check that the file is public, or that your credential for this provider is valid."


class NotReady(SourceError):  # noqa: N818
    """The provider has not made it yet."""


class TransferError(ModelmakeError):
    """The bytes did not arrive."""


class ConnectionLost(TransferError):  # noqa: N818
    """The connection could not be made, or ended before the body did."""

    retryable = True
    advice = "Check the network and run the same command again: it goes on from what is there."


class TimedOut(TransferError):  # noqa: N818
    """No byte came for MODELMAKE_TIMEOUT seconds, or less than 1 KiB for each of them."""

    retryable = True
    advice = "Run the same command again to go on, or give it more patience with MODELMAKE_TIMEOUT."


class LinkExpired(TransferError):  # noqa: N818
    """A redirect led to a signed URL that holds no longer; a new one may be had."""

    retryable = True
    advice = "Run the same command again: it goes on from what is there."


class ServerBusy(TransferError):  # noqa: N818
    """The server asks to come back later.

    Args:
        what: As in ModelmakeError.
        hint: As in ModelmakeError.
        wait_seconds: What the server's Retry-After asked for, when it did.
    """

    retryable = True
    advice = "Run the same command again later: it goes on from what is there."

    def __init__(
        self, what: str, *, hint: str | None = None, wait_seconds: float | None = None
    ) -> None:
        super().__init__(what, hint=hint)
        self.wait_seconds = wait_seconds


class BadResponse(TransferError):  # noqa: N818
    """The reply breaks the protocol, or is an error page in place of the file."""


class Offline(TransferError):  # noqa: N818
    """It is neither here nor in the store, and MODELMAKE_OFFLINE forbids to fetch it."""

    advice = OFFLINE_HINT


class Interrupted(TransferError):  # noqa: N818
    """The user stopped the run; what arrived is kept for the next one."""

    advice = "Run the same command again: it goes on from what is there."


class IntegrityError(ModelmakeError):
    """Bytes arrived that are not the ones asked for."""


class SizeMismatch(IntegrityError):  # noqa: N818
    """The file has another number of bytes than the lock, or the server, says."""

    advice = "If it changed upstream and you want the new one, run `doit lock --upgrade`."


class DigestMismatch(IntegrityError):  # noqa: N818
    """The file has the right size and the wrong content."""


class RemoteChanged(IntegrityError):  # noqa: N818
    """The file changed upstream between two requests for it."""


class BadArchive(IntegrityError):  # noqa: N818
    """An archive is damaged or cut short, or holds what may not be unpacked; nothing of it was."""

    advice = "To keep the archive as it is, leave `extract` out of its entry in models.yaml."


class StoreError(ModelmakeError):
    """The disk refused: full, read-only, or something else stands at the path."""

    errno: int | None = None
    """The system's number for it, where it was the system that refused."""
    reason: str = ""
    """What the system said."""


class TooManyOpen(StoreError):  # noqa: N818
    """This process, or the machine, may open no further file or connection (EMFILE, ENFILE)."""


class Stop:
    """Whether the run is to end; safe to share between threads.

    Everything that may take long asks it often. It stands here because every room asks it, and
    nothing but this raises Interrupted.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """End every wait, now and to come."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether the run is to end."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Interrupted if the run is to end."""
        if self._event.is_set():
            raise Interrupted("The run was interrupted.")

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the run is to end; raise Interrupted then."""
        self._event.wait(seconds)
        self.check()
