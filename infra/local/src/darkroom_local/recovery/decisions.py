"""What a masked copy's database holds: nothing that no masked object, and no migration, has said.

A new database is made for a masked copy. Of its tables only these have rows; all others are as the
migrations make them, empty: jobs of every kind, the audit log, users, exports, e-mail, callbacks,
queues, worklist, quarantine, conflicts, edits, removals, holds, licences. A column that one of them
gets later fails a test until it is decided that masked objects alone fill it.
"""

from collections.abc import Mapping
from typing import Final

MADE_OF_OBJECTS: Final[Mapping[str, frozenset[str]]] = {}
SAID_BY_MIGRATIONS: Final[frozenset[str]] = frozenset()
