"""What licensing shows."""

from typing import Final

from darkroom_common.telemetry.metrics.rows import Rows, bounded

_of: Final = Rows("licensing")

LICENCE_STATE: Final = _of.gauge(
    "darkroom_licence_state",
    "1 for the state in force.",
    bounded("state", "the states of docs/licensing.md"),
)
LICENCE_READ_ONLY: Final = _of.gauge(
    "darkroom_licence_read_only", "1 while new administrative work is refused."
)
LICENCE_READ_ONLY_FROM: Final = _of.gauge(
    "darkroom_licence_read_only_from_seconds", "When it is refused, since 1970; 0: not foreseen."
)
LICENCE_ENDS: Final = _of.gauge(
    "darkroom_licence_ends_seconds", "When the licence ends, since 1970; 0: it does not."
)
LICENCE_CHECKS: Final = _of.counter(
    "darkroom_licence_checks_total",
    "Questions for the licence, by what came of them.",
    bounded("outcome", "the outcomes of docs/licensing.md"),
)
LICENCE_KEY_EXPIRES: Final = _of.gauge(
    "darkroom_licence_key_expires_seconds", "When our own API key of Odoo expires, since 1970."
)
