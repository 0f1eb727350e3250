"""What licensing can be told."""

from darkroom_common.settings import Settings


class LicensingSettings(Settings):
    """Settings of licensing. No licence server is asked yet: the state is `unconfigured`."""
