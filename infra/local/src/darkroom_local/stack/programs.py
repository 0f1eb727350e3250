"""What runs beside the engines."""

from collections.abc import Sequence
from typing import Protocol

from darkroom_local.engines.process import Command
from darkroom_local.stack.layout import SERVICES
from darkroom_local.stack.plan import Plan


class Programs(Protocol):
    """What runs beside the engines; tests have small ones."""

    def preparations(self, plan: Plan, phase: str = "all") -> Sequence[tuple[str, Command]]:
        """Return what has to end well before the services start, in order, with its name."""

    def services(self, plan: Plan) -> Sequence[Command]:
        """Return the services."""


class RealPrograms:
    """The six services, their migrations and the bootstrap of the database."""

    def preparations(self, plan: Plan, phase: str = "all") -> Sequence[tuple[str, Command]]:
        """Bootstrap, then the schemas."""
        return [
            ("the bootstrap of the database", plan.bootstrap()),
            ("the migration of the schemas", plan.migration(phase)),
        ]

    def services(self, plan: Plan) -> Sequence[Command]:
        """All of them."""
        return [plan.service(name) for name in SERVICES]
