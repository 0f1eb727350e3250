"""Who may open an association with this node, store and ask, as REST and the broker carry it."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from darkroom_common.messages.base import Digest
from darkroom_common.specs.base import ResourceSpec, Spec
from darkroom_common.specs.character_sets import CharacterSetName

SopClassUid = Annotated[str, StringConstraints(pattern=r"^[0-9][0-9.]{0,63}$")]


class SenderHost(Spec):
    """Where a sender may come from."""

    network: IPv4Network | IPv6Network = Field(description="an address, or one with /bits")
    certificate_sha256: Digest | None = Field(
        default=None, description="only over TLS with this certificate"
    )


class SenderSpec(ResourceSpec):
    """One calling AE, or those that fit: in its title, * is any run of characters, ? is one."""

    host_rule: Literal["any", "listed"] = Field(description="any: it may come from anywhere")
    hosts: tuple[SenderHost, ...] = Field(default=(), max_length=256)
    sop_class_rule: Literal["any", "only", "not"] = Field(
        default="any", description="any: it may store everything; not: all but those listed"
    )
    sop_class_uids: tuple[SopClassUid, ...] = Field(default=(), max_length=500)
    max_associations: int | None = Field(
        default=None, ge=1, le=100_000, description="at a time; none: no limit of its own"
    )
    character_set: CharacterSetName | None = Field(
        default=None,
        description="of its text where it does not say, as in (0008,0005), or a code page such as"
        " windows-1251",
    )
    character_set_rule: Literal["undeclared", "always"] = Field(
        default="undeclared", description="always: what its objects declare is wrong"
    )
    query_rule: Literal["none", "own", "any"] = Field(
        default="none",
        description="what it is told of when it asks (C-FIND); own: studies of which it has sent"
        " something",
    )
    retrieve_rule: Literal["none", "own", "any"] = Field(
        default="none",
        description="what it gets by C-GET, or has sent to a destination by C-MOVE; own: as above",
    )
