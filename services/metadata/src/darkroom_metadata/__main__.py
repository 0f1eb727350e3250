"""`python -m darkroom_metadata`."""

import sys

from darkroom_common.rekeying import rekey_command
from darkroom_common.service import Command, main
from darkroom_metadata.conflicts.command import conflicts
from darkroom_metadata.reindexing.command import reindex
from darkroom_metadata.reindexing.rebuild import rebuild
from darkroom_metadata.rekey import COLUMNS
from darkroom_metadata.replication.command import replication
from darkroom_metadata.retention.command import retention
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.verification.command import verify
from darkroom_metadata.wiring import run

if __name__ == "__main__":
    sys.exit(
        main(
            "metadata",
            settings=MetadataSettings,
            run=run,
            schema="index",
            commands=[
                Command("verify", verify),
                rekey_command("metadata", "index", COLUMNS),
                Command("reindex", reindex),
                Command("replication", replication),
                Command("rebuild", rebuild),
                Command("conflicts", conflicts),
                Command("retention", retention),
            ],
        )
    )
