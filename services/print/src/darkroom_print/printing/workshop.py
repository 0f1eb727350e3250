"""What the lanes of all printers work with."""

import random
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from darkroom_common.dimse.tls import TlsClient
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_print.composing.composer import Composers
from darkroom_print.printers.configuration import Configuration
from darkroom_print.printing.repository import PrintJobs


@dataclass(frozen=True)
class Workshop:
    """What lanes work with.

    Attributes:
        owner: this process.
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
    chance: Callable[[], float] = random.random
