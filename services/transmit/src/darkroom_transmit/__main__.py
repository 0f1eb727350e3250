"""`python -m darkroom_transmit`."""

import sys

from darkroom_common.service import main
from darkroom_transmit.settings import TransmitSettings
from darkroom_transmit.wiring import run

if __name__ == "__main__":
    sys.exit(main("transmit", settings=TransmitSettings, run=run, schema="transmit"))
