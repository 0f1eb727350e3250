"""Fonts of portable documents: one that is embedded as far as it is used, and three by their name.

The embedded one is a composite font whose codes are given as characters come (ISO 32000-1 section
9.7). Those for Chinese, Japanese and Korean are the character collections of Adobe, which every
viewer brings. What no font has is shown as U+FFFD.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reportlab.pdfbase.ttfonts import TTFontFile

from darkroom_api.exports.pdf_objects import PdfObjects

TEXT: Final = "F0"
"""The name of the embedded one."""
_DEJAVU: Final = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
_BUNDLED: Final = "Vera.ttf"
"""Of reportlab: Latin letters and their accents, where DejaVu is not installed."""
_HAN, _KANA, _HANGUL = "F1", "F2", "F3"
_ASIAN: Final = (  # first and last code point; the narrower ranges first
    (0x3040, 0x30FF, _KANA),
    (0x31F0, 0x31FF, _KANA),
    (0xFF66, 0xFF9D, _KANA),
    (0x1100, 0x11FF, _HANGUL),
    (0x3130, 0x318F, _HANGUL),
    (0xAC00, 0xD7A3, _HANGUL),
    (0x2E80, 0x9FFF, _HAN),
    (0xF900, 0xFAFF, _HAN),
    (0xFF00, 0xFF65, _HAN),
)
_COLLECTIONS: Final = {  # name, encoding, ordering, supplement
    _HAN: ("STSong-Light", "UniGB-UCS2-H", "GB1", 0),
    _KANA: ("HeiseiKakuGo-W5", "UniJIS-UCS2-H", "Japan1", 2),
    _HANGUL: ("HYGothic-Medium", "UniKS-UCS2-H", "Korea1", 1),
}
_REPLACEMENT: Final = "\ufffd"
_ELLIPSIS: Final = "\u2026"
_BREAKS: Final = " ^-,;/"
_BLOCK: Final = 100
"""Entries of one block of a CMap, at most."""


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character as it is shown: the font, its code there in hexadecimal, its width of size 1."""

    font: str
    code: str
    width: float
    breaks: bool


Run = tuple[str, str]
"""A font, and codes in hexadecimal."""


