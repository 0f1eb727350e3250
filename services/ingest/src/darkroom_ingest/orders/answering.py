"""What a message is answered: acknowledgements of the original and of the enhanced mode."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_common.clock import utc_now
from darkroom_ingest.orders.reading import Header

Verdict = Literal["accepted", "error", "rejected"]
_APPLICATION: Final = {"accepted": "AA", "error": "AE", "rejected": "AR"}
_COMMIT: Final = {"accepted": "CA", "error": "CE", "rejected": "CR"}
_FALLBACK: Final = "2.5.1"


@dataclass(frozen=True)
class Outcome:
    """What has become of a message.

    Attributes:
        code: of table 0357, where it is not accepted.
        place: as ERR-2 has it.
        reason: without a value of the message.
        again: whether the same message may be accepted later.
    """

    verdict: Verdict
    code: str = ""
    reason: str = ""
    place: str = ""
    again: bool = False


ACCEPTED: Final = Outcome("accepted")


def answers(header: Header | None, outcome: Outcome) -> list[bytes]:
    """Return the acknowledgements of a message, in order (HL7 2.5.1, section 2.9).

    In enhanced mode the first says whether it is kept, the second what came of it; each only when
    MSH-15 or MSH-16 asks for it. What was not done is never accepted: where nobody asks for the
    second one, the first says so.

    Args:
        header: of the message; None: it has none that can be read.
        outcome: of it.
    """
    if header is None:
        return [_written(None, _APPLICATION[outcome.verdict], outcome)]
    accept, application = (header.first(number).upper() for number in (15, 16))
    if not accept and not application:
        return [_written(header, _APPLICATION[outcome.verdict], outcome)]
    told = outcome.verdict == "error" and _wanted(application, outcome)
    commit = Outcome("accepted") if told else outcome
    found = []
    if _wanted(accept, commit):
        found.append(_written(header, _COMMIT[commit.verdict], commit))
    if commit.verdict == "accepted" or not found:
        found += _of_application(header, application, outcome)
    return found


def _of_application(header: Header, application: str, outcome: Outcome) -> list[bytes]:
    if not _wanted(application, outcome):
        return []
    return [_written(header, _APPLICATION[outcome.verdict], outcome)]


def _wanted(condition: str, outcome: Outcome) -> bool:
    """Tell whether table 0155 wants an answer; nothing means never, as NE does."""
    return condition in {"AL", "SU" if outcome.verdict == "accepted" else "ER"}


def _written(header: Header | None, code: str, outcome: Outcome) -> bytes:
    return "".join(f"{segment}\r" for segment in _segments(header, code, outcome)).encode(
        "ascii", "replace"
    )


def _segments(header: Header | None, code: str, outcome: Outcome) -> Iterator[str]:
    bar = "|" if header is None else header.separator
    encoding = "^~\\&" if header is None else header.field(2)
    mark = encoding[:1] or "^"

    def given(number: int) -> str:
        return "" if header is None else header.field(number)

    event = given(9).split(mark)[1:2]
    version = given(12) or _FALLBACK
    modern = version.split(mark)[0] >= "2.5"
    enhanced = code[0] == "C" or bool(given(15) or given(16))
    fields = [
        f"MSH{bar}{encoding}",
        given(5),
        given(6),
        given(3),
        given(4),
        f"{utc_now():%Y%m%d%H%M%S}+0000",
        "",
        mark.join(("ACK", *event, *(["ACK"] if event and modern else []))),
        uuid.uuid4().hex[:20],
        given(11) or "P",
        version,
        *(("", "", "NE", "NE") if enhanced else ()),
    ]
    yield bar.join(fields)
    plain = str.maketrans(dict.fromkeys(f"{bar}{encoding}", " "))
    reason = outcome.reason.translate(plain)
    yield bar.join(("MSA", code, given(10), reason)).rstrip(bar)
    if outcome.verdict == "accepted":
        return
    place = outcome.place.replace("^", mark)
    if modern:
        coded = mark.join((outcome.code, "", "HL70357"))
        yield bar.join(("ERR", "", place, coded, "E", "", "", "", reason))
    else:
        old = [*outcome.place.split("^"), "", "", ""][:3]
        yield bar.join(("ERR", mark.join((*old, outcome.code))))
