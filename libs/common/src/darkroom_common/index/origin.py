"""Where a study came from: the trace of the association that brought its first instance."""

from typing import Final

from opentelemetry.trace import Link

from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import traces

_TRACE: Final = (
    "SELECT s.traceparent FROM index.instance i JOIN index.series e ON e.id = i.series_id"
    " JOIN index.study s ON s.id = e.study_id WHERE i.sop_instance_uid = $1"
)


async def links_to_origin(db: Connection, sop_instance_uid: str) -> list[Link]:
    """Return a link to the association behind an instance's study; none when it is not known."""
    found = await db.fetchval(_TRACE, sop_instance_uid)
    return traces.link_to({"traceparent": found}) if found else []
