"""What a film is to look like (PS3.3 C.13.3 and C.13.5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from darkroom_common.errors import PermanentError
from darkroom_common.films.presentation_lut import IDENTITY, PresentationLut
from darkroom_common.specs.film_layouts import Layout

MM_PER_INCH: Final = 25.4
MAX_PIXELS: Final = 120_000_000  # of one film
_BITS: Final = frozenset({8, *range(10, 17)})  # of a sample
_COLOUR_BITS: Final = 8
_MAX_DENSITY: Final = 500  # an optical density of 5
_MAX_MM: Final = 50
_MAX_DPI: Final = 2400


class InvalidFilm(PermanentError):
    """A film is asked for that cannot be made. The text says which value, and what it may be."""


@dataclass(frozen=True, slots=True)
class FilmSize:
    """A Film Size ID (2010,0050), portrait, in millimetres."""

    name: str
    width_mm: float
    height_mm: float


def _inches(width: float, height: float) -> tuple[float, float]:
    return (width * MM_PER_INCH, height * MM_PER_INCH)


FILM_SIZES: Final[Mapping[str, FilmSize]] = MappingProxyType(
    {
        name: FilmSize(name, *size)
        for name, size in {
            "8INX10IN": _inches(8, 10),
            "8_5INX11IN": _inches(8.5, 11),
            "10INX12IN": _inches(10, 12),
            "10INX14IN": (257.0, 364.0),  # so says the note of C.13.3
            "11INX14IN": _inches(11, 14),
            "11INX17IN": _inches(11, 17),
            "14INX14IN": _inches(14, 14),
            "14INX17IN": _inches(14, 17),
            "24CMX24CM": (240.0, 240.0),
            "24CMX30CM": (240.0, 300.0),
            "A4": (210.0, 297.0),
            "A3": (297.0, 420.0),
        }.items()
    }
)


def film_size(name: str) -> FilmSize:
    """Return the size of a Film Size ID.

    Raises:
        InvalidFilm: there is none of that name.
    """
    if name not in FILM_SIZES:
        raise InvalidFilm(f"the film size must be one of {', '.join(FILM_SIZES)}")
    return FILM_SIZES[name]


class Orientation(StrEnum):
    """Film Orientation (2010,0040)."""

    PORTRAIT = "PORTRAIT"
    LANDSCAPE = "LANDSCAPE"


class Colour(StrEnum):
    """Photometric Interpretation of the bitmaps."""

    MONOCHROME2 = "MONOCHROME2"
    RGB = "RGB"


class Polarity(StrEnum):
    """Polarity (2020,0020), done in the bitmap: the printer is then told NORMAL."""

    NORMAL = "NORMAL"
    REVERSE = "REVERSE"


class Magnification(StrEnum):
    """Magnification Type (2010,0060), done in the bitmap.

    NONE never enlarges. Whatever the type, making smaller averages, so that no pixel is lost.
    """

    NONE = "NONE"
    REPLICATE = "REPLICATE"
    BILINEAR = "BILINEAR"
    CUBIC = "CUBIC"


class Density(StrEnum):
    """Border Density (2010,0100) and Empty Image Density (2010,0110), the two words of them."""

    BLACK = "BLACK"
    WHITE = "WHITE"


class Mode(StrEnum):
    r"""Who arranges the images on the film.

    BOXES: the printer; each box has the printer's own pixels, header and footer are written into
    each box. SHEET: we do; the film is one bitmap, to be printed as STANDARD\1,1.
    """

    BOXES = "BOXES"
    SHEET = "SHEET"


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """How a film is composed.

    Attributes:
        dpi: pixels per inch of film.
        printable: columns and rows that the printer has for this film in this orientation, instead
            of what size and dpi come to.
        box_pixels: columns and rows of one image box, where the printer states them (BOXES mode,
            STANDARD layouts).
        bits: 8, or 10 to 16, of one sample; 8 for RGB.
        trim: a thin frame around each image box, SHEET mode; in BOXES mode it is the printer's.
        true_size: a millimetre of the patient is a millimetre of film.
        header: lines of text with `{Keyword}` placeholders, at the top; footer: at the bottom.
        patient_box: such lines below each image; never on it.
        scale_bar: one below each image that tells its pixel spacing.
        overlays: whether overlay planes (60xx) are drawn into the images.
        presentation_lut: what is burned into the bitmap; a look-up table that the printer applies
            is none of the plan's.
        min_density, max_density: of the film, in hundredths of optical density; for LIN OD.
        text_mm: height of a line of text.
    """

    size: FilmSize
    layout: Layout
    mode: Mode = Mode.SHEET
    orientation: Orientation = Orientation.PORTRAIT
    dpi: float = 300.0
    printable: tuple[int, int] | None = None
    box_pixels: tuple[int, int] | None = None
    bits: int = 8
    colour: Colour = Colour.MONOCHROME2
    polarity: Polarity = Polarity.NORMAL
    magnification: Magnification = Magnification.CUBIC
    border_density: Density = Density.BLACK
    empty_image_density: Density = Density.BLACK
    trim: bool = False
    true_size: bool = False
    gap_mm: float = 0.0
    header: str = ""
    footer: str = ""
    patient_box: str = ""
    scale_bar: bool = False
    overlays: bool = True
    presentation_lut: PresentationLut = IDENTITY
    min_density: int = 20
    max_density: int = 300
    text_mm: float = 3.0

    def __post_init__(self) -> None:
        if self.bits not in _BITS:
            raise InvalidFilm("bits must be 8, or 10 to 16")
        if self.colour is Colour.RGB and self.bits != _COLOUR_BITS:
            raise InvalidFilm("a colour film has 8 bits")
        if not 0 <= self.min_density < self.max_density <= _MAX_DENSITY:
            raise InvalidFilm("densities must be 0 to 500, the least one first")
        if not (1 <= self.text_mm <= _MAX_MM and 0 <= self.gap_mm <= _MAX_MM):
            raise InvalidFilm("text_mm must be 1 to 50 and gap_mm 0 to 50")
        for pair in (self.printable, self.box_pixels):
            if pair is not None and (min(pair) < 1 or pair[0] * pair[1] > MAX_PIXELS):
                raise InvalidFilm("printable and box pixels must be positive and of a sane size")
        if not 1 <= self.dpi <= _MAX_DPI or self.columns * self.rows > MAX_PIXELS:
            raise InvalidFilm(f"dpi must be 1 to 2400, and a film of at most {MAX_PIXELS} pixels")

    @property
    def width_mm(self) -> float:
        """Of the film as it is looked at."""
        portrait = self.orientation is Orientation.PORTRAIT
        return self.size.width_mm if portrait else self.size.height_mm

    @property
    def height_mm(self) -> float:
        """Of the film as it is looked at."""
        portrait = self.orientation is Orientation.PORTRAIT
        return self.size.height_mm if portrait else self.size.width_mm

    @property
    def columns(self) -> int:
        """Pixels of the film, from left to right."""
        return self.printable[0] if self.printable else self._pixels(self.width_mm)

    @property
    def rows(self) -> int:
        """Pixels of the film, from top to bottom."""
        return self.printable[1] if self.printable else self._pixels(self.height_mm)

    def _pixels(self, length_mm: float) -> int:
        return max(1, round(length_mm * self.dpi / MM_PER_INCH))

    @property
    def pixels_per_mm(self) -> tuple[float, float]:
        """Columns and rows of one millimetre."""
        return (self.columns / self.width_mm, self.rows / self.height_mm)

    @property
    def white(self) -> int:
        """The greatest value of a sample."""
        return (1 << self.bits) - 1
