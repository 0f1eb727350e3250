"""All that there is of one person as a ZIP file, made in the process that makes exports.

Objects are as they are stored, byte for byte; the rest is JSON. It is written in one go, an object
at a time: however much there is, a mebibyte of it is in memory.
"""

import asyncio
import datetime as dt
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
import orjson

from darkroom_common.dicom.identity import is_conformant
from darkroom_common.index.edits import changes_of
from darkroom_common.index.retention.persons import (
    instances_of_study,
    originals_of_study,
    studies_of_person,
)
from darkroom_common.index.rows import attributes_of
from darkroom_common.objects.store import CHUNK, ObjectMissing, ObjectStore
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers.print import prints_of
from darkroom_common.readers.transmit import sends_of

T = TypeVar("T")
_READABLE: Final = 0o644 << 16
_UIDS: Final = 1000
_SEEN: Final = (  # audit_of_resource
    "SELECT recorded_at, username, action, outcome, ip_address, resource_id, details"
    " FROM api.audit_log WHERE resource_id = ANY($1::text[]) ORDER BY log_id"
)
_SAID: Final = (  # examination_change_study
    "SELECT at, by, field,"
    " coalesce(pgp_sym_decrypt(old, coalesce(($2::text[])[old_key], '')), '') AS old,"
    " coalesce(pgp_sym_decrypt(new, coalesce(($2::text[])[new_key], '')), '') AS new"
    " FROM api.examination_change WHERE study_instance_uid = $1 ORDER BY id"
)
_READ_ME: Final = """\
What this archive has of one person, made at {made_at} UTC for {made_for}.

objects/     the stored objects (DICOM, PS3.10), a folder for each study
originals/   what the same objects were before somebody corrected them, or came with other bytes
studies.json the studies: what is said of them and of the patient (DICOM JSON, PS3.18 annex F)
headers/     what is said in each object, a file for each study (DICOM JSON)
access.json  who has looked at these studies, or done something with them, and when
sent.json    where they were sent to
printed.json where they were printed
changes.json what was changed in what is said of them, by whom, and why
missing.txt  objects that could not be read; not there when there are none
"""


class _Sink:
    """Takes what is written, until it is sealed and stored."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: all of it is taken."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def taken(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data


@dataclass
class Package:
    """What is put together of one person.

    Attributes:
        loop: with the connection.
        patient_key: the person's.
        tell: is called with the number of objects that are done.
    """

    loop: asyncio.AbstractEventLoop
    db: Connection
    keys: PhiKeys
    store: ObjectStore
    patient_key: bytes
    made_at: dt.datetime
    made_for: str
    tell: Callable[[int], None]
    _uids: list[str] = field(default_factory=list)
    _missing: list[str] = field(default_factory=list)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def find(self) -> int:
        """Find the studies; return how many objects they have."""
        self._studies = self._run(studies_of_person(self.db, self.keys, self.patient_key))
        return sum(study["instance_count"] for study in self._studies)

    def content(self) -> Iterator[bytes]:
        """Yield the file, after `find`."""
        sink = _Sink()
        uids = sorted({study["study_instance_uid"] for study in self._studies})
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as file:
            said = _READ_ME.format(made_at=f"{self.made_at:%Y-%m-%d %H:%M}", made_for=self.made_for)
            self._text(file, "README.txt", said.encode())
            self._text(file, "studies.json", _json([_study(one) for one in self._studies]))
            for study in self._studies:
                yield from self._objects(file, sink, study)
            for name, rows in (
                ("access.json", self._run(self._seen(uids))),
                ("sent.json", self._run(self._sent(uids))),
                ("printed.json", self._run(self._printed())),
                ("changes.json", self._run(self._changes(uids))),
            ):
                self._text(file, name, _json(rows))
                yield sink.taken()
            if self._missing:
                self._text(file, "missing.txt", "\n".join(self._missing).encode())
        yield sink.taken()

    def _text(self, file: zipfile.ZipFile, name: str, data: bytes) -> None:
        file.writestr(self._entry(name), data, zipfile.ZIP_DEFLATED)

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(name, self.made_at.timetuple()[:6])
        entry.external_attr = _READABLE
        return entry

    def _objects(
        self, file: zipfile.ZipFile, sink: _Sink, study: asyncpg.Record
    ) -> Iterator[bytes]:
        folder, headers = _name(study["study_instance_uid"], study["id"]), []
        coming = instances_of_study(self.db, self.keys, study["id"])
        while rows := self._run(_next(coming)):
            for row in rows:
                name = f"objects/{folder}/{_name(row['sop_instance_uid'], row['id'])}.dcm"
                yield from self._object(file, sink, name, row["object_key"])
                headers.append(bytes(row["header"]) or b"{}")
                self._uids.append(row["sop_instance_uid"])
            self.tell(len(self._uids))
        self._text(file, f"headers/{folder}.json", b"[" + b",\n".join(headers) + b"]")
        for row in self._run(originals_of_study(self.db, study["id"])):
            name = f"originals/{folder}/{row['id']}.dcm"
            yield from self._object(file, sink, name, row["object_key"])
        yield sink.taken()

    def _object(self, file: zipfile.ZipFile, sink: _Sink, name: str, key: str) -> Iterator[bytes]:
        try:
            stored = self.store.open_now(key)
        except ObjectMissing:
            self._missing.append(name)
            return
        with stored, file.open(self._entry(name), "w", force_zip64=True) as into:
            while data := stored.read(CHUNK):
                into.write(data)
                yield sink.taken()

    async def _seen(self, uids: list[str]) -> list[dict[str, Any]]:
        rows = await self.db.fetch(_SEEN, uids)
        return [{**dict(row), "details": orjson.loads(row["details"])} for row in rows]

    async def _sent(self, uids: list[str]) -> list[dict[str, Any]]:
        return [
            {"study_instance_uid": uid, **dict(row)}
            for uid in uids
            for row in await sends_of(self.db, uid)
        ]

    async def _printed(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for first in range(0, len(self._uids), _UIDS):
            for row in await prints_of(self.db, self._uids[first : first + _UIDS]):
                found[row["job_id"]] = dict(row)
        return list(found.values())

    async def _changes(self, uids: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for uid in uids:
            edits = await changes_of(self.db, self.keys.by_id(), uid, limit=10_000)
            found += [
                {"study_instance_uid": uid, **{name: getattr(one, name) for name in one.__slots__}}
                for one in edits
            ]
            said = await self.db.fetch(_SAID, uid, self.keys.by_id())
            found += [{"study_instance_uid": uid, **dict(row)} for row in said]
        return found


async def _next(coming: Any) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await anext(coming, [])
    return found


def _name(uid: str, number: int) -> str:
    """Return a UID as the name of a file, or the number of its row where it is none."""
    return uid if is_conformant(uid) else str(number)


def _study(row: asyncpg.Record) -> dict[str, Any]:
    told = {name: value for name, value in dict(row).items() if name not in ("id", "phi")}
    return {**told, "attributes": attributes_of(row["phi"])}


_json: Final = partial(orjson.dumps, default=str, option=orjson.OPT_INDENT_2)
