"""One row of the audit log, and the code that shows whether it is still as it was written.

The code is an HMAC-SHA-256 over every column under a key of AUDIT_KEYS, which the database never
sees: whoever can write the table, but has not the key, can neither change a row nor make one.
"""

import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Literal

import orjson

from darkroom_api.audit.actions import Action
from darkroom_api.edge.agents import known_agent
from darkroom_common.postgres.phi import PhiKeys, decode_key

MAC_BYTES: Final = 32
Outcome = Literal["success", "failure", "asked"]
"""`asked`: another service is to do it; a second row says what came of it."""
_FORM: Final = 1
"""Of what the code covers, in what order; part of it, so that it can change."""
_LONGEST: Final = {"user_id": 50, "username": 150, "resource_type": 100, "resource_id": 128}
USER_AGENT: Final = "user_agent"
"""Where a client's name for itself is sealed, when more than known products is in it."""
_AGENT_LENGTH: Final = 512
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_VERSION: Final = 7 << 76
_VARIANT: Final = 0b10 << 62


@dataclass(frozen=True)
class Entry:
    """What is to be kept of one act.

    Attributes:
        action: what was done.
        resource_type: of what, in one word; empty when it was done with nothing.
        resource_id: which one.
        user_id: who did it; empty for somebody who is not signed in, and for the system.
        username: under which name.
        address: of the client; None for the system.
        user_agent: what the client calls itself; what is not a known product is sealed.
        privileged: an administrator's act.
        outcome: whether it was done.
        details: more about it, as JSON; nothing that identifies a patient.
        phi: what identifies a patient: it is sealed.
        at: when it was done.
    """

    action: Action
    resource_type: str = ""
    resource_id: str = ""
    user_id: str = ""
    username: str = ""
    address: IPv4Address | IPv6Address | None = None
    user_agent: str = ""
    privileged: bool = False
    outcome: Outcome = "success"
    details: Mapping[str, Any] = field(default_factory=dict)
    phi: Mapping[str, Any] = field(default_factory=dict)
    at: dt.datetime | None = None


@dataclass(frozen=True)
class Row:
    """A row of `api.audit_log`, with the plain text of what is sealed in it."""

    log_id: uuid.UUID
    recorded_at: dt.datetime
    user_id: str
    username: str
    action: str
    resource_type: str
    resource_id: str
    ip_address: IPv4Address | IPv6Address | None
    user_agent: str
    privileged: bool
    outcome: str
    details: str
    phi: bytes

    def covered(self, key_id: int) -> bytes:
        """Return what the code is made over: every column, so that none can be changed."""
        return orjson.dumps(
            [
                _FORM,
                key_id,
                self.log_id.hex,
                self.recorded_at.astimezone(dt.UTC).isoformat(timespec="microseconds"),
                self.user_id,
                self.username,
                self.action,
                self.resource_type,
                self.resource_id,
                "" if self.ip_address is None else str(self.ip_address),
                self.user_agent,
                self.privileged,
                self.outcome,
                self.details,
                self.phi.hex(),
            ]
        )


def row_of(entry: Entry, now: dt.datetime) -> Row:
    """Return the row of an act, under an id that grows with its time."""
    at = entry.at or now
    short = {name: _text(getattr(entry, name), most) for name, most in _LONGEST.items()}
    agent = _text(entry.user_agent, _AGENT_LENGTH)
    known = known_agent(agent) if agent else ""
    phi = entry.phi if known == agent else {**entry.phi, USER_AGENT: agent}
    return Row(
        log_id=id_at(at),
        recorded_at=at,
        action=str(entry.action),
        ip_address=entry.address,
        user_agent=known,
        privileged=entry.privileged,
        outcome=entry.outcome,
        details=_json(entry.details).decode(),
        phi=_json(phi) if phi else b"",
        **short,
    )


def id_at(moment: dt.datetime) -> uuid.UUID:
    """Return a new UUID of version 7 (RFC 9562 section 5.7): ids sort by their time.

    What is finer than a millisecond is in `rand_a` (section 6.2, method 3).
    """
    return uuid.UUID(int=_first_at(moment) | secrets.randbits(62))


def first_id_at(moment: dt.datetime) -> uuid.UUID:
    """Return what no id of that microsecond, or later, is less than."""
    return uuid.UUID(int=_first_at(moment))


def _first_at(moment: dt.datetime) -> int:
    since = (moment - _EPOCH) // _MICROSECOND
    milliseconds, rest = divmod(max(0, since), 1000)
    return milliseconds << 80 | _VERSION | (rest * 4096 // 1000) << 64 | _VARIANT


@lru_cache(maxsize=4096)
def address_in(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in a text, of IPv4 as such (RFC 4291 section 2.5.5.2); or None."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _text(value: str, most: int) -> str:
    """Return a text that PostgreSQL keeps as it is."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value.replace("\x00", "\ufffd")[:most]


def _json(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)


class AuditKeys:
    """Makes and checks the codes of rows and of the chain.

    Args:
        keys: of AUDIT_KEYS, in the form of PHI_KEYS; new codes are made with the current one.
    """

    def __init__(self, keys: PhiKeys) -> None:
        self.current = keys.current
        self._keys = {
            number: decode_key(key, setting="AUDIT_KEYS") for number, key in keys.keys.items()
        }

    def has(self, key_id: int) -> bool:
        """Tell whether codes under a key can be checked."""
        return key_id in self._keys

    def mac(self, purpose: str, covered: bytes, key_id: int | None = None) -> bytes:
        """Return the code of some bytes for one purpose, under the current key or a given one."""
        key = self._keys[self.current if key_id is None else key_id]
        return hmac.digest(key, purpose.encode() + b"\0" + covered, hashlib.sha256)

    def row(self, row: Row) -> bytes:
        """Return the code of a new row."""
        return self.mac("row", row.covered(self.current))

    def is_row(self, row: Row, key_id: int, mac: bytes) -> bool:
        """Tell whether a row is as it was written. Its key must be there."""
        return self.is_made("row", row.covered(key_id), key_id, mac)

    def is_made(self, purpose: str, covered: bytes, key_id: int, mac: bytes) -> bool:
        """Tell whether a code is of some bytes. Its key must be there."""
        return hmac.compare_digest(self.mac(purpose, covered, key_id), mac)
