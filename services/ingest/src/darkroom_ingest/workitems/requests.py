"""What ingest answers when something is to become of workitems and of who is told of them."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from darkroom_common.messages.base import Reply, Request
from darkroom_common.messages.requests import ActOnSubscription, ActOnWorkitem
from darkroom_common.specs.worklist.workitems import FILTERED_WORKLIST, Keys, Payload, UpsStatus
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.workitems.reading import NotTaken
from darkroom_ingest.workitems.subscriptions import GLOBAL, Subscriber, Subscriptions
from darkroom_ingest.workitems.workitems import Done, Workitems
from darkroom_ingest.worklist.entries import Entries
from darkroom_ingest.worklist.requests import BadBody

log = get_logger(__name__)


@dataclass(frozen=True)
class WorkitemRequests:
    """Answers requests about workitems.

    Attributes:
        entries: None without the keys that they need.
    """

    entries: Entries | None

    async def answer(self, message: Request) -> Reply | None:
        """Do what is asked; return None for a request about something else."""
        if not isinstance(message, ActOnWorkitem | ActOnSubscription):
            return None
        if self.entries is None:
            return Reply(outcome="conflict", reason="workitems need PHI_KEYS of ingest")
        subscriptions = Subscriptions(self.entries.database, self.entries.seal)
        try:
            if isinstance(message, ActOnWorkitem):
                done = await self._act(Workitems(self.entries, subscriptions), message)
            else:
                done = await self._subscribe(subscriptions, message)
        except NotTaken as error:
            return _reply(error.status, reason=str(error), tags=list(error.tags))
        log.info(
            "workitem.changed",
            workitem=done.uid,
            action=message.action,
            state=done.state,
            status=f"{done.status:04X}",
            by=message.requested_by,
        )
        return _reply(done.status, uid=done.uid, state=done.state)

    async def _act(self, workitems: Workitems, message: ActOnWorkitem) -> Done:
        payload = self._opened(Payload, message)
        uid = message.sop_instance_uid
        if message.action == "create":
            by, request = message.requested_by, message.id
            return await workitems.create(uid, payload, by=by, request=request)
        if uid is None:
            raise BadBody(f"{message.TYPE}: it names no workitem")
        match message.action:
            case "update":
                return await workitems.update(uid, payload)
            case "change-state":
                return await workitems.change_state(uid, payload)
            case _:
                return await workitems.request_cancel(uid, payload, requester=message.requester)

    async def _subscribe(self, to: Subscriptions, message: ActOnSubscription) -> Done:
        ae_title, target = message.ae_title, message.target
        status = UpsStatus.SUCCESS
        match message.action:
            case "subscribe":
                keys = self._opened(Keys, message).values if message.sealed else {}
                if (target == FILTERED_WORKLIST) != bool(keys):
                    text = "a filter is for the filtered worklist, which needs one"
                    raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, text)
                who = Subscriber(ae_title, message.requested_by)
                status = await to.subscribe(who, target, lock=message.deletion_lock, keys=keys)
            case "unsubscribe":
                await to.unsubscribe(ae_title, target)
            case _:
                if target not in GLOBAL:
                    text = "only what follows the worklist is suspended"
                    raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, text)
                await to.suspend(ae_title, target)
        return Done(target, status)

    def _opened(self, model: type[Any], message: ActOnWorkitem | ActOnSubscription) -> Any:
        if self.entries is None:
            raise BadBody(f"{message.TYPE}: there are no keys to open it with")
        try:
            opened = self.entries.seal.open(message.sealed, purpose=message.TYPE)
            return model.model_validate(opened)
        except ValidationError as error:
            raise BadBody(f"{message.TYPE}: {error.error_count()} values are wrong") from None


def _reply(status: UpsStatus, **body: Any) -> Reply:
    return Reply(outcome="done", body={"status": int(status), **body})
