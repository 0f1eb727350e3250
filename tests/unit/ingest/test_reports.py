"""What a worker tells the main process arrives as it was."""

from datetime import UTC, datetime

import pytest

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.objects.receipt import Receipt, ReceiptReader
from darkroom_ingest.door.reports import decode, encode
from tests.support.builders import CT, a_data_set
from tests.support.builders import encode as encode_data_set

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    "patient_id", [b"PLAIN-1 ", b"M\xfcLLER-1", b"\xff\xfe\x00\x01\x80\x81\x82\x83", b""]
)
def test_a_receipt_of_any_character_set_comes_through(patient_id: bytes) -> None:
    """PS3.5 6.1: an id may be in Latin-1, Shift JIS or nothing at all."""
    data = encode_data_set(a_data_set(PatientID="X" * len(patient_id)))
    data = data.replace(b"X" * len(patient_id), patient_id) if patient_id else data
    reader = ReceiptReader()
    reader.feed(encode_head(FileMeta(CT, "1.2", EXPLICIT, "SCANNER", "DARKROOM")) + data)
    receipt = reader.finish(receipt_id="a" * 32, received_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert patient_id.strip(b" \x00") in receipt.identity.patient_key
    told = decode(encode(receipt))
    assert isinstance(told, Receipt)
    assert told == receipt
