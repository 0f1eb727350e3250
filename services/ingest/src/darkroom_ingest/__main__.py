"""`python -m darkroom_ingest`."""

import sys
from functools import partial

from darkroom_common.rekeying import rekey_command
from darkroom_common.service import Command, main
from darkroom_ingest.door.nursery import Nursery
from darkroom_ingest.quarantine.command import quarantine
from darkroom_ingest.rekey import COLUMNS
from darkroom_ingest.senders.command import ae
from darkroom_ingest.senders.repository import SCHEMA
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.wiring import run

if __name__ == "__main__":
    nursery = Nursery()
    sys.exit(
        main(
            "ingest",
            settings=IngestSettings,
            run=partial(run, nursery),
            before=nursery.open,
            schema=SCHEMA,
            commands=[
                Command("ae", ae),
                Command("quarantine", quarantine),
                rekey_command("ingest", SCHEMA, COLUMNS),
            ],
        )
    )