class Fonts:
    """Which font has a character, and how wide that is."""

    def __init__(self) -> None:
        self._file = TTFontFile(str(_DEJAVU) if _DEJAVU.exists() else _BUNDLED)
        self._known: dict[int, float] = self._file.charWidths
        self._codes: list[int] = []  # code points, in the order of their codes from 1
        self._used: set[str] = {TEXT}
        self._glyphs: dict[str, Glyph] = {}

    def glyph(self, character: str) -> Glyph:
        """Return how a character is shown."""
        found = self._glyphs.get(character)
        if found is None:
            found = self._glyphs[character] = self._find(character)
        return found

    def _find(self, character: str) -> Glyph:
        point, breaks = ord(character), character in _BREAKS
        if point not in self._known:
            for first, last, name in _ASIAN:
                if first <= point <= last:
                    self._used.add(name)
                    return Glyph(name, f"{point:04x}", 1.0, breaks)
            shown = _REPLACEMENT if ord(_REPLACEMENT) in self._known else "?"
            if character != shown:
                return self.glyph(shown)
        self._codes.append(point)
        return Glyph(TEXT, f"{len(self._codes):04x}", self._known[point] / 1000, breaks)

    def width(self, text: str) -> float:
        """Return how wide a text is, of size 1."""
        return sum(self.glyph(one).width for one in text)

    def run(self, text: str) -> list[Run]:
        """Return a text as runs of one font each."""
        return _runs([self.glyph(one) for one in text])

    def lines(self, text: str, limit: float, most: int) -> list[list[Run]]:
        """Return a text as lines that are not wider than so much of size 1.

        Args:
            text: of any length.
            limit: as said.
            most: lines; what does not go into them ends with an ellipsis.
        """
        found: list[list[Run]] = []
        line: list[Glyph] = []
        used = 0.0
        for character in text:
            one = self.glyph(character)
            if used + one.width > limit and line:
                if len(found) == most - 1:
                    line[-1] = self.glyph(_ELLIPSIS)
                    break
                rest = _broken(line)
                found.append(_runs(line))
                line, used = rest, sum(kept.width for kept in rest)
            line.append(one)
            used += one.width
        return [*found, _runs(line)]

    def put(self, objects: PdfObjects) -> dict[str, int]:
        """Write the fonts that were used; return the number of each."""
        return {
            name: self._text(objects) if name == TEXT else _collection(objects, name)
            for name in sorted(self._used)
        }

    def _text(self, objects: PdfObjects) -> int:
        file = self._file
        subset: bytes = file.makeSubset(self._codes)
        places: dict[int, int] = {0: 0}  # glyphs of the file; `makeSubset` has each of them once
        to_glyph = [
            0,
            *(places.setdefault(file.charToGlyph[point], len(places)) for point in self._codes),
        ]
        name = f"/AAAAAA+{file.name.decode('ascii', 'replace')}"
        box = " ".join(f"{one:.0f}" for one in file.bbox)
        data = objects.stream(subset, f"/Length1 {len(subset)}")
        descriptor = objects.put(
            f"<< /Type /FontDescriptor /FontName {name} /Flags {file.flags} /FontBBox [{box}]"
            f" /ItalicAngle {file.italicAngle:.0f} /Ascent {file.ascent:.0f}"
            f" /Descent {file.descent:.0f} /CapHeight {file.capHeight:.0f} /StemV {file.stemV}"
            f" /FontFile2 {data} 0 R >>"
        )
        widths = " ".join(f"{self._known[point]:.0f}" for point in self._codes)
        glyphs = objects.stream(b"".join(one.to_bytes(2, "big") for one in to_glyph))
        shown = objects.stream(_to_unicode(self._codes))
        descendant = objects.put(
            f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont {name} /FontDescriptor"
            f" {descriptor} 0 R /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity)"
            f" /Supplement 0 >> /DW 600 /W [1 [{widths}]] /CIDToGIDMap {glyphs} 0 R >>"
        )
        return objects.put(
            f"<< /Type /Font /Subtype /Type0 /BaseFont {name} /Encoding /Identity-H"
            f" /DescendantFonts [{descendant} 0 R] /ToUnicode {shown} 0 R >>"
        )


def _collection(objects: PdfObjects, font: str) -> int:
    name, encoding, ordering, supplement = _COLLECTIONS[font]
    descriptor = objects.put(
        f"<< /Type /FontDescriptor /FontName /{name} /Flags 4 /FontBBox [-100 -260 1010 930]"
        " /ItalicAngle 0 /Ascent 752 /Descent -271 /CapHeight 737 /StemV 58 >>"
    )
    descendant = objects.put(
        f"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /{name} /DW 1000 /FontDescriptor"
        f" {descriptor} 0 R /CIDSystemInfo << /Registry (Adobe) /Ordering ({ordering})"
        f" /Supplement {supplement} >> >>"
    )
    return objects.put(
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /{encoding}"
        f" /DescendantFonts [{descendant} 0 R] >>"
    )


def _to_unicode(points: Sequence[int]) -> bytes:
    """Return what says which characters the codes from 1 are (section 9.10.3)."""
    lines = [
        f"<{code:04x}> <{chr(point).encode('utf-16-be').hex()}>"
        for code, point in enumerate(points, 1)
    ]
    blocks = [lines[start : start + _BLOCK] for start in range(0, len(lines), _BLOCK)]
    said = "\n".join(
        f"{len(block)} beginbfchar\n{chr(10).join(block)}\nendbfchar" for block in blocks
    )
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n"
        f"{said}\nendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend"
    ).encode("ascii")


def _broken(line: list[Glyph]) -> list[Glyph]:
    """Take what follows the last gap of a line out of it, and return that."""
    for at in range(len(line) - 1, len(line) // 2, -1):
        if line[at].breaks:
            rest = line[at + 1 :]
            del line[at + 1 :]
            return rest
    return []


def _runs(line: Sequence[Glyph]) -> list[Run]:
    runs: list[Run] = []
    begin = 0
    for at in range(1, len(line) + 1):
        if at == len(line) or line[at].font != line[begin].font:
            runs.append((line[begin].font, "".join([one.code for one in line[begin:at]])))
            begin = at
    return runs
