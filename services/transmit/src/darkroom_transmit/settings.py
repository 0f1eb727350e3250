"""What transmit can be told."""

from pydantic import SecretStr

from darkroom_common.settings import Settings


class TransmitSettings(Settings):
    """Settings of transmit."""

    store_url: str
    phi_keys: SecretStr
