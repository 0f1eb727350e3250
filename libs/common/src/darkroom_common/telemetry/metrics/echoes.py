"""What transmit and print show of the echoes to their destinations and printers."""

from typing import Final

from darkroom_common.telemetry.metrics.rows import Rows, bounded, one_of

_of: Final = Rows("transmit", "print")
_NODE: Final = (
    one_of("kind", "destination", "printer"),
    bounded("name", "names of destinations and printers, as administrators gave them"),
)

ECHO_UP: Final = _of.gauge(
    "darkroom_echo_up",
    "1 while it answers the echo sent on a schedule, 0 since two in a row were not answered.",
    *_NODE,
)
ECHO_SECONDS: Final = _of.gauge("darkroom_echo_seconds", "Of the last echo.", *_NODE)
ECHO_AT: Final = _of.gauge(
    "darkroom_echo_timestamp_seconds", "When the last echo was sent.", *_NODE
)
ECHOES: Final = _of.counter(
    "darkroom_echoes_total",
    "Echoes sent on a schedule; put-off: its work had all its associations.",
    *_NODE,
    one_of("outcome", "answered", "failed", "put-off"),
)
