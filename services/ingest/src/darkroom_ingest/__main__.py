"""`python -m darkroom_ingest`."""

import sys

from darkroom_common.service import Command, main
from darkroom_ingest.quarantine.command import quarantine
from darkroom_ingest.senders.command import ae
from darkroom_ingest.senders.repository import SCHEMA
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.wiring import run

if __name__ == "__main__":
    sys.exit(
        main(
            "ingest",
            settings=IngestSettings,
            run=run,
            schema=SCHEMA,
            commands=[Command("ae", ae), Command("quarantine", quarantine)],
        )
    )
