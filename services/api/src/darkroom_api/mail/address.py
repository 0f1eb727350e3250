"""What settings say of e-mail: plain addresses, one each, and how a server is called."""

import re
from typing import Final, Literal

Security = Literal["starttls", "tls", "none"]
"""How the way to the mail server is protected."""

LONGEST: Final = 254
_LONGEST_LOCAL: Final = 64
ADDRESS: Final = (
    r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@"
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
)
"""What servers take for one (RFC 5321 section 4.1.2): no comments, quotes or line ends."""
_ADDRESS: Final = re.compile(ADDRESS)


def is_address(text: str) -> bool:
    """Tell whether a text is an address that a message can be sent to."""
    local = text.partition("@")[0]
    return (
        len(text) <= LONGEST
        and len(local) <= _LONGEST_LOCAL
        and _ADDRESS.fullmatch(text) is not None
    )
