"""Credentials for object stores, and signed URLs, which our own client reads.

A signed URL is computed, not asked for, as a rule: obstore does it with the keys of the
environment, or with those that a machine's role gives. It stands for a credential, and so it is
kept in memory only, shown in no message, and computed anew when it is old or refused.

obstore signs the URL of an object, and has no way to sign a query: a version, a list. So the whole
URL is handed to it as the endpoint, ending in a parameter that takes up the rest (`Signer`).

obstore (the extra `object-store`) is imported when a request is to be signed, or to write.
"""

import base64
import contextlib
import hashlib
import hmac
import importlib.util
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from msgspec import structs
from msgspec.structs import replace

from downloader.errors import (
    AccessDenied,
    BadResponse,
    ConnectionLost,
    ModelmakeError,
    NotFound,
    ServerBusy,
    SettingError,
    note_secret,
    shown,
)
from downloader.settings import FALSE_WORDS
from downloader.sources.object_store import (
    aws_profile,
    azure_settings,
)
from downloader.urls import Bucket, Location, host, may_have_credential, origin, redact

EXTRA = "pip install 'modelmake[object-store]'"
LIFETIME = timedelta(hours=1)
"""For which a signed URL is good, if its credentials are."""
FRESH_SECONDS = 2700.0
"""For which it is used: a request that begins later may end too late."""

Config = dict[str, Any]


class Credentials(NamedTuple):
    """What the environment has for a bucket.

    Attributes:
        config: What obstore is told; None if requests are not signed.
        who: The variable, file or service that has them, for messages.
        query: What is appended to each URL instead of a signature: a SAS token of Azure.
        is_static: Whether obstore needs no service to get at them.
    """

    config: Config | None
    who: str = ""
    query: str = ""
    is_static: bool = True
    has_key: bool = True
    """Whether there is a key to sign with, and not only a token to send."""

    @property
    def can_sign(self) -> bool:
        """Whether URLs can be signed; Azure's need no obstore if there is a key."""
        if self.config is None or not self.has_key:
            return False
        return bool(self.query or "account_key" in self.config) or has_extra()


ANONYMOUS = Credentials(None)


class Head(Protocol):
    """What is read of the head of a reply."""

    @property
    def status(self) -> int:
        """Its status."""

    def first(self, name: str) -> str:
        """Return the first value of a header, or an empty text."""


def credentials_of(bucket: Bucket) -> Credentials:
    """Return what the environment has for a bucket.

    Raises:
        SettingError: It names credentials that cannot be used.
    """
    return {"s3": _of_aws, "gs": _of_google, "az": _of_azure}[bucket.kind](bucket)


def _is_on(value: str | None) -> bool:
    return (value or "").strip().lower() not in FALSE_WORDS


def _of_aws(_: Bucket) -> Credentials:
    """Return the keys of the environment or of the profile, or a role that the environment names.

    In the order of Amazon's SDKs. A role that only the metadata service of the machine knows is not
    looked for: on any other machine that takes seconds.
    """
    env = os.environ
    if _is_on(env.get("AWS_SKIP_SIGNATURE")):
        return ANONYMOUS
    if key := env.get("AWS_ACCESS_KEY_ID"):
        secret, token = env.get("AWS_SECRET_ACCESS_KEY"), env.get("AWS_SESSION_TOKEN")
        if not secret:
            raise SettingError(
                "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY.",
                hint="Set both; or neither, for a public bucket.",
            )
        return Credentials(_aws_keys(key, secret, token), "AWS_ACCESS_KEY_ID")
    name, profile = aws_profile()
    key, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
    if key and secret:
        keys = _aws_keys(key, secret, profile.get("aws_session_token"))
        return Credentials(keys, f"the AWS profile {shown(name, 60)}")
    if env.get("AWS_PROFILE"):
        raise SettingError(
            f"The AWS profile {shown(name, 60)} has no keys of its own.",
            hint='Run `eval "$(aws configure export-credentials --format env)"` for those of a '
            "role or of a log-in.",
        )
    has_role = (
        env.get("AWS_WEB_IDENTITY_TOKEN_FILE")
        or env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        or env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    )
    return Credentials({}, "the machine's role", is_static=False) if has_role else ANONYMOUS


def _aws_keys(key: str, secret: str, token: str | None) -> Config:
    keys = {"access_key_id": key, "secret_access_key": secret}
    return {**keys, "session_token": token} if token else keys


