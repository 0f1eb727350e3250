"""What a performed procedure step tells of X-ray dose (PS3.3 table C.4-16), as a dose report."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.sr.codedict import codes

from darkroom_api.objects.projection.spec import BODY_PARTS
from darkroom_api.objects.structured.dose_spec import DoseReportGiven
from darkroom_common.errors import PermanentError
from darkroom_common.index.rows import Json

_DGY_CM2: Final = 1e-5
"""Gy m2."""
_MGY: Final = 1e-3
_DGY: Final = 0.1
_UNKNOWN: Final = "unknown"
_LONGEST: Final = 64
_FEW: Final = 500


class NoDose(PermanentError):
    """A step tells of no dose, or too little of it. The text says what is missing."""


@dataclass(frozen=True)
class Step:
    """A performed procedure step.

    Attributes:
        sop_instance_uid: of it.
        attributes: all of it, as DICOM JSON.
    """

    sop_instance_uid: str
    attributes: Json

    def study(self) -> str:
        """Return the study of the step.

        Raises:
            NoDose: it is of several, and no report can be.
        """
        items = _items(self.attributes, "ScheduledStepAttributesSequence")
        found = {str(_one(item, "StudyInstanceUID")) for item in items}
        if len(found) != 1:
            raise NoDose("The step is of several studies.")
        return found.pop()


def told(given: DoseReportGiven, step: Step, equipment: Mapping[str, Json]) -> DoseReportGiven:
    """Return what is to be reported: what is given goes before what the step tells.

    Args:
        given: names the step.
        step: has ended.
        equipment: what the index has of the series of the study, by their UIDs.

    Raises:
        NoDose: the step tells of none, or nothing tells which part of the body it is of.
    """
    attributes = step.attributes
    performed = [
        str(_one(item, "SeriesInstanceUID"))
        for item in _items(attributes, "PerformedSeriesSequence")
    ]
    series = [equipment[uid] for uid in performed if uid in equipment] or list(equipment.values())
    found: dict[str, Any] = {
        "device": _device(series),
        "performed_procedure_step": step.sop_instance_uid,
        "source": "from-mpps",
        "reference_point": "entrance",
    }
    area = _number(attributes, "ImageAndFluoroscopyAreaDoseProduct")
    if area is None:
        raise NoDose("The step tells of no dose-area product (0018,115E).")
    found["total_dose_area_product"] = area * _DGY_CM2
    found |= _entrance(attributes)
    seconds = _number(attributes, "TotalTimeOfFluoroscopy")
    if seconds:
        found["total_fluoroscopy_time"] = seconds
    own = given.model_dump(exclude_unset=True)
    part = given.body_part or _body_part(attributes, series)
    if part is None and "events" not in own:
        raise NoDose("Neither the step nor its images tell the part of the body: give body_part.")
    found["events"] = list(_events(attributes, str(part)))
    kept = {name: own[name] for name in own if name not in ("mpps", "body_part")}
    return DoseReportGiven.model_validate({**found, **kept, "study": step.study()})


def _device(series: Sequence[Json]) -> dict[str, str]:
    """Return the device that has made the images, as far as they tell."""
    names = {
        "manufacturer": "Manufacturer",
        "model": "ManufacturerModelName",
        "serial": "DeviceSerialNumber",
        "software": "SoftwareVersions",
        "name": "StationName",
    }
    found = {
        name: next((str(one) for of in series if (one := _one(of, keyword))), "")
        for name, keyword in names.items()
    }
    return {
        name: (text or (_UNKNOWN if name != "name" else ""))[:_LONGEST].replace("\\", "/")
        for name, text in found.items()
    }


def _entrance(attributes: Json) -> dict[str, float]:
    exact = _number(attributes, "EntranceDoseInmGy")
    if exact is not None:
        return {"total_dose": exact * _MGY}
    rough = _number(attributes, "EntranceDose")
    return {} if rough is None else {"total_dose": rough * _DGY}


def _events(attributes: Json, part: str) -> Iterator[dict[str, Any]]:
    """Yield an event for each exposure that is told of; one for all when none is by itself."""
    started = _started(attributes)
    common: dict[str, Any] = {"started": started, "body_part": part}
    distance = _number(attributes, "DistanceSourceToDetector")
    if distance:
        common["distance_source_to_detector"] = distance
    exposures = _items(attributes, "ExposureDoseSequence")[:_FEW]
    if not exposures:
        count = _number(attributes, "TotalNumberOfExposures")
        yield common | {"frames": max(1, int(count or 1))}
    for one in exposures:
        said = {
            "kvp": _number(one, "KVP"),
            "tube_current": _thousandth(_number(one, "XRayTubeCurrentInuA")),
            "exposure_time": _number(one, "ExposureTime"),
        }
        mode = str(_one(one, "RadiationMode") or "")
        kind = "fluoroscopy" if mode == "CONTINUOUS" else "stationary"
        known = {name: value for name, value in said.items() if value is not None}
        yield common | known | {"kind": kind}


def _started(attributes: Json) -> dt.datetime:
    """Return when the step began, by the clock of its modality.

    Raises:
        NoDose: it does not say it in a way that can be read.
    """
    day = str(_one(attributes, "PerformedProcedureStepStartDate") or "")
    time = str(_one(attributes, "PerformedProcedureStepStartTime") or "").partition(".")[0]
    hours = time.ljust(6, "0")
    try:
        return dt.datetime.fromisoformat(
            f"{day[:4]}-{day[4:6]}-{day[6:8]}T{hours[:2]}:{hours[2:4]}:{hours[4:6]}"
        )
    except ValueError:
        raise NoDose("The step does not tell when it began.") from None


def _body_part(attributes: Json, series: Sequence[Json]) -> str | None:
    told_of = _items(attributes, "AnatomicStructureSpaceOrRegionSequence")
    regions = {(_one(item, "CodeValue"), _one(item, "CodingSchemeDesignator")) for item in told_of}
    for part, name in BODY_PARTS.items():
        code = getattr(codes.cid4031, name)
        if (code.value, code.scheme_designator) in regions:
            return part
    examined = (str(_one(of, "BodyPartExamined") or "").strip().upper() for of in series)
    return next((one for one in examined if one in BODY_PARTS), None)


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _values(item: Json, keyword: str) -> list[Any]:
    found: list[Any] = item.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value") or []
    return found


def _items(item: Json, keyword: str) -> list[Json]:
    return [one for one in _values(item, keyword) if isinstance(one, dict)]


def _one(item: Json, keyword: str) -> Any:
    return next(iter(_values(item, keyword)), None)


def _number(item: Json, keyword: str) -> float | None:
    value = _one(item, keyword)
    with suppress(TypeError, ValueError):
        number = float(value)
        return number if 0 <= number < float("inf") else None
    return None
