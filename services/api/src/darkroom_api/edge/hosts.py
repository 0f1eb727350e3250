"""The names under which this is served: whatever else stands in Host is refused (API-24)."""

import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::\d*)?")


@dataclass(frozen=True)
class Hosts:
    """Names that are allowed; none: every one.

    Attributes:
        names: without port, in lower case; `*.` in front stands for one or more labels.
    """

    names: frozenset[str]

    def allow(self, host: str) -> bool:
        """Tell whether the value of Host, with or without port, is one of them."""
        if not self.names:
            return True
        found = _NAME.fullmatch(host.strip())
        if found is None:
            return False
        name = found["name"].lower().removesuffix(".")
        labels = name.split(".")
        above = {f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels))}
        return bool(({name} | above) & self.names)
