"""What the service and its conversion workers say to each other; nothing here reads objects."""

import hmac
from typing import NamedTuple


class Profile(NamedTuple):
    """A profile of de-identification as it goes to a worker: through a pipe, never an argument."""

    options: tuple[str, ...]
    key: str


def destination_key(secret: bytes, destination: str) -> bytes:
    """Return the key of the pseudonyms of one destination."""
    return hmac.digest(secret, f"darkroom deidentify {destination}".encode(), "sha256")
