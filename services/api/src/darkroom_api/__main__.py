"""`python -m darkroom_api`."""

import sys

import uvloop

from darkroom_api.accounts.link import sign_in_link
from darkroom_api.app import prepare
from darkroom_api.audit.command import audit
from darkroom_api.conformance.command import conformance
from darkroom_api.dead_letters.command import dead_letters
from darkroom_api.desk.database import database
from darkroom_api.events.command import events
from darkroom_api.jobs.command import jobs
from darkroom_api.rekey import COLUMNS
from darkroom_api.settings import ApiSettings
from darkroom_api.wiring import run, several
from darkroom_common.rekeying import rekey_command
from darkroom_common.service import Command, main

if __name__ == "__main__":
    sys.exit(
        main(
            "api",
            settings=ApiSettings,
            run=run,
            schema="api",
            commands=[
                Command("audit", audit),
                Command("conformance", conformance),
                Command("dead-letters", dead_letters),
                Command("database", database),
                Command("jobs", jobs),
                Command("events", events),
                Command("sign-in-link", sign_in_link),
                rekey_command("api", "api", COLUMNS),
            ],
            loop_factory=uvloop.new_event_loop,
            several=several,
            before=lambda _: prepare(),
        )
    )
