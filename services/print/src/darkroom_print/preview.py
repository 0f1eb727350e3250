"""A film to look at before it is printed, made from the bitmap that is sent: PNG and PDF.

Full size, a PNG holds the film's own samples: 8 bits as they are, more bits in 16, the high bits
repeated below (a film's sample is the PNG's shifted right by 16 - bits). Smaller ones, and the
PDF, have 8 bits: the nearest of 255 * sample / greatest.
"""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import imagecodecs
import numpy as np
from PIL import Image as Pillow

from darkroom_common.films.film import MM_PER_INCH
from darkroom_common.pixels.samples import OCTET, is_colour
from darkroom_print.composing.bitmap import Film, Pixels

_POINTS: Final = 72.0  # of an inch
_LEVEL: Final = 1
_SIGNATURE: Final = 8  # bytes at the start of a PNG


def png(film: Film, max_edge: int | None = None) -> bytes:
    """Return a film as PNG, which knows its size in pixels per metre.

    Args:
        film: as it is sent.
        max_edge: the greater of its edges in pixels; None: all there are, losslessly.
    """
    pixels = film.sheet.pixels
    if max_edge is None or max(pixels.shape[:2]) <= max_edge:
        whole = _16_bits(pixels, film.sheet.bits) if film.sheet.bits > OCTET else pixels
        return _encoded(film, whole)
    return _encoded(film, _reduced(_8_bits(pixels, film.sheet.bits), max_edge))


def _8_bits(pixels: Pixels, bits: int) -> Pixels:
    if bits == OCTET:
        return pixels
    white = (1 << bits) - 1
    table = ((np.arange(white + 1, dtype=np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    return np.asarray(np.take(table, pixels, mode="clip"))


def _16_bits(pixels: Pixels, bits: int) -> Pixels:
    wide = pixels.astype(np.uint16)
    return np.asarray((wide << (16 - bits)) | (wide >> (2 * bits - 16)))


def _reduced(pixels: Pixels, max_edge: int) -> Pixels:
    """Return the pixels averaged to a size."""
    rows, columns = pixels.shape[:2]
    scale = max_edge / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    image = Pillow.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Pillow.Resampling.BOX, reducing_gap=2.0))


def _encoded(film: Film, pixels: Pixels) -> bytes:
    made = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=_LEVEL))
    per_metre = [
        round(count / length * 1000)
        for count, length in (
            (pixels.shape[1], film.plan.width_mm),
            (pixels.shape[0], film.plan.height_mm),
        )
    ]
    resolution = _chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    header_end = _SIGNATURE + 25  # of IHDR, which is first
    return made[:header_end] + resolution + made[header_end:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _image_data(png_file: bytes) -> bytes:
    """Return the compressed rows of a PNG, which a PDF takes as they are."""
    found, offset = [], _SIGNATURE
    while offset < len(png_file):
        length, kind = struct.unpack_from(">I4s", png_file, offset)
        if kind == b"IDAT":
            found.append(png_file[offset + 8 : offset + 8 + length])
        offset += 12 + length
    return b"".join(found)


def pdf(films: Sequence[Film]) -> bytes:
    """Return films as PDF 1.4: a page each, of the film's size, with all of its pixels, lossless.

    The file says nothing of its own: no title, no date, no producer.

    Raises:
        ValueError: there are no films.
    """
    if not films:
        raise ValueError("a PDF has at least one page")
    pages = [3 + 3 * number for number in range(len(films))]
    kids = " ".join(f"{page} 0 R" for page in pages)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(films)} /Kids [{kids}] >>".encode(),
    ]
    for page, film in zip(pages, films, strict=True):
        objects += _page(film, page)
    out = BytesIO()
    out.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % offset for offset in offsets))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1))
    out.write(b"startxref\n%d\n%%%%EOF\n" % table)
    return out.getvalue()


def _page(film: Film, number: int) -> list[bytes]:
    """Return a page, its image and what it draws: three objects in a row."""
    pixels = _8_bits(film.sheet.pixels, film.sheet.bits)
    data = _image_data(bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=_LEVEL)))
    rows, columns = pixels.shape[:2]
    colours = 3 if is_colour(pixels) else 1
    space = "DeviceGray" if colours == 1 else "DeviceRGB"
    width, height = (
        f"{length * _POINTS / MM_PER_INCH:.3f}"
        for length in (film.plan.width_mm, film.plan.height_mm)
    )
    content = f"q {width} 0 0 {height} 0 0 cm /Film Do Q".encode()
    page = (
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}]"
        f" /Resources << /XObject << /Film {number + 1} 0 R >> >> /Contents {number + 2} 0 R >>"
    )
    image = (
        f"<< /Type /XObject /Subtype /Image /Width {columns} /Height {rows}"
        f" /ColorSpace /{space} /BitsPerComponent 8 /Filter /FlateDecode /DecodeParms"
        f" << /Predictor 15 /Colors {colours} /BitsPerComponent 8 /Columns {columns} >>"
        f" /Length {len(data)} >>"
    )
    return [
        page.encode(),
        image.encode() + b"\nstream\n" + data + b"\nendstream",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
    ]
