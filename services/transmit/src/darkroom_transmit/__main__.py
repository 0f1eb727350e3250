"""`python -m darkroom_transmit`."""

import sys

from darkroom_common.rekeying import rekey_command
from darkroom_common.service import main
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
            commands=[rekey_command("transmit", "transmit", COLUMNS)],
        )
    )
