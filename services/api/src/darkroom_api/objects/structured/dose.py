"""X-Ray Radiation Dose SR of projection X-rays (PS3.3 A.35.8, PS3.16 TID 10001 and those below)."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from darkroom_api.objects.exchange import Reference
from darkroom_api.objects.pictures import NoPicture
from darkroom_api.objects.projection.spec import BODY_PARTS
from darkroom_api.objects.structured import content
from darkroom_api.objects.structured.content import (
    HAS_CONTEXT,
    HAS_MODIFIER,
    HAS_PROPERTIES,
    Values,
)
from darkroom_api.objects.structured.dose_spec import Device, DoseReportGiven, Event, Filter
from darkroom_api.objects.writing import put, written

DOSE_REPORT: Final = "1.2.840.10008.5.1.4.1.1.88.67"
DCM: Final = codes.DCM
_HAS_INTENT: Final = Code("363703001", "SCT", "Has Intent")
_LATERALITY: Final = Code("272741003", "SCT", "Laterality")
_DIAGNOSTIC: Final = Code("261004008", "SCT", "Diagnostic Intent")
_SIDES: Final = {
    "L": Code("7771000", "SCT", "Left"),
    "R": Code("24028007", "SCT", "Right"),
    "B": Code("51440002", "SCT", "Right and left"),
}
_FLUOROSCOPY: Final = "fluoroscopy"
_KINDS: Final = {
    "stationary": codes.cid10002.StationaryAcquisition,
    "stepping": codes.cid10002.SteppingAcquisition,
    "rotational": codes.cid10002.RotationalAcquisition,
    _FLUOROSCOPY: codes.cid10002.Fluoroscopy,
}
_SOURCES: Final = {
    "automated": codes.cid10020.AutomatedDataCollection,
    "manual": codes.cid10020.ManualEntry,
    "dosimeter": codes.cid10020.Dosimeter,
    "from-images": codes.cid10020.CopiedFromImageAttributes,
    "from-mpps": codes.cid10020.MPPSContent,
}
_POINTS: Final = {
    "isocenter-15cm": Code("113860", "DCM", "15cm from Isocenter toward Source"),
    "entrance": codes.cid10025.AtSurfaceOfPatient,
}
_MATERIALS: Final = {
    "aluminium": codes.cid10006.Aluminum,
    "copper": codes.cid10006.Copper,
    "molybdenum": codes.cid10006.Molybdenum,
    "rhodium": codes.cid10006.Rhodium,
    "silver": codes.cid10006.Silver,
}
_GY_M2: Final = "Gy.m2"
_THOUSAND: Final = 1000.0


def dose_report(
    attributes: Values, values: Values, references: Sequence[Reference], uids: Sequence[str]
) -> bytes:
    """Return the DICOM file of an X-Ray Radiation Dose SR.

    Args:
        attributes: DICOM JSON of patient, study, series and itself.
        values: of a `DoseReportGiven`.
        references: the images that its events name.
        uids: as many as it needs.
    """
    given = DoseReportGiven.model_validate(values)
    new = iter(uids)
    found = Dataset.from_json(dict(attributes))
    device = given.device
    if device is None:
        raise NoPicture("It does not say which device has irradiated.")
    device_uid = device.uid or next(new)
    put(
        found,
        {
            "SOPClassUID": DOSE_REPORT,
            "Manufacturer": device.manufacturer,
            "ManufacturerModelName": device.model,
            "DeviceSerialNumber": device.serial,
            "SoftwareVersions": device.software,
            "SynchronizationFrameOfReferenceUID": next(new),
            "SynchronizationTrigger": "NO TRIGGER",
            "AcquisitionTimeSynchronized": "N",
            "TimezoneOffsetFromUTC": _offset(given.events[0].started),
        },
    )
    study = str(found.StudyInstanceUID)
    known = content.by_uid(references)
    children = [
        content.code(
            DCM.ProcedureReported,
            DCM.ProjectionXRay,
            content.code(_HAS_INTENT, _DIAGNOSTIC, relation=HAS_MODIFIER),
            relation=HAS_MODIFIER,
        ),
        *_observer(device, device_uid),
        _scope(given, study),
        *_accumulated(given),
        *(_event(given, one, one.uid or next(new), known) for one in given.events),
        content.code(DCM.SourceOfDoseInformation, _SOURCES[given.source]),
    ]
    content.document(found, DCM.XRayRadiationDoseReport, children, "10001")
    if references:
        found.CurrentRequestedProcedureEvidenceSequence = content.evidence(study, references)
    return written(found)


def _offset(started: dt.datetime) -> str | None:
    return None if started.tzinfo is None else f"{started.astimezone():%z}"


def _observer(device: Device, uid: str) -> Iterator[Dataset]:
    """Yield the observer context of a device (TID 1002 and 1004)."""
    yield content.code(DCM.ObserverType, DCM.Device, relation=HAS_CONTEXT)
    yield content.uid(DCM.DeviceObserverUID, uid, relation=HAS_CONTEXT)
    named = (
        (DCM.DeviceObserverName, device.name),
        (DCM.DeviceObserverManufacturer, device.manufacturer),
        (DCM.DeviceObserverModelName, device.model),
        (DCM.DeviceObserverSerialNumber, device.serial),
    )
    for name, value in named:
        if value:
            yield content.text(name, value, relation=HAS_CONTEXT)


def _scope(given: DoseReportGiven, study: str) -> Dataset:
    """Return what the accumulated dose is of (CID 10000 and 10001)."""
    step = given.performed_procedure_step
    if step is None:
        of = content.uid(DCM.StudyInstanceUID, study, relation=HAS_PROPERTIES)
        return content.code(DCM.ScopeOfAccumulation, codes.cid10000.Study, of, relation=HAS_CONTEXT)
    name = codes.cid10001.PerformedProcedureStepSOPInstanceUID
    of = content.uid(name, step, relation=HAS_PROPERTIES)
    performed = codes.cid10000.PerformedProcedureStep
    return content.code(DCM.ScopeOfAccumulation, performed, of, relation=HAS_CONTEXT)


def _accumulated(given: DoseReportGiven) -> Iterator[Dataset]:
    """Yield the accumulated dose of the one plane (TID 10002)."""
    plane = content.code(DCM.AcquisitionPlane, DCM.SinglePlane, relation=HAS_MODIFIER)
    totals = list(_with_fluoroscopy(given)) if _is_fluoroscopy(given) else list(_totals(given))
    yield content.container(DCM.AccumulatedXRayDoseData, [plane, *totals])


def _is_fluoroscopy(given: DoseReportGiven) -> bool:
    told = given.total_fluoroscopy_time is not None
    return told or any(one.kind == _FLUOROSCOPY for one in given.events)


def _sum(events: Sequence[Event]) -> float | None:
    """Return the dose of events; None when it is not known of each of them."""
    doses = [one.dose for one in events if one.dose is not None]
    return sum(doses) if len(doses) == len(events) else None


def _area(events: Sequence[Event]) -> float | None:
    """Return the dose-area product of events; None when it is not known of each of them."""
    known = [one.dose_area_product for one in events if one.dose_area_product is not None]
    return sum(known) if len(known) == len(events) else None


def _totals(given: DoseReportGiven) -> Iterator[Dataset]:
    """Yield what is known of all events together (TID 10007)."""
    area = given.total_dose_area_product
    if area is None:
        area = _area(given.events)
    if area is not None:
        yield content.number(DCM.DoseAreaProductTotal, area, _GY_M2)
    dose = _sum(given.events) if given.total_dose is None else given.total_dose
    if dose is not None:
        yield content.number(DCM.DoseRPTotal, dose, "Gy")
    frames = sum(one.frames for one in given.events if one.kind != _FLUOROSCOPY)
    yield content.number(DCM.TotalNumberOfRadiographicFrames, frames, "1")
    if dose is not None:
        yield from _point(given)


def _with_fluoroscopy(given: DoseReportGiven) -> Iterator[Dataset]:
    """Yield fluoroscopy and acquisition apart as well (TID 10004)."""
    apart = (
        (True, DCM.FluoroDoseAreaProductTotal, DCM.FluoroDoseRPTotal, DCM.TotalFluoroTime),
        (
            False,
            DCM.AcquisitionDoseAreaProductTotal,
            DCM.AcquisitionDoseRPTotal,
            DCM.TotalAcquisitionTime,
        ),
    )
    yield from _totals(given)
    for is_fluoroscopy, area, dose, time in apart:
        events = [one for one in given.events if (one.kind == _FLUOROSCOPY) is is_fluoroscopy]
        # Of fluoroscopy of which only the time was told, the dose is not known to be nothing.
        product = _area(events) if events or not is_fluoroscopy else None
        if product is not None:
            yield content.number(area, product, _GY_M2)
        known = _sum(events) if events or not is_fluoroscopy else None
        if known is not None:
            yield content.number(dose, known, "Gy")
        seconds = sum(one.exposure_time or 0.0 for one in events) / _THOUSAND
        if is_fluoroscopy and given.total_fluoroscopy_time is not None:
            seconds = given.total_fluoroscopy_time
        yield content.number(time, seconds, "s")


def _point(given: DoseReportGiven) -> Iterator[Dataset]:
    if given.reference_point in _POINTS:
        yield content.code(DCM.ReferencePointDefinition, _POINTS[given.reference_point])


def _event(given: DoseReportGiven, one: Event, uid: str, known: Mapping[str, Reference]) -> Dataset:
    """Return an irradiation event (TID 10003, 10003A, 10003B, 10003C)."""
    return content.container(
        DCM.IrradiationEventXRayData,
        [
            content.code(DCM.AcquisitionPlane, DCM.SinglePlane, relation=HAS_MODIFIER),
            content.uid(DCM.IrradiationEventUID, uid),
            content.moment(DCM.DatetimeStarted, one.started),
            content.code(DCM.IrradiationEventType, _KINDS[one.kind]),
            *_where(one),
            *_dose(given, one),
            *_numbers(one),
            *(_filter(each) for each in one.filters),
            *_persons(given.administered_by),
            *([content.image(known[one.image], DCM.AcquiredImage)] if one.image else ()),
        ],
    )


def _where(one: Event) -> Iterator[Dataset]:
    if one.protocol:
        yield content.text(DCM.AcquisitionProtocol, one.protocol)
    sides = [_SIDES[one.laterality]] if one.laterality else []
    region = getattr(codes.cid4031, BODY_PARTS[one.body_part])
    of = (content.code(_LATERALITY, side, relation=HAS_MODIFIER) for side in sides)
    yield content.code(DCM.TargetRegion, region, *of)


def _dose(given: DoseReportGiven, one: Event) -> Iterator[Dataset]:
    if one.dose_area_product is not None:
        yield content.number(DCM.DoseAreaProduct, one.dose_area_product, _GY_M2)
    if one.dose is not None:
        yield content.number(DCM.DoseRP, one.dose, "Gy")
        yield from _point(given)


def _numbers(one: Event) -> Iterator[Dataset]:
    """Yield what the generator and the detector say."""
    said: tuple[tuple[Code, Any, str], ...] = (
        (DCM.KVP, one.kvp, "kV"),
        (DCM.XRayTubeCurrent, one.tube_current, "mA"),
        (DCM.ExposureTime, one.exposure_time, "ms"),
        (DCM.Exposure, one.exposure, "uA.s"),
        (DCM.NumberOfPulses, one.pulses, "1"),
        (DCM.DistanceSourceToDetector, one.distance_source_to_detector, "mm"),
        (DCM.ExposureIndex, one.exposure_index, "1"),
        (DCM.TargetExposureIndex, one.target_exposure_index, "1"),
        (DCM.DeviationIndex, one.deviation_index, "1"),
    )
    for name, value, unit in said:
        if value is not None:
            yield content.number(name, value, unit)


def _filter(one: Filter) -> Dataset:
    return content.container(
        DCM.XRayFilters,
        [
            content.code(DCM.XRayFilterType, codes.cid10007.FlatFilter),
            content.code(DCM.XRayFilterMaterial, _MATERIALS[one.material]),
            content.number(DCM.XRayFilterThicknessMinimum, one.thickness_minimum, "mm"),
            content.number(DCM.XRayFilterThicknessMaximum, one.thickness_maximum, "mm"),
        ],
    )


def _persons(name: str) -> Iterator[Dataset]:
    """Yield who took part (TID 1020)."""
    if name:
        role = content.code(
            DCM.PersonRoleInProcedure, DCM.IrradiationAdministering, relation=HAS_PROPERTIES
        )
        yield content.person(DCM.PersonName, name, role)
