"""Status codes that ingest answers, each with the test that has seen it."""

from collections.abc import Iterator
from typing import Final

from darkroom_common.conformance.lines import StatedLine, line
from darkroom_common.dimse.statuses import (
    ATTRIBUTES_NOT_TAKEN,
    CANCELLED,
    DUPLICATE_SOP_INSTANCE,
    DUPLICATE_TRANSACTION,
    IDENTIFIER_DOES_NOT_MATCH,
    INVALID_ATTRIBUTE_VALUE,
    MISSING_ATTRIBUTE,
    MISSING_ATTRIBUTE_VALUE,
    MOVE_DESTINATION_UNKNOWN,
    NO_SUCH_ACTION,
    NO_SUCH_SOP_INSTANCE,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PENDING_MATCH,
    PENDING_PARTLY,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUB_OPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_COUNT,
    UNABLE_TO_PROCESS,
    UNABLE_TO_SEND,
    StoreStatus,
)

_HERE: Final = "tests/integration/ingest"
Told = tuple[int, str, str]
"""A status, when it is answered, and the test of `_HERE`."""
_STORE: Final[tuple[Told, ...]] = (
    (
        StoreStatus.SUCCESS,
        "it is durable here",
        "test_front_door.py::test_an_object_arrives_byte_for_byte",
    ),
    (
        StoreStatus.SOP_CLASS_NOT_SUPPORTED,
        "the command names a SOP class that was not agreed on",
        "test_front_door.py::test_answers_of_the_table",
    ),
    (
        StoreStatus.REFUSED_NOT_AUTHORISED,
        "this AE may not store this",
        "test_senders.py::test_each_rule_takes_effect_while_ingest_runs",
    ),
    (
        StoreStatus.REFUSED_OUT_OF_RESOURCES,
        "no room, or anything unexpected: the sender keeps its copy",
        "test_front_door.py::test_anything_unexpected_is_out_of_resources",
    ),
    (
        StoreStatus.DATA_SET_DOES_NOT_MATCH,
        "command and data set name different instances",
        "test_front_door.py::test_answers_of_the_table",
    ),
    (
        StoreStatus.CANNOT_UNDERSTAND,
        "the data set is not whole, or over a limit",
        "test_front_door.py::test_answers_of_the_table",
    ),
)
_FIND: Final[tuple[Told, ...]] = (
    (PENDING_MATCH, "a match", "test_find.py::test_answers_have_what_was_asked_for"),
    (
        PENDING_PARTLY,
        "a match; some optional key is not known, or not matched",
        "test_find.py::test_answers_have_what_was_asked_for",
    ),
    (SUCCESS, "no more matches", "test_find.py::test_answers_have_what_was_asked_for"),
    (CANCELLED, "a C-CANCEL has come", "test_find.py::test_pages_and_cancel"),
    (NOT_AUTHORISED, "this AE may not ask", "test_find.py::test_who_may_ask_for_what"),
    (
        IDENTIFIER_DOES_NOT_MATCH,
        "no identifier of this information model",
        "test_find.py::test_who_may_ask_for_what",
    ),
    (
        OUT_OF_RESOURCES,
        "more matches than QUERY_ANSWERS, longer than QUERY_SECONDS, or the index is away",
        "test_find.py::test_limits_are_told",
    ),
    (
        UNABLE_TO_PROCESS,
        "the identifier cannot be read",
        "test_hostile_askers.py::test_identifiers_are_limited",
    ),
)
_GET: Final[tuple[Told, ...]] = (
    (SUCCESS, "all were taken", "test_get.py::test_every_level_comes_as_it_is_stored"),
    (SUB_OPERATIONS_FAILED, "some were not taken", "test_get.py::test_what_fails_is_named"),
    (UNABLE_TO_SEND, "none was taken", "test_get.py::test_what_fails_is_named"),
    (CANCELLED, "a C-CANCEL has come", "test_get.py::test_a_cancel_ends_it"),
    (NOT_AUTHORISED, "this AE may not retrieve", "test_get.py::test_who_may_retrieve"),
    (
        IDENTIFIER_DOES_NOT_MATCH,
        "the identifier names nothing that can be retrieved",
        "test_get.py::test_who_may_retrieve",
    ),
    (
        UNABLE_TO_COUNT,
        "more than RETRIEVE_INSTANCES, or the index is away",
        "test_get.py::test_limits_are_told",
    ),
)
_MOVE: Final[tuple[Told, ...]] = (
    (SUCCESS, "all were sent", "test_move.py::test_every_level_is_sent_as_it_is_stored"),
    (SUB_OPERATIONS_FAILED, "some were not sent", "test_move.py::test_what_fails_is_named"),
    (UNABLE_TO_SEND, "none was sent, or nobody can send", "test_move.py::test_limits"),
    (CANCELLED, "a C-CANCEL has come", "test_move.py::test_a_cancel_stops_what_is_not_sent_yet"),
    (
        NOT_AUTHORISED,
        "this AE may not retrieve",
        "test_move.py::test_every_level_is_sent_as_it_is_stored",
    ),
    (
        MOVE_DESTINATION_UNKNOWN,
        "no destination has this AE title",
        "test_move.py::test_every_level_is_sent_as_it_is_stored",
    ),
    (
        IDENTIFIER_DOES_NOT_MATCH,
        "the identifier names nothing that can be retrieved",
        "test_move.py::test_every_level_is_sent_as_it_is_stored",
    ),
    (UNABLE_TO_COUNT, "more than RETRIEVE_INSTANCES", "test_move.py::test_limits"),
)
_ON_THE_ASSOCIATION: Final = "test_commitment.py::test_it_is_told_on_the_association_that_has_asked"
_LIMITS: Final = "test_commitment.py::test_it_survives_restarts_and_limits_hold"
_COMMIT: Final[tuple[Told, ...]] = (
    (SUCCESS, "the request is kept", _ON_THE_ASSOCIATION),
    (NO_SUCH_SOP_INSTANCE, "not the well-known instance", _ON_THE_ASSOCIATION),
    (NO_SUCH_ACTION, "not action type 1", _ON_THE_ASSOCIATION),
    (MISSING_ATTRIBUTE, "no transaction UID", _ON_THE_ASSOCIATION),
    (MISSING_ATTRIBUTE_VALUE, "no instances", _ON_THE_ASSOCIATION),
    (DUPLICATE_TRANSACTION, "the transaction has other instances", _ON_THE_ASSOCIATION),
    (RESOURCE_LIMITATION, "more than COMMITMENT_INSTANCES", _LIMITS),
    (PROCESSING_FAILURE, "what keeps requests is away", _LIMITS),
)
_PERFORMED: Final = "test_worklist.py::test_a_step_is_performed"
_NOT_WHOLE: Final = "test_worklist.py::test_a_step_that_is_not_whole_is_refused"
_STEPS: Final[tuple[Told, ...]] = (
    (SUCCESS, "it is kept", _PERFORMED),
    (ATTRIBUTES_NOT_TAKEN, "N-SET: some attributes may not be changed", _PERFORMED),
    (DUPLICATE_SOP_INSTANCE, "N-CREATE: there is such a step", _PERFORMED),
    (NOT_AUTHORISED, "another AE has created the step, or it may not ask", _PERFORMED),
    (PROCESSING_FAILURE, "N-SET: it may no longer be updated (error ID A710)", _PERFORMED),
    (NO_SUCH_SOP_INSTANCE, "N-SET, N-GET: there is no such step", _PERFORMED),
    (INVALID_ATTRIBUTE_VALUE, "a step begins IN PROGRESS", _NOT_WHOLE),
    (MISSING_ATTRIBUTE, "an attribute of type 1 is missing", _NOT_WHOLE),
    (MISSING_ATTRIBUTE_VALUE, "an attribute of type 1 has no value", _NOT_WHOLE),
)


def statuses(*, answers: bool) -> Iterator[StatedLine]:
    """Yield the statuses of every operation that is served.

    Args:
        answers: whether the index is asked, and not only objects taken.
    """
    told = {"C-STORE": _STORE}
    if answers:
        told |= {
            "C-FIND": _FIND,
            "C-GET": _GET,
            "C-MOVE": _MOVE,
            "N-ACTION (commitment)": _COMMIT,
            "N-CREATE, N-SET, N-GET (MPPS)": _STEPS,
        }
    for operation, rows in told.items():
        for status, when, test in rows:
            shown_by = f"{_HERE}/{test}"
            yield line("statuses", operation, f"{int(status):04X}", when, shown_by=shown_by)
