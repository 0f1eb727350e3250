"""What goes into one image box: which frame, and how it is shown."""

from dataclasses import dataclass
from pathlib import Path

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed
from darkroom_common.pixels.window import Window


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame for one box.

    Attributes:
        path: a DICOM file.
        frame: from 1.
        window: instead of what the header says.
        assumed: of the text of its sender.
        position: of the box; None: the next free one.
    """

    path: Path
    frame: int = 1
    window: Window | None = None
    assumed: Assumed = NOTHING_ASSUMED
    position: int | None = None
