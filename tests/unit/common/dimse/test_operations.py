"""Command sets of asking other nodes, against pynetdicom's reading of them."""

import io
import struct
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import dsutils

from darkroom_common.dicom.charset import declaration
from darkroom_common.dimse.wire.command import (
    CommandField,
    Element,
    SubOperations,
    Value,
    decode_command,
    encode_cancel,
    encode_command,
)
from darkroom_common.dimse.wire.data_set import decode_data_set, encode_data_set
from darkroom_common.dimse.wire.pdu import ProtocolError

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def read(command: bytes) -> Dataset:
    found: Any = dsutils.decode(io.BytesIO(command), is_implicit_vr=True, is_little_endian=True)
    return Dataset(found)


def written(**elements: Any) -> bytes:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    encoded = dsutils.encode(made, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    return encoded


@pytest.mark.req("TRX-11")
def test_requests_are_as_others_read_them() -> None:
    asked: dict[int, Value] = {
        Element.AFFECTED_SOP_CLASS: FIND,
        Element.MESSAGE_ID: 7,
        Element.PRIORITY: 0,
        Element.MOVE_DESTINATION: "OURS1",
    }
    move = read(encode_command(CommandField.C_MOVE, asked, data_set=True))
    assert (move.CommandField, move.MessageID, move.MoveDestination) == (0x21, 7, "OURS1")
    assert (move.AffectedSOPClassUID, move.Priority, move.CommandDataSetType) == (FIND, 0, 0)
    assert [element.tag for element in move] == sorted(element.tag for element in move)
    cancel = read(encode_cancel(7))
    assert (cancel.CommandField, cancel.MessageIDBeingRespondedTo) == (0x0FFF, 7)
    assert cancel.CommandDataSetType == 0x0101


@pytest.mark.req("TRX-11")
def test_answers_tell_counts_and_attributes() -> None:
    given = {
        "CommandField": 0x8021,
        "MessageIDBeingRespondedTo": 7,
        "CommandDataSetType": 0x0101,
        "Status": 0xFF00,
        "NumberOfRemainingSuboperations": 5,
        "NumberOfCompletedSuboperations": 4,
        "NumberOfFailedSuboperations": 1,
    }
    answer = decode_command(written(**given))
    assert answer.is_response
    assert answer.is_pending
    assert (answer.field, answer.message_id) == (CommandField.C_MOVE, 7)
    assert answer.sub_operations == SubOperations(5, 4, 1, None)
    refused = given | {"Status": 0x0120, "AttributeIdentifierList": [0x00100020, 0x00080060]}
    assert decode_command(written(**refused)).attributes == (0x00100020, 0x00080060)
    for needed in ("Status", "MessageIDBeingRespondedTo", "CommandDataSetType"):
        with pytest.raises(ProtocolError):
            decode_command(written(**{k: v for k, v in given.items() if k != needed}))


@pytest.mark.req("TRX-09")
def test_texts_take_the_simplest_character_set() -> None:
    assert declaration("Smith", "*") == ""
    assert declaration("Müller") == "ISO_IR 100"
    assert declaration("Müller", "山田") == "ISO_IR 192"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_an_identifier_that_is_cut_is_refused(syntax: str) -> None:
    made = Dataset()
    made.PatientName = "Planted^Name"
    data = encode_data_set(made, syntax)
    assert decode_data_set(data, syntax).PatientName == "Planted^Name"
    for end in (4, 9, len(data) - 1):
        with pytest.raises(ProtocolError):
            decode_data_set(data[:end], syntax)
    with pytest.raises(ProtocolError):
        decode_data_set(struct.pack("<HHL", 0x0010, 0x0010, 1 << 30), syntax)
