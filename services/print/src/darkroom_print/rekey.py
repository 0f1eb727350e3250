"""What print keeps that PHI_KEYS opens; its pictures are gone in minutes."""

from typing import Final

from darkroom_common.readers.print import PURPOSE
from darkroom_common.rekeying import Column, Sealed

COLUMNS: Final[tuple[Column, ...]] = (Sealed("job", "sealed", PURPOSE),)
