"""`python -m darkroom_print`."""

import sys

from darkroom_common.rekeying import rekey_command
from darkroom_common.service import main
from darkroom_print.rekey import COLUMNS
from darkroom_print.settings import PrintSettings
from darkroom_print.wiring import run

if __name__ == "__main__":
    sys.exit(
        main(
            "print",
            settings=PrintSettings,
            run=run,
            schema="print",
            commands=[rekey_command("print", "print", COLUMNS)],
        )
    )
