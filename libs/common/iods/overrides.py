"""Conditions and values that are not read out of the words of the standard, but are in them.

Each is given for a module, or for all (`*`), and an attribute, at whatever depth.
"""

import re
from typing import Any, Final

from pydicom.datadict import keyword_for_tag, tag_for_keyword

Rule = tuple[str, list[Any] | None, list[Any] | None]
"""Type, condition [kind, when, other or None, doubtful when or None], values; None: as read."""
ORIENTED: Final = "@oriented"
_SECONDARY_CAPTURE: Final = [
    "1.2.840.10008.5.1.4.1.1.7",
    *(f"1.2.840.10008.5.1.4.1.1.7.{n}" for n in range(1, 5)),
]
_UNPAIRED: Final = re.findall(
    r"\w+",
    """
    ABDOMEN ABDOMENPELVIS AORTA BACK BLADDER BRAIN CEREBELLUM CERVIX CHEST CHESTABDOMEN
    CHESTABDPELVIS COCCYX COLON CSPINE CTSPINE DUODENUM ESOPHAGUS FACE GALLBLADDER HEAD
    HEADNECK HEART ILEUM ILIUM JAW JEJUNUM LARYNX LIVER LSPINE LSSPINE MAXILLA MEDIASTINUM
    MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE PANCREAS PELVIS PENIS
    PHARYNX PROSTATE RECTUM SCALP SKULL SPINE SPLEEN SSPINE STERNUM STOMACH THYMUS THYROID
    TLSPINE TONGUE TRACHEA TSPINE URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY
    """,
)
"""Body parts of PS3.16 annex L of which there is one."""


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(keyword)
    return tag


def _absent(*keywords: str) -> list[Any]:
    """The condition that none of some attributes is there."""
    return ["and", *(["-", _tag(keyword)] for keyword in keywords)]


def _is(keyword: str, *values: str, place: int = 0) -> list[Any]:
    """The condition that an attribute has one of some values."""
    return ["=", _tag(keyword), place, list(values)]


def _one_of(*keywords: str) -> dict[str, Rule]:
    """Of these one is there."""
    return {
        keyword: (
            "1C",
            ["MU", _absent(*(one for one in keywords if one != keyword)), None, None],
            None,
        )
        for keyword in keywords
    }


def _of_content(*value_types: str, kind: str = "1C") -> Rule:
    """What only content items of some value types have (PS3.3 table C.17.3-3 and following)."""
    return kind, ["MN", _is("ValueType", *value_types), None, None], None


def _when(condition: list[Any], kind: str = "1C", sign: str = "MU") -> Rule:
    return kind, [sign, condition, None, None], None


def _has(keyword: str) -> list[Any]:
    return ["+", _tag(keyword)]


