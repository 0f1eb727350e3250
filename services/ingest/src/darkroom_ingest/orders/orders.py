"""Does what orders want: durable before it is told, once however often it comes."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.procedure_steps import WorklistChanged
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database, Unstorable
from darkroom_common.resources.resource import NotThere, Refusal
from darkroom_common.seal import Unsealable
from darkroom_common.telemetry import traces
from darkroom_ingest.orders.answering import ACCEPTED, Outcome
from darkroom_ingest.orders.mapping import Act, Patient, Put, Schedule, acts_of
from darkroom_ingest.orders.reading import (
    DUPLICATE_KEY,
    INTERNAL,
    UNKNOWN_KEY,
    Header,
    Hl7Message,
    NotRead,
)
from darkroom_ingest.worklist.entries import Ended, Entries, Source

_TAKE: Final = "INSERT INTO ingest.taken (key) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true"
_CODES: Final = {NotThere: (UNKNOWN_KEY, "ORC^1^2"), Ended: (DUPLICATE_KEY, "ORC^1^1")}


@dataclass(frozen=True)
class Sent:
    """Where orders come from.

    Attributes:
        by: who has sent them, as the worklist keeps it.
        kind: of the message or of the file.
        peer: address; empty for a file.
    """

    source: Source
    by: str
    kind: str
    peer: str = ""


@dataclass(frozen=True)
class Orders:
    """Takes messages and entries into the worklist."""

    database: Database
    entries: Entries
    outbox: Outbox
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # who waits holds no connection

    async def message(self, raw: bytes, header: Header, *, peer: str = "") -> Outcome:
        """Do what a message of HL7 wants; return what it is to be answered.

        One of the same sender, control id and content has been taken: it is answered as then.
        """
        sender, facility, control = (header.field(number) for number in (3, 4, 10))
        _, _, content = raw.replace(b"\n", b"\r").partition(b"\r")
        parts = (sender, facility, control, hashlib.sha256(content).hexdigest())
        kind = header.field(9).replace(header.component, "^")[:32]
        sent = Sent("file" if not peer else "hl7", f"hl7:{sender}"[:64], kind, peer)
        try:
            acts = await asyncio.to_thread(lambda: acts_of(Hl7Message(raw, header)))
            traces.about(act.entry.study_instance_uid for act in acts if isinstance(act, Schedule))
            await self.take("\\".join(parts), acts, sent)
        except NotRead as error:
            return Outcome(
                "rejected" if error.rejected else "error", error.code, str(error), error.place
            )
        except (Refusal, Unstorable, Unsealable) as error:
            kind_of = next((one for one in _CODES if isinstance(error, one)), None)
            code, place = (INTERNAL, "") if kind_of is None else _CODES[kind_of]
            return Outcome("error", code, str(error), place)
        except (DependencyUnavailable, asyncpg.PostgresError):
            return Outcome("rejected", INTERNAL, "the database is away: send it again", again=True)
        return ACCEPTED

    async def take(self, key: str, acts: Sequence[Act], sent: Sent) -> None:
        """Do all of it, or nothing; what was taken under the key before is not done again.

        Raises:
            Refusal: a step is not there, or has ended.
            DependencyUnavailable: the database is away.
        """
        async with self.turn, self.database.transaction() as db:
            if not await db.fetchval(_TAKE, self.entries.blind.exact("Order", key)):
                return
            await self.entries.alone(db)
            changed: dict[str, None] = {}
            for act in acts:
                changed |= dict.fromkeys(await self._done(db, act, sent))
            event = WorklistChanged(
                source=sent.source,
                kind=sent.kind,
                by=sent.by,
                peer=sent.peer,
                entries=tuple(changed),
            )
            await self.outbox.put(db, event)

    async def _done(self, db: Connection, act: Act, sent: Sent) -> list[str]:
        match act:
            case Schedule(entry, new):
                return [
                    await self.entries.follow(db, entry, by=sent.by, source=sent.source, new=new)
                ]
            case Put(accession_number, step_id, state):
                return await self.entries.put(db, accession_number, step_id, state)
            case Patient(patient_id, issuer, known):
                return await self.entries.know(db, patient_id, issuer, known, by=sent.by)
