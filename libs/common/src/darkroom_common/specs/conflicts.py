"""What REST takes and the command to metadata seals: an operator's decision about a conflict."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from darkroom_common.specs.base import Spec

Words = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
PatientText = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x1f\x7f\\]*$")]
"""An LO value, PS3.5 section 6.2."""


PURPOSE: Final = "conflict decision"
"""Of a `Decision` that is sealed, in a command and in the job that it becomes."""


class Why(Spec):
    """Why somebody has decided."""

    reason: Words = Field(default="", description="for whoever asks later")


class Decision(Why):
    """Why, and for a move to whom."""

    patient_id: PatientText = Field(default="", description="of a patient that the index knows")
    issuer_of_patient_id: PatientText = ""


Action = Literal["promote", "discard", "keep", "merge", "move", "split"]
_BYTES: Final = frozenset({"promote", "discard", "keep"})
_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "instance": _BYTES,
    "correction": _BYTES - {"keep"},
    "patient": frozenset({"merge", "move", "split", "keep"}),
    "series": frozenset({"merge", "split", "keep"}),
    "modality": frozenset({"merge", "split", "keep"}),
}
_OVER: Final = frozenset({"discarded", "merged", "moved", "split"})
_DONE: Final[Mapping[str, str]] = {
    "promote": "promoted",
    "discard": "discarded",
    "keep": "kept",
    "merge": "merged",
    "move": "moved",
    "split": "split",
}


def refusal(kind: str, state: str, action: str, *, seen: bool) -> str:
    """Return why a conflict does not take an action; nothing when it does.

    The same for whoever asks for it and for whoever carries it out. `seen`: whoever asks has named
    the version that they have seen. What a promoted conflict holds was in force before: to have
    that deleted takes more than an order that was meant for what came later.
    """
    if action not in _TAKEN[kind]:
        return f"{action}: a conflict of kind {kind} does not take this"
    if state in _OVER or (action == "keep" and state != "open"):
        return f"{action}: a conflict that is {state} does not take this"
    if action == "discard" and state == "promoted" and not seen:
        return f"{action}: what it holds was in force before; name the version that you have seen"
    return ""


def state_after(action: str) -> str:
    """Return the state of a conflict once an action is done."""
    return _DONE[action]
