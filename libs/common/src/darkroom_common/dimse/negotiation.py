"""What an acceptor answers to an A-ASSOCIATE-RQ, decided without I/O (PS3.8 9.3 and annex D)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.dimse.wire.association_items import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    APPLICATION_CONTEXT,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    USER_REJECTION,
    AssociateAccept,
    AssociateRequest,
    Context,
    Proposal,
    Rejection,
    Role,
)

VERSION_NOT_SUPPORTED: Final = Rejection(1, 2, 2, "protocol-version")
APPLICATION_CONTEXT_UNKNOWN: Final = Rejection(1, 1, 2, "application-context")
CALLING_AE_UNKNOWN: Final = Rejection(1, 1, 3, "calling-ae-title")
CALLED_AE_UNKNOWN: Final = Rejection(1, 1, 7, "called-ae-title")
CONGESTION: Final = Rejection(2, 3, 1, "congestion")
LIMIT_REACHED: Final = Rejection(2, 3, 2, "limit")
HOST_LIMIT_REACHED: Final = Rejection(2, 3, 2, "limit-of-host")
_NEITHER: Final = Role(scu=False, scp=False)
AE_LIMIT_REACHED: Final = Rejection(2, 3, 2, "limit-of-ae")


@dataclass(frozen=True)
class Supported:
    """What is accepted of a SOP class.

    Attributes:
        transfer_syntaxes: the preferred one first.
        role: what the requestor may be.
        extended: says what is agreed on of what the requestor would like.
    """

    transfer_syntaxes: tuple[str, ...]
    role: Role = field(default_factory=Role)
    extended: Callable[[bytes], bytes] | None = None


def refuse_protocol(request: AssociateRequest) -> Rejection | None:
    """Return why nobody can talk to this requestor, or None."""
    if not request.version & 1:
        return VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_UNKNOWN
    return None


def negotiate(
    request: AssociateRequest, supported: Mapping[str, Supported], max_length: int
) -> tuple[dict[int, Context], AssociateAccept]:
    """Return (accepted contexts by id, what the requestor is answered).

    Args:
        request: what is offered.
        supported: by abstract syntax.
        max_length: the longest P-DATA-TF that we take.
    """
    results: dict[int, tuple[int, str]] = {}
    roles: dict[str, Role] = {}
    for number, proposal in request.contexts.items():
        ours = supported.get(proposal.abstract_syntax)
        results[number] = result, _ = _choose(proposal, ours)
        asked = request.roles.get(proposal.abstract_syntax)
        if asked == _NEITHER:
            continue  # it does not know what it says
        if result != ACCEPTED or ours is None or asked is None or ours.role == Role():
            continue  # without an answer the roles are those of old
        granted = Role(asked.scu and ours.role.scu, asked.scp and ours.role.scp)
        roles[proposal.abstract_syntax] = granted
        if not granted.scu and not granted.scp:
            results[number] = USER_REJECTION, results[number][1]
    accepted: dict[int, Context] = {}
    for number, (result, syntax) in results.items():
        if result == ACCEPTED:
            abstract = request.contexts[number].abstract_syntax
            serves = abstract in roles and roles[abstract].scp
            accepted[number] = Context(abstract, syntax, serves)
    extended = {
        uid: agree(request.extended[uid])
        for uid in sorted({one.abstract_syntax for one in accepted.values()})
        if (agree := supported[uid].extended) is not None and uid in request.extended
    }
    return accepted, AssociateAccept(results, max_length, roles, extended)


def _choose(proposal: Proposal, ours: Supported | None) -> tuple[int, str]:
    offered: Iterable[str] = proposal.transfer_syntaxes
    if ours is None:
        return ABSTRACT_SYNTAX_NOT_SUPPORTED, next(iter(offered), IMPLICIT_VR_LITTLE_ENDIAN)
    for syntax in ours.transfer_syntaxes:
        if syntax in offered:
            return ACCEPTED, syntax
    return TRANSFER_SYNTAXES_NOT_SUPPORTED, next(iter(offered), IMPLICIT_VR_LITTLE_ENDIAN)
