"""Which of the listed senders an AE title is: its own entry, or a pattern that fits."""

import re
from functools import lru_cache


def is_pattern(listed: str) -> bool:
    """Tell whether more than one title may fit: * is any run of characters, ? is one."""
    return "*" in listed or "?" in listed


def fits(listed: str, ae_title: str) -> bool:
    """Tell whether a listed title or pattern is about a title; case counts."""
    return listed == ae_title or (
        is_pattern(listed) and _pattern(listed).fullmatch(ae_title) is not None
    )


def precision(listed: str) -> tuple[bool, int, str]:
    """Return a key: of those that fit, the greatest is in force.

    That is the title itself, or of the patterns the one with the most characters.
    """
    wild = listed.count("*") + listed.count("?")
    return not is_pattern(listed), len(listed) - wild, listed


@lru_cache(maxsize=4096)
def _pattern(listed: str) -> re.Pattern[str]:
    parts = re.split(r"([*?])", listed)
    return re.compile("".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts))
