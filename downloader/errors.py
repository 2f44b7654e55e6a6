"""Every error this package raises, and which text may leave it. And `Stop`, which raises an error.

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
    |   |- RemoteChanged           the file changed upstream while it was downloaded
    |   `- BadArchive              a .tar.zst or .tar.gz that is damaged, or is not safe to unpack
    `- StoreError                  the disk refused: full, read-only, a folder in the way
        `- TooManyOpen             no further file, connection or thread may be opened

Families are made by whose fault it is. `*` marks what is transient: trying again may help.
A message is one sentence: what, then why. No message holds a query string or a credential.

Texts of files, servers and archives may hold anything, and servers repeat what they are sent. So
every message is made on one line, without control characters and without any secret that was
noted (`note_secret`); `shown` also cuts a foreign text that stands in it. What prints uses
`one_line` once more: not all that is printed is an error.
"""

import json
import re
import string
import threading
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote, quote_plus

MOST_SHOWN = 200
"""Characters that are shown of a foreign text."""
LONGEST_LINE = 1000
"""Characters of a line of ours, whatever stands in it."""
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Servers repeat values in lower case; `str.lower` may change a text's length."""
_PLAIN = r"[A-Za-z0-9._~-]*"
"""Characters that every encoding leaves unchanged."""


class _Secrets:
    """Texts that are to be taken out of others, in whatever case and encoding they come back.

    Args:
        least: Shorter ones are no secrets, and would take holes out of texts.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._by_start: dict[str, dict[str, None]] = {}
        self._sorted: dict[str, tuple[str, ...]] = {}
        self._changing = threading.Lock()

    def note(self, secret: str) -> None:
        """Take this text out of others from now on, in each form of it that is long enough.

        Signed URLs have one beginning, and a run may have thousands: they are sorted when a text
        is looked at that may hold one.
        """
        forms = {form.translate(_FOLDED) for form in _forms(secret) if len(form) >= self._least}
        with self._changing:
            for form in forms:
                start = form[: self._least]
                self._by_start.setdefault(start, {})[form] = None
                self._sorted.pop(start, None)

    def taken_out(self, text: str) -> str:
        """Return a text with `***` for each secret in it, the longest first."""
        if not self._by_start:
            return text
        folded, kept, done, at = text.translate(_FOLDED), list[str](), 0, 0
        while at <= len(folded) - self._least:
            for secret in self._starting(folded[at : at + self._least]):
                if folded.startswith(secret, at):
                    kept += [text[done:at], "***"]
                    at = done = at + len(secret)
                    break
            else:
                at += 1
        return "".join(kept) + text[done:]

    def _starting(self, start: str) -> tuple[str, ...]:
        """Return the secrets that begin so, longest first."""
        if start not in self._by_start:
            return ()
        with self._changing:
            if start not in self._sorted:
                found = sorted(self._by_start[start], key=len, reverse=True)
                self._sorted[start] = tuple(found)
            return self._sorted[start]


def _forms(secret: str) -> set[str]:
    """Return how a text may look after a server, or a message of ours, has rewritten it."""
    if re.fullmatch(_PLAIN, secret):
        return {secret}
    import html  # noqa: PLC0415 - a run with nothing to do sends no secret

    wire = secret.encode("utf-8", "backslashreplace")
    return {
        secret,
        secret.rstrip("="),
        wire.decode("latin-1"),
        wire.decode("utf-8", "replace"),
        quote(wire, safe=""),
        quote(wire),
        quote_plus(wire),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        json.dumps(secret)[1:-1],
        html.escape(secret),
    }


_secrets, _hints = _Secrets(6), _Secrets(3)


def note_secret(text: str, *, is_hint: bool = False) -> None:
    """Let no message show this text from now on.

    Args:
        text: What was sent as a credential, or is a part of it.
        is_hint: Whether it may be an ordinary word, such as a user's name: then it is taken out of
            replies only.
    """
    (_hints if is_hint else _secrets).note(text)


def without_secrets(text: str) -> str:
    """Return a text of whatever form with `***` for each secret."""
    return _secrets.taken_out(text)


def one_line(text: object, most: int = LONGEST_LINE) -> str:
    """Return a text as a line may show it: no secret, no control character, not too long."""
    line = without_secrets(str(text))
    if not line.isprintable():
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    if len(line) <= most:
        return line
    end = most // 4
    return f"{line[: most - end - 3]}...{line[-end:]}"


def shown(text: object, most: int = MOST_SHOWN, *, is_reply: bool = False) -> str:
    """Return a foreign text as a message may show it; cut only once no secret is in it.

    Args:
        text: A name, a value, an error of another package.
        most: How many characters are shown.
        is_reply: Whether a server sent it, which may repeat what it was sent.
    """
    line = without_secrets(str(text))
    return one_line(_hints.taken_out(line) if is_reply else line, most)


RESTORE_HINT = "Take it back from version control, or delete it and run `doit lock`."

OFFLINE_HINT = (
    "Run `doit bundle --out DIR` elsewhere and `doit adopt --from DIR` here, "
    "or unset MODELMAKE_OFFLINE."
)


class ModelmakeError(Exception):
    """Base of all errors raised here.

    Args:
        what: One sentence: what happened and why; or several lines.
        hint: What to do next; when not given, the class's own advice.
    """

    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = ""
    is_reported = False
    """Set by whoever showed it: one archive's error ends the tasks of all its files."""
    is_finding = False
    """Set if a command worked and found something: that is not a failure of the command."""

    def __init__(self, what: str | Sequence[str], *, hint: str | None = None) -> None:
        lines = [what] if isinstance(what, str) else what
        super().__init__("\n".join(map(one_line, lines)))
        self.hint = self.advice if hint is None else one_line(hint)
        self.failures: dict[str, Exception] = {}
        """All failures of the run by `MODEL/PATH`, if `ensure` or `sync` raised this."""

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
    """The provider cannot give what the entry asks for.

    Args:
        what: As in ModelmakeError.
        hint: As in ModelmakeError.
        code: What the provider calls the error, if it says so.
    """

    def __init__(
        self, what: str | Sequence[str], *, hint: str | None = None, code: str = ""
    ) -> None:
        super().__init__(what, hint=hint)
        self.code = code


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
    advice = "Check the network, then run the same command again. It resumes if the server can."


