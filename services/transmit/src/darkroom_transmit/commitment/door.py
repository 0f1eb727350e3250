"""The port on which destinations report storage commitment, behind the front door of receiving."""

from functools import partial
from typing import Final

from darkroom_common.dimse.acceptor import Admission, Door, DoorLimits, Entrance, listen
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.connection import Connection
from darkroom_common.dimse.negotiation import AssociationRequest, Supported
from darkroom_common.errors import ConfigurationError
from darkroom_transmit.commitment.dimse import (
    MAX_LENGTH,
    STORAGE_COMMITMENT,
    SYNTAXES,
    Settle,
    serve,
)

_LIMITS: Final = DoorLimits(associations=20, per_host=10)


def open_door(host: str, port: int, settle: Settle) -> Door:
    """Listen for reports, in threads; close it at the end.

    Who reports is checked against the transaction: only the destination that was asked may.

    Raises:
        ConfigurationError: the port cannot be listened on.
    """
    supported = Supported([(STORAGE_COMMITMENT, SYNTAXES)], MAX_LENGTH)
    for context in supported.contexts:  # they call as SCP, PS3.4 section J.3.3
        context.scu_role = True
        context.scp_role = True
    try:
        listener = listen(host, port)
    except OSError as error:
        raise ConfigurationError(f"COMMITMENT_PORT: {error.strerror}") from error
    door = Door(
        entrances=[Entrance(listener)],
        limits=_LIMITS,
        supported=supported,
        census=Census(),
        admit=_admit,
        serve=partial(serve, settle=settle),
    )
    door.start()
    return door


def _admit(_: AssociationRequest, __: Connection) -> Admission:
    return Admission()
