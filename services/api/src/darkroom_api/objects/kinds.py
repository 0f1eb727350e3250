"""What is said of an object of each kind."""

from typing import Final

from darkroom_api.objects.encapsulated.spec import ClinicalDocumentGiven, ModelGiven
from darkroom_api.objects.exchange import Kind
from darkroom_api.objects.projection.spec import CrGiven, DxGiven
from darkroom_api.objects.softcopy.spec import PresentationStateGiven
from darkroom_api.objects.spec import DocumentGiven, Given, PictureGiven
from darkroom_api.objects.structured.dose_spec import DoseReportGiven
from darkroom_api.objects.structured.spec import KeyObjectsGiven, TextReportGiven

GIVEN: Final[dict[Kind, type[Given]]] = {
    Kind.SECONDARY_CAPTURE: PictureGiven,
    Kind.PDF: DocumentGiven,
    Kind.CLINICAL_DOCUMENT: ClinicalDocumentGiven,
    Kind.MODEL: ModelGiven,
    Kind.DX: DxGiven,
    Kind.CR: CrGiven,
    Kind.PRESENTATION_STATE: PresentationStateGiven,
    Kind.KEY_OBJECTS: KeyObjectsGiven,
    Kind.TEXT_REPORT: TextReportGiven,
    Kind.DOSE_REPORT: DoseReportGiven,
}
