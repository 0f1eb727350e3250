"""Every resource. What a spec, its storage, its messages and its routes are follows from here."""

import datetime as dt
from typing import Final, Literal

from pydantic import BaseModel, Field

from darkroom_common.resources.resource import Reference, Resource, Use
from darkroom_common.specs.destinations import ConfiguredAe, DestinationSpec
from darkroom_common.specs.indexed_tags import IndexedTagSpec, TagName
from darkroom_common.specs.printers import PrinterSpec, PrintRuleSpec
from darkroom_common.specs.rules import RuleSpec
from darkroom_common.specs.senders import SenderSpec


class EchoState(BaseModel):
    """What the scheduled echo has said of a destination or printer (TRX-14)."""

    echo_state: Literal["", "UP", "DOWN"] = Field(
        description="DOWN since two in a row were not answered; empty: not known, or not asked"
    )
    echo_since: dt.datetime | None = Field(description="when it entered this state")
    echo_at: dt.datetime | None = Field(description="when it was asked last")
    echo_seconds: float | None = Field(description="that this took")
    echo_reason: str = Field(description="why the last one was not answered; empty when it was")
    echo_failures: int = Field(description="in a row")


class DestinationState(EchoState):
    """What transmit keeps of a destination beside its spec."""

    breaker: str = Field(description="closed: in use; open: given up for a while; half-open")
    breaker_reason: str
    breaker_until: dt.datetime | None


class PrinterState(EchoState):
    """What print keeps of a printer beside its spec."""

    status: str = Field(description="NORMAL, WARNING, FAILURE, AWAY; empty: never asked")
    status_info: str = Field(description="Printer Status Info, or why it is away")
    status_at: dt.datetime | None


DESTINATIONS: Final = Resource(
    schema="transmit",
    kind="destination",
    spec=DestinationSpec,
    title="destination",
    path="/api/v1/destinations",
    reads="destinations:read",
    writes="destinations:write",
    tag="destinations",
    state=DestinationState,
    secret=True,
    identified=True,
    uses=(
        Use(
            "SELECT EXISTS (SELECT FROM transmit.rule WHERE spec->'destinations' ? $1)",
            "a rule sends to it",
        ),
        Use(
            "SELECT EXISTS (SELECT FROM transmit.rule WHERE spec->'prefetch'->>'remote' = $1)",
            "a rule retrieves priors from it",
        ),
        Use(
            "SELECT EXISTS (SELECT FROM transmit.job WHERE destination = $1"
            " AND state IN ('PENDING', 'SENDING', 'RETRYING'))",
            "jobs wait for it",
        ),
        Use(
            "SELECT EXISTS (SELECT FROM transmit.retrieve WHERE remote = $1"
            " AND state IN ('PENDING', 'RETRIEVING', 'RETRYING'))",
            "jobs retrieve from it",
        ),
        Use(
            "SELECT EXISTS (SELECT FROM transmit.prefetch WHERE remote = $1"
            " AND state IN ('PENDING', 'ASKING', 'RETRYING'))",
            "it is asked for priors",
        ),
    ),
)

RULES: Final = Resource(
    schema="transmit",
    kind="rule",
    spec=RuleSpec,
    title="routing rule",
    path="/api/v1/rules",
    reads="destinations:read",
    writes="destinations:write",
    tag="rules",
    order={"position": int, "name": str},
    copied={"position": "($2::text::jsonb->>'position')::integer"},
    references=(
        Reference(
            DESTINATIONS,
            lambda spec: [*spec.destinations, *([spec.prefetch.remote] if spec.prefetch else [])],
        ),
    ),
)

PRINTERS: Final = Resource(
    schema="print",
    kind="printer",
    spec=PrinterSpec,
    title="printer",
    path="/api/v1/printers",
    reads="printers:read",
    writes="printers:write",
    tag="print",
    state=PrinterState,
    identified=True,
    uses=(
        Use(
            "SELECT EXISTS (SELECT FROM print.rule WHERE spec->>'printer' = $1)",
            "a rule prints on it",
        ),
        Use(
            "SELECT EXISTS (SELECT FROM print.job WHERE printer = $1"
            " AND state IN ('QUEUED', 'COMPOSING', 'PRINTING', 'RETRYING', 'UNKNOWN'))",
            "jobs wait for it",
        ),
    ),
)

PRINT_RULES: Final = Resource(
    schema="print",
    kind="rule",
    spec=PrintRuleSpec,
    title="auto-print rule",
    path="/api/v1/print/rules",
    reads="printers:read",
    writes="printers:write",
    tag="print",
    references=(Reference(PRINTERS, lambda spec: [spec.printer]),),
)

SENDERS: Final = Resource(
    schema="ingest",
    kind="sender",
    spec=SenderSpec,
    title="sender",
    path="/api/v1/senders",
    reads="senders:read",
    writes="senders:write",
    tag="senders",
    key=ConfiguredAe,
    in_path="{name:path}",  # an AE title may hold a slash
)

INDEXED_TAGS: Final = Resource(
    schema="index",
    kind="tag",
    spec=IndexedTagSpec,
    title="indexed tag",
    path="/api/v1/indexed-tags",
    reads="tags:read",
    writes="tags:write",
    tag="indexed tags",
    key=TagName,
)

RESOURCES: Final = (DESTINATIONS, RULES, PRINTERS, PRINT_RULES, SENDERS, INDEXED_TAGS)
