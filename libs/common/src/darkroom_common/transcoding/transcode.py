"""An object in another transfer syntax (PS3.5 chapter 10): what differs is the pixel data alone.

Lossless means proved: each frame is decoded again and compared before the file is handed out, and
where it is not the same the next syntax is tried. What was compressed with loss is never
compressed again. The SOP instance UID stays, since nothing that a reader sees has changed.
"""

import gc
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_data_element

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.stored import stored_file
from darkroom_common.pixels import codecs
from darkroom_common.pixels.codecs import Pixels
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.transcoding.converted import (
    EXPLICIT,
    IMPLICIT,
    NATIVE_TARGETS,
    Converted,
    Written,
)
from darkroom_common.transcoding.encoding import PIXEL_DATA, reencode

BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
TARGETS: Final = (codecs.JPEG_2000_LOSSLESS, codecs.JPEG_LOSSLESS_SV1, *NATIVE_TARGETS)
"""What can be made, the best first."""
NATIVE: Final = frozenset({IMPLICIT, EXPLICIT, BIG, DEFLATED})
TABLES: Final = (0x7FE00001, 0x7FE00002, 0x7FE00003)
"""Extended offset table, its lengths, and the encapsulated total length."""
UNDEFINED: Final = 0xFFFFFFFF
WHOLE_OCTETS: Final = 8


def convert(
    source: Path,
    target: Path,
    wanted: Sequence[str],
    *,
    edit: Callable[[Dataset], None] | None = None,
) -> Converted:
    """Write the object of a file in the first wanted syntax that it can be said in.

    Args:
        source: a DICOM file.
        target: the file to write; there is none afterwards when it fails.
        wanted: transfer syntaxes that the destination takes, the best first.
        edit: what else is to change, before anything is written.

    Raises:
        Unconvertible: none of them can be made; the text says why for the last one tried.
    """
    try:
        with target.open("wb") as file:
            written = write_in(lambda: _read(source, edit), file, wanted)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Converted(path=target, **asdict(written))


def write_in(
    read: Callable[[], tuple[Dataset, FileMeta]], file: BinaryIO, wanted: Sequence[str]
) -> Written:
    """Do the same with an object that is read again for each syntax that is tried.

    Args:
        read: reads it.
        file: empty, and written from its beginning.
        wanted: see `convert`.

    Raises:
        Unconvertible: see `convert`.
    """
    dataset, meta = read()
    why = Unconvertible("none of the transfer syntaxes that are taken can be made")
    for syntax in possible(dataset, meta.transfer_syntax_uid, wanted):
        try:
            return _write(dataset, meta, syntax, file)
        except Unconvertible as error:
            file.seek(0)
            file.truncate()
            why = error.with_traceback(None)  # its frames hold all the pixels
            why.__cause__ = why.__context__ = None
            del dataset
            gc.collect()  # what has failed is in cycles, with all the pixels
            dataset, meta = read()  # the attempt has changed it
    raise why


def _read(source: Path, edit: Callable[[Dataset], None] | None) -> tuple[Dataset, FileMeta]:
    with source.open("rb") as file, stored_file(file) as (stored, meta):
        found = stored.data_set()
    if found.broken:
        raise Unconvertible("it cannot be read to its end")
    if edit is not None:
        edit(found.data_set)
        meta = replace(
            meta, calling_ae_title="", called_ae_title=""
        )  # the stations it came through
    return found.data_set, meta


def is_lossy(dataset: Dataset, stored: str) -> bool:
    """Whether pixels were, or may have been, compressed with loss."""
    return dataset.get("LossyImageCompression") == "01" or stored in codecs.PERHAPS_LOSSY


def possible(dataset: Dataset, stored: str, wanted: Sequence[str]) -> list[str]:
    """Return those of the wanted transfer syntaxes that may be made of an object."""
    pictures = PIXEL_DATA in dataset and not is_lossy(dataset, stored)
    return [
        syntax
        for syntax in wanted
        if (syntax == stored and syntax not in (BIG, DEFLATED))
        or syntax in NATIVE_TARGETS
        or (syntax in codecs.ENCODABLE and pictures)
    ]


