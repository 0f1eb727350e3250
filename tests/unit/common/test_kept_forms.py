"""Forms that data of years are in: bytes of today, read and made by the code of tomorrow.

A change here needs a way for what is stored: nobody can read it otherwise.
"""

import base64
import fcntl
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from darkroom_common.amqp.frames import FRAME_OVERHEAD
from darkroom_common.dicom.part10 import FileMeta, decode_head, encode_head
from darkroom_common.dimse.wire.association_items import (
    Proposal,
    Rejection,
    decode_rejection,
    encode_associate_request,
)
from darkroom_common.objects.store import FileSystemStore, StoreUnavailable
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.seal import Seal
from tests.support.builders import CT

KEY = base64.b64encode(b"\1" * 32).decode()
SEALED = "s1.1.AAECAwQFBgcICQoLrfGTSo40HFy31vlrJantTaUrx29zqow="
SEALED_BYTES = bytes.fromhex("0001000102030405060708090a0baeaa88eb78599cdb64c1932dc8f15045327a05")
EXPLICIT = "1.2.840.10008.1.2.1"


def test_what_was_sealed_years_ago_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version, number of the key, nonce of 96 bits, AES-256-GCM under HKDF-SHA-256."""
    seal = Seal(PhiKeys(1, {1: KEY}))
    assert seal.open(SEALED, purpose="p") == {"a": 1}
    assert seal.open_bytes(SEALED_BYTES, purpose="p") == b"xyz"
    monkeypatch.setattr(os, "urandom", lambda size: bytes(range(size)))
    assert seal.seal({"a": 1}, purpose="p") == SEALED
    assert seal.seal_bytes(b"xyz", purpose="p") == SEALED_BYTES


def test_tokens_find_what_was_indexed_years_ago() -> None:
    blind = BlindIndex(b"b" * 32)
    assert blind.exact("PatientName", "Doe^J").hex() == "18047db6b97b2e3ac6cb8a0c2fdf5be5"
    assert blind.prefix("PatientName", "do").hex() == "5b3e08a8e026ba939b072677c7c221cd"
    assert blind.run("PatientName", "doe") == 2845714913623033257
    assert all(-(2**63) <= blind.run("PatientName", str(n)) < 2**63 for n in range(64))


def test_the_head_of_a_stored_object_is_one_of_part_10() -> None:
    """PS3.10 section 7.1, as another reader has it."""
    head = encode_head(FileMeta(CT, "1.2.3", EXPLICIT, "SCANNER", "DARKROOM"))
    read = pydicom.dcmread(io.BytesIO(head)).file_meta
    assert read.FileMetaInformationVersion == b"\0\1"
    assert read.FileMetaInformationGroupLength == len(head) - 144
    assert (read.MediaStorageSOPClassUID, read.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert read.TransferSyntaxUID == EXPLICIT
    assert (read.SourceApplicationEntityTitle, read.ReceivingApplicationEntityTitle) == (
        "SCANNER",
        "DARKROOM",
    )
    meta, offset = decode_head(head)
    assert offset == len(head)
    assert (meta.sop_class_uid, meta.calling_ae_title, meta.source) == (CT, "SCANNER", "dimse")


def test_a_frame_of_amqp_costs_what_the_protocol_says() -> None:
    """AMQP 0-9-1, 4.2.3: type, channel, size, and the octet at its end."""
    assert FRAME_OVERHEAD == 1 + 2 + 4 + 1


def test_another_implementation_reads_that_objects_are_to_come_back() -> None:
    """PS3.7 D.3.3.4: for a C-GET the requestor is the SCP of what it wants."""
    contexts = {
        1: Proposal(CT, (EXPLICIT,), as_scp=True),
        3: Proposal("1.2.840.10008.1.1", (EXPLICIT,)),
    }
    sent = A_ASSOCIATE_RQ()
    sent.decode(encode_associate_request("PACS", "DARKROOM", contexts, 16_384))
    primitive = sent.to_primitive()
    (role,) = [
        one
        for one in primitive.user_information
        if isinstance(one, SCP_SCU_RoleSelectionNegotiation)
    ]
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (CT, False, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (bytes((0, 1, 2, 7)), Rejection(1, 2, 7)),
        (bytes((0, 1, 2)), Rejection(1, 2, 0)),
        (bytes((0, 1)), Rejection(1, 0, 0)),
        (b"", Rejection(0, 0, 0)),
    ],
)
def test_a_rejection_says_0_where_it_says_nothing(body: bytes, said: Rejection) -> None:
    assert decode_rejection(body) == said


def test_two_processes_do_not_make_one_object_at_once(tmp_path: Path) -> None:
    """What one has begun the other neither cuts off nor puts into place."""
    store = FileSystemStore(tmp_path)
    seen: list[str] = []

    def pieces() -> Iterator[bytes]:
        (draft,) = [one for one in tmp_path.rglob("*") if one.is_file()]
        with draft.open("ab") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(StoreUnavailable, match="another process"):
            store.put_now("a/object.dcm", [b"of another"])
        seen.append(draft.name)
        yield b"whole"

    store.put_now("a/object.dcm", pieces())
    assert len(seen) == 1
    assert (tmp_path / "a/object.dcm").read_bytes() == b"whole"
