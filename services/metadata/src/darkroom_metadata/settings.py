"""What metadata can be told."""

from pydantic import Field, SecretStr

from darkroom_common.settings import Settings


class MetadataSettings(Settings):
    """Settings of metadata."""

    store_url: str
    phi_keys: SecretStr
    blind_index_key: SecretStr
    quiet_seconds: float = Field(
        default=60.0, gt=0, description="a study is complete when nothing came for so long"
    )
    batch_size: int = Field(default=200, ge=1, le=500)
    batch_linger_seconds: float = Field(default=0.02, ge=0, le=1)
