"""What was asked, of what, and who answers it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

from tests.servers.body import Body
from tests.servers.reply import Reply


class Headers(Mapping[str, str]):
    """Header fields by name, whatever its case; a repeated field is joined (RFC 9110 §5.3)."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, str] = {}
        for name, value in fields:
            key = name.lower()
            before = self._fields.get(key)
            self._fields[key] = value if before is None else f"{before}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Headers({self._fields})"


@dataclass(kw_only=True)
class SeenRequest:
    """One request as the server saw it, and how far its answer came."""

    method: str
    target: str
    """As on the request line: percent-coded, with the query."""
    path: str
    """Decoded, without the query: the name a resource has in `put`."""
    version: str
    headers: Headers
    body: bytes = b""
    status: int | None = None
    """The status answered; None while nothing of the answer was sent."""
    body_bytes_sent: int = 0
    """Bytes after the header section that were handed to the system, chunk framing included."""

    @property
    def query(self) -> list[tuple[str, str]]:
        """The names and values of the query, decoded, in the order sent."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def wants_close(self) -> bool:
        """Whether the client asks for the connection to end with this answer."""
        asked = self.headers.get("Connection", "").lower()
        return asked == "close" or (self.version == "HTTP/1.0" and asked != "keep-alive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What lies at a path."""

    body: Body
    etag: str | None
    """The field value, quotes included; None for none."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request, the resource it names (None: there is none) and the dialect that answers."""

    request: SeenRequest
    resource: Resource | None
    answer: "Answer"

    def with_headers(self, changes: Mapping[str, str | None]) -> "Exchange":
        """Return the exchange as if the client had sent other headers; None takes one away."""
        lower = {name.lower(): value for name, value in changes.items()}
        merged = {**self.request.headers, **lower}
        headers = Headers((name, value) for name, value in merged.items() if value is not None)
        return replace(self, request=replace(self.request, headers=headers))

    def answer_without(self, *names: str) -> Reply:
        """Return the honest reply of a server that does not know these request headers."""
        blind = self.with_headers(dict.fromkeys(names))
        return self.answer(blind)


Answer = Callable[[Exchange], Reply]
"""A dialect: what a server answers when no fault is scripted."""
Fault = Callable[[Exchange, Reply], Reply]
"""Takes the honest reply and returns the one to send instead."""
