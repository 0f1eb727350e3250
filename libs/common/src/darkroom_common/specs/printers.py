"""What a printer and an auto-print rule are, as REST and the broker carry them."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, StrictBool, StringConstraints, model_validator

from darkroom_common.specs.base import ResourceSpec
from darkroom_common.specs.destinations import Backoff, ConfiguredAe, Name, Tls
from darkroom_common.specs.films import CodeString, FilmOrder

Quirk = Literal[
    "meta-only",
    "no-presentation-lut",
    "eight-bit-only",
    "no-annotation",
    "one-film-box-a-session",
    "no-status",
    "no-delete",
    "no-trim",
    "no-polarity",
    "no-magnification",
    "no-densities",
    "action-on-session",
]
QUIRKS: Final[dict[str, str]] = {
    "meta-only": "only the Meta SOP class is offered: others beside it make it reject",
    "no-presentation-lut": "a Presentation LUT is burned into the bitmap, never sent",
    "eight-bit-only": "12 bits are announced or asked for, but come out wrong: 8 are sent",
    "no-annotation": "annotation boxes are not offered: header and footer are burned in",
    "one-film-box-a-session": "each film gets a film session of its own",
    "no-status": "N-GET of the printer is refused or hangs: it is not asked",
    "no-delete": "N-DELETE is refused or hangs: the association is just released",
    "no-trim": "Trim (2010,0140) is refused: left out",
    "no-polarity": "Polarity (2020,0020) is refused: left out, since it is burned in anyway",
    "no-magnification": "Magnification Type (2010,0060) is refused: left out",
    "no-densities": "density attributes of the film box are refused: left out",
    "action-on-session": "prints only by N-ACTION on the film session",
}
"""What printers do against the standard, or at its edge, and what is done about it."""
_Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.\-:_]{0,252}$")]


class PrinterSpec(ResourceSpec):
    """A printer. What is left out is as its profile has it."""

    host: _Host
    port: int = Field(ge=1, le=65_535)
    ae_title: ConfiguredAe
    calling_ae_title: ConfiguredAe = "DARKROOM"
    tls: Tls = Tls()
    profile: Name = Field(default="generic", description="see docs/print.md")
    film_sizes: tuple[CodeString, ...] | None = Field(default=None, min_length=1, max_length=32)
    media: tuple[CodeString, ...] | None = Field(default=None, max_length=16)
    film_destinations: tuple[CodeString, ...] | None = Field(default=None, max_length=32)
    dpi: float | None = Field(default=None, ge=10, le=1200, description="pixels in an inch of film")
    bits: Literal[8, 12] | None = None
    colour: StrictBool | None = None
    display_formats: tuple[str, ...] | None = Field(
        default=None, max_length=100, description="layouts that it knows; none: only one image box"
    )
    annotation_format: CodeString | Literal[""] | None = Field(
        default=None, description="Annotation Display Format ID; empty: it has no annotation boxes"
    )
    annotation_boxes: int | None = Field(default=None, ge=0, le=100)
    presentation_lut: StrictBool | None = None
    quirks: tuple[Quirk, ...] | None = None
    echo: StrictBool = Field(
        default=True, description="ask it every ECHO_SECONDS whether it is there"
    )
    backoff: Backoff = Backoff(initial_seconds=10, max_attempts=10, ceiling_seconds=600)
    connect_seconds: float = Field(default=10.0, gt=0, le=300)
    answer_seconds: float = Field(default=60.0, gt=0, le=3600)
    done_seconds: float = Field(
        default=300.0, ge=0, le=86_400, description="how long the end of a print job is waited for"
    )


class PrintRuleSpec(ResourceSpec):
    """Films that are made by themselves when a study is complete."""

    printer: Name
    modalities: tuple[CodeString, ...] = Field(default=(), max_length=32, description="none: any")
    calling_ae_titles: tuple[ConfiguredAe, ...] = Field(
        default=(), max_length=64, description="who sent the study; none: any"
    )
    film: FilmOrder = FilmOrder()

    @model_validator(mode="after")
    def _has_no_images(self) -> Self:
        if self.film.names_images:
            raise ValueError("film: the images are those of the study")
        return self
