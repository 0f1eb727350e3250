"""The modality worklist as an information model of C-FIND (PS3.4 annex K)."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from darkroom_common.clock import monotonic
from darkroom_common.dimse.serving import Handler, Request, Service
from darkroom_common.dimse.users.find import MODALITY_WORKLIST_FIND
from darkroom_common.dimse.wire.command import CommandField
from darkroom_common.index.reader import SearchTooLong
from darkroom_common.index.rows import UnreadableRow
from darkroom_common.seal import Unsealable
from darkroom_ingest.answering.answer import picked
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.answering.find import Finder, Prepared, agreed
from darkroom_ingest.senders.admission import Permit
from darkroom_ingest.senders.roster import Doorkeeper
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.worklist.attributes import Json, attributes
from darkroom_ingest.worklist.entries import Entries, Narrow
from darkroom_ingest.worklist.matching import (
    ACCESSION_NUMBER,
    MODALITY,
    PATIENT_ID,
    STATION,
    STUDY,
    AskedSteps,
    parse_steps,
)

_FUZZY: Final = 2
"""The byte of the extended negotiation that is about person names (PS3.4 section K.5.1.1)."""


def listing(
    settings: IngestSettings, archive: Archive, doorkeeper: Doorkeeper, entries: Entries
) -> Service:
    """Return the modality worklist service."""
    model = WorklistModel(settings, archive, entries)
    return Service(
        sop_classes=(MODALITY_WORKLIST_FIND,),
        handlers={CommandField.C_FIND: Handler(Finder(settings, doorkeeper, model).answer)},
        extended=agreed,
    )


@dataclass(frozen=True)
class WorklistModel:
    """Prepares queries of scheduled procedure steps."""

    settings: IngestSettings
    archive: Archive
    entries: Entries

    def __call__(self, request: Request, permit: Permit) -> Prepared:
        """Return what is asked for, as far as the asker may know it."""
        wanted = agreed(request.caller.extended.get(request.context.abstract_syntax, b""))
        fuzzy = bool(wanted[_FUZZY : _FUZZY + 1].strip(b"\0"))
        asked = parse_steps(
            request.data_set(permit.assumed), fuzzy=fuzzy or self.settings.query_fuzzy == "always"
        )
        narrow = _narrow(asked)
        own = request.caller.calling_ae_title if permit.query_rule == "own" else None
        return Prepared(
            level="WORKLIST",
            keys=sorted(asked.keywords),
            prefers=asked.character_set or permit.assumed.name,
            partly=False,
            answers=self._answers(asked, narrow, own),
        )

    def _answers(self, asked: AskedSteps, narrow: Narrow, own: str | None) -> Iterator[Json]:
        deadline = monotonic() + self.settings.query_seconds
        after: tuple[dt.datetime, str] | None = None
        while True:
            left = deadline - monotonic()
            if left <= 0:
                raise SearchTooLong(f"more than {self.settings.query_seconds:g} s")
            try:
                page, after = self.archive.run(self.entries.page(narrow, after), seconds=left)
            except Unsealable as error:
                raise UnreadableRow("an entry of the worklist cannot be opened") from error
            for entry in page:
                stations = entry.scheduled_station_ae_titles
                if own is not None and stations and own not in stations:
                    continue
                # of type 1: where any station will do, it is the one that is asked for
                found = attributes(entry, stations or narrow.stations or (own or "",))
                if asked.hold(found):
                    yield picked(found, asked.wanted)
            if after is None:
                return


def _narrow(asked: AskedSteps) -> Narrow:
    return Narrow(
        first=asked.first,
        last=asked.last,
        modalities=asked.single(MODALITY) or None,
        stations=asked.single(STATION) or None,
        accession_numbers=asked.single(ACCESSION_NUMBER) or None,
        patient_ids=asked.single(PATIENT_ID) or None,
        studies=asked.single(STUDY) or None,
    )
