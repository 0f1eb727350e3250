"""What an object that holds the statement says of itself: nobody's, of a study of its own."""

import datetime as dt
from typing import Any

from darkroom_api.conformance.statement import TITLE
from darkroom_api.objects.identity import said
from darkroom_common.uids import Uids


def identity(uids: Uids, now: dt.datetime) -> dict[str, Any]:
    """Return patient, study, series and document as DICOM JSON.

    Args:
        uids: makes those of the object.
        now: in the zone of this host.
    """
    day, hour = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    return said(
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "InstanceCreationDate": day,
            "InstanceCreationTime": hour,
            "SOPInstanceUID": uids.new(),
            "StudyDate": day,
            "ContentDate": day,
            "StudyTime": hour,
            "ContentTime": hour,
            "AccessionNumber": "",
            "ReferringPhysicianName": "",
            "Modality": "DOC",
            "ConversionType": "WSD",
            "PatientName": "",
            "PatientID": "",
            "PatientBirthDate": "",
            "PatientSex": "",
            "StudyInstanceUID": uids.new(),
            "SeriesInstanceUID": uids.new(),
            "StudyID": "",
            "SeriesNumber": 1,
            "InstanceNumber": 1,
            "BurnedInAnnotation": "NO",
            "DocumentTitle": TITLE,
        }
    )
