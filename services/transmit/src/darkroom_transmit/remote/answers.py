"""What transmit answers when other nodes are to be asked."""

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydicom.dataset import Dataset

from darkroom_common.dicom.json_model import to_json
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.users.find import (
    MODALITY_WORKLIST_FIND,
    STUDY_ROOT_FIND,
    Matches,
    find_once,
)
from darkroom_common.errors import PermanentError
from darkroom_common.jobs.operator import Operator
from darkroom_common.messages.base import Reply, Request
from darkroom_common.messages.requests import (
    ActOnMigration,
    ActOnRetrieve,
    BringFirst,
    CreateProcedureStep,
    QueryRemote,
    QueryWorklist,
    SetProcedureStep,
    StartRetrieve,
)
from darkroom_common.resources.answers import refused
from darkroom_common.resources.resource import Refusal
from darkroom_common.seal import Seal
from darkroom_common.specs.remote import (
    FirstOrder,
    NewProcedureStep,
    ProcedureStepChange,
    RemoteQuery,
    WorklistQuery,
)
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.migration.migrations import Migrations
from darkroom_transmit.remote.procedure_steps import ProcedureSteps
from darkroom_transmit.remote.query_keys import study_root_identifier, worklist_identifier
from darkroom_transmit.remote.remotes import ANSWER_SECONDS, Remotes, reply_to
from darkroom_transmit.retrieval.retrievals import Retrievals

log = get_logger(__name__)
Body = TypeVar("Body", bound=BaseModel)


class BadBody(PermanentError):
    """What was sealed is not what the request is about."""


@dataclass(frozen=True)
class RemoteAnswers:
    """Answers the requests of the queue `transmit.remote`."""

    remotes: Remotes
    steps: ProcedureSteps
    retrievals: Retrievals
    operator: Operator
    migrations: Migrations
    of_migrations: Operator
    seal: Seal

    async def __call__(self, message: Request) -> Reply:
        """Ask the node and say what came of it."""
        try:
            return await self._answer(message)
        except PeerFault as fault:
            return reply_to(fault)
        except Refusal as error:
            return refused(error)

    async def _answer(self, message: Request) -> Reply:
        match message:
            case QueryRemote():
                query = self._opened(message, RemoteQuery)
                return await self._find(
                    message, query.level, STUDY_ROOT_FIND, study_root_identifier(query), query.limit
                )
            case QueryWorklist():
                asked = self._opened(message, WorklistQuery)
                return await self._find(
                    message,
                    "worklist",
                    MODALITY_WORKLIST_FIND,
                    worklist_identifier(asked),
                    asked.limit,
                )
            case CreateProcedureStep():
                return await self.steps.create(message, self._opened(message, NewProcedureStep))
            case SetProcedureStep():
                return await self.steps.set(message, self._opened(message, ProcedureStepChange))
            case StartRetrieve() | ActOnRetrieve() | ActOnMigration() | BringFirst():
                return await self._job(message)
            case _:
                raise TypeError(f"transmit.remote got {message.TYPE}")

    async def _job(
        self, message: StartRetrieve | ActOnRetrieve | ActOnMigration | BringFirst
    ) -> Reply:
        match message:
            case StartRetrieve():
                return await self._start(message)
            case ActOnRetrieve():
                operator = self.operator
            case ActOnMigration():
                operator = self.of_migrations
            case BringFirst():
                order = self._opened(message, FirstOrder)
                return await self.migrations.first(message.job_id, order, message.requested_by)
        return await operator.act(message.job_id, message.action, by=message.requested_by)

    async def _start(self, message: StartRetrieve) -> Reply:
        self.remotes.peer(await self.remotes.named(message.remote))
        async with self.retrievals.claims.database.transaction() as db:
            await self.retrievals.jobs.add(db, message)
        log.info("retrieve.accepted", job=message.job_id, destination=message.remote)
        return Reply(outcome="done", body={"job_id": message.job_id})

    def _opened(self, message: Request, body: type[Body]) -> Body:
        try:
            return body.model_validate(self.seal.open(message.sealed, purpose=message.TYPE))
        except ValidationError as error:
            raise BadBody(f"{message.TYPE}: {error.error_count()} values are wrong") from None

    async def _find(
        self,
        message: QueryRemote | QueryWorklist,
        operation: str,
        sop_class_uid: str,
        identifier: Dataset,
        limit: int,
    ) -> Reply:
        destination = await self.remotes.named(message.remote)
        found = await self.remotes.ask(
            destination,
            operation,
            partial(_find_json, sop_class_uid=sop_class_uid, identifier=identifier, limit=limit),
        )
        log.info(
            "remote.queried",
            destination=message.remote,
            operation=operation,
            by=message.requested_by,
            matches=len(found["matches"]),
            truncated=found["truncated"],
        )
        return Reply(outcome="done", sealed=self.seal.seal(found, purpose=message.TYPE))


def _find_json(peer: Any, *, sop_class_uid: str, identifier: Dataset, limit: int) -> dict[str, Any]:
    (found,) = find_once(peer, sop_class_uid, [identifier], limit=limit, seconds=ANSWER_SECONDS)
    return as_json(found)


def as_json(found: Matches) -> dict[str, Any]:
    """Return matches as DICOM JSON (PS3.18 annex F), without what only belongs to the query."""
    told = [to_json(one) for one in found.data_sets]
    return {"matches": told, "truncated": found.truncated}
