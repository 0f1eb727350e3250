"""What transmit keeps that PHI_KEYS opens."""

from typing import Final

from darkroom_common.rekeying import Column, Sealed
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_transmit.migration import repository as migrations
from darkroom_transmit.remote import procedure_steps

COLUMNS: Final[tuple[Column, ...]] = (
    Sealed("destination", "secret", DESTINATIONS.secret_purpose, row="name"),
    Sealed("migration", "cursor", migrations.CURSOR),
    Sealed("migration_study", "patient", migrations.PATIENT),
    Sealed("migration_object", "location", migrations.LOCATION),
    Sealed("procedure_step", "sealed", procedure_steps.PURPOSE, row="sop_instance_uid"),
)
