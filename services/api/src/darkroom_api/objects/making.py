"""Makes one object, in a worker: what is not valid never leaves it."""

import io
from typing import Final

from darkroom_api.objects.building import pdf, secondary_capture
from darkroom_api.objects.exchange import Kind, MakeTask
from darkroom_api.objects.pictures import NoPicture
from darkroom_common.validation.findings import Severity, named
from darkroom_common.validation.validate import validate

_BUILDERS: Final = {Kind.SECONDARY_CAPTURE: secondary_capture, Kind.PDF: pdf}


def make(task: MakeTask, body: bytes) -> bytes:
    """Return a DICOM file.

    Raises:
        NoPicture: what was uploaded, or what is known of the patient, makes no valid object.
    """
    made = _BUILDERS[task.kind](task.attributes, body)
    wrong = [
        f"{'the data set' if one.tag is None else named(one.tag)}: {one.message}"
        for one in validate(io.BytesIO(made)).findings
        if one.severity is Severity.ERROR
    ]
    if wrong:  # of values that came with the study, as a rule: an edit can put them right
        raise NoPicture(f"It would be no valid object: {' '.join(wrong[:3])}")
    return made
