"""Signs what is sent, as the specification Standard Webhooks 1.0 has it.

A receiver takes a secret of ours as it is: `whsec_` and the base64 of 24 to 64 bytes. What is
signed is the id, the second of the attempt and the body, joined by dots.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
_BYTES: Final = 32
_LEAST: Final = 24
_MOST: Final = 64


def new_secret() -> str:
    """Return a secret that nobody has yet."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Tell whether a text is a secret that can be signed with."""
    if not text.startswith(PREFIX) or not text.isascii():
        return False
    try:
        return _LEAST <= len(base64.b64decode(text.removeprefix(PREFIX), validate=True)) <= _MOST
    except binascii.Error:
        return False


def headers(message_id: str, seconds: int, body: bytes, signing: Sequence[str]) -> dict[str, str]:
    """Return the headers of a message.

    Args:
        message_id: the same in every attempt.
        seconds: since 1970, of this attempt.
        body: as it is sent.
        signing: secrets, the newest first.
    """
    content = f"{message_id}.{seconds}.".encode() + body
    signatures = [
        base64.b64encode(
            hmac.digest(base64.b64decode(one.removeprefix(PREFIX)), content, hashlib.sha256)
        ).decode()
        for one in signing
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }
