"""Calls methods of Odoo by whichever protocol it serves today.

JSON-2 is asked first, since JSON-RPC goes with Odoo 22. What is not served is not asked again for a
day, unless nothing is: so an upgrade of Odoo needs no setting here, whichever way it goes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from darkroom_common.clock import Clock
from darkroom_licensing.odoo.faults import NotServed, OdooUnreachable
from darkroom_licensing.odoo.protocols import Spoken

ABSENT_SECONDS: Final = 24 * 3600.0


class Odoo:
    """One server of Odoo.

    Args:
        spoken: the protocols, the best first.
        clock: for how long one that is not served is left alone.

    Attributes:
        protocol: the name of the one that served last; empty before that.
    """

    def __init__(self, spoken: Sequence[Spoken], clock: Clock) -> None:
        self._spoken = spoken
        self._clock = clock
        self._absent: dict[str, float] = {}
        self.protocol = ""

    async def call(
        self, key: str, model: str, method: str, params: Mapping[str, Any], *, again: bool = True
    ) -> Any:
        """Return what a method of a model has returned.

        Raises:
            KeyRefused, OdooRefused, OdooUnreachable: see there.
        """
        for one in self._order():
            try:
                found = await one.call(key, model, method, params, again=again)
            except NotServed:
                self._absent[one.name] = self._clock.monotonic() + ABSENT_SECONDS
                continue
            self.protocol = one.name
            return found
        self._absent.clear()
        names = " nor ".join(one.name for one in self._spoken)
        raise OdooUnreachable(f"it serves neither {names}: it is not Odoo, or its API is off")

    def _order(self) -> list[Spoken]:
        """Return all of them, those that are known not to be served last."""
        now = self._clock.monotonic()
        return sorted(self._spoken, key=lambda one: self._absent.get(one.name, 0.0) > now)