def _write(dataset: Dataset, origin: FileMeta, syntax: str, file: BinaryIO) -> Written:
    stored = origin.transfer_syntax_uid
    meta = replace(
        origin,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid=syntax,
    )
    head = encode_head(meta)
    left_out = reencode(dataset, implicit=syntax == IMPLICIT)
    file.write(head)
    make = None if syntax == stored else _pixels(dataset, stored, syntax)
    write_elements(file, dataset, implicit=syntax == IMPLICIT, pixels=make)
    return Written(
        transfer_syntax_uid=syntax,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        offset=len(head),
        size=file.tell(),
        left_out=tuple(dict.fromkeys(left_out)),
    )


def write_elements(
    file: BinaryIO, dataset: Dataset, *, implicit: bool, pixels: Callable[[BinaryIO], None] | None
) -> None:
    """Write elements; `pixels` writes the pixel data in their place, if there are any."""
    out = DicomFileLike(file)
    out.is_implicit_VR, out.is_little_endian = implicit, True
    charset = convert_encodings(dataset.get("SpecificCharacterSet", default_encoding))
    for tag in sorted(dataset.keys()):
        if tag.element == 0:
            continue  # group lengths, retired
        element: Any = dataset.get_item(tag)
        if tag == PIXEL_DATA and pixels is not None:
            pixels(file)
        elif tag == PIXEL_DATA and _is_plain(element):
            write_header(file, element.VR, len(element.value), implicit=implicit)
            file.write(element.value)
        else:
            write_data_element(out, element, charset)


def _is_plain(element: Any) -> bool:
    """Tell whether a value can be written as it is: pydicom would hold it twice meanwhile."""
    return (
        isinstance(element, RawDataElement)
        and element.length != UNDEFINED
        and element.VR in ("OB", "OW")
        and len(element.value or b"") % 2 == 0
    )


def write_header(file: BinaryIO, vr: str, length: int, *, implicit: bool) -> None:
    """Write tag, VR and length of the pixel data (PS3.5 7.1.2)."""
    file.write(struct.pack("<HH", 0x7FE0, 0x0010))
    if not implicit:
        file.write(struct.pack("<2sH", vr.encode("ascii"), 0))
    file.write(struct.pack("<L", length))


def _pixels(dataset: Dataset, stored: str, syntax: str) -> Callable[[BinaryIO], None] | None:
    """Return what writes the pixel data, after describing it in the data set.

    None when the value that is there already is right.
    """
    compressed = stored not in NATIVE
    if compressed:
        decode_nested(dataset, stored)
    if PIXEL_DATA not in dataset:
        return None
    if not compressed and syntax in NATIVE_TARGETS:
        return None
    if compressed and stored not in codecs.DECODABLE:
        raise Unconvertible("its transfer syntax cannot be decoded")
    pixels = Pixels.of(dataset)
    plain = codecs.decoded_pixels(pixels, stored) if compressed else pixels
    frames = _decoded(dataset, stored, pixels) if compressed else _native(dataset, pixels)
    for tag in TABLES:
        dataset.pop(tag, None)
    if stored in codecs.ALWAYS_LOSSY and "LossyImageCompression" not in dataset:
        dataset.LossyImageCompression = "01"
    if syntax in NATIVE_TARGETS:
        describe(dataset, pixels, plain)
        return lambda file: _write_native(file, frames, plain, implicit=syntax == IMPLICIT)
    if not codecs.compressible(plain):
        raise Unconvertible("pixels of this kind cannot be compressed without loss")
    describe(dataset, pixels, codecs.encoded_pixels(plain, syntax))
    coded = (codecs.encode_frame(frame, syntax, plain) for frame in frames)
    return lambda file: _write_encapsulated(file, coded, plain.frames)


def describe(dataset: Dataset, before: Pixels, after: Pixels) -> None:
    """Say what has become of the pixels."""
    if before.photometric != after.photometric:
        dataset.PhotometricInterpretation = after.photometric
    if after.samples > 1 and before.planar != after.planar:
        dataset.PlanarConfiguration = after.planar


