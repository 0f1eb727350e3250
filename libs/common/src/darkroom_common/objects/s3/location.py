"""Where an S3 store is and how it is reached: what its URL says. No URL holds a credential."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from darkroom_common.errors import ConfigurationError

_TAKES: Final = (
    "s3://bucket/prefix?endpoint=https://host:port&region=name&credentials=/file&profile=name"
    "&authority=/file.pem&addressing=path|virtual&seconds=30&attempts=3&class=STANDARD_IA"
)
_AT_ONCE: Final = frozenset(
    {"", "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
)
"""Storage classes that answer a read at once. Of others an object has to be restored first."""


@dataclass(frozen=True)
class Location:
    """What the URL of a store says.

    Attributes:
        bucket: of all objects.
        prefix: of the keys of all objects, empty or with a slash at its end.
        endpoint: URL of the server; None: Amazon's of the region.
        region: of the bucket, which signatures name.
        credentials: a file in the form of `~/.aws/credentials`; None: the environment
            (`AWS_ACCESS_KEY_ID` and its like), or the role of the pod, container or machine.
        profile: the section of that file.
        authority: a PEM file of authorities of the server's certificate; None: those of the system.
        addressing: where a request names the bucket.
        seconds: that a server may take to answer, or to go on within an answer.
        attempts: of one request in all.
        storage_class: of objects that are put; empty: the bucket's own.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    credentials: Path | None = None
    profile: str = "default"
    authority: Path | None = None
    addressing: Literal["path", "virtual"] = "path"
    seconds: float = 30.0
    attempts: int = 3
    storage_class: str = ""

    @classmethod
    def parse(cls, url: str, *, setting: str) -> Self:
        """Return what a URL says.

        Raises:
            ConfigurationError: it cannot be used. What it says is not told: it may be a secret.
        """
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ConfigurationError(
                f"{setting}: credentials are in the file that `credentials` names, or in the"
                " environment, never in a URL"
            )
        try:
            said = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
        except ValueError:
            said = {} if not parts.query else {"": ""}
        known = {"endpoint", "region", "credentials", "profile", "authority", "addressing"}
        known |= {"seconds", "attempts", "class"}
        if not parts.netloc or parts.fragment or said.keys() - known:
            raise ConfigurationError(f"{setting} is {_TAKES}")
        prefix = unquote(parts.path).strip("/")
        if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
            raise ConfigurationError(f"{setting}: the prefix has an empty or dotted part")
        addressing = said.get("addressing", "path" if "endpoint" in said else "virtual")
        if said.get("class", "") not in _AT_ONCE:
            raise ConfigurationError(
                f"{setting}: class is one whose objects can be read at once:"
                f" {', '.join(sorted(_AT_ONCE - {''}))}"
            )
        if addressing not in ("path", "virtual"):
            raise ConfigurationError(f"{setting}: addressing is path or virtual")
        return cls(
            bucket=parts.netloc,
            prefix=f"{prefix}/" if prefix else "",
            endpoint=_endpoint(said.get("endpoint"), setting),
            region=said.get("region", "us-east-1"),
            credentials=_file(said.get("credentials"), setting, "credentials"),
            profile=said.get("profile", "default"),
            authority=_file(said.get("authority"), setting, "authority"),
            addressing=cast('Literal["path", "virtual"]', addressing),
            seconds=_number(said.get("seconds", "30"), setting, "seconds", 600),
            attempts=int(_number(said.get("attempts", "3"), setting, "attempts", 10)),
            storage_class=said.get("class", ""),
        )


def _endpoint(said: str | None, setting: str) -> str | None:
    if said is None:
        return None
    parts = urlsplit(said)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigurationError(f"{setting}: endpoint is https://host:port")
    return said


def _file(said: str | None, setting: str, name: str) -> Path | None:
    if said is None:
        return None
    if not said.startswith("/"):
        raise ConfigurationError(f"{setting}: {name} is the absolute path of a file")
    return Path(said)


def _number(said: str, setting: str, name: str, most: float) -> float:
    try:
        number = float(said)
    except ValueError:
        number = 0.0
    if not 1 <= number <= most:
        raise ConfigurationError(f"{setting}: {name} is a number from 1 to {most:g}")
    return number
