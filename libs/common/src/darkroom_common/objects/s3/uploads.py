"""Making objects of an S3 store: whole or not at all, once, and as they were meant.

What is small goes in one request, what is large in parts that are joined by the last request. The
store is told the SHA-256 of each, and what it answers is held against ours: nobody is told that an
object is there before that. `If-None-Match: *` keeps what is there from being overwritten.
"""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from darkroom_common.objects.interface import StoreUnavailable
from darkroom_common.objects.s3.client import Client, Exists, NotImplementedByStore, NotThere
from darkroom_common.objects.s3.reading import Reader
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
PART: Final = 8 << 20
"""Bytes of a part; an object of up to so many goes in one request."""
MOST_COPIED: Final = 5 << 30
"""Bytes of the largest object that a store copies in one request."""
_PROBE: Final = ".darkroom/conditional"


class _Sums:
    """Digests of bytes: what the store may answer to them."""

    def __init__(self, sha256: bytes, md5: Callable[[], bytes]) -> None:
        self.sha256 = sha256
        self.md5 = md5
        """Is asked where the store tells no SHA-256."""

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return those of bytes."""
        md5 = partial(hashlib.md5, data, usedforsecurity=False)
        return cls(hashlib.sha256(data).digest(), lambda: md5().digest())

    @property
    def told(self) -> str:
        """Return the SHA-256 as requests and answers have it."""
        return base64.b64encode(self.sha256).decode()

    def agree(self, answer: dict[str, Any], count: int = 0) -> bool | None:
        """Tell whether an answer has them; None: it has nothing to hold against them.

        With a `count` they are digests of the digests of so many parts.
        """
        tail = f"-{count}" if count else ""
        kept = answer.get("ChecksumSHA256")
        if kept is not None:
            return bool(kept == f"{self.told}{tail}")
        if str(answer.get("ETag", "")).strip('"') == f"{self.md5().hex()}{tail}":
            return True
        return None  # of an encrypted object the tag is something else


class Uploads:
    """Makes objects by their whole names, in threads."""

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client = client
        self._reader = reader
        self._lock = threading.Lock()
        self._keeps: bool | None = None

    @property
    def _class(self) -> dict[str, str]:
        """What is said of the storage class, if anything is."""
        said = self._client.location.storage_class
        return {"StorageClass": said} if said else {}

    def put_file(self, name: str, source: Path) -> None:
        """Make an object of a file; one that is there already is marked as wanted once more.

        Raises:
            OSError: the file cannot be read.
            StoreUnavailable: nothing can be said of it; do it again.
        """
        while True:
            with source.open("rb") as file:
                made = self._put(name, iter(lambda: file.read(PART), b""))
            if made or self._touch(name):
                return

    def put_pieces(self, name: str, pieces: Iterable[bytes], *, over: bool = False) -> None:
        """Make an object of bytes; one that is there already stays as it is, unless `over`.

        Raises:
            StoreUnavailable: nothing can be said of it; do it again. What `pieces` raises passes.
        """
        self._put(name, _parts(pieces), over=over)

    def _put(self, name: str, parts: Iterator[bytes], *, over: bool = False) -> bool:
        """Return whether it was made now; False: it is there already."""
        first = next(parts, b"")
        if len(first) == PART:
            return self._put_parts(name, first, parts, over=over)
        for more in parts:  # a file that has grown
            first += more
        return self._put_whole(name, first, over=over)

    def _put_whole(self, name: str, data: bytes, *, over: bool) -> bool:
        keeps = not over and self._keeps_what_is_there()
        if not over and not keeps and self._exists(name):
            return False
        sums = _Sums.of(data)
        try:
            answer = self._client.call(
                "put_object",
                Key=name,
                Body=data,
                ChecksumSHA256=sums.told,
                Metadata={"sha256": sums.sha256.hex()},
                **self._class,
                **_only_if_none(keeps),
            )
        except Exists:
            return False
        self._require(name, sums.agree(answer), sums.sha256)
        return True

    def _put_parts(self, name: str, first: bytes, rest: Iterator[bytes], *, over: bool) -> bool:
        keeps = not over and self._keeps_what_is_there()
        if not over and self._exists(name):  # before so many bytes are sent for nothing
            return False
        ours = secrets.token_hex(16)
        upload = self._client.call(
            "create_multipart_upload",
            Key=name,
            ChecksumAlgorithm="SHA256",
            Metadata={"upload": ours},
            **self._class,
        )["UploadId"]
        done: list[dict[str, Any]] = []
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        whole = hashlib.sha256()
        try:
            for data in _chained(first, rest):
                done.append(self._put_part(name, upload, len(done) + 1, data))
                sums = _Sums.of(data)
                sha256.update(sums.sha256)
                if "ChecksumSHA256" not in done[-1]:
                    md5.update(sums.md5())
                whole.update(data)
            answer = self._join(name, upload, done, keeps=keeps)
        except Exists:
            self._abort(name, upload)
            return False
        except NotThere as error:  # the answer to an attempt that has joined them was lost
            if self._is_ours(name, ours):
                answer = {}
            else:
                raise StoreUnavailable("object store: an upload was given up meanwhile") from error
        except BaseException:
            self._abort(name, upload)
            raise
        joined = _Sums(sha256.digest(), md5.digest)
        self._require(name, joined.agree(answer, len(done)), whole.digest())
        return True

    def _put_part(self, name: str, upload: str, number: int, data: bytes) -> dict[str, Any]:
        sums = _Sums.of(data)
        answer = self._client.call(
            "upload_part",
            Key=name,
            UploadId=upload,
            PartNumber=number,
            Body=data,
            ChecksumSHA256=sums.told,
        )
        if sums.agree(answer) is False:
            raise StoreUnavailable("object store: a part is not what was sent")
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumSHA256" in answer:
            part["ChecksumSHA256"] = answer["ChecksumSHA256"]
        return part

    def _join(
        self, name: str, upload: str, done: list[dict[str, Any]], *, keeps: bool
    ) -> dict[str, Any]:
        given = {"Key": name, "UploadId": upload, "MultipartUpload": {"Parts": done}}
        try:
            return self._client.call("complete_multipart_upload", **given, **_only_if_none(keeps))
        except NotImplementedByStore:
            if not keeps:
                raise
            return self._client.call("complete_multipart_upload", **given)

    def _abort(self, name: str, upload: str) -> None:
        try:
            self._client.call("abort_multipart_upload", Key=name, UploadId=upload)
        except NotThere:
            return
        except StoreUnavailable as error:  # the sweep will have it
            log.warning("store.upload_left", reason=str(error))

    def _require(self, name: str, agreed: bool | None, sha256: bytes) -> None:
        """See that what was made now is what was meant; where it is not, remove it.

        Raises:
            StoreUnavailable: it was not.
        """
        if agreed is None:  # the store tells no digest: look at what it has kept
            kept = hashlib.sha256()
            for data in self._reader.chunks(name, 0, None):
                kept.update(data)
            agreed = kept.digest() == sha256
        if not agreed:
            self._client.call("delete_object", Key=name)
            raise StoreUnavailable("object store: an object is not what was sent")

    def _exists(self, name: str) -> bool:
        try:
            self._client.call("head_object", Key=name)
        except NotThere:
            return False
        return True

    def _is_ours(self, name: str, upload: str) -> bool:
        try:
            answer = self._client.call("head_object", Key=name)
        except NotThere:
            return False
        return bool(answer.get("Metadata", {}).get("upload") == upload)

    def _touch(self, name: str) -> bool:
        """Make an object's time now, by a copy onto itself; False: it was removed meanwhile."""
        try:
            there = self._client.call("head_object", Key=name)
            if there["ContentLength"] <= MOST_COPIED:
                self._client.call(
                    "copy_object",
                    Key=name,
                    CopySource={"Bucket": self._client.location.bucket, "Key": name},
                    CopySourceIfMatch=there["ETag"],
                    MetadataDirective="REPLACE",
                    Metadata=there.get("Metadata", {}),
                    **self._class,
                )
        except (NotThere, Exists):
            return False
        return True

    def _keeps_what_is_there(self) -> bool:
        """Tell whether the store obeys `If-None-Match`; it is tried once a process."""
        with self._lock:
            if self._keeps is None:
                self._keeps = self._tried()
                if not self._keeps:
                    log.warning("store.unconditional")
            return self._keeps

    def _tried(self) -> bool:
        probe = f"{self._client.location.prefix}{_PROBE}"
        try:
            for _ in range(2):
                self._client.call("put_object", Key=probe, Body=b"", IfNoneMatch="*")
        except Exists:
            return True
        except NotImplementedByStore:
            return False
        return False

    def sweep(self, begun_before: datetime, prefix: str) -> int:
        """Give up uploads that nobody will end; return how many."""
        given_up = 0
        for page in self._client.pages("list_multipart_uploads", Prefix=prefix):
            for one in page.get("Uploads", []):
                if one["Key"].startswith(prefix) and one["Initiated"] < begun_before:
                    self._client.call(
                        "abort_multipart_upload", Key=one["Key"], UploadId=one["UploadId"]
                    )
                    given_up += 1
        return given_up


def _only_if_none(keeps: bool) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if keeps else {}


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield bytes in parts of `PART`, but for the last."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= PART:
            yield bytes(held[:PART])
            del held[:PART]
    if held:
        yield bytes(held)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