def _native(dataset: Dataset, pixels: Pixels) -> Iterator[codecs.Frame]:
    if not codecs.compressible(pixels):
        raise Unconvertible("pixels of this kind cannot be compressed without loss")
    value = memoryview(_value(dataset))
    size = pixels.frame_bytes
    if len(value) < size * pixels.frames:
        raise Unconvertible("its pixel data is shorter than its frames")
    if len(value) > size * pixels.frames + 1:
        raise Unconvertible("its pixel data is longer than its frames")
    return (
        codecs.native_frame(value[at * size : (at + 1) * size], pixels)
        for at in range(pixels.frames)
    )


def _decoded(dataset: Dataset, stored: str, pixels: Pixels) -> Iterator[codecs.Frame]:
    table = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    offsets = (bytes(table[0]), bytes(table[1])) if table[0] and table[1] else None
    value = _value(dataset)

    def frames() -> Iterator[codecs.Frame]:
        count = 0
        try:
            for data in generate_frames(
                value, number_of_frames=pixels.frames, extended_offsets=offsets
            ):
                count += 1
                yield codecs.decode_frame(data, stored, pixels)
        except (ValueError, EOFError, IndexError, struct.error) as error:
            raise Unconvertible("its fragments cannot be read") from error
        if count != pixels.frames:
            raise Unconvertible("it has another number of frames than it says")

    return frames()


def _value(dataset: Dataset) -> bytes:
    element: Any = dataset.get_item(PIXEL_DATA)
    return element.value or b""


def decode_nested(dataset: Dataset, stored: str) -> None:
    """Decode icons: compressed ones may not stand in a native object, nor in another syntax."""
    for tag in list(dataset.keys()):
        element: Any = dataset.get_item(tag)  # a value that is not decoded stays as it is
        if element.VR != "SQ":
            continue
        for item in element.value:
            decode_nested(item, stored)
            nested: Any = item.get_item(PIXEL_DATA) if PIXEL_DATA in item else None
            if nested is None or nested.length != UNDEFINED:
                continue
            pixels = Pixels.of(item)
            plain = codecs.decoded_pixels(pixels, stored)
            value = b"".join(frame.tobytes() for frame in _decoded(item, stored, pixels))
            describe(item, pixels, plain)
            vr = "OW" if plain.bits_allocated > WHOLE_OCTETS else "OB"
            item[PIXEL_DATA] = DataElement(PIXEL_DATA, vr, value + bytes(len(value) % 2))


def _write_native(
    file: BinaryIO, frames: Iterator[codecs.Frame], pixels: Pixels, *, implicit: bool
) -> None:
    length = pixels.frame_bytes * pixels.frames
    padded = length + length % 2
    if padded >= UNDEFINED:
        raise Unconvertible("uncompressed it is too long for one value")
    vr = "OW" if pixels.bits_allocated > WHOLE_OCTETS else "OB"
    write_header(file, vr, padded, implicit=implicit)
    file.writelines(frame.tobytes() for frame in frames)
    file.write(bytes(padded - length))


def _write_encapsulated(file: BinaryIO, frames: Iterator[bytes], count: int) -> None:
    file.write(struct.pack("<HH4sL", 0x7FE0, 0x0010, b"OB\0\0", UNDEFINED))
    file.write(struct.pack("<HHL", 0xFFFE, 0xE000, 4 * count))
    table = file.tell()
    file.write(bytes(4 * count))
    first = file.tell()
    offsets = []
    for data in frames:
        offsets.append(file.tell() - first)
        padded = data + bytes(len(data) % 2)
        file.write(struct.pack("<HHL", 0xFFFE, 0xE000, len(padded)) + padded)
    file.write(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    if offsets[-1] > UNDEFINED:
        raise Unconvertible("compressed it is too long for a table of offsets")
    end = file.tell()
    file.seek(table)
    file.write(struct.pack(f"<{count}L", *offsets))
    file.seek(end)
