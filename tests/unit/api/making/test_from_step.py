"""The dose that a performed procedure step tells of becomes a report: values, units and codes."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from darkroom_api.objects.exchange import Kind
from darkroom_api.objects.structured.dose_spec import DoseReportGiven
from darkroom_api.objects.structured.from_step import NoDose, Step, told
from tests.support.dciodvfy import dciodvfy
from tests.unit.api.making.kinds import made

STEP = "1.2.3.55"


def a_step(**changes: Any) -> Dataset:
    scheduled, series = Dataset(), Dataset()
    scheduled.StudyInstanceUID, series.SeriesInstanceUID = "1.2.3", "1.2.4"
    step = Dataset()
    step.ScheduledStepAttributesSequence, step.PerformedSeriesSequence = [scheduled], [series]
    step.PerformedProcedureStepStartDate = "20261127"
    step.PerformedProcedureStepStartTime = "101112.5"
    step.ImageAndFluoroscopyAreaDoseProduct = "1.25"  # dGy cm2
    step.EntranceDoseInmGy = "0.4"
    step.DistanceSourceToDetector = "1150"
    step.TotalNumberOfExposures = 2
    step.ExposureDoseSequence = [exposure(121, 320_000, 8), exposure(70, 100_000, 20)]
    for keyword, value in changes.items():
        if value is None:
            delattr(step, keyword)
        else:
            setattr(step, keyword, value)
    return step


def exposure(kvp: int, microamperes: int, milliseconds: int, mode: str = "") -> Dataset:
    one = Dataset()
    one.KVP, one.XRayTubeCurrentInuA, one.ExposureTime = kvp, microamperes, milliseconds
    if mode:
        one.RadiationMode = mode
    return one


def equipment(**changes: Any) -> dict[str, Any]:
    of = Dataset()
    of.Manufacturer, of.ManufacturerModelName, of.DeviceSerialNumber = "Acme", "X1", "77"
    of.SoftwareVersions, of.StationName, of.BodyPartExamined = ["1.0", "2.0"], "ROOM3", "CHEST"
    for keyword, value in changes.items():
        setattr(of, keyword, value)
    other = Dataset()
    other.Manufacturer = "Somebody else"
    return {"1.2.9": other.to_json_dict(), "1.2.4": of.to_json_dict()}


def report(step: Dataset, path: Path, known: Any = None, **given: Any) -> dict[str, Any]:
    """Return the numbers and codes of the report that is made, by the meaning of their names."""
    asked = DoseReportGiven.model_validate({"mpps": STEP, **given})
    whole = told(asked, Step(STEP, step.to_json_dict()), equipment() if known is None else known)
    values = whole.model_dump(mode="json", exclude_unset=True)
    path.write_bytes(made(Kind.DOSE_REPORT, values))
    assert dciodvfy(path) == []
    found: dict[str, Any] = {}

    def walk(items: Any) -> None:
        for item in items:
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            if item.ValueType == "NUM":
                (number,) = item.MeasuredValueSequence
                unit = number.MeasurementUnitsCodeSequence[0].CodeValue
                found.setdefault(name, []).append((float(number.NumericValue), unit))
            elif item.ValueType == "CODE":
                found.setdefault(name, []).append(item.ConceptCodeSequence[0].CodeMeaning)
            elif item.ValueType in ("TEXT", "UIDREF", "DATETIME"):
                value = item.get("TextValue") or item.get("UID") or item.get("DateTime")
                found.setdefault(name, []).append(str(value))
            walk(item.get("ContentSequence", ()))

    walk(dcmread(path).ContentSequence)
    return found


def test_what_the_step_tells_is_what_the_report_says(tmp_path: Path) -> None:
    found = report(a_step(), tmp_path / "a.dcm")
    assert found["Dose Area Product Total"] == [(1.25e-5, "Gy.m2")]
    assert found["Dose (RP) Total"] == [(0.0004, "Gy")]
    assert found["KVP"] == [(121, "kV"), (70, "kV")]
    assert found["X-Ray Tube Current"] == [(320, "mA"), (100, "mA")]
    assert found["Exposure Time"] == [(8, "ms"), (20, "ms")]
    assert found["Distance Source to Detector"] == [(1150, "mm")] * 2
    assert found["DateTime Started"] == ["20261127101112"] * 2
    assert found["Performed Procedure Step SOP Instance UID"] == [STEP]
    assert found["Source of Dose Information"] == ["MPPS Content"]
    assert found["Device Observer Manufacturer"] == ["Acme"]
    assert found["Device Observer Name"] == ["ROOM3"]
    assert found["Target Region"] == ["Chest"] * 2


def test_fluoroscopy_is_told_by_its_time(tmp_path: Path) -> None:
    step = a_step(
        TotalTimeOfFluoroscopy=95, ExposureDoseSequence=[exposure(80, 3000, 50, "CONTINUOUS")]
    )
    found = report(step, tmp_path / "a.dcm")
    assert found["Total Fluoro Time"] == [(95, "s")]
    assert found["Irradiation Event Type"] == ["Fluoroscopy"]
    assert "Fluoro Dose Area Product Total" not in found  # it tells of both together
    alone = report(a_step(TotalTimeOfFluoroscopy=95, ExposureDoseSequence=None), tmp_path / "b.dcm")
    assert alone["Total Fluoro Time"] == [(95, "s")]
    assert "Fluoro Dose Area Product Total" not in alone


def test_what_is_given_goes_before_what_is_told(tmp_path: Path) -> None:
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "72696002", "SCT", "Knee"
    step = a_step(AnatomicStructureSpaceOrRegionSequence=[region], EntranceDoseInmGy=None)
    step.EntranceDose = 1
    found = report(step, tmp_path / "a.dcm")
    assert found["Target Region"] == ["Knee"] * 2
    assert found["Dose (RP) Total"] == [(0.1, "Gy")]
    device = {"manufacturer": "Mine", "model": "M", "serial": "1"}
    found = report(step, tmp_path / "b.dcm", known={}, body_part="HAND", device=device)
    assert found["Target Region"] == ["Hand"] * 2
    assert found["Device Observer Manufacturer"] == ["Mine"]
    found = report(step, tmp_path / "c.dcm", known={}, total_dose_area_product=2)
    assert found["Dose Area Product Total"] == [(2, "Gy.m2")]
    assert found["Device Observer Serial Number"] == ["unknown"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ImageAndFluoroscopyAreaDoseProduct": None}, "no dose-area product"),
        ({"PerformedProcedureStepStartDate": ""}, "when it began"),
        ({"ScheduledStepAttributesSequence": [Dataset(), Dataset()]}, "part of the body"),
    ],
)
def test_too_little_is_refused(changes: dict[str, Any], reason: str) -> None:
    known = {} if reason == "part of the body" else equipment()
    asked = DoseReportGiven.model_validate({"mpps": STEP})
    with pytest.raises(NoDose, match=reason):
        told(asked, Step(STEP, a_step(**changes).to_json_dict()), known)


def test_a_step_of_several_studies_is_refused() -> None:
    items = [Dataset(), Dataset()]
    items[0].StudyInstanceUID, items[1].StudyInstanceUID = "1.2", "1.3"
    step = a_step(ScheduledStepAttributesSequence=items)
    with pytest.raises(NoDose, match="several studies"):
        Step(STEP, step.to_json_dict()).study()
