"""`python -m darkroom_transmit`."""

import sys

from darkroom_common.rekeying import rekey_command
from darkroom_common.service import Command, main
from darkroom_transmit.masking.command import mask
from darkroom_transmit.migration.command import migrate
from darkroom_transmit.rekey import COLUMNS
from darkroom_transmit.settings import TransmitSettings
from darkroom_transmit.wiring import run

if __name__ == "__main__":
    sys.exit(
        main(
            "transmit",
            settings=TransmitSettings,
            run=run,
            schema="transmit",
            commands=[
                Command("migration", migrate),
                Command("mask", mask),
                rekey_command("transmit", "transmit", COLUMNS),
            ],
        )
    )
