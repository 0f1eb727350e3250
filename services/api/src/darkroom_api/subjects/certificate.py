"""The certificate of an erasure as a document: what went, what stays, and why."""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from darkroom_api.exports.formats import writer
from darkroom_api.exports.table import Column, Row, Table

if TYPE_CHECKING:
    from darkroom_api.subjects.erasure import Erasure

_COLUMNS: Final = (
    Column("what", "What", 44),
    Column("date", "Date", 11),
    Column("objects", "Objects", 9),
    Column("state", "State", 14),
    Column("when", "When (UTC)", 19),
    Column("why", "Why", 60),
)


def content(erasure: "Erasure", made_at: dt.datetime, made_for: str) -> bytes:
    """Return the document, for a thread."""
    patient = erasure.patient
    issuer = f" of {patient.issuer_of_patient_id}" if patient.issuer_of_patient_id else ""
    title = (
        f"Certificate of erasure {erasure.erasure_id}: patient {patient.patient_id}{issuer},"
        f" asked for by {erasure.by} at {erasure.at:%Y-%m-%d %H:%M} UTC"
    )
    rows = list(_rows(erasure))
    table = Table(title, _COLUMNS, len(erasure.studies), rows, made_at, made_for)
    return b"".join(writer("pdf")(table))


def _rows(erasure: "Erasure") -> Iterator[Row]:
    for one in erasure.studies:
        when = "" if one.at is None else f"{one.at:%Y-%m-%d %H:%M}"
        objects = str(one.objects)
        yield (f"study {one.study_instance_uid}", one.study_date, objects, one.state, when, one.why)
        for destination in one.sent_to:
            yield (f"copy at {destination}", None, "", "not ours", "", "to be told (GDPR 19)")
    for what, why in erasure.stays:
        yield (what, None, "", "stays", "", why)
