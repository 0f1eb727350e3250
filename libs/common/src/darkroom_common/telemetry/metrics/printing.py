"""What print shows: films and printers."""

from typing import Final

from darkroom_common.telemetry.metrics.rows import Rows, bounded

_of: Final = Rows("print")
PRINTER: Final = bounded("printer", "names of printers, as administrators gave them")

PRINT_FILMS: Final = _of.counter("darkroom_print_films_total", "Films printed.", PRINTER)
PRINT_COMPOSING: Final = _of.histogram(
    "darkroom_print_composing_seconds", "Time to compose a film."
)
PRINT_FAULTS: Final = _of.counter(
    "darkroom_print_faults_total",
    "Associations that failed.",
    PRINTER,
    bounded("reason", "the words of the code for what a printer can do wrong"),
)
