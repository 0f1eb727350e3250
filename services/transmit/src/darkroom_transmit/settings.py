"""What transmit can be told."""

from darkroom_common.settings import Settings


class TransmitSettings(Settings):
    """Settings of transmit."""

    store_url: str
