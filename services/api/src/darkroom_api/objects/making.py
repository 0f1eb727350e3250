"""Makes one object, in a worker: what is not valid never leaves it."""

import io
from collections.abc import Callable
from typing import Final

from darkroom_api.objects.building import pdf, secondary_capture
from darkroom_api.objects.encapsulated.building import clinical_document, model
from darkroom_api.objects.exchange import Kind, MakeTask
from darkroom_api.objects.pictures import NoPicture
from darkroom_api.objects.projection.building import cr, dx
from darkroom_api.objects.softcopy.building import presentation_state
from darkroom_api.objects.structured.dose import dose_report
from darkroom_api.objects.structured.reports import key_objects, text_report
from darkroom_common.validation.findings import Severity, named
from darkroom_common.validation.validate import validate

_BUILDERS: Final[dict[Kind, Callable[[MakeTask, bytes], bytes]]] = {
    Kind.SECONDARY_CAPTURE: lambda task, body: secondary_capture(task.attributes, body),
    Kind.PDF: lambda task, body: pdf(task.attributes, body),
    Kind.CLINICAL_DOCUMENT: lambda task, body: clinical_document(task.attributes, body),
    Kind.MODEL: lambda task, body: model(task.attributes, task.values, body, task.uids),
    Kind.DX: lambda task, body: dx(task.attributes, task.values, body),
    Kind.CR: lambda task, body: cr(task.attributes, task.values, body),
    Kind.PRESENTATION_STATE: lambda task, _: presentation_state(
        task.attributes, task.values, task.references
    ),
    Kind.KEY_OBJECTS: lambda task, _: key_objects(task.attributes, task.values, task.references),
    Kind.TEXT_REPORT: lambda task, _: text_report(task.attributes, task.values, task.references),
    Kind.DOSE_REPORT: lambda task, _: dose_report(
        task.attributes, task.values, task.references, task.uids
    ),
}


def make(task: MakeTask, body: bytes) -> bytes:
    """Return a DICOM file.

    Raises:
        NoPicture: what was uploaded, or what is known of the patient, makes no valid object.
    """
    return valid(_BUILDERS[task.kind](task, body))


def valid(made: bytes) -> bytes:
    """Return a DICOM file that we have made, if it is valid.

    Raises:
        NoPicture: it is not; the text names the attributes.
    """
    wrong = [
        f"{'the data set' if one.tag is None else named(one.tag)}: {one.message}"
        for one in validate(io.BytesIO(made)).findings
        if one.severity is Severity.ERROR
    ]
    if wrong:  # of values that came with the study, as a rule: an edit can put them right
        raise NoPicture(f"It would be no valid object: {' '.join(wrong[:3])}")
    return made
