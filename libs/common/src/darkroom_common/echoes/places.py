"""The associations that a process may have with each node: work and echoes share them."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Places:
    """As many places for each node as it takes associations."""

    _places: dict[str, tuple[int, asyncio.Semaphore]] = field(default_factory=dict)

    def of(self, name: str, count: int) -> asyncio.Semaphore:
        """Return the places of a node: the same ones for as long as their number is the same."""
        known = self._places.get(name)
        if known is None or known[0] != count:
            known = self._places[name] = count, asyncio.Semaphore(count)
        return known[1]
