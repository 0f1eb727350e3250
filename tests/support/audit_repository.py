"""An audit record repository as a TLS server that takes nothing that is not right.

It reads syslog over TLS (RFC 5425 section 4.3: octet counting), each message by the grammar of
RFC 5424, and holds the XML to the structure of PS3.15 section A.5.1.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, fromstring

_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,6}")
_HEADER: Final = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))"
    rb" ([\x21-\x7e]{1,255}) ([\x21-\x7e]{1,48}) ([\x21-\x7e]{1,128}) ([\x21-\x7e]{1,32}) - "
)
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Shape:
    """What an element has: children in order with how often, and attributes that it must or may."""

    children: tuple[tuple[str, str], ...] = ()
    must: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()


def _shape(children: str = "", must: str = "", may: str = "") -> Shape:
    pairs = tuple((one.rstrip("*+?"), one[len(one.rstrip("*+?")) :]) for one in children.split())
    return Shape(pairs, frozenset(must.split()), frozenset(may.split()))


_CODED: Final = _shape("", "csd-code codeSystemName originalText", "displayName")
SHAPES: Final[Mapping[str, Shape]] = {
    "AuditMessage": _shape(
        "EventIdentification ActiveParticipant+ AuditSourceIdentification"
        " ParticipantObjectIdentification*"
    ),
    "EventIdentification": _shape(
        "EventID EventTypeCode* EventOutcomeDescription?",
        "EventDateTime EventOutcomeIndicator",
        "EventActionCode",
    ),
    "EventID": _CODED,
    "EventTypeCode": _CODED,
    "EventOutcomeDescription": _shape(),
    "ActiveParticipant": _shape(
        "RoleIDCode* MediaIdentifier?",
        "UserID UserIsRequestor",
        "AlternativeUserID UserName NetworkAccessPointID NetworkAccessPointTypeCode",
    ),
    "RoleIDCode": _CODED,
    "AuditSourceIdentification": _shape(
        "AuditSourceTypeCode*", "AuditSourceID", "AuditEnterpriseSiteID"
    ),
    "AuditSourceTypeCode": _CODED,
    "ParticipantObjectIdentification": _shape(
        "ParticipantObjectIDTypeCode ParticipantObjectName? ParticipantObjectQuery?"
        " ParticipantObjectDetail* ParticipantObjectDescription*",
        "ParticipantObjectID",
        "ParticipantObjectTypeCode ParticipantObjectTypeCodeRole ParticipantObjectDataLifeCycle"
        " ParticipantObjectSensitivity",
    ),
    "ParticipantObjectIDTypeCode": _CODED,
    "ParticipantObjectDetail": _shape("", "type value"),
}
_VALUES: Final = {
    "EventActionCode": "[CRUDE]",
    "EventOutcomeIndicator": "0|4|8|12",
    "UserIsRequestor": "true|false",
    "NetworkAccessPointTypeCode": "[1-5]",
    "ParticipantObjectTypeCode": "[1-4]",
    "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
}


def check(element: Element) -> None:
    """Hold an element and what is in it to the standard's structure."""
    shape = SHAPES[element.tag]
    given = set(element.attrib)
    assert shape.must <= given <= shape.must | shape.may, (element.tag, given)
    for name, value in element.attrib.items():
        assert re.fullmatch(_VALUES.get(name, ".+|(?=)"), value, re.DOTALL), (name, value)
    words = "".join(f"{child.tag} " for child in element)
    wanted = "".join(f"(?:{name} ){often}" for name, often in shape.children)
    assert re.fullmatch(wanted, words), (element.tag, words)
    for child in element:
        check(child)


@dataclass(frozen=True)
class Taken:
    """A message that was taken."""

    priority: int
    app_name: str
    message_id: str
    document: Element

    @property
    def event(self) -> str:
        return self._code("EventID")

    @property
    def action(self) -> str:
        return self._code("EventTypeCode", last=True)

    def _code(self, name: str, *, last: bool = False) -> str:
        found = self.document.findall(f"EventIdentification/{name}")
        return found[-1 if last else 0].attrib["csd-code"]

    @property
    def users(self) -> list[str]:
        return [one.attrib["UserID"] for one in self.document.findall("ActiveParticipant")]


def read(message: bytes) -> Taken:
    """Read one message of syslog."""
    found = _HEADER.match(message)
    assert found, message[:120]
    body = message[found.end() :]
    assert body.startswith(_BOM)
    document = fromstring(body[len(_BOM) :])  # our own, in a test
    check(document)
    return Taken(int(found[1]), found[4].decode(), found[6].decode(), document)


@dataclass
class Repository:
    """What it has taken; a message that was wrong is in `faults`."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    connections: int = 0
    cut_after: int | None = None
    """Messages after which a connection is reset, once."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take messages of one connection until it ends."""
        self.connections += 1
        self.writers.add(writer)
        try:
            while True:
                length = (await reader.readuntil(b" "))[:-1]
                assert _LENGTH.fullmatch(length), length
                self.taken.append(read(await reader.readexactly(int(length))))
                if self.cut_after is not None and len(self.taken) >= self.cut_after:
                    self.cut_after = None
                    writer.transport.abort()
                    return
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if getattr(error, "partial", b""):
                self.faults.append("cut within a message")
        except (AssertionError, SyntaxError, KeyError) as error:
            self.faults.append(repr(error))
        finally:
            self.writers.discard(writer)
            writer.close()


@asynccontextmanager
async def repository(context: ssl.SSLContext, port: int = 0) -> AsyncIterator[Repository]:
    """Run a repository on this machine for the length of a block."""
    made = Repository()
    server = await asyncio.start_server(made.serve, "127.0.0.1", port, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in list(made.writers):
            writer.transport.abort()
        await server.wait_closed()