def _of_google(_: Bucket) -> Credentials:
    env = os.environ
    if _is_on(env.get("GOOGLE_SKIP_SIGNATURE")) or env.get("STORAGE_EMULATOR_HOST"):
        return ANONYMOUS
    path = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    if not path:
        return ANONYMOUS
    kind = _kind_of_key(path)
    return Credentials(
        {"application_credentials": path},
        "GOOGLE_APPLICATION_CREDENTIALS",
        is_static=kind == "service_account",
        has_key=kind in {"service_account", ""},
    )


def _kind_of_key(path: str) -> str:
    """Return what a file of Google's credentials says that it is; empty if unknown.

    A log-in of `gcloud auth application-default login` is an `authorized_user`, and has no key.
    """
    try:
        return str(json.loads(Path(path).read_text(encoding="utf-8")).get("type", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _of_azure(bucket: Bucket) -> Credentials:
    env = os.environ
    if _is_on(env.get("AZURE_SKIP_SIGNATURE")):
        return ANONYMOUS
    if bucket.is_named and not host(bucket.base).endswith(AZURE_HOSTS):
        # A signature of Azure is good at any address of the account, so only the environment may
        # say to which others it is sent: models.yaml may come from anybody.
        return ANONYMOUS
    found = azure_settings(bucket.account)
    if token := found.get("SharedAccessSignature", "").lstrip("?"):
        return Credentials({"sas_key": token}, found["who"], query=token)
    if key := found.get("AccountKey"):
        return Credentials({"account_key": key}, found["who"])
    if env.get("AZURE_CLIENT_ID") and env.get("AZURE_TENANT_ID"):
        return Credentials({}, "AZURE_CLIENT_ID", is_static=False)
    return ANONYMOUS


AZURE_HOSTS = (
    ".blob.core.windows.net",
    ".blob.core.chinacloudapi.cn",
    ".blob.core.usgovcloudapi.net",
)


def has_extra() -> bool:
    """Whether obstore is installed."""
    return importlib.util.find_spec("obstore") is not None


class Signed(NamedTuple):
    """A request as it is sent.

    Attributes:
        location: With the URL that is asked, and what to do about a refusal.
        conditions: The headers of this request.
        url: What was signed; empty if nothing was.
        is_kept: Whether the signature was computed for an earlier request.
    """

    location: Location
    conditions: Mapping[str, str]
    url: str = ""
    is_kept: bool = False


class Signer:
    """Signs the requests of a client; safe to share between threads."""

    def __init__(self) -> None:
        self._credentials: dict[Bucket, Credentials] = {}
        self._kept: dict[str, tuple[str, float]] = {}
        self._stores: dict[Bucket, Any] = {}

    def sign(self, location: Location, bucket: Bucket, conditions: Mapping[str, str]) -> Signed:
        """Return the request for a location in a bucket, signed if there are credentials for it.

        Args:
            location: What is asked.
            bucket: Where it is.
            conditions: Headers. Those of S3 must be signed, and so become a part of the query.

        Raises:
            SettingError: The environment names credentials that cannot be used.
            TransferError: The service that has them could not be asked.
        """
        found = self._found(bucket)
        advice = _advice(bucket, found)
        location = replace(
            location, bucket=None, advice=advice, credential_hint=advice["AccessDenied"]
        )
        if not found.can_sign or not may_have_credential(bucket.base):
            return Signed(location, conditions)
        url = location.url
        if own := {name: value for name, value in conditions.items() if name in SIGNED_HEADERS}:
            url += f"{'&' if '?' in url else '?'}{urlencode(own)}"
            conditions = {name: conditions[name] for name in conditions if name not in own}
        signed, until = self._kept.get(url, ("", 0.0))
        is_kept = time.monotonic() < until
        if not is_kept:
            signed = self._signed(url, bucket, found)
            self._kept[url] = signed, time.monotonic() + FRESH_SECONDS
        return Signed(replace(location, url=signed), conditions, url, is_kept)

    def sign_write(
        self, method: str, location: Location, bucket: Bucket, headers: Mapping[str, str]
    ) -> tuple[Location, Mapping[str, str]]:
        """Return where a request goes that may change a bucket of S3 or Azure, and its headers.

        S3's is signed in a header: stores disagree about headers of theirs in a signed query, such
        as the checksum of a part (aws/aws-sdk-js-v3#4448). That takes a key, not a role.

        Args:
            method: Such as PUT.
            location: Where to.
            bucket: Where that is.
            headers: For S3, `x-amz-content-sha256` is one of them.
        """
        found = self._found(bucket)
        hint = f"Check what {found.who} may do there."
        advice = _advice(bucket, found) | dict.fromkeys(DENIALS, hint)
        location = replace(location, bucket=None, advice=advice, credential_hint=hint)
        if found.config is None or not may_have_credential(bucket.base):
            return location, headers
        if bucket.kind == "s3":
            signed = _aws_headers(method, location.url, headers, bucket.region, found.config)
            return location, {**headers, **signed}
        mark = "&" if "?" in location.url else "?"
        query = found.query or _azure_signature(bucket, found, "rwl")
        return replace(location, url=f"{location.url}{mark}{query}"), headers

    def forget(self, request: Signed) -> None:
        """Compute the signature anew next time: this one was refused."""
        if self._kept.get(request.url, ("",))[0] == request.location.url:
            del self._kept[request.url]

    def _found(self, bucket: Bucket) -> Credentials:
        if bucket not in self._credentials:
            found = self._credentials[bucket] = credentials_of(bucket)
            config = found.config or {}
            for secret in (*(config[name] for name in SECRETS if name in config), found.query):
                note_secret(secret)
        return self._credentials[bucket]

    def _signed(self, url: str, bucket: Bucket, found: Credentials) -> str:
        mark = "&" if "?" in url else "?"
        if found.query:
            return f"{url}{mark}{found.query}"
        if bucket.kind == "az" and found.is_static:
            return f"{url}{mark}{_azure_signature(bucket, found)}"
        path, _, query = url.removeprefix(bucket.base).partition("?")
        if bucket.kind == "az" and not path:
            raise AccessDenied(
                f"{redact(url)} cannot be listed with {found.who}.",
                hint="Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_SAS_TOKEN.",
            )
        import obstore  # noqa: PLC0415 - an optional extra, for a bucket that is not public

        with translated(redact(url), found.who):
            if bucket.kind == "az" or not (query or found.is_static):
                if bucket not in self._stores:
                    self._stores[bucket] = open_store(bucket, found)
                store, name = self._stores[bucket], unquote(path[1:])
                return str(obstore.sign(store, "GET", name, LIFETIME))
            # `x-id` is what Amazon's JavaScript SDK names the operation with in signed URLs, and
            # no service looks at it. obstore appends the object's path to it, and signs it all.
            whole = structs.replace(bucket, base=f"{url}{mark}x-id=")
            options = NEVER_USED if found.is_static else None
            return str(obstore.sign(open_store(whole, found, options), "GET", "x", LIFETIME))


SECRETS = ("access_key_id", "secret_access_key", "session_token", "account_key", "sas_key")
"""What of obstore's configuration no message shows."""
SIGNED_HEADERS = frozenset({"x-amz-checksum-mode"})
NEVER_USED = {"allow_http": True, "allow_invalid_certificates": True}
"""Options of a store that only computes: to read the system's certificates takes milliseconds."""


def _aws_headers(
    method: str, url: str, headers: Mapping[str, str], region: str, config: Config
) -> dict[str, str]:
    """Return what signs a request (Amazon S3 API reference: Signature Version 4).

    Args:
        method: Such as PUT.
        url: What is asked for, its query included.
        headers: Those of the request. All whose names begin with `x-amz-` are signed.
        region: Of the bucket; empty for Amazon's first one.
        config: Has the keys.
    """
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    own = {"x-amz-date": now}
    if token := config.get("session_token"):
        own["x-amz-security-token"] = token
    parts, (scheme, name, port) = urlsplit(url), origin(url)
    place = f"[{name}]" if ":" in name else name
    is_usual = (scheme, port) in {("https", 443), ("http", 80)}
    signed = {"host": place if is_usual else f"{place}:{port}", **own}
    signed |= {name: each for name, each in headers.items() if name.startswith("x-amz-")}
    names = ";".join(sorted(signed))
    request = (
        method,
        quote(unquote(parts.path), safe="/") or "/",
        urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)), quote_via=quote),
        *(f"{name}:{signed[name]}" for name in sorted(signed)),
        "",
        names,
        headers["x-amz-content-sha256"],
    )
    steps = (now[:8], region or "us-east-1", "s3", "aws4_request")
    scope = "/".join(steps)
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
    key = f"AWS4{config['secret_access_key']}".encode()
    for step in steps:
        key = hmac.digest(key, step.encode(), hashlib.sha256)
    signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
    credential = f"Credential={config['access_key_id']}/{scope}"
    own["Authorization"] = (
        f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
    )
    return own


