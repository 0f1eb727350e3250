"""What goes out has an even length everywhere (PS3.5 section 7.1.1, PS3.8 annex E.2)."""

import hashlib
import os
import struct
from pathlib import Path

import pytest
from pydicom import dcmread

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dimse.users.store import Staging
from darkroom_common.dimse.wire.command import CommandField, Element, Value, encode_command
from darkroom_common.dimse.wire.pdu import Fragment, PduParser, encode_data
from darkroom_common.transcoding.transcode import convert
from tests.support.builders import CT
from tests.support.scripted_peer import Script, ScriptedPeer
from tests.unit.transmit.test_scu import a_peer, a_source, store

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def fragments(pdus: bytes | memoryview, max_length: int) -> list[tuple[bytes, bool]]:
    parser = PduParser(max_length)
    found = parser.feed(memoryview(pdus))
    return [(bytes(one.data), one.last) for one in found if isinstance(one, Fragment)]


@pytest.mark.parametrize("max_length", [20, 21, 127, 16384, 16385])
@pytest.mark.parametrize("size", [0, 1, 2, 13, 14, 15, 121, 4097, 20001])
def test_fragments_are_even(max_length: int, size: int) -> None:
    content = os.urandom(size)
    padded = content + bytes(size % 2)
    descriptor = os.memfd_create("data")
    try:
        os.write(descriptor, content)
        staging = Staging(max_length)
        assert staging.capacity % 2 == 0
        if size <= staging.capacity:
            pdus = staging.fill(descriptor, 0, size, 1, last=True)
            assert b"".join(data for data, _ in fragments(pdus, max_length)) == padded
            assert not [data for data, _ in fragments(pdus, max_length) if len(data) % 2]
    finally:
        os.close(descriptor)
    found = fragments(
        encode_data(1, is_command=False, data=content, max_length=max_length), 1 << 20
    )
    assert b"".join(data for data, _ in found) == padded
    assert not [data for data, _ in found if len(data) % 2]
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True]


def test_commands_are_even_whatever_uids_they_name() -> None:
    for uid in ("1.2", "1.23", "1.2.3"):
        named: dict[int, Value] = {Element.AFFECTED_SOP_INSTANCE: uid, Element.MESSAGE_ID: 1}
        command = encode_command(CommandField.C_STORE, named, data_set=True)
        assert len(command) % 2 == 0
        for max_length in (0, 21, 50):
            pdus = encode_data(1, is_command=True, data=command, max_length=max_length)
            found = fragments(pdus, 1 << 20)
            assert b"".join(data for data, _ in found) == command
            assert not [data for data, _ in found if len(data) % 2]


@pytest.mark.parametrize("size", [1, 9, 16377, 16379, (1 << 20) + 1, (3 << 20) + 7])
def test_an_odd_object_arrives_with_one_octet_more(tmp_path: Path, size: int) -> None:
    with ScriptedPeer(Script(max_length=16384)) as peer:
        source = a_source(tmp_path, size)
        told, fault = store(a_peer(peer.port), [source, a_source(tmp_path, 100)])
    assert fault is None
    assert len(told) == 2
    content = Path(source.path).read_bytes()[source.offset :]
    assert peer.stored[0].sha256 == hashlib.sha256(content + b"\0").hexdigest()


def element(tag: tuple[int, int], vr: str, value: bytes, *, implicit: bool) -> bytes:
    if implicit:
        return struct.pack("<HHL", *tag, len(value)) + value
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return struct.pack("<HH2sHL", *tag, vr.encode(), 0, len(value)) + value
    return struct.pack("<HH2sH", *tag, vr.encode(), len(value)) + value


@pytest.mark.parametrize("implicit", [True, False])
def test_odd_values_are_padded_by_their_vr_at_all_levels(tmp_path: Path, implicit: bool) -> None:
    uid = "1.2.345"

    def made(tag: tuple[int, int], vr: str, value: bytes) -> bytes:
        return element(tag, vr, value, implicit=implicit)

    inner = made((0x0008, 0x0100), "SH", b"odd") + made((0x0008, 0x0104), "LO", b"a meaning")
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    body = b"".join(
        [
            made((0x0008, 0x0016), "UI", CT.encode() + bytes(len(CT) % 2)),
            made((0x0008, 0x0018), "UI", uid.encode()),
            made((0x0008, 0x0060), "CS", b"OTX"),
            made((0x0008, 0x1032), "SQ", item),
            made((0x0010, 0x0010), "PN", b"Odd^One"),
            made((0x0029, 0x0010), "LO", b"INVENTED 1"),
            made((0x0029, 0x1001), "OB", b"\1\2\3"),
            made((0x7FE0, 0x0010), "OB", b"\7" * 99),
        ]
    )
    syntax = IMPLICIT if implicit else EXPLICIT
    source, target = tmp_path / "odd.dcm", tmp_path / "even.dcm"
    source.write_bytes(encode_head(FileMeta(CT, uid, syntax)) + body)
    converted = convert(source, target, (syntax,))
    assert converted.transfer_syntax_uid == syntax
    assert (converted.size - converted.offset) % 2 == 0
    content = target.read_bytes()[converted.offset :]
    for value in (b"odd ", b"a meaning ", b"1.2.345\0", b"OTX ", b"Odd^One ", b"\7" * 99 + b"\0"):
        assert value in content
    assert b"\1\2\3\0" in content
    read = dcmread(target)
    assert (read.PatientName, read.Modality) == ("Odd^One", "OTX")
    assert read[0x00081032].value[0].CodeValue == "odd"
    assert read.PixelData == b"\7" * 99 + b"\0"
