"""API keys that rotate themselves: Odoo lets none live for more than three months.

The key of ODOO_API_KEY is where it begins. With it we have Odoo make one of our own, keep that in
LICENCE_DIRECTORY, and exchange it for the next after a month: then there are two more months in
which that may fail. A key is kept before it is used, used before the one before it is revoked, and
the one of the setting is never revoked: it begins again when the directory is lost.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, SecretStr, ValidationError

from darkroom_common.clock import Clock
from darkroom_common.errors import DarkroomError
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import licensing as metrics
from darkroom_licensing.keeping import Kept
from darkroom_licensing.odoo.faults import KeyRefused, OdooRefused
from darkroom_licensing.odoo.odoo import Odoo
from darkroom_licensing.odoo.protocols import Json2

log = get_logger(__name__)
LIFETIME: Final = dt.timedelta(days=85)
"""Less than three months, also those with a February."""
ROTATED_AFTER: Final = dt.timedelta(days=28)
TRIED_AGAIN_AFTER: Final = dt.timedelta(days=1)
MODEL: Final = "res.users.apikeys"
_SCOPE: Final = "rpc"


class OwnKey(BaseModel):
    """A key that Odoo has made for us, and the one that it takes the place of."""

    model_config = ConfigDict(frozen=True)

    key: str
    made_at: AwareDatetime
    expires_on: dt.date
    before: str = ""


def due(own: OwnKey | None, now: dt.datetime) -> bool:
    """Return whether it is time for another key. A clock that was ahead does not hold it up."""
    return own is None or not own.made_at <= now < own.made_at + ROTATED_AFTER


class Keys:
    """The keys, and calls with them.

    Args:
        odoo: whose.
        given: that of the setting.
        kept: the file with our own.
        clock: when they are exchanged.
        name: that people read beside the keys in Odoo.
    """

    def __init__(self, odoo: Odoo, given: SecretStr, kept: Kept, clock: Clock, name: str) -> None:
        self._odoo = odoo
        self._given = given
        self._kept = kept
        self._clock = clock
        self._name = name
        self._own = _read(kept)
        self._again_at: dt.datetime | None = None
        self.fault = ""

    def _candidates(self) -> Iterator[str]:
        if self._own is not None:
            yield self._own.key
            if self._own.before:  # made by a process that did not come to use it
                yield self._own.before
        yield self._given.get_secret_value()

    async def call(self, model: str, method: str, params: dict[str, Any]) -> Any:
        """Return what a method has returned to the first key that Odoo takes.

        Raises:
            KeyRefused: it takes none.
            OdooRefused, OdooUnreachable: see there.
        """
        refusal = KeyRefused("there is no API key")
        for key in dict.fromkeys(self._candidates()):
            try:
                found = await self._odoo.call(key, model, method, params)
            except KeyRefused as error:
                refusal = error
                continue
            await self._rotate(key)
            return found
        raise refusal

    async def _rotate(self, working: str) -> None:
        """Exchange the key that works, when it is time; what fails is tried again tomorrow."""
        if self._odoo.protocol != Json2.name:  # up to Odoo 18 it is done by hand
            return
        now = self._clock.now()
        if self._own is not None and self._own.key == working:
            await self._revoke_before()
            if not due(self._own, now):
                return
        if self._again_at is not None and abs(self._again_at - now) < TRIED_AGAIN_AFTER:
            return
        self._again_at = now
        if not self._kept.durable:
            self.fault = "LICENCE_DIRECTORY is not set: API keys cannot be exchanged"
            return
        try:
            await self._make(working, now)
        except (DarkroomError, OSError) as error:
            self.fault = f"the API key cannot be exchanged: {error}"
            log.warning("licence.key.kept", reason=str(error))

    async def _make(self, working: str, now: dt.datetime) -> None:
        expires_on = (now + LIFETIME).date()
        params = {
            "key": working,
            "scope": _SCOPE,
            "name": self._name,
            "expiration_date": expires_on.isoformat(),
        }
        made = await self._odoo.call(working, MODEL, "generate", params, again=False)
        if not isinstance(made, str) or not made:
            raise OdooRefused("it has made no key")
        before = "" if working == self._given.get_secret_value() else working
        own = OwnKey(key=made, made_at=now, expires_on=expires_on, before=before)
        self._kept.write(own.model_dump_json())
        self._own, self.fault, self._again_at = own, "", None
        _show(own)
        log.info("licence.key.exchanged", expires_on=expires_on.isoformat())

    async def _revoke_before(self) -> None:
        own = self._own
        if own is None or not own.before:
            return
        try:
            await self._odoo.call(own.key, MODEL, "revoke", {"key": own.before}, again=False)
        except (KeyRefused, OdooRefused) as error:  # it has ended by itself
            log.info("licence.key.ended", reason=str(error))
        except DarkroomError:
            return  # at the next call
        self._own = own.model_copy(update={"before": ""})
        self._kept.write(self._own.model_dump_json())


def _read(kept: Kept) -> OwnKey | None:
    text = kept.read()
    if not text:
        return None
    try:
        own = OwnKey.model_validate_json(text)
    except ValidationError:
        log.error("licence.key.unreadable")
        return None
    _show(own)
    return own


def _show(own: OwnKey) -> None:
    ends = dt.datetime.combine(own.expires_on, dt.time(), dt.UTC)
    metrics.LICENCE_KEY_EXPIRES.set(ends.timestamp())
