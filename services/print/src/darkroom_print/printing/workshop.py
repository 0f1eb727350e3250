"""What the lanes of all printers work with."""

import random
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.dimse.tls import TlsClient
from darkroom_common.echoes.places import Places
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_print.composing.composer import Composers
from darkroom_print.printers.configuration import Configuration
from darkroom_print.printing.repository import PrintJobs

ASSOCIATIONS: Final = 1
"""That a printer has with us at a time."""


@dataclass(frozen=True)
class Workshop:
    """What lanes work with.

    Attributes:
        owner: this process.
        places: of printers, one each, that echoes take, too.
        lease_seconds: until another process takes over a job of one that died.
    """

    database: Database
    jobs: PrintJobs
    configuration: Configuration
    composers: Composers
    store: ObjectStore
    seal: Seal
    threads: Executor
    tls: TlsClient
    owner: str
    lease_seconds: float
    places: Places = field(default_factory=Places)
    chance: Callable[[], float] = random.random
