"""What is said of a projection radiograph."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from darkroom_api.objects.spec import Shown
from darkroom_common.specs.remote import LongText

BODY_PARTS: Final = {
    "ABDOMEN": "Abdomen",
    "ANKLE": "AnkleJoint",
    "CHEST": "Chest",
    "CLAVICLE": "Clavicle",
    "CSPINE": "CervicalSpine",
    "ELBOW": "ElbowJoint",
    "FEMUR": "Femur",
    "FINGER": "Finger",
    "FOOT": "Foot",
    "FOREARM": "Forearm",
    "HAND": "Hand",
    "HEAD": "Head",
    "HIP": "HipJoint",
    "HUMERUS": "Humerus",
    "JAW": "JawRegion",
    "KNEE": "Knee",
    "LEG": "LowerLeg",
    "LSPINE": "LumbarSpine",
    "NECK": "Neck",
    "PELVIS": "Pelvis",
    "SHOULDER": "Shoulder",
    "SKULL": "Skull",
    "SPINE": "Spine",
    "STERNUM": "Sternum",
    "THUMB": "Thumb",
    "TOE": "Toe",
    "TSPINE": "ThoracicSpine",
    "WRIST": "WristJoint",
}
"""Terms of Body Part Examined (PS3.16 annex L), and the names of their codes in CID 4031."""
BodyPart = Literal[
    "ABDOMEN",
    "ANKLE",
    "CHEST",
    "CLAVICLE",
    "CSPINE",
    "ELBOW",
    "FEMUR",
    "FINGER",
    "FOOT",
    "FOREARM",
    "HAND",
    "HEAD",
    "HIP",
    "HUMERUS",
    "JAW",
    "KNEE",
    "LEG",
    "LSPINE",
    "NECK",
    "PELVIS",
    "SHOULDER",
    "SKULL",
    "SPINE",
    "STERNUM",
    "THUMB",
    "TOE",
    "TSPINE",
    "WRIST",
]
Millimetres = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Direction = Annotated[str, StringConstraints(pattern=r"^[AFHLPR]{1,3}$")]


class RadiographGiven(Shown):
    """What is said of a projection radiograph; its pixels are a grey picture of 8 to 16 bits."""

    PART = "pixels"

    burned_in_annotation: bool = Field(
        default=False, description="whether it may show who the patient is"
    )
    body_part: BodyPart
    view_position: Literal["", "AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO"] = ""
    laterality: Literal["L", "R", "B", "U"] = Field(
        default="U", description="of what is shown: left, right, both, or not paired"
    )
    patient_orientation: tuple[Direction, Direction] | None = Field(
        default=None, description="where rows and columns lead, as L and F for a PA chest"
    )
    imager_pixel_spacing: tuple[Millimetres, Millimetres] | None = Field(
        default=None, description="mm at the detector between rows, and between columns"
    )
    photometric_interpretation: Literal["MONOCHROME1", "MONOCHROME2"] = Field(
        default="MONOCHROME2", description="whether the smallest value is white (1) or black (2)"
    )
    bits_stored: int | None = Field(
        default=None, ge=8, le=16, description="of a pixel; left out: all that the picture has"
    )
    window_center: float | None = Field(default=None, ge=-1e6, le=1e6, allow_inf_nan=False)
    window_width: float | None = Field(default=None, ge=1, le=1e6, allow_inf_nan=False)
    kvp: Amount | None = Field(default=None, description="kV")
    tube_current: Amount | None = Field(default=None, description="mA")
    exposure_time: Amount | None = Field(default=None, description="ms")
    exposure: Amount | None = Field(default=None, description="mAs")
    dose_area_product: Amount | None = Field(default=None, description="dGy cm2")
    distance_source_to_detector: Millimetres | None = None
    exposure_index: Amount | None = Field(default=None, description="IEC 62494-1")
    target_exposure_index: Amount | None = None
    deviation_index: float | None = Field(default=None, ge=-100, le=100, allow_inf_nan=False)
    protocol_name: LongText = ""
    compression: Literal["none", "jpeg-lossless", "jpeg-ls", "jpeg2000", "rle"] = Field(
        default="none", description="of the pixels, without loss"
    )

    @model_validator(mode="after")
    def check_window(self) -> Self:
        """Refuse half a window."""
        if (self.window_center is None) is not (self.window_width is None):
            raise ValueError("window_center and window_width go together")
        return self


class CrGiven(RadiographGiven):
    """What is said of a computed radiograph."""

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "CR"


class DxGiven(RadiographGiven):
    """What is said of a digital radiograph."""

    patient_orientation: tuple[Direction, Direction] = Field(
        description="where rows and columns lead, as L and F for a PA chest"
    )
    imager_pixel_spacing: tuple[Millimetres, Millimetres] = Field(
        description="mm at the detector between rows, and between columns"
    )
    intent: Literal["presentation", "processing"] = "presentation"
    detector_type: Literal["DIRECT", "SCINTILLATOR", "STORAGE", "FILM"] | None = None
    pixel_intensity_relationship: Literal["LIN", "LOG"] = "LOG"
    more_is_more_exposure: bool = Field(
        default=False, description="whether larger values stand for more X-rays: (0028,1041)"
    )

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "DX"

    def said(self) -> dict[str, Any]:
        """Return what else its header says, by keywords."""
        return super().said() | {"PresentationIntentType": f"FOR {self.intent.upper()}"}
