"""An answer to a C-FIND: what was asked for of a result, in what the asker can read."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from darkroom_common.dicom.charset import character_set, declaration, is_assumable
from darkroom_common.index.answer import BULK_KEYS, element
from darkroom_common.index.rows import Json
from darkroom_ingest.answering.identifier import CHARACTER_SET, LEVEL, RETRIEVE_AE, Asked, Key
from darkroom_ingest.stow.encoding import Unsayable, encode_answer

_FAR: Final = 64
"""Sequences within sequences whose text is looked at."""


def shown(asked: Asked, result: Json, *, retrieve_ae: str) -> Json:
    """Return an answer as DICOM JSON: every attribute that was asked for, with its value if any.

    Args:
        asked: see there.
        result: what the index has of it.
        retrieve_ae: where it can be had from.
    """
    found = picked(result, asked.wanted)
    found[LEVEL] = element("CS", asked.level)
    found[RETRIEVE_AE] = element("AE", retrieve_ae)
    return found


def encoded(answer: Json, *, prefers: str, implicit: bool) -> bytes:
    """Return an answer as bytes; a value that cannot be one of its VR is left out.

    Args:
        answer: as DICOM JSON.
        prefers: the character set of the asker, as (0008,0005) names it; UTF-8 is taken where it
            does not have all characters, and ISO_IR 100 where none is preferred.
        implicit: in Implicit VR Little Endian.
    """
    wanted = prefers if is_assumable(prefers) else ""
    declared = declaration(*_beyond_ascii(answer, 0), wanted=wanted)
    text = character_set(declared)
    if declared:
        answer = answer | {CHARACTER_SET: element("CS", *declared.split("\\"))}
    try:
        return encode_answer(answer, text, implicit=implicit)
    except Unsayable:
        pieces = []
        for tag in sorted(answer):
            try:
                pieces.append(encode_answer({tag: answer[tag]}, text, implicit=implicit))
            except Unsayable:
                empty = {tag: {"vr": answer[tag]["vr"]}}
                pieces.append(encode_answer(empty, text, implicit=implicit))
        return b"".join(pieces)


def picked(data_set: Json, wanted: Mapping[str, Key]) -> Json:
    """Return what is wanted of a data set; what it does not have is there without a value."""
    found: Json = {}
    for tag, key in wanted.items():
        there = data_set.get(tag)
        if there is None or any(one in there for one in BULK_KEYS):
            found[tag] = {"vr": key.vr}
        elif key.items and there["vr"] == "SQ":
            items = [picked(item, key.items) for item in there.get("Value", ())]
            found[tag] = {"vr": "SQ", "Value": items}
        else:
            found[tag] = there
    return found


def _beyond_ascii(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if not value.isascii():
            yield value
    elif depth < _FAR:
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list):
            for one in inner:
                yield from _beyond_ascii(one, depth + 1)
