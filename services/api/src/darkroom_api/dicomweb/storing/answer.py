"""What a STOW request is answered: PS3.18 sections 10.5.3 and I.2."""

from collections.abc import Sequence
from typing import Final

from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.index.answer import element
from darkroom_common.index.rows import Json
from darkroom_common.stow.handover import Item, Outcome

MANY_PARTS: Final = "many-parts"
_RETRIEVE_URL: Final = "00081190"
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_OTHERS: Final = "0008119A"


def status_of(outcome: Outcome) -> int:
    """Return the status that says what has become of a body.

    200: all is stored; 202: stored, but not all, or with warnings; 409: nothing is; 413: more
    parts than are taken, which the rest were not read for; 503: nothing is, for want of room; 400:
    there is nothing in it that could be an object.
    """
    stored = [item for item in outcome.items if not item.failure]
    failed = [item for item in outcome.items if item.failure]
    if outcome.fault == MANY_PARTS:
        return 413
    if stored:
        warned = any(item.warning for item in stored)
        return 202 if failed or warned or outcome.fault else 200
    named = [item for item in failed if item.code != outcome.fault]
    if not named:
        return 400
    if all(item.failure == StoreStatus.REFUSED_OUT_OF_RESOURCES for item in named):
        return 503
    return 409


def data_set(outcome: Outcome, base: str) -> Json:
    """Return the Store Instances Response Module as DICOM JSON.

    Args:
        outcome: what has become of the body.
        base: URL of DICOMweb.
    """
    stored = [item for item in outcome.items if not item.failure]
    failed = [item for item in outcome.items if item.failure]
    named = [item for item in failed if item.sop_instance_uid]
    studies = {item.study_instance_uid for item in stored}
    found: Json = {}
    if len(studies) == 1:
        found[_RETRIEVE_URL] = element("UR", f"{base}/studies/{studies.pop()}")
    _add(found, _REFERENCED, [_referenced(item, base) for item in stored])
    _add(found, _FAILED, [_named(item) | _reason(item) for item in named])
    _add(found, _OTHERS, [_reason(item) for item in failed if not item.sop_instance_uid])
    return found


def _add(found: Json, tag: str, items: Sequence[Json]) -> None:
    if items:
        found[tag] = {"vr": "SQ", "Value": list(items)}


def _named(item: Item) -> Json:
    uids = {"00081150": item.sop_class_uid, "00081155": item.sop_instance_uid}
    return {tag: element("UI", uid) for tag, uid in uids.items() if uid}


def _referenced(item: Item, base: str) -> Json:
    url = (
        f"{base}/studies/{item.study_instance_uid}/series/{item.series_instance_uid}"
        f"/instances/{item.sop_instance_uid}"
    )
    warning: Json = {"00081196": {"vr": "US", "Value": [item.warning]}} if item.warning else {}
    return _named(item) | {_RETRIEVE_URL: element("UR", url)} | warning


def _reason(item: Item) -> Json:
    return {"00081197": {"vr": "US", "Value": [item.failure]}}
