"""Clinical documents and models come out as they went in; what is none is refused."""

import io

import pytest
from pydicom import dcmread

from darkroom_api.objects.exchange import Kind
from darkroom_api.objects.pictures import NoPicture
from tests.unit.api.making.kinds import a_document, a_model, made


def test_a_clinical_document_is_kept_as_it_is() -> None:
    body = a_document(title="Befund <1>", extension="X7")
    one = dcmread(io.BytesIO(made(Kind.CLINICAL_DOCUMENT, {}, body)))
    assert one.EncapsulatedDocument[: one.EncapsulatedDocumentLength] == body
    assert (one.HL7InstanceIdentifier, one.DocumentTitle) == ("1.2.3.9^X7", "Befund <1>")
    assert (one.Modality, one.MIMETypeOfEncapsulatedDocument) == ("DOC", "text/XML")
    titled = dcmread(io.BytesIO(made(Kind.CLINICAL_DOCUMENT, {"title": "Mine"}, body)))
    assert titled.DocumentTitle == "Mine"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no XML", "damaged"),
        (b"<a/>", "no clinical document"),
        (a_document()[:-5], "damaged"),
        (a_document().replace(b"<id ", b"<ids "), "no id"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + a_document()[38:], "document type"),
        (a_document().replace(b"<component>", b"<component>" + b"<a>" * 200), "too many"),
    ],
)
def test_what_is_no_clinical_document(body: bytes, reason: str) -> None:
    with pytest.raises(NoPicture, match=reason):
        made(Kind.CLINICAL_DOCUMENT, {}, body)


def test_a_model_is_kept_as_it_is() -> None:
    body = a_model(3)
    values = {"units": "cm", "usage": "implant", "mirrored": True, "title": "Hip"}
    one = dcmread(io.BytesIO(made(Kind.MODEL, values, body)))
    assert one.EncapsulatedDocument[: one.EncapsulatedDocumentLength] == body
    assert (one.Modality, one.MIMETypeOfEncapsulatedDocument) == ("M3D", "model/stl")
    assert one.MeasurementUnitsCodeSequence[0].CodeValue == "cm"
    assert one.ModelUsageCodeSequence[0].CodeMeaning == "Implant Fabrication"
    assert (one.ModelModification, one.ModelMirroring) == ("NO", "YES")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no model"),
        (b"solid hip".ljust(200), "as text"),
        (a_model(3)[:-1], "damaged"),
        (a_model(0), "no triangle"),
        (a_model(1)[:84] + b"\xff" * 48 + bytes(2), "no number"),
    ],
)
def test_what_is_no_model(body: bytes, reason: str) -> None:
    with pytest.raises(NoPicture, match=reason):
        made(Kind.MODEL, {}, body)
