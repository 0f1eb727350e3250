"""What is said of a presentation state: how images of a study are to be shown."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from darkroom_api.objects.spec import MOST_IMAGES, Given, Said, Uid
from darkroom_common.messages.base import MessageId
from darkroom_common.specs.remote import LongText

Label = Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=r"^[A-Z0-9_ ]+$")]
Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Point = tuple[Number, Number]
"""Column and row: 0, 0 is the corner of the first pixel, 1, 1 that opposite (PS3.3 C.10.5)."""
Words = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Place = Annotated[int, Field(ge=1, le=65_535)]
_MOST_POINTS = 2000
_FEWEST = {"POINT": 1, "CIRCLE": 2, "ELLIPSE": 4, "POLYLINE": 2, "INTERPOLATED": 2}
_EXACT = frozenset({"POINT", "CIRCLE", "ELLIPSE"})
_ALL_BUT_ONE = 2
Frame = Annotated[int, Field(ge=1, le=1_000_000)]


class Window(Said):
    """A linear window."""

    center: Number
    width: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)]


class OfImage(Said):
    """What holds for one of the images, or for some of its frames."""

    image: Uid
    frames: list[Frame] = Field(
        default_factory=list, max_length=MOST_IMAGES, description="from 1; left out: all of them"
    )
    window: Window | None = Field(default=None, description="left out: that of all images")


class Drawing(Said):
    """A line, an outline or a point on the image."""

    kind: Literal["POINT", "POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE"]
    points: list[Point] = Field(
        min_length=1,
        max_length=_MOST_POINTS,
        description="column and row; of a circle its middle and a point on it, of an ellipse the"
        " ends of the long axis, then of the short one",
    )
    filled: bool = False

    @model_validator(mode="after")
    def check_points(self) -> Self:
        """Refuse a figure of too few or too many points."""
        wanted = _FEWEST[self.kind]
        if len(self.points) < wanted or (self.kind in _EXACT and len(self.points) > wanted):
            raise ValueError(f"{self.kind} takes {wanted} points")
        return self


class Annotation(Said):
    """Words, a drawing, or both."""

    text: Words = ""
    at: Point | None = Field(default=None, description="what the words are about: column and row")
    drawing: Drawing | None = None

    @model_validator(mode="after")
    def check_content(self) -> Self:
        """Refuse an annotation of nothing, and words that have no place."""
        if not self.text and self.drawing is None:
            raise ValueError("either text or drawing has to be there")
        if bool(self.text) is (self.at is None):
            raise ValueError("text and at go together")
        return self


class Rectangle(Said):
    """What of the image is shown, in columns and rows that are still seen."""

    left: Place
    right: Place
    upper: Place
    lower: Place

    @model_validator(mode="after")
    def check_sides(self) -> Self:
        """Refuse one that shows nothing."""
        if self.left > self.right or self.upper > self.lower:
            raise ValueError("left has to be left of right, and upper above lower")
        return self


class PresentationStateGiven(Given):
    """What is said of a grayscale softcopy presentation state."""

    NAMES_PIXELS = True

    print_job: MessageId | None = Field(
        default=None,
        description="instead of study and images: the print job whose films show them (permission"
        " print:read); windows, frames, polarity and true size are those of the films, and what is"
        " given here beside goes before them",
    )
    images: list[Uid] = Field(
        default_factory=list,
        max_length=MOST_IMAGES,
        description="SOP instance UIDs of grey images of the study",
    )
    of_images: list[OfImage] = Field(
        default_factory=list,
        max_length=MOST_IMAGES,
        description="what differs from image to image: frames and windows",
    )
    label: Label = Field(default="PRESENTATION", description="(0070,0080)")
    description: LongText = ""
    creator: LongText = Field(default="", description="who made it, as a person name")
    window: Window | None = None
    inverted: bool = False
    rotation: Literal[0, 90, 180, 270] = Field(default=0, description="clockwise, before the flip")
    flipped: bool = Field(default=False, description="left and right exchanged, after the rotation")
    area: Rectangle | None = Field(default=None, description="what is shown; left out: all")
    magnification: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = Field(
        default=None, description="pixels of the screen for one of the image; left out: to fit"
    )
    true_size: bool = Field(
        default=False, description="a millimetre stays one; images have to tell the size of a pixel"
    )
    shutter: Rectangle | None = Field(default=None, description="what is not covered")
    shutter_value: int = Field(
        default=0, ge=0, le=65_535, description="P-value of what is covered; 0 is black"
    )
    annotations: list[Annotation] = Field(default_factory=list, max_length=MOST_IMAGES)

    @model_validator(mode="after")
    def check_identity(self) -> Self:
        """Refuse what does not say whose it is, or says it twice."""
        if (self.study, self.worklist_entry, self.print_job).count(None) != _ALL_BUT_ONE:
            raise ValueError("either study, worklist_entry or print_job has to be there")
        if self.print_job is None and not self.images:
            raise ValueError("images have to be there, or print_job")
        if self.true_size and self.magnification is not None:
            raise ValueError("true_size and magnification exclude each other")
        return self

    @model_validator(mode="after")
    def check_images(self) -> Self:
        """Refuse an image that is named twice, and a frame that is shown in two ways."""
        if len(set(self.images)) < len(self.images):
            raise ValueError("an image is named twice")
        if not {one.image for one in self.of_images} <= set(self.images):
            raise ValueError("of_images names an image that is none of images")
        shown = [(one.image, frame) for one in self.of_images for frame in one.frames or [0]]
        whole = {image for image, frame in shown if frame == 0}
        if len(set(shown)) < len(shown) or any(frame and image in whole for image, frame in shown):
            raise ValueError("of_images names an image, or a frame of it, twice")
        return self

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "PR"

    def instances(self) -> Sequence[str]:
        """Return the SOP instance UIDs that it refers to."""
        return self.images
