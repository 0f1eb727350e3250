"""Acknowledgements: original and enhanced mode, old and new versions."""

import pytest

from darkroom_ingest.orders.answering import ACCEPTED, Outcome, answers
from tests.unit.ingest.orders.builders import msh, read

ERROR = Outcome("error", "101", "there is no OBR", "OBR^1^18")
REJECTED = Outcome("rejected", "201", "the event is not taken", "MSH^1^9")
AWAY = Outcome("rejected", "207", "the database is away: send it again", again=True)


def told(outcome: Outcome, *, version: str = "2.3.1", more: str = "") -> list[list[str]]:
    header, _ = read(f"{msh(version=version, more=more)}\r")
    return [one.decode().split("\r") for one in answers(header, outcome)]


def codes(outcome: Outcome, accept: str, application: str) -> list[str]:
    return [one[1].split("|")[1] for one in told(outcome, more=f"|||{accept}|{application}")]


def test_the_answer_goes_back_to_where_the_message_came_from() -> None:
    ((head, acknowledged, *more),) = told(ACCEPTED)
    assert head.split("|")[2:6] == ["DARKROOM", "XR", "RIS", "HOSP"]
    assert head.split("|")[8] == "ACK^O01"
    assert head.split("|")[10:] == ["P", "2.3.1"]
    assert (acknowledged, more) == ("MSA|AA|M1", [""])


def test_an_error_says_what_and_where() -> None:
    ((_, acknowledged, error, _),) = told(ERROR)
    assert (acknowledged, error) == ("MSA|AE|M1|there is no OBR", "ERR|OBR^1^18^101")
    ((head, _, error, _),) = told(ERROR, version="2.5.1")
    assert head.split("|")[8] == "ACK^O01^ACK"
    assert error == "ERR||OBR^1^18|101^^HL70357|E||||there is no OBR"


def test_without_a_header_there_is_an_answer_all_the_same() -> None:
    ((head, acknowledged, _error, _),) = [
        one.decode().split("\r") for one in answers(None, Outcome("rejected", "100", "no MSH"))
    ]
    assert head.startswith(r"MSH|^~\&|")
    assert acknowledged == "MSA|AR||no MSH"


@pytest.mark.parametrize(
    ("accept", "application", "of_accepted", "of_error", "of_rejected", "of_away"),
    [
        ("AL", "AL", ["CA", "AA"], ["CA", "AE"], ["CR"], ["CR"]),
        ("AL", "NE", ["CA"], ["CE"], ["CR"], ["CR"]),
        ("AL", "", ["CA"], ["CE"], ["CR"], ["CR"]),
        ("AL", "ER", ["CA"], ["CA", "AE"], ["CR"], ["CR"]),
        ("AL", "SU", ["CA", "AA"], ["CE"], ["CR"], ["CR"]),
        ("NE", "AL", ["AA"], ["AE"], ["AR"], ["AR"]),
        ("", "AL", ["AA"], ["AE"], ["AR"], ["AR"]),
        ("ER", "NE", [], ["CE"], ["CR"], ["CR"]),
        ("SU", "NE", ["CA"], [], [], []),
        ("NE", "NE", [], [], [], []),
    ],
)
def test_in_enhanced_mode_the_sender_says_which_answers_it_wants(
    accept: str,
    application: str,
    of_accepted: list[str],
    of_error: list[str],
    of_rejected: list[str],
    of_away: list[str],
) -> None:
    assert codes(ACCEPTED, accept, application) == of_accepted
    assert codes(ERROR, accept, application) == of_error
    assert codes(REJECTED, accept, application) == of_rejected
    assert codes(AWAY, accept, application) == of_away
