"""`darkroom up` with small programs in place of the services; run as a program by the tests."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from darkroom_local.engines.lock import DirectoryLock
from darkroom_local.engines.process import Command, make_reachable
from darkroom_local.stack.layout import SERVICES, Settings
from darkroom_local.stack.plan import Plan
from darkroom_local.stack.stack import Stack
from darkroom_local.stack.view import SteadyConsole

FAKE = Path(__file__).with_name("fake_service.py")


class FakePrograms:
    def preparations(self, plan: Plan, phase: str = "all") -> Sequence[tuple[str, Command]]:
        return [("nothing", replace(plan.bootstrap(), arguments=[sys.executable, "-c", "pass"]))]

    def services(self, plan: Plan) -> Sequence[Command]:
        kind = sys.argv[5:]
        return [
            replace(plan.service(name), arguments=[sys.executable, str(FAKE), *kind])
            for name in SERVICES
        ]


async def main() -> None:
    dicom_port, http_port, commitment_port = map(int, sys.argv[2:5])
    settings = Settings.load(Path(sys.argv[1]), dicom_port, http_port, commitment_port, "TEST")
    make_reachable(settings.data)
    with DirectoryLock(settings.data):
        await Stack(settings, SteadyConsole(), FakePrograms()).run()


if __name__ == "__main__":
    asyncio.run(main())
