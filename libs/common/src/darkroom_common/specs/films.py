"""What is to be printed, as REST and the broker carry it (PS3.3 C.13). It may name a patient."""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StringConstraints, model_validator

from darkroom_common.messages.base import Uid
from darkroom_common.specs.base import Spec

Orientation = Literal["PORTRAIT", "LANDSCAPE"]
Density = Annotated[str, StringConstraints(pattern=r"^(BLACK|WHITE)$")]
CodeString = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_][A-Z0-9_ ]{0,15}$")]
"""A value of VR CS, PS3.5 table 6.2-1."""
MAX_IMAGES = 2000
_DENSITIES = {
    "min": "min_density",
    "max": "max_density",
    "border": "border_density",
    "empty": "empty_image_density",
}


class FilmWindow(Spec):
    """Window Center and Window Width, PS3.3 C.11.2.1.2."""

    center: float
    width: float = Field(gt=0)


class FilmImage(Spec):
    """A frame of a stored instance."""

    sop_instance_uid: Uid
    frame: int = Field(default=1, ge=1, le=1_000_000)
    window: FilmWindow | None = Field(default=None, description="none: of the object")


class FilmAnnotation(Spec):
    """Text for an annotation box of the printer, PS3.3 C.13.7."""

    position: int = Field(ge=1, le=100)
    text: str = Field(max_length=64)


class FilmLut(Spec):
    """A Presentation LUT, PS3.3 C.11.4: a shape, or a table."""

    shape: Literal["IDENTITY", "LIN OD", "TABLE"] = "IDENTITY"
    table: tuple[int, ...] = Field(default=(), max_length=65_536)
    bits: int = Field(default=12, ge=8, le=16, description="of an entry of the table")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.shape == "TABLE") != bool(self.table):
            raise ValueError("a table goes with the shape TABLE, and only with it")
        if self.table and not 0 <= min(self.table) <= max(self.table) < 1 << self.bits:
            raise ValueError(f"an entry of the table is not of {self.bits} bits")
        return self


class FilmOrder(Spec):
    r"""One print job: which images, and how the films are to be.

    What is left out is as the printer has it, and is not sent. `layout` is an Image Display Format
    such as `STANDARD\2,2` (columns, rows), or a name: `single`, `2x2`, `1+3`, `4x4`.
    """

    layout: str = Field(default="single", min_length=1, max_length=128)
    images: tuple[FilmImage, ...] = Field(default=(), max_length=MAX_IMAGES)
    study_instance_uid: Uid | None = Field(default=None, description="all images of it")
    series_instance_uid: Uid | None = Field(default=None, description="all images of it")
    every: int = Field(default=1, ge=1, le=1000, description="of a study or series: each n-th")
    without_pixels: int = Field(
        default=0, ge=0, description="objects of it that are no images; counted by us"
    )
    frames: Literal["first", "all"] = Field(
        default="first", description="of a multi-frame image of a study or series"
    )
    window: FilmWindow | None = Field(default=None, description="for images that name none")
    film_size: CodeString | None = Field(default=None, description="such as 14INX17IN")
    orientation: Orientation = "PORTRAIT"
    medium: CodeString | None = Field(default=None, description="such as BLUE FILM")
    film_destination: CodeString | None = None
    print_priority: Literal["HIGH", "MED", "LOW"] | None = None
    copies: int = Field(default=1, ge=1, le=100)
    min_density: int | None = Field(default=None, ge=0, le=500, description="hundredths of OD")
    max_density: int | None = Field(default=None, ge=0, le=500, description="hundredths of OD")
    border_density: Density | None = Field(default=None, description="drawn BLACK without")
    empty_image_density: Density | None = Field(default=None, description="drawn BLACK without")
    polarity: Literal["NORMAL", "REVERSE"] = "NORMAL"
    magnification: Literal["NONE", "REPLICATE", "BILINEAR", "CUBIC"] | None = Field(
        default=None, description="CUBIC without, where we enlarge"
    )
    trim: StrictBool = False
    true_size: StrictBool = Field(default=False, description="one millimetre stays one millimetre")
    presentation_lut: FilmLut = FilmLut()
    annotations: tuple[FilmAnnotation, ...] = Field(default=(), max_length=100)
    header: str = Field(default="", max_length=1024, description="lines with {Keyword}s, burned in")
    footer: str = Field(default="", max_length=1024, description="lines with {Keyword}s, burned in")
    patient_box: str = Field(
        default="", max_length=1024, description="lines with {Keyword}s, below each image"
    )
    scale_bar: StrictBool = False
    overlays: StrictBool = Field(default=True, description="draw overlay planes into the images")
    bits: Literal[8, 12] | None = None
    colour: StrictBool | None = None
    arrange: Literal["auto", "printer", "sheet"] = Field(
        default="auto",
        description="who arranges images on the film: the printer in image boxes, or we in one"
        " bitmap; auto: the printer, where it knows the layout",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        """Take `density` with `min`, `max`, `border` and `empty`, and annotations as mere texts."""
        if not isinstance(given, dict):
            return given
        made = dict(given)
        densities = made.get("density")
        if isinstance(densities, dict) and densities.keys() <= _DENSITIES.keys():
            del made["density"]
            for name, value in densities.items():
                made.setdefault(_DENSITIES[name], value)
        notes = made.get("annotations")
        if isinstance(notes, list | tuple):
            made["annotations"] = [
                {"position": position, "text": note} if isinstance(note, str) else note
                for position, note in enumerate(notes, 1)
            ]
        return made

    @model_validator(mode="after")
    def _names_images(self) -> Self:
        ways = (bool(self.images), bool(self.study_instance_uid), bool(self.series_instance_uid))
        if sum(ways) > 1:
            raise ValueError("name images, a series or a study: one of them")
        if len({one.position for one in self.annotations}) < len(self.annotations):
            raise ValueError("two annotations have one position")
        low, high = self.min_density, self.max_density
        if low is not None and high is not None and low >= high:
            raise ValueError("min_density is not below max_density")
        return self

    def choose(self, found: Iterable[tuple[str, int]], most: int) -> list[FilmImage]:
        """Return what is printed of a study or series.

        Args:
            found: SOP Instance UID and Number of Frames of its images, in their order.
            most: how many are returned, whatever Number of Frames claims.
        """
        each = (
            FilmImage(sop_instance_uid=uid, frame=frame)
            for uid, frames in found
            for frame in range(1, frames + 1 if self.frames == "all" else 2)
        )
        return list(islice(each, 0, most * self.every, self.every))

    @property
    def names_images(self) -> bool:
        """Whether there is anything to print."""
        return bool(self.images or self.study_instance_uid or self.series_instance_uid)
