"""`python -m darkroom_licensing`."""

import sys

from darkroom_common.service import main
from darkroom_licensing.command import LICENCE
from darkroom_licensing.settings import LicensingSettings
from darkroom_licensing.wiring import run

if __name__ == "__main__":
    sys.exit(
        main(
            "licensing",
            settings=LicensingSettings,
            run=run,
            schema="licensing",
            commands=(LICENCE,),
        )
    )