_SEGMENTATION: Final = [
    "and",
    _is("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4"),
    ["+", 0x00200052],
]
"""One with a frame of reference."""
_IN_SPACE: Final = [
    "or",
    ["and", _is("FrameType", "ORIGINAL"), ["!=", _tag("VolumetricProperties"), 0, ["DISTORTED"]]],
    _SEGMENTATION,
]
_PRESENTATION: Final = [[0, 1, ["MONOCHROME", "COLOR", "MIXED", "TRUE_COLOR"]]]
_NAMED: Final = ("TEXT", "NUM", "CODE", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME")
_STAGED: Final = (["+", _tag("StageNumber")], "2C")
_VIEWED: Final = (["+", _tag("ViewNumber")], "2C")
GROUPS: Final = "multi-frame-functional-groups"
"""The end of the keys of modules of functional groups; rules for them have this one."""
CONTENT: Final = 0x0040A730
ANYWHERE: Final[dict[str, Rule]] = {
    **_one_of("CodeValue", "LongCodeValue", "URNCodeValue"),  # PS3.3 table 8.8-1a
    "PerFrameFunctionalGroupsSequence": (
        "1C",
        ["MU", ["not", _is("DimensionOrganizationType", "TILED_FULL")], None, None],
        None,
    ),
}
IN_MODULES: Final[dict[str, dict[str, Rule]]] = {
    "image-pixel": {
        "PixelData": (
            "1C",
            [
                "MU",
                _absent("PixelDataProviderURL", "FloatPixelData", "DoubleFloatPixelData"),
                None,
                None,
            ],
            None,
        )
    },
    "general-image": {
        "PatientOrientation": (
            "2C",
            [
                "MU",
                [
                    *_absent(
                        "ImageOrientationPatient",
                        "ImageOrientationSlide",
                        "SharedFunctionalGroupsSequence",
                        "PerFrameFunctionalGroupsSequence",
                    ),
                    ["not", _is("SOPClassUID", ORIENTED)],
                ],
                None,
                None,
            ],
            None,
        ),
        "ImageType": (
            "3",
            None,
            [[1, 1, ["ORIGINAL", "DERIVED"]], [2, 1, ["PRIMARY", "SECONDARY"]]],
        ),
    },
    "general-series": {
        "Modality": _when(["not", _is("SOPClassUID", *_SECONDARY_CAPTURE)]),
        "Laterality": (
            "2C",
            [
                "MN",
                [
                    "and",
                    *_absent("ImageLaterality", "FrameLaterality", "MeasurementLaterality")[1:],
                    ["not", _is("BodyPartExamined", *_UNPAIRED)],
                    ["not", _is("Modality", "ECG", "EPS", "HD")],
                ],
                None,
                ["-", _tag("BodyPartExamined")],
            ],
            None,
        ),
    },
    GROUPS: {
        "ImagePositionPatient": _when(_IN_SPACE),
        "ImageOrientationPatient": _when(_IN_SPACE),
        "PixelSpacing": _when(
            ["or", ["!=", _tag("VolumetricProperties"), 0, ["DISTORTED", "SAMPLED"]], _SEGMENTATION]
        ),
        "SliceThickness": _when(
            ["or", _is("VolumetricProperties", "VOLUME", "SAMPLED"), _SEGMENTATION]
        ),
        "DimensionIndexValues": _when(_has("DimensionIndexSequence"), sign="MN"),
    },
    "enhanced-mr-image": {"PixelPresentation": ("1", None, _PRESENTATION)},
    "enhanced-ct-image": {"PixelPresentation": ("1", None, _PRESENTATION)},
    "enhanced-pet-image": {"PixelPresentation": ("1", None, _PRESENTATION)},
    "modality-lut": {
        "ModalityLUTSequence": _when(_absent("RescaleIntercept"), sign="MN"),
        "RescaleIntercept": _when(_absent("ModalityLUTSequence"), sign="MN"),
        "RescaleSlope": _when(_has("RescaleIntercept"), sign="MN"),
        "RescaleType": _when(_has("RescaleIntercept"), sign="MN"),
    },
    "us-image": {
        "NumberOfStages": _when(*_STAGED),
        "NumberOfViewsInStage": _when(*_VIEWED),
        "BitsAllocated": ("1", None, [[0, 1, [8, 16]]]),
        "BitsStored": ("1", None, [[0, 1, [8, 16]]]),
        "HighBit": ("1", None, [[0, 1, [7, 15]]]),
        "PixelRepresentation": ("1", None, [[0, 1, [0]]]),
    },
    "us-region-calibration": {
        "RegionSpatialFormat": ("1", None, [[0, 1, list(range(6))]]),
        "RegionDataType": ("1", None, [[0, 1, list(range(0x13))]]),
    },
    "ct-image": {
        "BitsAllocated": ("1", None, [[0, 1, [16]]]),
        "BitsStored": ("1", None, [[0, 1, [12, 13, 14, 15, 16]]]),
        "HighBit": ("1", None, [[0, 1, [11, 12, 13, 14, 15]]]),
        "SamplesPerPixel": ("1", None, [[0, 1, [1]]]),
    },
    "segmentation-image": {
        "BitsAllocated": ("1", None, [[0, 1, [1, 8, 16]]]),
        "BitsStored": ("1", None, [[0, 1, [1, 8, 16]]]),
        "HighBit": ("1", None, [[0, 1, [0, 7, 15]]]),
        "PixelRepresentation": ("1", None, [[0, 1, [0]]]),
        "SamplesPerPixel": ("1", None, [[0, 1, [1]]]),
    },
    "mr-image": {
        "BitsAllocated": ("1", None, [[0, 1, [16]]]),
        "TriggerTime": _when(
            ["=", _tag("ScanOptions"), -1, ["CG", "PPG", "PER"]], kind="2C", sign="MN"
        ),
    },
    "rt-dose": {
        "GridFrameOffsetVector": _when(
            ["=", _tag("FrameIncrementPointer"), 0, [str(_tag("GridFrameOffsetVector"))]], sign="MN"
        ),
        "PixelRepresentation": _when(_has("PixelData"), sign="MN"),
        "ReferencedRTPlanSequence": _when(
            _is(
                "DoseSummationType",
                *("PLAN", "MULTI_PLAN", "FRACTION", "BEAM", "BRACHY", "FRACTION_SESSION"),
                *("BEAM_SESSION", "BRACHY_SESSION", "CONTROL_POINT"),
            ),
            sign="MN",
        ),
    },
    "sr-document-content": {
        "ConceptNameCodeSequence": _when(
            [
                "or",
                _is("ValueType", *_NAMED),
                ["and", _is("ValueType", "CONTAINER"), ["-", _tag("RelationshipType")]],
            ]
        ),
        "ValueType": _when(["-", 0x0040DB73]),
        "MeasuredValueSequence": _of_content("NUM", kind="2C"),
        "ConceptCodeSequence": _of_content("CODE"),
        "ReferencedSOPSequence": _of_content("COMPOSITE", "IMAGE", "WAVEFORM"),
        "GraphicType": _of_content("SCOORD", "SCOORD3D"),
        "GraphicData": _of_content("SCOORD", "SCOORD3D"),
        "ReferencedFrameOfReferenceUID": _of_content("SCOORD3D"),
        "TemporalRangeType": _of_content("TCOORD"),
        "TabulatedValuesSequence": _of_content("TABLE"),
        "ContinuityOfContent": _of_content("CONTAINER"),
        "ReferencedSamplePositions": ("3", None, None),
        "ReferencedTimeOffsets": ("3", None, None),
        "ReferencedDateTime": ("3", None, None),
        "TextValue": _of_content("TEXT"),
        "DateTime": _of_content("DATETIME"),
        "Date": _of_content("DATE"),
        "Time": _of_content("TIME"),
        "PersonName": _of_content("PNAME"),
        "UID": _of_content("UIDREF"),
    },
}


def rule(module: str, path: tuple[int, ...], oriented: list[str]) -> Rule | None:
    """Return what holds of an attribute in a module whatever was read; None for nothing.

    Args:
        module: its key.
        path: tags of the sequences around it, and its own.
        oriented: SOP classes of images that need their orientation in space.
    """
    keyword = keyword_for_tag(path[-1])
    if module.endswith(GROUPS):
        module = GROUPS
    if module == "sr-document-content" and path[:-1] and path[-2] != CONTENT:
        module = ""  # the same attributes stand within content items, for other purposes
    found = IN_MODULES.get(module, {}).get(keyword) or ANYWHERE.get(keyword)
    if found is None:
        return None
    kind, condition, values = found
    return kind, _put(condition, oriented), values


def _put(condition: Any, oriented: list[str]) -> Any:
    if isinstance(condition, list):
        parts = [[one] if one != ORIENTED else oriented for one in condition]
        return [_put(one, oriented) for part in parts for one in part]
    return condition
