"""The port on which destinations report storage commitment, behind the front door of receiving."""

from typing import Final

from darkroom_common.dimse.acceptor import Admission, Door, DoorLimits, Entrance, listen
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.serving import Service, Services
from darkroom_common.dimse.users.commitment import STORAGE_COMMITMENT
from darkroom_common.dimse.wire.association_items import Role
from darkroom_common.dimse.wire.command import CommandField
from darkroom_common.errors import ConfigurationError
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_transmit.commitment.dimse import Settle, taking_reports

_LIMITS: Final = DoorLimits(associations=20, per_host=10)


def open_door(host: str, port: int, settle: Settle) -> Door:
    """Listen for reports, in threads; close it at the end.

    Who reports is checked against the transaction: only the destination that was asked may.

    Raises:
        ConfigurationError: the port cannot be listened on.
    """
    reports = Service(
        (STORAGE_COMMITMENT,),
        {CommandField.N_EVENT_REPORT: taking_reports(settle)},
        role=Role(scu=True, scp=True),  # they call as SCP, PS3.4 section J.3.3
    )
    try:
        listener = listen(host, port)
    except OSError as error:
        raise ConfigurationError(f"COMMITMENT_PORT: {error.strerror}") from error
    door = Door(
        entrances=[Entrance(listener)],
        limits=_LIMITS,
        services=Services(reports),
        census=Census(),
        admit=lambda _request, _connection: Admission(),
    )
    door.start()
    metrics.ASSOCIATIONS_LIMIT.set(_LIMITS.associations)
    return door