class TimedOut(TransferError):  # noqa: N818
    """No byte came for MODELMAKE_TIMEOUT seconds, or less than 1 KiB for each of them."""

    retryable = True
    advice = "Run the same command again, or allow more time with MODELMAKE_TIMEOUT."


class LinkExpired(TransferError):  # noqa: N818
    """A redirect led to a signed URL that holds no longer; a new one may be had."""

    retryable = True
    advice = "Run the same command again to get a new link."


class ServerBusy(TransferError):  # noqa: N818
    """The server asks to come back later.

    Args:
        what: As in ModelmakeError.
        hint: As in ModelmakeError.
        wait_seconds: What the server's Retry-After asked for, when it did.
        is_window: Whether it admits requests for certain then: a rate limit begins anew.
    """

    retryable = True
    advice = "Run the same command again later."

    def __init__(
        self,
        what: str,
        *,
        hint: str | None = None,
        wait_seconds: float | None = None,
        is_window: bool = False,
    ) -> None:
        super().__init__(what, hint=hint)
        self.wait_seconds, self.is_window = wait_seconds, is_window


class BadResponse(TransferError):  # noqa: N818
    """The reply breaks the protocol, or is an error page instead of the file."""


class Offline(TransferError):  # noqa: N818
    """It is neither here nor in the store, and MODELMAKE_OFFLINE forbids to fetch it."""

    advice = OFFLINE_HINT


class Interrupted(TransferError):  # noqa: N818
    """The user stopped the run; what arrived is kept for the next one."""

    advice = "Run the same command again. It resumes if the server can."


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
    """The system's number for it, if the system refused."""
    reason: str = ""
    """The system's message."""


class TooManyOpen(StoreError):  # noqa: N818
    """No further file, connection (EMFILE, ENFILE) or thread, in this process or the machine."""


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
