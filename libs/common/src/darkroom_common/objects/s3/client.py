"""Requests to an S3 store, signed, repeated and within a time; what went wrong in our own words."""

import configparser
import logging
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from darkroom_common.clock import SystemClock
from darkroom_common.errors import DarkroomError
from darkroom_common.objects.interface import StoreUnavailable
from darkroom_common.objects.s3.location import Location

AT_ONCE: Final = 16
"""Connections of one process."""
_CLOCK: Final = SystemClock()
_CONNECT_SECONDS: Final = 5.0
_LOOK_AGAIN_SECONDS: Final = 10.0
_LONGEST_PAUSE: Final = 5.0
_CODE: Final = re.compile(r"^[0-9A-Za-z.]{1,64}$")
_NOT_THERE: Final = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})


class NotThere(DarkroomError):
    """The store knows no such object, or no such upload."""


class Exists(DarkroomError):
    """What was to be made if there was none is there."""


class OutOfRange(DarkroomError):
    """The object ends before the range begins."""


class NotImplementedByStore(DarkroomError):
    """The store does not know what it was asked for."""


class Client:
    """Requests to one bucket, for threads.

    Credentials and authorities that are in files are read again when the files have changed, so
    that neither needs a restart.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._lock = threading.Lock()
        self._looked = 0.0
        self._seen: tuple[object, ...] = ()
        for name in ("botocore", "urllib3"):  # what they tell in detail is signed requests
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = self._made()

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a request; its parameters and names are those of botocore's client.

        Raises:
            NotThere, Exists, OutOfRange, NotImplementedByStore: as they say.
            StoreUnavailable: anything else; nothing is said of what became of it.
        """
        with translated():
            client = self._current()
            answer: dict[str, Any] = getattr(client, operation)(
                Bucket=self.location.bucket, **parameters
            )
            return answer

    def pages(self, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the answers to requests that go on where the one before ended; see `call`."""
        with translated():
            yield from (
                self._current()
                .get_paginator(operation)
                .paginate(Bucket=self.location.bucket, **parameters)
            )

    def _current(self) -> Any:
        with self._lock:
            if (
                _CLOCK.monotonic() - self._looked > _LOOK_AGAIN_SECONDS
                and self._seen != self._files()
            ):
                self._client = self._made()
            return self._client

    def _files(self) -> tuple[object, ...]:
        self._looked = _CLOCK.monotonic()
        found: list[object] = []
        for file in (self.location.credentials, self.location.authority):
            try:
                state = None if file is None else file.stat()
            except OSError as error:
                raise StoreUnavailable(f"object store: {file}: {error.strerror}") from error
            found.append(state and (state.st_mtime_ns, state.st_ino, state.st_size))
        return tuple(found)

    def _made(self) -> Any:
        where = self.location
        try:
            self._seen = self._files()
        except StoreUnavailable:
            self._seen = ()  # the request will say so, and the next one looks again
            self._looked = 0.0
        return botocore.session.Session().create_client(
            "s3",
            region_name=where.region,
            endpoint_url=where.endpoint,
            verify=str(where.authority) if where.authority else None,
            config=Config(
                connect_timeout=min(_CONNECT_SECONDS, where.seconds),
                read_timeout=where.seconds,
                max_pool_connections=AT_ONCE,
                retries={"mode": "standard", "total_max_attempts": where.attempts},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": where.addressing},
                user_agent_extra="darkroom",
            ),
            **_keys(where.credentials, where.profile),
        )


def _keys(file: Path | None, profile: str) -> dict[str, str]:
    """Return the keys of a file; empty: they come from elsewhere, or the file is not usable yet."""
    if file is None:
        return {}
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        section = parser[profile]
        found = {
            name: section[name]
            for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
            if name in section
        }
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        found = {}
    # A file that says nothing must not lead to a credential of somewhere else.
    return {"aws_access_key_id": "none", "aws_secret_access_key": "none"} | found


@contextmanager
def translated() -> Iterator[None]:
    """Say what a library raises in the words of the interface, without a name or a value."""
    try:
        yield
    except ClientError as error:
        raise _error(error) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise StoreUnavailable(f"object store: {type(error).__name__}") from error


def _error(error: ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _NOT_THERE:
        return NotThere(code)
    if code == "PreconditionFailed" or status == HTTPStatus.PRECONDITION_FAILED:
        return Exists(code)
    if code == "InvalidRange" or status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return OutOfRange(code)
    if code == "NotImplemented" or status == HTTPStatus.NOT_IMPLEMENTED:
        return NotImplementedByStore(code)
    return StoreUnavailable(f"object store: {code if _CODE.match(code) else 'error'} ({status})")


def pause(attempt: int) -> None:
    """Wait before another attempt: longer each time, and of random length (full jitter)."""
    time.sleep(random.SystemRandom().uniform(0, min(_LONGEST_PAUSE, 0.2 * 2**attempt)))
