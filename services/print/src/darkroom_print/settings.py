"""What print can be told."""

from darkroom_common.settings import Settings


class PrintSettings(Settings):
    """Settings of print."""

    store_url: str
