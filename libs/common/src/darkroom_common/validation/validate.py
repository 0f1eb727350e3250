"""Validates one object: the whole of it, or what of it can be read."""

from typing import BinaryIO, Final

from darkroom_common.dicom.heads import DEFLATED, EXPLICIT_BIG
from darkroom_common.dicom.inflate import Inflater
from darkroom_common.dicom.limits import ReadLimits
from darkroom_common.dicom.stored import stored_object
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.validation.consistency import SOP_CLASS, Consistency
from darkroom_common.validation.content import Item, content
from darkroom_common.validation.findings import At, Findings, Kind, Report, Severity
from darkroom_common.validation.groups import Groups
from darkroom_common.validation.head import SOP_CLASS as CLASS_OF_FILE
from darkroom_common.validation.head import read_head
from darkroom_common.validation.modules import Modules
from darkroom_common.validation.pixels import Pixels
from darkroom_common.validation.table import the_table
from darkroom_common.validation.values import Values

READ: Final = 1 << 16
"""Bytes of a value, above which it is not read: only its length is judged."""
LIMITS: Final = ReadLimits(elements=200_000, inflated_bytes=1 << 29)
_PIECE: Final = 1 << 16
_ODDITIES: Final = {
    "nonstandard-vr": "An element has a VR that the standard does not know.",
    "damaged-sequence": "A sequence cannot be read.",
    "file-meta-element": "The data set has an element of the file meta information.",
    "trailing-padding": "There are zeros after the last element.",
}


def validate(file: BinaryIO) -> Report:
    """Validate a DICOM file.

    Raises:
        Unreadable: nothing of it can be read, or it inflates beyond all bounds.
        OSError: the file cannot be read.
    """
    findings = Findings()
    head = read_head(file, findings)
    size = file.seek(0, 2)
    _bounded(file, head.start, head.transfer_syntax_uid)
    with stored_object(file, head.transfer_syntax_uid, head.start, size - head.start) as stored:
        found = stored.data_set(defer=READ, limits=LIMITS)
    for oddity in sorted(found.oddities):
        text = _ODDITIES.get(oddity, "The data set is not encoded as the standard wants.")
        findings.add(Kind.STRUCTURE, text, At(None, "PS3.5 7"))
    if found.broken:
        text = "The data set cannot be read to its end."
        findings.add(Kind.STRUCTURE, text, At(None, "PS3.5 7"))
    root = content(found.data_set, big=head.transfer_syntax_uid == EXPLICIT_BIG)
    if not root.elements:
        raise Unreadable(found.broken or "empty", head.start)
    if not (head.has_prefix or root.has(SOP_CLASS)):
        raise Unreadable("no-prefix", 128)
    return _judged(root, head.meta, head.transfer_syntax_uid, findings)


def _bounded(file: BinaryIO, start: int, transfer_syntax_uid: str) -> None:
    """Refuse a deflated data set that grows beyond the limit, before it is read."""
    if transfer_syntax_uid not in DEFLATED:
        return
    inflater = Inflater(LIMITS.inflated_bytes)
    file.seek(start)
    while piece := file.read(_PIECE):
        for _ in inflater.feed(piece):
            pass


def _judged(root: Item, meta: Item, syntax: str, findings: Findings) -> Report:
    sop_class = root.text_of(SOP_CLASS) or meta.text_of(CLASS_OF_FILE)
    table = the_table()
    iod = table.iod(sop_class)
    values, modules = Values(findings), Modules(table, findings)
    values.check(meta)
    values.check(root)
    unchecked: list[str] = []
    if iod is None:
        unchecked.append("the modules: the SOP class is not in the table of IODs")
    else:
        modules.check(iod, root)
        Groups(table, findings, modules).check(iod, root)
        unchecked += modules.undecided
    Pixels(findings).check(root, syntax, iod)
    Consistency(findings).check(root, meta)
    if values.unread:
        unchecked.append(f"values of more than {READ} bytes: {values.unread}; only their lengths")
    found = findings.found()
    return Report(
        sop_class_uid=sop_class,
        iod=None if iod is None else iod.name,
        modules=modules.checked,
        findings=found,
        more=findings.more,
        unchecked=unchecked,
    )


def is_valid(report: Report) -> bool:
    """Tell whether an object has no error."""
    return not any(one.severity is Severity.ERROR for one in report.findings)
