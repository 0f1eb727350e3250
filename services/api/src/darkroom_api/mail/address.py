"""What settings say of e-mail: plain addresses, one each, and how a server is called."""

import re
from typing import Final, Literal

Security = Literal["starttls", "tls", "none"]
"""How the way to the mail server is protected."""

LONGEST: Final = 254
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
"""What HTML takes for one, which is what servers take: no comments, quotes or line ends."""


def is_address(text: str) -> bool:
    """Tell whether a text is an address that a message can be sent to."""
    return len(text) <= LONGEST and _ADDRESS.fullmatch(text) is not None
