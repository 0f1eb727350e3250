"""Key object selections and text reports (PS3.3 sections A.35.4 and A.35.1)."""

from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from darkroom_api.objects.exchange import Reference
from darkroom_api.objects.structured import content
from darkroom_api.objects.structured.content import HAS_CONTEXT, HAS_MODIFIER, Values
from darkroom_api.objects.structured.spec import HEADINGS, TITLES, KeyObjectsGiven, TextReportGiven
from darkroom_api.objects.writing import written

KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
BASIC_TEXT: Final = "1.2.840.10008.5.1.4.1.1.88.11"
_REPORT: Final = Code("18748-4", "LN", "Diagnostic imaging report")
_LANGUAGES: Final = "RFC5646"
_STATEMENTS: Final = {
    "addendum": codes.cid7002.Finding,
    "comparison": codes.cid7002.PreviousFinding,
    "conclusions": codes.cid7002.Conclusion,
    "findings": codes.cid7002.Finding,
    "history": codes.cid7002.History,
    "impressions": codes.cid7002.Impression,
    "recommendations": codes.cid7002.Recommendation,
    "request": codes.cid7002.Request,
}
"""The concept of a statement under each heading (PS3.16 CID 7002)."""
_PURPOSE: Final = codes.cid7003.BestIllustrationOfFinding
"""Of an image of a section: there are viewers that break where an item has no name."""
_NOT_IN_A_SELECTION: Final = (
    "CompletionFlag",
    "VerificationFlag",
    "PerformedProcedureCodeSequence",
)


def key_objects(attributes: Values, values: Values, references: Sequence[Reference]) -> bytes:
    """Return the DICOM file of a Key Object Selection (PS3.16 TID 2010)."""
    given = KeyObjectsGiven.model_validate(values)
    found = Dataset.from_json(dict(attributes))
    found.SOPClassUID, found.Manufacturer = KEY_OBJECTS, "Darkroom"
    children = [content.image(one) for one in references]
    if given.description is not None:
        children.insert(0, content.text(codes.DCM.KeyObjectDescription, given.description))
    title = getattr(codes.cid7010, TITLES[given.title])
    content.document(found, title, children, "2010")
    for keyword in _NOT_IN_A_SELECTION:
        delattr(found, keyword)
    study = str(found.StudyInstanceUID)
    found.CurrentRequestedProcedureEvidenceSequence = content.evidence(study, references)
    return written(found)


def text_report(attributes: Values, values: Values, references: Sequence[Reference]) -> bytes:
    """Return the DICOM file of a Basic Text SR (PS3.16 TID 2000)."""
    given = TextReportGiven.model_validate(values)
    found = Dataset.from_json(dict(attributes))
    found.SOPClassUID, found.Manufacturer = BASIC_TEXT, "Darkroom"
    title = Code(_REPORT.value, _REPORT.scheme_designator, given.title or _REPORT.meaning)
    content.document(found, title, _report(given, references), "2000")
    evidence = content.evidence(str(found.StudyInstanceUID), references)
    if evidence:
        found.CurrentRequestedProcedureEvidenceSequence = evidence
    return written(found)


def _report(given: TextReportGiven, references: Sequence[Reference]) -> Iterator[Dataset]:
    known = content.by_uid(references)
    yield content.code(
        codes.DCM.LanguageOfContentItemAndDescendants,
        Code(given.language, _LANGUAGES, given.language),
        relation=HAS_MODIFIER,
    )
    if given.author:
        yield content.code(codes.DCM.ObserverType, codes.DCM.Person, relation=HAS_CONTEXT)
        name = codes.DCM.PersonObserverName
        yield content.person(name, given.author, relation=HAS_CONTEXT)
    for part in given.sections:
        heading = getattr(codes.cid7001, HEADINGS[part.heading])
        shown = [content.image(known[one], _PURPOSE) for one in part.images]
        words = content.text(_STATEMENTS[part.heading], part.text)
        yield content.container(heading, [words, *shown])
