"""Presentation contexts as a requestor offers them (PS3.8 section 9.3.2.2)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Proposal:
    """One presentation context that is offered.

    Attributes:
        as_scp: we want to serve this SOP class, as a C-GET needs it (PS3.7 annex D.3.3.4).
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    as_scp: bool = False
