"""What ingest shows: what comes in, the spool, the volumes."""

from typing import Final

from darkroom_common.telemetry.metrics.rows import Rows, bounded, one_of

_of: Final = Rows("ingest")
_BYTES: Final = tuple(float(4**n * 1024) for n in range(12))
_VOLUME: Final = one_of("volume", "spool", "store")
_REASON: Final = bounded("reason", "the reasons of quarantine of docs/operations.md")

SENDERS: Final = _of.gauge("darkroom_senders_listed", "Calling AEs in the list of senders.")
SENDERS_NOT_READ: Final = _of.counter(
    "darkroom_senders_not_read_total",
    "Failures to read the list of senders: in the database, or its copy beside the spool.",
    one_of("reason", "away", "schema", "refused", "row", "copy"),
)
STOW_OBJECTS: Final = _of.counter(
    "darkroom_stow_objects_total",
    "Objects of STOW: stored, or why not.",
    bounded("outcome", "stored, and the codes of refusals of docs/dicomweb.md"),
)
STOW_BYTES: Final = _of.counter("darkroom_stow_bytes_total", "Bytes of bodies of STOW.")
STOW_UPLOADS: Final = _of.gauge("darkroom_stow_uploads_open", "Bodies of STOW on their way in.")
QUERIES: Final = _of.counter(
    "darkroom_queries_total",
    "C-FINDs that were answered to the end, or refused.",
    one_of("level", "patient", "study", "series", "image", "worklist", "none"),
    bounded("status", "of the last answer, in hexadecimal digits"),
)
QUERY_ANSWERS: Final = _of.counter("darkroom_query_answers_total", "Matches told to C-FINDs.")
QUERY_SECONDS: Final = _of.histogram(
    "darkroom_query_first_seconds", "From a C-FIND to its first match."
)
RETRIEVALS: Final = _of.counter(
    "darkroom_retrievals_total",
    "C-GETs and C-MOVEs that were answered to the end, or refused.",
    one_of("command", "get", "move"),
    bounded("status", "of the last answer, in hexadecimal digits"),
)
RETRIEVED: Final = _of.counter(
    "darkroom_retrieved_instances_total",
    "Instances of C-GETs and C-MOVEs: sent, sent with a warning, or failed.",
    one_of("outcome", "completed", "warned", "failed"),
)
RETRIEVED_BYTES: Final = _of.counter(
    "darkroom_retrieved_bytes_total", "Bytes of data sets sent by C-GET."
)
STORE_SECONDS: Final = _of.histogram(
    "darkroom_store_seconds", "From the data set's last byte to the answer."
)
RECEIVED_BYTES: Final = _of.counter("darkroom_received_bytes_total", "Bytes of data sets received.")
OBJECT_BYTES: Final = _of.histogram("darkroom_object_bytes", "Size of one object.", buckets=_BYTES)
SPOOL_READY: Final = _of.gauge("darkroom_spool_ready", "Receipts that wait for the relay.")
SPOOL_OLDEST_SECONDS: Final = _of.gauge(
    "darkroom_spool_oldest_seconds", "Age of the oldest receipt."
)
STORAGE_FREE: Final = _of.gauge("darkroom_storage_free_bytes", "Free bytes.", _VOLUME)
STORAGE_TOTAL: Final = _of.gauge("darkroom_storage_total_bytes", "Size in bytes.", _VOLUME)
QUARANTINED: Final = _of.counter("darkroom_quarantined_total", "Objects quarantined.", _REASON)
QUARANTINE_REFUSED: Final = _of.counter(
    "darkroom_quarantine_refused_total", "Refused objects not kept: quarantine is full.", _REASON
)
QUARANTINE_ITEMS: Final = _of.gauge("darkroom_quarantine_items", "Objects in quarantine.")
QUARANTINE_BYTES: Final = _of.gauge("darkroom_quarantine_bytes", "Bytes in quarantine.")
PERFORMED_STEPS: Final = _of.counter(
    "darkroom_performed_steps_total",
    "Requests about performed procedure steps answered.",
    one_of("command", "N_CREATE", "N_SET", "N_GET"),
    bounded("status", "of the answer, PS3.7 annex C"),
)
HL7_CONNECTIONS: Final = _of.gauge("darkroom_hl7_connections_open", "Connections of MLLP.")
HL7_ENDED: Final = _of.counter(
    "darkroom_hl7_ended_total",
    "Connections of MLLP that were refused, or did not end in order.",
    one_of(
        "reason",
        *("peer", "connections", "per-host"),
        *("time", "lost", "certificate", "no-end", "no-block", "too-long"),
    ),
)
HL7_MESSAGES: Final = _of.counter(
    "darkroom_hl7_messages_total",
    "Messages of HL7 that were answered.",
    one_of("type", "ORM", "OMI", "ADT", "other"),
    one_of("outcome", "accepted", "error", "rejected"),
)
ORDER_FILES: Final = _of.counter(
    "darkroom_order_files_total",
    "Files of WORKLIST_DIRECTORY that were taken, or moved away.",
    one_of("outcome", "taken", "rejected"),
)
ODD_OBJECTS: Final = _of.counter(
    "darkroom_odd_objects_total",
    "Objects accepted though the standard forbids it.",
    bounded("flag", "the flags of docs/operations.md"),
)
PREAMBLE_ZEROED: Final = _of.counter(
    "darkroom_preamble_zeroed_total", "Preambles that were not empty, and are zeroed."
)

# --- the host, of which ingest tells: each has one, and it holds the volumes ---------------
HOST_CPU: Final = _of.counter(
    "darkroom_host_cpu_seconds_total",
    "Time of all processors of the host, by what they did.",
    one_of("mode", "user", "system", "iowait", "steal", "idle"),
)
HOST_CPUS: Final = _of.gauge("darkroom_host_cpus", "Processors of the host.")
HOST_MEMORY: Final = _of.gauge(
    "darkroom_host_memory_bytes", "Memory of the host.", one_of("state", "total", "available")
)
HOST_DISK: Final = _of.counter(
    "darkroom_host_disk_bytes_total",
    "Bytes that the disks of the host have read and written.",
    one_of("direction", "read", "written"),
)
HOST_NETWORK: Final = _of.counter(
    "darkroom_host_network_bytes_total",
    "Bytes on the network, without the loopback; in a container: of its own.",
    one_of("direction", "received", "sent"),
)
RELAYED: Final = _of.counter("darkroom_relayed_total", "Receipts stored and published.")
RELAY_FAILED: Final = _of.counter(
    "darkroom_relay_failed_total",
    "Relay attempts failed.",
    one_of("step", "read", "store", "publish"),
)