def _azure_signature(bucket: Bucket, found: Credentials, permissions: str = "rl") -> str:
    """Return a service SAS for a container, to read and list if not said (version 2020-12-06).

    obstore signs single blobs only, and these without their versions.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    begins, ends = ((now + each).isoformat().replace("+00:00", "Z") for each in (-CLOCK, LIFETIME))
    fields = {"sp": permissions, "st": begins, "se": ends, "spr": "", "sv": "2020-12-06", "sr": "c"}
    place = f"/blob/{bucket.account}/{bucket.name}"
    text = [permissions, begins, ends, place, "", "", "", fields["sv"], "c", *[""] * 7]
    assert found.config is not None
    try:
        key = base64.b64decode(found.config["account_key"], validate=True)
    except ValueError:
        raise SettingError(f"The account key in {found.who} is not base64.") from None
    digest = hmac.digest(key, "\n".join(text).encode(), hashlib.sha256)
    signature = base64.b64encode(digest).decode()
    return urlencode({**{name: each for name, each in fields.items() if each}, "sig": signature})


CLOCK = timedelta(minutes=15)
"""By which clocks may differ."""


def open_store(bucket: Bucket, found: Credentials, options: Config | None = None) -> Any:  # noqa: ANN401 - obstore may be absent
    """Return obstore's store for a bucket.

    Args:
        bucket: Which.
        found: Its credentials.
        options: Of its HTTP client; the environment's if there are none.
    """
    from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415 - an optional extra

    config: Config = {"skip_signature": True} if found.config is None else {**found.config}
    if options is None:
        options = {"allow_http": True}
        env = os.environ
        if bundle := env.get("REQUESTS_CA_BUNDLE") or env.get("CURL_CA_BUNDLE"):
            options["root_certificate"] = Path(bundle).read_bytes()
    if bucket.kind == "s3":
        config |= {"endpoint": bucket.base, "virtual_hosted_style_request": True}
        config |= {"region": bucket.region or "us-east-1", "checksum_algorithm": "SHA256"}
        return S3Store(bucket.name, config=config, client_options=options, retry_config=RETRY)
    service = bucket.base.removesuffix(f"/{bucket.name}")
    if bucket.kind == "gs":
        config["base_url"] = service
        return GCSStore(bucket.name, config=config, client_options=options, retry_config=RETRY)
    config |= {"account_name": bucket.account, "endpoint": service}
    return AzureStore(bucket.name, config=config, client_options=options, retry_config=RETRY)


RETRY = {"max_retries": 4, "retry_timeout": timedelta(minutes=2)}


CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
STATUS = re.compile(r"status code: ([0-9]{3})\b")
REGION = re.compile(r"<Region>([a-z0-9-]{2,40})</Region>|bucket-region\W+([a-z0-9-]{2,40})\b")
IN_REGION = "The bucket is in {}: write `region: {}` in its entry, or set AWS_REGION."
ADVICE = {
    "NoSuchBucket": "Check the name of the bucket, and AWS_ENDPOINT_URL if it is set.",
    "ContainerNotFound": "Check the names of the account and the container.",
    "NoSuchVersion": "The locked version was deleted. Run `doit lock --upgrade`.",
    "InvalidAccessKeyId": "The service does not know the access key of {who}.",
    "InvalidToken": "The token of {who} is not valid. Get new credentials.",
    "ExpiredToken": "The credentials of {who} have expired. Get new ones.",
    "SignatureDoesNotMatch": "The secret key of {who} does not belong to its access key.",
    "AuthenticationFailed": "The key or token of {who} is wrong, or has expired.",
    "RequestTimeTooSkewed": "Set this machine's clock, then run the same command again.",
    "PermanentRedirect": "The bucket is in another region. Write `region` in its entry.",
    "AuthorizationHeaderMalformed": "Write the region of the bucket as `region` in its entry.",
    "AuthorizationQueryParametersError": "Write the region of the bucket as `region` in its entry.",
}
"""What to do by what a store calls its error; `{who}` has the credentials."""
DENIALS = (
    "AccessDenied",
    "AllAccessDisabled",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "NoAuthenticationInformation",
    "PublicAccessNotPermitted",
    "ResourceNotFound",
)
"""Codes of a request that is understood and not allowed; Azure hides what is private by a 404."""
DENIED = {
    "s3": (
        "s3:ListBucket and s3:GetObject",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE,",
    ),
    "gs": (
        "storage.objects.list and storage.objects.get",
        "GOOGLE_APPLICATION_CREDENTIALS to the file of a service account's key",
    ),
    "az": (
        "permission to read and to list",
        "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_SAS_TOKEN,",
    ),
}
"""By the kind of store: which permissions are needed to read, and which variables give some."""


def _advice(bucket: Bucket, found: Credentials) -> dict[str, str]:
    """Return what to do about refusals, for the credentials that are used or missing."""
    needed, variables = DENIED[bucket.kind]
    if found.can_sign:
        hint = f"Those of {found.who} need {needed} for it."
    elif found.config is not None and not found.has_key:
        hint = f"{found.who} is a log-in without a key, which cannot sign. Set {variables}."
    elif found.config is not None:
        hint = f"The credentials of {found.who} were not used: that needs `{EXTRA}`."
    else:
        and_run = f"{variables} and run `{EXTRA}`"
        hint = f"If it is private, set {variables.rstrip(',') if has_extra() else and_run}."
    who = found.who or "the request"
    advice = {code: text.replace("{who}", who) for code, text in ADVICE.items()}
    return advice | dict.fromkeys(DENIALS, hint)


def explained(error: ModelmakeError, head: Head, body_start: bytes) -> ModelmakeError:
    """Return the refusal of a request to a bucket with what only its reply tells.

    Args:
        error: What it would be without.
        head: Of the reply.
        body_start: The first bytes of its body.
    """
    if isinstance(error, NotFound) and error.hint == NotFound.advice:
        return NotFound(str(error), hint=GONE, code=error.code)
    text = body_start.decode("latin-1")
    region = REGION.search(f"{text} bucket-region: {head.first('x-amz-bucket-region')}.")
    if region and (head.status == HTTPStatus.MOVED_PERMANENTLY or "<Region>" in text):
        name = region[1] or region[2]
        return BadResponse(str(error), hint=IN_REGION.format(name, name))
    server = _moment(head.first("Date"))
    if head.status not in MAY_BE_CLOCK or server is None:
        return error
    ahead = datetime.now(UTC) - server
    if abs(ahead) < CLOCK:
        return error
    minutes = f"{abs(ahead) / timedelta(minutes=1):,.0f} minutes"
    where = "ahead of" if ahead > timedelta() else "behind"
    return AccessDenied(
        f"{str(error).removesuffix('.')}: this machine's clock is {minutes} {where} the server's.",
        hint=ADVICE["RequestTimeTooSkewed"],
    )


GONE = (
    "Check `url` in models.yaml. If the object was replaced or deleted, run `doit lock --upgrade`."
)
MAY_BE_CLOCK = frozenset({400, 401, 403})


def _moment(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None


@contextlib.contextmanager
def translated(place: str, who: str = "", kind: str = "") -> Iterator[None]:
    """Turn errors of obstore into ours. Their texts hold whole URLs: only the kind is taken.

    Args:
        place: What the errors are about, as it may be shown.
        who: What has the credentials.
        kind: Of the bucket, if it wants credentials.
    """
    try:
        yield
    except Exception as error:
        is_theirs = type(error).__module__.startswith("obstore") or isinstance(error, OSError)
        if isinstance(error, ModelmakeError) or not is_theirs:
            raise
        ours = _ours(place, type(error).__name__, str(error), who)
        if not who and kind and ours.hint == AccessDenied.advice:
            ours.hint = f"Set {DENIED[kind][1].rstrip(',')}."
        raise ours from None


def _ours(place: str, kind: str, text: str, who: str) -> ModelmakeError:
    """Return our error for one of obstore, which is told by its class and its text."""
    code, number = CODE.search(text), STATUS.search(text)
    name = code[1] if code else ""
    said = " ".join(each[1] for each in (number, code) if each)
    said = f" ({said})" if said else ""
    hint = ADVICE.get(name, "").replace("{who}", who or "the environment") or None
    if (region := REGION.search(text)) and name in ADVICE:
        found = region[1] or region[2]
        hint = f"The bucket is in {found}: set AWS_REGION."
    if kind == "FileNotFoundError" or name in {"NoSuchBucket", "ContainerNotFound"}:
        return NotFound(f"{place}: not found{said}.", hint=hint, code=name)
    if kind in {"PermissionDeniedError", "UnauthenticatedError"}:
        hint = hint or (f"Check what {who} may do there." if who else None)
        return AccessDenied(f"{place}: access denied{said}.", hint=hint, code=name)
    if said:
        is_later = number is not None and number[1] in {"429", "500", "502", "503", "504"}
        error = ServerBusy if is_later else BadResponse
        return error(f"{place}: the store refused the request{said}.", hint=hint)
    if "error sending request" in text:
        return ConnectionLost(f"{place}: the store could not be reached.")
    return AccessDenied(
        f"{place}: the credentials{f' of {who}' * bool(who)} cannot be used.",
        hint="docs/sources/object-store.md has the variables.",
    )
